#!/bin/sh
# The system libraries that Blender's wheel links to and a bare Linux lacks. Installs them where it may, else says the line to type.
# Used by `make`; artists don't need it: a Blender that starts has them.
set -eu
python=$1
[ "$(uname -s)" = Linux ] || exit 0
if "$python" -c 'import bpy' >/dev/null 2>&1; then exit 0; fi
packages="libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libgl1 libegl1 libgl1-mesa-dri"
line="apt-get install -y --no-install-recommends $packages"
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    echo "Blender's wheel needs libraries of the system; installing them: $packages"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive $line -qq >/dev/null
fi
"$python" -c 'import bpy' >/dev/null 2>&1 || {
    echo "Blender's wheel can't be loaded:"; "$python" -c 'import bpy' 2>&1 | tail -n 1
    echo "On Debian or Ubuntu: sudo $line"; exit 1; }
