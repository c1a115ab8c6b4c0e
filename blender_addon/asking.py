# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server says of itself: version, device, memory, disk, models. Asked on a thread of its own, when somebody wants to know.

The thread never touches bpy. `answer` is what was heard last; `ask` returns at once, and `poll` is called from the timer.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional

PATIENCE = 8.0  # seconds for a sign of life
LOADING = 60.0  # seconds for the models' cards: a server that just started loads them first


@dataclass(frozen=True)
class Answer:
    """`trouble`: why there is none, a sentence, or "". `facts`: see Client.about. `cards`: the models'. `seconds`: of a round trip."""

    trouble: str = ""
    facts: Dict[str, Any] = field(default_factory=dict)
    cards: List[Dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


answer: Optional[Answer] = None
asking = False
_heard: queue.SimpleQueue[Answer] = queue.SimpleQueue()


def ask(make_client: Callable[[], Any]) -> None:
    """Asks, unless a question is under way."""
    global asking
    if not asking:
        asking = True
        threading.Thread(target=_ask, args=(make_client,), name="platebridge question", daemon=True).start()


def poll() -> bool:
    """Whether something was heard since the last call."""
    global answer, asking
    try:
        answer = _heard.get_nowait()
    except queue.Empty:
        return False
    asking = False
    return True


def forget() -> None:
    """What was heard is no longer so."""
    global answer
    answer = None


def card(model: str) -> Optional[Dict[str, Any]]:
    """The card of a model of that name, where the server has been asked and has it."""
    return next((c for c in answer.cards if c.get("name") == model), None) if answer is not None else None


def absent(card: Dict[str, Any]) -> str:
    """What is to be done before a model can be used, a sentence; "" when it is there."""
    if card.get("problem"):
        return "%s %s" % (card["problem"].get("message", ""), card["problem"].get("mend", ""))
    return "It is not on the server. Type there: %s." % card.get("install") if card.get("installed") is False else ""


def _ask(make_client: Callable[[], Any]) -> None:
    from platebridge.errors import PlatebridgeError

    try:
        with make_client() as client:
            try:
                seconds = client.ping().result(PATIENCE)
                cards = client.models().result(LOADING)  # and only then the facts: its device is known by now
                _heard.put(Answer("", client.about().result(PATIENCE), cards, seconds))
            except TimeoutError:  # of the standard library's futures
                raise client.problem or PlatebridgeError(
                    "The server doesn't answer.", "Wait until its model is loaded, or restart it."
                ) from None
    except PlatebridgeError as error:
        _heard.put(Answer(str(error)))
    except Exception as error:  # a thread has nobody above it
        _heard.put(Answer("The server could not be asked (%s: %s)." % (type(error).__name__, error)))
