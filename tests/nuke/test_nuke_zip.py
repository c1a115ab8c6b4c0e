# SPDX-License-Identifier: Apache-2.0
"""The node's zip is whole or not there."""

import runpy
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_what_pip_fetches_is_pinned():
    """Two zips of one version are the same, and none brings what nobody has tried."""
    from packaging.requirements import Requirement

    needed = runpy.run_path(str(ROOT / "tools" / "nuke_zip.py"))["NEEDED"]
    pinned = {Requirement(line).name: [part.operator for part in Requirement(line).specifier] for line in needed}
    assert pinned == {"pyzmq": ["=="], "msgpack": ["=="]}


def test_a_zip_that_lacks_its_wheels_is_not_left_as_one_to_hand_on(tmp_path):
    build = runpy.run_path(str(ROOT / "tools" / "nuke_zip.py"))["build"]

    def fetched(python, tag, folder):
        if tag == "second":
            raise subprocess.CalledProcessError(1, "pip")
        (Path(folder) / "zmq.py").write_text("")

    build.__globals__["_fetch"] = fetched
    with pytest.raises(subprocess.CalledProcessError):
        build(tmp_path, ("311",), {"linux": "first", "win32": "second"})
    assert not list(tmp_path.glob("*.zip"))
    path = build(tmp_path, ("311",), {"linux": "first"})
    names = zipfile.ZipFile(path).namelist()
    assert {"Platebridge/init.py", "Platebridge/client/platebridge/client.py", "Platebridge/vendor/cp311/linux/zmq.py"} <= set(names)
    assert list(tmp_path.iterdir()) == [path]
