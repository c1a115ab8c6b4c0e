# SPDX-License-Identifier: Apache-2.0
"""How many bytes a forward pass holds at most, counted without memory: shapes run through the real network, numbers don't.

A tensor counts from the operation that makes it until the last reference to its storage goes. What a kernel takes for itself is not seen.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Iterator

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """`peak`: the most bytes that lived at once since the mode was entered, what came before not counted. kind: of that device alone."""

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.kind = kind
        self.now = self.peak = 0
        self._known: dict = {}

    def leave_out(self, module: torch.nn.Module) -> None:
        """Weights are counted apart."""
        for tensor in (*module.parameters(), *module.buffers()):
            self._known[tensor.untyped_storage()._cdata] = True

    def _gone(self, key: int, size: int) -> None:
        self._known.pop(key, None)
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and self.kind in ("", tensor.device.type):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self._known:
                    size = storage.nbytes()
                    self._known[key] = True
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._gone, key, size)
        return out


@contextlib.contextmanager
def counted(kind: str = "") -> Iterator[Live]:
    """Everything within is made of shapes alone, on devices that need not be here; `leave_out` the weights before the pass that is to be
    counted."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        yield Live(kind)
