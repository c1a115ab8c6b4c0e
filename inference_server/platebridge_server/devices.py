# SPDX-License-Identifier: Apache-2.0
"""What the work is done on: which device, whether there is one of that name, and how it gives the same bits again. Knows no shot."""

from __future__ import annotations

import ctypes
import json
import os
import sys

import torch
from platebridge.errors import RequestError


def best() -> str:
    """ "cuda:0" where there is one, else "cpu"."""
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def check(name: str) -> None:
    """Raises RequestError for a device that was named and can't be used."""
    try:
        if name != "cpu" and torch.device(name).type == "cpu":  # torch takes cpu:3 for it, and all else for another device
            raise RuntimeError("the processor is one device, without a number")
        torch.zeros(1, device=name).cpu()  # "meta" is a device, too, and holds no numbers
    except (AssertionError, RuntimeError, ImportError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:200].rstrip(".")
        mend = "Give --device cpu or cuda:0, or leave it out: the best there is will be taken."
        raise RequestError("The device %s can't be used (%s)." % (name, said), mend) from None


def lack_memory(error: Exception) -> bool:
    """Whether it says that memory ran out: NumPy has a type for it, torch one for a GPU's, and else words alone."""
    said = ("out of memory", "t allocate memory", "not enough memory")  # of a GPU; of a processor under Linux and under Windows
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


#: glibc's; other systems' allocators give back by themselves.
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def give_back() -> None:
    """Gives memory that was freed back to the system: a few hundredths of a second.

    glibc keeps it for what fits into its holes, and every window of a shot has sizes of its own: a long take held gigabytes of holes.
    """
    if _TRIM is not None:
        _TRIM(0)


def deterministic(device: str) -> None:
    """torch gives the same bits again for the same work on the same machine, in whichever process it is done.

    Sums are split by thread, so their number is set here and not left to a process's environment. On the CPU our
    operations are deterministic by themselves; torch's own switch would cost three seconds of imports there.
    """
    torch.set_num_threads(min(16, os.cpu_count() or 1))
    if device != "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


if __name__ == "__main__":  # for a server, which would keep torch and a part of the GPU: the first that can't be used, as an error's fields
    try:
        for named in sys.argv[1:]:
            check(named)
    except RequestError as refused:
        print(json.dumps(refused.to_dict()))
        sys.exit(2)
