# SPDX-License-Identifier: Apache-2.0
"""Work that reports by callbacks, turned into a stream that can be read while the work goes on.

The work runs on a thread of its own, but the two never run at once: whoever has something to say waits until it is
taken and the reader has asked for more. So nothing races, nothing piles up, and results do not depend on timing.
"""

from __future__ import annotations

import threading
from typing import Callable, Iterator, List, Optional, TypeVar

from platebridge.errors import Cancelled

T = TypeVar("T")


def streamed(work: Callable[[Callable[[T], None]], None]) -> Iterator[T]:
    """What `work(say)` says, one by one, as it says it; an error in it comes out here.

    A reader that stops early makes `say` raise Cancelled in the work, and waits until it has ended; one whom Ctrl-C stops does not wait:
    the step that the work is in may take minutes, and its thread ends with the process.
    """
    asked, told = threading.Semaphore(0), threading.Semaphore(0)
    said: List[T] = []
    failed: List[BaseException] = []
    stopped = False

    def say(item: T) -> None:
        said.append(item)
        told.release()
        asked.acquire()
        if stopped:
            raise Cancelled()

    def run() -> None:
        asked.acquire()
        try:
            if not stopped:
                work(say)
        except BaseException as problem:  # it is raised where the stream is read
            failed.append(problem)
        finally:
            told.release()

    thread = threading.Thread(target=run, name="work", daemon=True)
    thread.start()
    over = at_once = False
    try:
        while True:
            asked.release()
            told.acquire()
            if not said:
                over = True
                break
            yield said.pop()
    except KeyboardInterrupt:
        at_once = True
        raise
    finally:
        if not over:
            stopped = True
            asked.release()
        if not at_once:
            thread.join()
    problem: Optional[BaseException] = failed[0] if failed else None
    if problem is not None:
        raise problem
