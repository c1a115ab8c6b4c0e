# SPDX-License-Identifier: Apache-2.0
"""What is imported is not looked through for garbage, and all else is as before: what is frozen of others is never closed."""

import gc
import os
import subprocess
import sys

import pytest
from platebridge_server.starting import importing


def test_nobody_looks_for_garbage_while_something_is_imported():
    frozen = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() == frozen


def test_an_import_that_fails_leaves_the_collector_on():
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off():
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("own", [{}, {"LRU_CACHE_CAPACITY": "500", "OMP_WAIT_POLICY": "active"}])
def test_what_torch_reads_once_is_said_before_it_is_loaded_and_a_studios_own_stands(own):
    """Without it what convolutions were compiled to, for each window's own shape, came to gigabytes over a long shot."""
    ours = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}
    script = "import sys, platebridge_server, os; assert 'torch' not in sys.modules; print(*(os.environ[n] for n in %r))" % (list(ours),)
    told = {**{name: value for name, value in os.environ.items() if name not in ours}, **own}
    said = subprocess.run([sys.executable, "-c", script], env=told, capture_output=True, text=True, check=True).stdout
    assert said.split() == list({**ours, **own}.values())
