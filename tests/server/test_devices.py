# SPDX-License-Identifier: Apache-2.0
"""What the work is done on, as the rest of the machine has it: a long take keeps no memory that it doesn't need."""

import subprocess
import sys

import numpy as np
import pytest
from platebridge.request import ModelSettings
from platebridge_server import devices
from platebridge_server.models.base import GuideReader
from platebridge_server.models.dust_model import DustModel


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' allocators give back by themselves")
def test_memory_that_was_freed_is_given_back_to_the_system():
    """In a process of its own: holes between what is still held, which glibc keeps for good."""
    script = """if True:
        import psutil, torch
        from platebridge_server import devices
        parts = [torch.ones(250_000) for _ in range(400)]  # a megabyte each: from its heap, once it has seen one freed
        del parts
        parts = [torch.ones(60_000) for _ in range(2000)]
        del parts[1::2], parts[:-1:2]
        before = psutil.Process().memory_info().rss
        devices.give_back()
        print(before - psutil.Process().memory_info().rss)
    """
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(said) > 100e6


def test_the_built_in_model_gives_memory_back_with_each_of_its_windows(monkeypatch):
    given, asked = [], []
    monkeypatch.setattr(devices, "give_back", lambda: given.append(len(asked)))
    model, ball = DustModel(), np.full((12, 16), 0.5, np.float32)
    model.load("cpu")
    reader = GuideReader(
        lambda frame: {"sun": ball, "ambient": ball, "alpha": ball, "depth": ball + 9}, lambda frame: (0.0, 0.7, 0.7), lambda frame: None
    )
    made = model.generate(reader, range(20), (48, 64), ModelSettings(quality="draft"), lambda *n: asked.append(n), lambda: False)
    assert len(list(made)) == 20 and len(asked) > 1 and given == list(range(len(asked)))
