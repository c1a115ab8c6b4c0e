#!/bin/sh
# Fetches the other Blenders that the tests run in, as Python wheels, each into a folder of its own: sh tools/blenders.sh FOLDER
# One that can't be had here is left out with a sentence; its tests are then skipped by name.
set -u
folder=$1
python_of() {  # 3.11 -> a python of that version, or nothing
    for found in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$found" -c 'import venv' >/dev/null 2>&1; then echo "$found"; return; fi
    done
}
fetch() {  # VERSION PYTHON
    at=$folder/$1
    [ -e "$at/ready" ] && return
    python=$(python_of "$2")
    if [ -z "$python" ]; then echo "Blender $1 needs Python $2, which is not here: its tests will be skipped."; return; fi
    echo "Fetching Blender $1 (once) ..."
    if "$python" -m venv "$at" && "$at/bin/python" -m pip install --quiet --disable-pip-version-check "bpy==$1.*" && "$at/bin/python" -c 'import bpy' >/dev/null 2>&1
    then touch "$at/ready"
    else rm -rf "$at"; echo "Blender $1 can't be had here: its tests will be skipped."
    fi
}
mkdir -p "$folder"
fetch 5.0 3.11
fetch 5.2 3.13
