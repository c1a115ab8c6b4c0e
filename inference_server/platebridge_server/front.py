# SPDX-License-Identifier: Apache-2.0
"""What clients say and are told: one ROUTER socket (door.py opens it), limits, credits. One thread, never held up by a disk for long.

A client gets no more than it gave credit for, and may send no more than it was given.
A client that vanishes cancels nothing. Knows no pixels and no models; jobs are the scheduler's.
"""
from __future__ import annotations

import logging
import shutil
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import IO, Any, Callable, Collection, Deque, Dict, List, Optional, Tuple

import psutil
import zmq
from platebridge import __version__
from platebridge.errors import ConnectionFailed, JobError, PlatebridgeError, ProtocolError, StorageError, VersionError
from platebridge.mailbox import Mailbox
from platebridge.protocol import (
    CHUNK,
    LAST,
    MAX_HEADER,
    Message,
    join_hashes,
    receive,
    send,
    split_hashes,
    split_held,
    unpack,
)
from platebridge.takes import storage_error

from .door import Door, answer_for_key, open_door
from .engines.base import Died, Happened, Ready
from .jobs import ENDED, QUEUED, RUNNING, UPLOADING, JobStore, StoredEvent
from .scheduler import Scheduler
from .spool import Spool, SpoolWriter

log = logging.getLogger(__name__)

WINDOW = 8 * CHUNK        # bytes of uploads a client may have under way
UPLOADS = 8 * WINDOW      # and that are kept for the disk, of all clients together
LEAST_PIECE = 256         # what a piece counts for at the least: no file of a shot is smaller, and each takes its place in the line
MOST_CREDIT = 64 * CHUNK  # whatever a client grants, no more than this is on its way to it for one take
EVENT_COST = 4096         # what an event without bytes takes of the credit
SESSIONS, SUBSCRIPTIONS = 64, 64
UNSAID = 256              # answers that may wait for a client that does not read
MOST_SAID = 500           # characters of an error's sentence, and of its mend
FAULTS = 20               # so many messages that break the rules, and a client is not listened to any more
SILENCE = 60.0            # seconds; a living client says something every 5
TIDY = 300.0
STOP = object()


@dataclass(frozen=True)
class Uploaded:
    """The spool's writer has dealt with a piece: `sent` bytes up to `end`, of which `kept` (all or none) had waited for the disk;
    `there` bytes of `size` are on it."""

    client: bytes
    sha256: str
    size: int
    end: int
    sent: int
    kept: int
    there: int
    error: Optional[PlatebridgeError]


@dataclass(frozen=True)
class Listed:
    """The models' cards as they are now, for whoever asked: the client and the number of its question."""

    client: bytes
    number: int
    models: List[Dict[str, Any]]


@dataclass
class Subscription:
    """One take's events on their way to one client. `sent`: the number of the last event sent whole."""

    take: str
    follow: int
    sent: int
    credit: int
    held: Collection[Tuple[str, str]]  # names and hashes: two files may be equal, and both are wanted
    waiting: Deque[StoredEvent] = field(default_factory=deque)
    drained: bool = False             # nothing newer in the store as far as we know
    file: Optional[IO[bytes]] = None  # of the event being sent in pieces
    offset: int = 0

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file, self.offset = None, 0


@dataclass
class Session:
    """One client that said hello. `unsaid`: answers its queue had no room for."""

    seen: float
    faults: int = 0
    unsaid: Deque[Message] = field(default_factory=deque)
    subscriptions: Dict[str, Subscription] = field(default_factory=dict)


def _cost(sent: int) -> int:
    """What a piece of so many bytes takes of its client's window."""
    return max(sent, LEAST_PIECE)


def _plain(error: PlatebridgeError) -> Dict[str, Any]:
    """An error as it is answered: what a client sent is repeated in it, and may be of any length and no text at all."""
    tree = error.to_dict()
    for name in ("message", "mend"):
        said = tree[name].encode(errors="backslashreplace").decode()
        tree[name] = said if len(said) <= MOST_SAID else said[:MOST_SAID] + "…"
    return tree


