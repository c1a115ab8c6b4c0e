# SPDX-License-Identifier: Apache-2.0
"""What tests of the wire share: a server process on a folder of its own, ended at the end whatever happened."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # house.py and fake_generator.py lie here


@pytest.fixture
def houses(tmp_path):
    """Makes a House by name: `houses()`; its server is killed at the end."""
    from house import House

    made = []

    def make(name: str = "house", **settings) -> House:
        made.append(House(tmp_path / name, **settings))
        return made[-1]

    yield make
    for house in made:
        if house.process is not None and house.process.poll() is None:
            house.kill()


@pytest.fixture
def house(houses):
    """A running server with the fake generator."""
    return houses().start()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """What is as small as tests have it is slower on more threads, many times slower on a busy machine: threads wait by spinning.
    Servers and commands in processes of their own have as many as an artist's."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)  # a generation sets as many threads as there are cores
        torch.set_num_threads(1)
        yield
