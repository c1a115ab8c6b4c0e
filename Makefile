# Two commands do the work: `make demo` and `make test`. Each sets up what it needs in .venv, from constraints.txt alone.
PYTHON ?= python3.11
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/ready
OUT    ?= out
TORCH  ?= https://download.pytorch.org/whl/cpu

.PHONY: help setup demo test test-fast bench eval-dust extension nuke lint clean
help:
	@echo "make demo [OUT=out]       two shots from plate to timeline; the last lines say what to open"
	@echo "make test                 every test"
	@echo "make test-fast            every test but the slow ones"
	@echo "make bench [JSON=file]    what proves the figures"
	@echo "make eval-dust [JSON=file]  the built-in model against held-out simulations"
	@echo "make extension            the Blender extension's zips, for each Blender and system, into dist/"
	@echo "make nuke                 the Nuke node's zip, into dist/"
	@echo "make lint                 ruff and mypy"
	@echo "make clean                takes away what make set up and built; takes and training data stay"

setup: $(READY)

# torch goes first and alone, so that nothing else pulls another build of it: the public index's own is CUDA's on Linux, several GB. Where
# pytorch.org can't be reached, pip takes what it finds elsewhere. What torch needs comes with the rest.
$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed here (Blender 4.5's own). Say which: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo "Setting up .venv (once; Blender's wheel and torch are the large ones) ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25'
	@$(RUN) -m pip install --quiet --retries 1 --no-deps -c constraints.txt --extra-index-url $(TORCH) torch
	@$(RUN) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@sh tools/libraries.sh $(RUN)
	@touch $(READY)

demo: $(READY)
	@$(RUN) -m demo --out "$(OUT)"

test: $(READY) lint
	@sh tools/blenders.sh .cache/blenders
	@$(RUN) -m pytest

test-fast: $(READY)
	@$(RUN) -m pytest -m 'not slow'

bench: $(READY)
	@$(RUN) -m benchmarks $(if $(JSON),--json "$(JSON)")

eval-dust: $(READY)
	@$(RUN) -m platebridge_server.training evaluate $(if $(JSON),--json "$(JSON)")

extension: $(READY)
	@$(RUN) tools/extension.py

nuke: $(READY)
	@$(RUN) tools/nuke_zip.py

lint: $(READY)
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy shared/platebridge
	@$(RUN) -m mypy --strict --follow-imports=silent nuke_gizmo/platebridge_nuke

# Takes in out/ stay, and so do the simulations and runs of hours that docs/dust_training.md puts into .cache/.
clean:
	rm -rf $(VENV) .cache/blenders build dist