class Front:
    """Runs everything that has to do with clients. `mailbox`: where engine and spool writer put their reports, and STOP.

    `cards`: a worker's list of models, as it gave it when it came up, to the list as it is now; it reads the disk.
    """

    def __init__(self, context: zmq.Context, door: Door, store: JobStore, spool: Spool, mailbox: Mailbox,
                 cards: Callable[[List[Dict[str, Any]]], List[Dict[str, Any]]] = list) -> None:
        self._cards = cards
        self.router, self._keys, self.endpoints = open_door(context, door)
        self._clients = frozenset(door.clients)
        self._store, self._spool, self._mailbox = store, spool, mailbox
        self.writer = SpoolWriter(spool, self._written)
        self.scheduler: Optional[Scheduler] = None
        self._sessions: Dict[bytes, Session] = {}
        self._owed: Counter[bytes] = Counter()  # bytes of uploads not dealt with yet, by client; a new hello pays for none
        self._kept = 0                          # of them, bytes in our memory
        self._device = ""
        self._models: Optional[List[Dict[str, Any]]] = None  # until a worker is up
        self._curious: List[Tuple[bytes, int]] = []          # who asked for them meanwhile, and the number of the question
        self._answers: Dict[str, Callable[[bytes, Session, Message], None]] = {
            "ping": self._on_ping, "models": self._on_models, "jobs": self._on_jobs, "about": self._on_about,
            "have": self._on_have, "put": self._on_put,
            "submit": self._on_submit, "attach": self._on_attach, "detach": self._on_detach, "cancel": self._on_cancel,
            "ack": self._on_ack, "credit": self._on_credit,
        }

    def run(self) -> None:
        """Until STOP lies in the mailbox."""
        poller = zmq.Poller()
        for socket in (self.router, self._keys, self._mailbox):
            poller.register(socket, zmq.POLLIN)
        reports: Deque[Any] = deque()
        tidied = 0.0
        pause = 0
        while True:
            ready = dict(poller.poll(pause))
            if self._keys in ready:
                answer_for_key(self._keys, self._clients)
            reports.extend(self._mailbox.take_all())
            if STOP in reports:
                return
            if self.router in ready:
                self._listen()
            waiting = not self._take_reports(reports)
            pause = self._push_events()
            if waiting:
                pause = min(pause, 500)
            if time.monotonic() - tidied > TIDY or not tidied:
                tidied = time.monotonic()
                self.scheduler.tidy()
                self._forget_the_gone()

    def close(self) -> None:
        for session in self._sessions.values():
            for subscription in session.subscriptions.values():
                subscription.close()
        self.writer.close()
        self.router.close()
        self._keys.close()

    def changed(self, take: str) -> None:
        """A job has a new event."""
        for session in self._sessions.values():
            if take in session.subscriptions:
                session.subscriptions[take].drained = False

    # --- what clients say -----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        for _ in range(64):  # then events get their turn
            try:
                frames = receive(self.router)
            except zmq.Again:
                return
            self._hear(bytes(frames[0]), frames[1:])

    def _hear(self, client: bytes, frames: List[memoryview]) -> None:
        session = self._sessions.get(client)
        if session is not None and session.faults > FAULTS:
            return
        message: Optional[Message] = None
        try:
            message = unpack(frames)
            if message.type == "hello":
                self._on_hello(client, message)
                return
            if session is None:
                if message.type == "cancel":  # the last word of a client that went: what was said to it meanwhile had it forgotten
                    self.scheduler.cancel(message.body["take"])
                raise ConnectionFailed("The server does not know this client: say hello first.", "Restart the client.")
            session.seen = time.monotonic()
            answer = self._answers.get(message.type)
            if answer is None:
                raise ProtocolError("A %s message is nothing to send to a server." % message.type)
            answer(client, session, message)
        except PlatebridgeError as error:
            if isinstance(error, (ProtocolError, VersionError)) and session is not None:
                session.faults += 1
                log.warning("A client broke the rules: %s", _plain(error)["message"])
            self._refuse(client, message, error)
        except OSError as error:
            self._refuse(client, message, storage_error(error, self._spool.root))
        except Exception:  # the last stop: one client's message must not end everybody's server
            log.exception("A message broke the server's way of dealing with it")
            mend = "This is a fault in Platebridge: please report it, with what stands in the server's log."
            self._refuse(client, message, JobError("The server could not deal with this.", mend))

    def _refuse(self, client: bytes, message: Optional[Message], error: PlatebridgeError) -> None:
        asked = message is not None and message.id > 0
        about = {name: message.body[name] for name in ("take", "follow") if name in message.body} if asked else {}
        self._say(client, Message("error", {"error": _plain(error), **about}, id=message.id if asked else 0))

    def _on_hello(self, client: bytes, message: Message) -> None:
        if client not in self._sessions and len(self._sessions) >= SESSIONS:
            self._forget_the_gone()
            if len(self._sessions) >= SESSIONS:
                raise ConnectionFailed("%d clients are connected already." % SESSIONS, "Close some of them.")
        self._forget(client)
        self._sessions[client] = Session(time.monotonic())
        window = max(0, WINDOW - self._owed[client])
        self._say(client, Message("welcome", {"server": __version__, "window": window, "device": self._device}, id=message.id))

    def _on_ping(self, client: bytes, session: Session, message: Message) -> None:
        self._say(client, Message("pong", id=message.id))

    def _on_about(self, client: bytes, session: Session, message: Message) -> None:
        memory = psutil.virtual_memory()
        facts = {
            "server": __version__,
            "device": self._device,
            "waiting": self._waiting(),
            "memory_free": memory.available,
            "memory": memory.total,
            "disk_free": shutil.disk_usage(self._spool.root).free,
        }
        self._say(client, Message("facts", {"facts": facts}, id=message.id))

    def _waiting(self) -> int:
        """Jobs under way or in line. An upload is neither once its client has gone, and yet kept for who goes on with it."""
        self._forget_the_gone()
        followed = {take for session in self._sessions.values() for take in session.subscriptions}
        return sum(job.state != UPLOADING or job.take in followed for job in self._store.in_state(UPLOADING, QUEUED, RUNNING))

    def _on_models(self, client: bytes, session: Session, message: Message) -> None:
        if self._models is not None:
            self._list(client, message.id, self._models)
        else:
            self._curious = [*self._curious, (client, message.id)][-SESSIONS:]

    def _list(self, client: bytes, number: int, models: List[Dict[str, Any]]) -> None:
        """A model may have been added or removed since: that is for the disk to say, on the writer's thread."""
        self.writer.call(lambda: self._mailbox.put(Listed(client, number, self._cards(models))))

    def _on_jobs(self, client: bytes, session: Session, message: Message) -> None:
        jobs, room = [], MAX_HEADER
        for j in self._store.all():
            room -= 128 + len(j.shot.encode())  # a name of 120 characters may be four times as many bytes
            if room < 0:
                break
            jobs.append({"take": j.take, "shot": j.shot, "state": j.state, "created": j.created, "events": self._store.last(j.take)})
        self._say(client, Message("takes", {"jobs": jobs}, id=message.id))

    def _on_have(self, client: bytes, session: Session, message: Message) -> None:
        hashes = split_hashes(message.parts[0])
        self._say_lacking(client, [sha for sha in hashes if self._spool.size(sha) < 0], None, message.id)

    def _on_put(self, client: bytes, session: Session, message: Message) -> None:
        body, data = message.body, message.parts[0]
        sent = len(data)
        if self._owed[client] + _cost(sent) > WINDOW + CHUNK:
            raise ProtocolError("A client sends more than it was given credit for.")
        if self._kept + sent > UPLOADS:
            data = b""  # its place in the line stays, and when its turn comes the client is told to go on from there
        self._owed[client] += _cost(sent)
        self._kept += len(data)
        self.writer.write((client, body["offset"] + sent, sent), body["sha256"], body["size"], body["offset"], data)

    def _on_submit(self, client: bytes, session: Session, message: Message) -> None:
        body = message.body
        held = split_held(message.parts[1])
        self._check_subscription(session, body["take"])
        state, lacking = self.scheduler.submit(body["take"], message.parts[0], body["origin"], held, body["again"], body["after"])
        self._subscribe(session, body, held)
        self._say(client, Message("accepted", {"take": body["take"], "state": state}, id=message.id))
        if lacking:
            self._say_lacking(client, lacking, body["take"], message.id)

    def _on_attach(self, client: bytes, session: Session, message: Message) -> None:
        body = message.body
        held = split_held(message.parts[0])
        self._check_subscription(session, body["take"])
        job = self._store.require(body["take"])
        self._subscribe(session, body, held)
        self._say(client, Message("accepted", {"take": job.take, "state": job.state}, id=message.id))
        lacking = [sha for sha, _ in self._store.lacking(job.take)] if job.state == "uploading" else []
        if lacking:
            self._say_lacking(client, lacking, job.take, message.id)

    def _on_detach(self, client: bytes, session: Session, message: Message) -> None:
        subscription = session.subscriptions.pop(message.body["take"], None)
        if subscription is not None:
            subscription.close()

    def _on_cancel(self, client: bytes, session: Session, message: Message) -> None:
        self.scheduler.cancel(message.body["take"])
        self._say(client, Message("ok", id=message.id))

    def _on_ack(self, client: bytes, session: Session, message: Message) -> None:
        try:
            self._store.ack(message.body["take"], message.body["n"])
        except StorageError as error:  # nobody waits for an answer, and the next event's says it again
            log.error("%s", error)

    def _on_credit(self, client: bytes, session: Session, message: Message) -> None:
        subscription = session.subscriptions.get(message.body.get("take", ""))
        if subscription is not None:  # one that was detached a moment ago needs none
            subscription.credit = min(MOST_CREDIT, subscription.credit + message.body["bytes"])

    def _check_subscription(self, session: Session, take: str) -> None:
        if take not in session.subscriptions and len(session.subscriptions) >= SUBSCRIPTIONS:
            raise JobError("A client follows %d takes already." % SUBSCRIPTIONS, "Close some of them.")

    def _subscribe(self, session: Session, body: Dict[str, Any], held: Dict[str, str]) -> None:
        former = session.subscriptions.pop(body["take"], None)
        if former is not None:
            former.close()
        session.subscriptions[body["take"]] = Subscription(
            body["take"], body["follow"], body["after"], min(MOST_CREDIT, body["credit"]), frozenset(held.items()))

    # --- what engine and disk say ----------------------------------------------------------------------------------------------

    def _written(self, sender: Any, sha256: str, size: int, taken: int, there: int, error: Any) -> None:
        """On the writer's thread."""
        client, end, sent = sender
        self._mailbox.put(Uploaded(client, sha256, size, end, sent, taken, there, error))

    def _take_reports(self, reports: Deque[Any]) -> bool:
        """In order. False when the job list can't be written: then they wait here until it can, and nothing of them is lost."""
        while reports:
            try:
                self._take_report(reports[0])
            except StorageError as error:
                log.error("%s Trying again.", error)
                return False
            reports.popleft()
        return True

    def _take_report(self, report: Any) -> None:
        if isinstance(report, Happened):
            self.scheduler.happened(report)
        elif isinstance(report, Died):
            self.scheduler.died(report)
        elif isinstance(report, Ready):
            self.scheduler.dispatch()  # a job may wait for this device; first of all, as in _uploaded
            self._device, self._models = report.device, report.models
            for client, number in self._curious:
                self._list(client, number, report.models)
            self._curious = []
        elif isinstance(report, Listed):
            self._say(report.client, Message("cards", {"models": report.models}, id=report.number))
        else:
            self._uploaded(report)

    def _uploaded(self, done: Uploaded) -> None:
        if done.error is None and done.there == done.size:
            self.scheduler.stored(done.sha256)  # first of all: where the list can't be written the whole report comes again
        self._kept -= done.kept
        self._owed[done.client] -= _cost(done.sent)
        if not self._owed[done.client]:
            del self._owed[done.client]
        if done.client in self._sessions:
            if done.error is not None:
                self._say(done.client, Message("error", {"error": _plain(done.error), "sha256": done.sha256}))
            elif done.there == done.size:
                self._say(done.client, Message("stored", {"sha256": done.sha256}))
            elif done.there < done.end:
                self._say(done.client, Message("resume", {"sha256": done.sha256, "offset": done.there}))
            self._say(done.client, Message("credit", {"bytes": done.sent}))

    # --- what clients are told ----------------------------------------------------------------------------------------------------

    def _say(self, client: bytes, message: Message) -> None:
        """An answer. One that finds the client's queue full waits, and events with it; who lets too many wait must say hello again."""
        session = self._sessions.get(client)
        if session is not None:
            session.unsaid.append(message)
            if self._say_waiting(client, session) and len(session.unsaid) > UNSAID:
                self._forget(client)
            return
        try:
            send(self.router, message, client)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise

    def _say_waiting(self, client: bytes, session: Session) -> bool:
        """Sends what waits; True when some still does."""
        while session.unsaid:
            try:
                send(self.router, session.unsaid[0], client)
            except ProtocolError as error:  # too large: whoever asked hears that instead
                log.error("%s", error)
                session.unsaid[0] = Message("error", {"error": _plain(error)}, id=session.unsaid[0].id)
                continue
            except zmq.ZMQError as error:
                if error.errno == zmq.EHOSTUNREACH:
                    self._forget(client)
                    return False
                if error.errno != zmq.EAGAIN:
                    raise
                return True
            session.unsaid.popleft()
        return False

    def _say_lacking(self, client: bytes, hashes: List[str], take: Optional[str], number: int) -> None:
        partial = {}
        for sha in hashes[:256]:  # the ones that are sent first; a stopped upload is among them
            offset = self._spool.partial(sha)
            if offset:
                partial[sha] = offset
        body: Dict[str, Any] = {"partial": partial, **({"take": take} if take else {})}
        self._say(client, Message("lacks", body, (join_hashes(hashes),), number))

    def _push_events(self) -> int:
        """One message for each take that has credit, in turn, for a while. Gives the milliseconds to wait for something new."""
        for _ in range(16):
            busy = stuck = False
            for client, session in list(self._sessions.items()):
                if self._say_waiting(client, session):
                    stuck = True
                    continue
                for subscription in list(session.subscriptions.values()):
                    try:
                        busy = self._push(client, subscription) or busy
                    except zmq.Again:
                        stuck = True  # credit, but a full queue: it has read nothing for a while
                    except zmq.ZMQError as error:
                        if error.errno != zmq.EHOSTUNREACH:
                            raise
                        self._forget(client)
                        break
                    except (PlatebridgeError, OSError) as found:
                        error = storage_error(found, self._spool.root) if isinstance(found, OSError) else found
                        subscription.close()
                        session.subscriptions.pop(subscription.take, None)  # its client may have been found gone at the one before
                        about = {"take": subscription.take, "follow": subscription.follow}
                        self._say(client, Message("error", {"error": _plain(error), **about}))
            if not busy:
                return 20 if stuck else 1000
        return 0

    def _push(self, client: bytes, subscription: Subscription) -> bool:
        """The next message of a take; whether there was one."""
        if subscription.credit <= 0:
            return False
        if not subscription.waiting:
            if subscription.drained:
                return False
            subscription.waiting.extend(self._store.events(subscription.take, subscription.sent, 64))
            if not subscription.waiting:
                subscription.drained = True
                return False
        event = subscription.waiting[0]
        if self._is_passed_over(subscription, event):
            subscription.waiting.popleft()
            subscription.sent = event.n
            return True
        held = event.sha256 is not None and (event.fields.get("name"), event.sha256) in subscription.held
        data: bytes = b""
        if event.sha256 is not None and not held:
            if subscription.file is None:
                subscription.file = self._open(event)
            subscription.file.seek(subscription.offset)
            data = subscription.file.read(CHUNK)
        body = {"take": subscription.take, "follow": subscription.follow, "n": event.n, "kind": event.kind, "fields": event.fields,
                "size": event.size, "offset": subscription.offset, "held": held}
        sent = send(self.router, Message("event", body, (data,) if data else ()), client)
        subscription.credit -= EVENT_COST + len(data)
        subscription.offset += len(data)
        if held or event.sha256 is None or subscription.offset >= event.size:
            subscription.close()
            subscription.waiting.popleft()
            subscription.sent = event.n
        elif not data:
            raise JobError("A file of this take is damaged on the server.", "Generate a new take.")
        return sent > 0

    def _is_passed_over(self, subscription: Subscription, event: StoredEvent) -> bool:
        """The end of a job that was asked to go on after it, and a preview that was seen once and had to make room on the disk."""
        if event.kind == "preview":
            return event.sha256 is not None and subscription.file is None and self._spool.size(event.sha256) < 0
        if event.kind in LAST:
            return event.n < self._store.last(subscription.take) or self._store.require(subscription.take).state not in ENDED
        return False

    def _open(self, event: StoredEvent) -> IO[bytes]:
        try:
            return open(self._spool.open_file(event.sha256), "rb")
        except PlatebridgeError:
            name = event.fields.get("name", event.kind)
            raise JobError("The server no longer has %s: a client had it once." % name, "Generate a new take.") from None

    # --- who is gone ----------------------------------------------------------------------------------------------------------------

    def _forget(self, client: bytes) -> None:
        session = self._sessions.pop(client, None)
        if session is not None:
            for subscription in session.subscriptions.values():
                subscription.close()
            session.subscriptions.clear()

    def _forget_the_gone(self) -> None:
        """Who has been silent too long, and who can't be reached any more: only speaking to a client shows that."""
        now = time.monotonic()
        for client, session in list(self._sessions.items()):
            if now - session.seen > SILENCE:
                self._forget(client)
            else:
                self._say(client, Message("pong"))
