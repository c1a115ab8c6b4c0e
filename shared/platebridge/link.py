# SPDX-License-Identifier: Apache-2.0
"""The client's socket and the one thread that touches it: connects, says hello, uploads, follows takes, and does it all again
when the server was away. What is asked of it comes through a mailbox; what it finds goes to the job handles.

Knows no bpy, no nuke, no pixels.
"""
from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, Union

import zmq
from zmq.utils.monitor import parse_monitor_message

from . import __version__
from .connection import Connection, read_connection
from .errors import ConnectionFailed, JobError, PlatebridgeError, ProtocolError, RequestError, VersionError, from_dict
from .events import Failed, Progress, Warned
from .mailbox import Mailbox
from .protocol import LAST, MAX_FRAME, Buffer, Message, event_from_plain, join_held, pack, receive, send, split_hashes, unpack
from .uploads import Uploads, place

log = logging.getLogger(__name__)

EVENT_COST = 4096       # as the server counts it
PING, DEAF = 5.0, 20.0  # seconds: how often we say something, and how long a silent server counts as alive
WELCOME = 10.0
LONGEST_PAUSE = 5.0
LAST_WORDS = 300, 30_000  # milliseconds for what was not sent when we close; with a cancel in it, behind pieces of files on a slow line
UNSENT = 4096           # messages that may wait for a server that does not read
MAX_FILE = 4 * 2**30
_GONE = {
    zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED, zmq.EVENT_CONNECT_RETRIED, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
}
_WATCHED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
for _event in _GONE:
    _WATCHED |= _event


class Following:
    """One take as the link sees it. `number`: see protocol, `follow`. `last`: number of the last event received whole.

    `lacking`: input files on their way.
    """

    def __init__(self, job: Any, number: int) -> None:
        self.job, self.number, self.last = job, number, job.after
        self.granted = 0              # bytes the server may still send
        self.queued = 0               # bytes that wait for the artist's program
        self.pieces: List[Buffer] = []
        self.got = 0
        self.lacking: Dict[str, int] = {}
        self.lacking_bytes = 0
        self.total = 0

    def arrive(self, event: Any, n: int = 0, cost: int = 0) -> None:
        self.queued += cost
        self.job._arrive(n, event, cost)


class Link(threading.Thread):
    """See client.Client for what it offers. `window`: bytes of one take's events in our memory or on their way."""

    def __init__(self, connection: Union[Connection, str, os.PathLike[str]], name: str, window: int) -> None:
        super().__init__(name="platebridge", daemon=True)
        self._connection, self._client_name, self._window = connection, name, window
        self.state, self.device = "connecting", ""
        self.problem: Optional[Exception] = None
        self.sent, self.received = {"put": 0, "control": 0}, {"files": 0, "control": 0}
        self._mailbox = Mailbox()
        self._closing = self._closed = False
        self._number = 0
        self._calls: Dict[int, Tuple[Message, Callable[[Message], Any], Future]] = {}
        self._takes: Dict[str, Following] = {}
        self._unsent: Deque[Message] = deque()  # what the socket had no room for: the pieces of input files fill it
        self._uploads = Uploads()
        self._socket: Any = None
        self._monitor: Any = None

    # --- from any thread -----------------------------------------------------------------------------------------------------

    def post(self, what: str, *values: Any) -> None:
        self._mailbox.put((what, values))

    def ask(self, kind: str, body: Dict[str, Any], read: Callable[[Message], Any]) -> Future:
        """A question whose answer `read` turns into the future's result. Asked again after a reconnect; cancelled when we close."""
        future: Future = Future()
        self.post("ask", kind, body, read, future)
        if self._closed:
            future.cancel()
        return future

    def close(self, wait: float = 0.0) -> None:
        self.post("close")
        if wait and self.is_alive():
            self.join(wait)

    # --- the thread ------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        context = zmq.Context()
        pause = 0.05
        while not self._closing:
            try:
                self._open(context)
                self._converse()
            except PlatebridgeError as error:
                log.log(logging.WARNING if self.state == "connected" else logging.DEBUG, "Lost the server: %s", error)
                self.problem, self.state = error, "lost"
                if isinstance(error, VersionError):
                    self._fail_all(error)  # no waiting mends that
            except Exception as error:  # the last stop of this thread: without it an artist would wait for ever
                log.exception("The connection broke down")
                self.state = "lost"
                self.problem = ConnectionFailed("Platebridge broke down (%s: %s)." % (type(error).__name__, error), "Please report it.")
            finally:
                if self.device:  # there was a welcome: try again at once
                    pause, self.device = 0.05, ""
                self._shut()
            self._rest(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
        self._closed = True
        self._take_orders(False)
        self._mailbox.close()
        for _, _, future in self._calls.values():
            future.cancel()
        context.term()

    def _open(self, context: zmq.Context) -> None:
        found = self._connection if isinstance(self._connection, Connection) else read_connection(self._connection)
        endpoint = found.nearest()
        self._socket = socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 64
        socket.maxmsgsize = MAX_FRAME
        socket.reconnect_ivl = -1  # we do that: with a new hello, and keys that may be new
        socket.heartbeat_ivl, socket.heartbeat_timeout = 5000, 20000
        socket.handshake_ivl = 10000
        if endpoint.startswith("tcp:"):
            socket.ipv6 = "[" in endpoint
            try:
                socket.curve_serverkey = found.server_key.encode()
                socket.curve_publickey, socket.curve_secretkey = found.client_public.encode(), found.client_secret.encode()
            except (zmq.ZMQError, ValueError, UnicodeEncodeError):
                raise ConnectionFailed("The keys of the connection are damaged.", "Restart the server: it writes new ones.") from None
        self._monitor = socket.get_monitor_socket(_WATCHED)
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise ConnectionFailed("%s can't be reached: %s." % (endpoint, error), "Is the server running?") from error
        self._send(Message("hello", {"client": "%s %s" % (self._client_name, __version__)}, id=self._next()))

    def _converse(self) -> None:
        """Until it is told to close; raises when the server is away."""
        poller = zmq.Poller()
        for socket in (self._socket, self._monitor, self._mailbox):
            poller.register(socket, zmq.POLLIN)
        heard = spoke = time.monotonic()
        welcome = False
        while not self._closing:
            ready = dict(poller.poll(5 if self._uploads.stuck or self._unsent else 1000))
            now = time.monotonic()
            if self._socket in ready:
                heard = now
                welcome = self._listen() or welcome
            if self._monitor in ready:
                self._watch()
            self._take_orders(welcome)
            if self._send_waiting() and welcome:
                self._upload()
            if welcome and now - spoke > PING:
                spoke = now
                self._send(Message("ping", id=0))
            if now - heard > (DEAF if welcome else WELCOME):
                raise ConnectionFailed("The server does not answer.", "See to the server; we try again.")

    def _rest(self, pause: float) -> None:
        """Between two attempts: orders are heard, so closing is at once and what is asked is not lost."""
        poller = zmq.Poller()
        poller.register(self._mailbox, zmq.POLLIN)
        until = time.monotonic() + pause
        while not self._closing and time.monotonic() < until:
            poller.poll(max(1, int(1000 * (until - time.monotonic()))))
            self._take_orders(False)

    def _shut(self) -> None:
        self._uploads.interrupt()
        self._unsent.clear()
        for following in self._takes.values():
            following.pieces, following.got, following.granted = [], 0, 0
        if self._monitor is not None:  # one that stays open lets the context, and this thread, never end
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._monitor = None
        if self._socket is not None:
            cancels = self.state == "connected" and any(call.type == "cancel" for call, _, _ in self._calls.values())
            self._socket.close(LAST_WORDS[cancels] if self._closing else 0)  # the last acknowledgement may still go out
            self._socket = None

    def _watch(self) -> None:
        while True:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
            except zmq.Again:
                return
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                raise ConnectionFailed("The server does not know our key.", "Is the connection file this server's own, and up to date?")
            if event in _GONE:
                raise ConnectionFailed("No server answers.", "Start it with `platebridge serve`; we try again.")

    # --- orders ------------------------------------------------------------------------------------------------------------------

    def _take_orders(self, connected: bool) -> None:
        for what, values in self._mailbox.take_all():
            if what == "close":
                self._closing = True
            elif what == "follow":
                (job,) = values
                former = self._takes.get(job.take_id)
                if former is not None:  # somebody may wait for its end
                    former.arrive(Failed(JobError("This program follows the take anew.", "Take its events from there.").to_dict()))
                self._takes[job.take_id] = Following(job, self._next())
                if connected:
                    self._subscribe(self._takes[job.take_id])
            elif what == "ask":
                kind, body, read, future = values
                message = Message(kind, body, id=self._next())
                self._calls[message.id] = (message, read, future)
                if connected:
                    self._send(message)
            else:
                job = values[0]
                following = self._takes.get(job.take_id)
                if following is None or following.job is not job:
                    continue
                if what == "detach":
                    self._drop(following)
                    if connected:
                        self._send(Message("detach", {"take": job.take_id}))
                else:
                    _, cost, safe = values
                    following.queued -= cost
                    if connected:
                        self._send(Message("ack", {"take": job.take_id, "n": safe}))
                        self._grant(following)

    def _drop(self, following: Following) -> None:
        self._takes.pop(following.job.take_id, None)
        self._uploads.drop(following.job.take_id)

    def _subscribe(self, following: Following) -> None:
        """Asks for the take, or asks again: the server knows whether it is one job."""
        job = following.job
        following.granted = max(0, self._window - following.queued)
        body = {"take": job.take_id, "follow": following.number, "after": following.last, "credit": following.granted}
        held = join_held(job.held)
        try:
            if job.request is None:
                self._send(Message("attach", body, (held,), self._next()))
            else:
                request = json.dumps(job.request.to_dict(), separators=(",", ":"), allow_nan=False).encode()
                self._send(Message("submit", {**body, "origin": job.origin, "again": job.again}, (request, held), self._next()))
                job.known = True  # perhaps: its answer may get lost
        except ProtocolError as error:  # beyond a limit: a request of far too many files
            self._fail(following, error)
        except (TypeError, ValueError) as error:  # numpy's numbers, no number at all
            self._fail(following, RequestError("The request can't be written: %s." % error, "Give it plain text and finite numbers."))

    def _grant(self, following: Following) -> None:
        """More credit, once a good part of the window is free. A file being received is not counted: it must come whole."""
        more = self._window - following.queued - following.granted
        if more >= self._window // 4 and following.job.take_id in self._takes:
            following.granted += more
            self._send(Message("credit", {"take": following.job.take_id, "bytes": more}))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _send(self, message: Message) -> None:
        """Says it, or has it wait while the way is full. Raises ProtocolError: it is beyond a limit."""
        pack(message)
        self._unsent.append(message)
        self._send_waiting()

    def _send_waiting(self) -> bool:
        """Sends what waits, in order; whether nothing does any more."""
        while self._unsent:
            try:
                self.sent["control"] += send(self._socket, self._unsent[0])
            except zmq.Again:
                if len(self._unsent) > UNSENT:
                    raise ConnectionFailed("The server does not read what we send.", "See to the server; we try again.") from None
                return False
            except zmq.ZMQError as error:
                raise ConnectionFailed("Nothing can be sent to the server: %s." % error, "See to the server; we try again.") from error
            self._unsent.popleft()
        return True

    # --- what the server says ------------------------------------------------------------------------------------------------------

    def _listen(self) -> bool:
        """Whether a welcome was among it."""
        welcome = False
        while True:
            try:
                frames = receive(self._socket)
            except zmq.Again:
                return welcome
            message = unpack(frames)
            payload = sum(len(part) for part in message.parts)
            self.received["files"] += payload
            self.received["control"] += len(frames[0])
            if message.type == "welcome":
                welcome = True
                self._welcome(message)
            elif message.type == "event":
                self._event(message)
            elif message.type == "error":
                self._error(message)
            elif message.type in ("stored", "resume", "credit"):
                self._upload_news(message)
            elif message.type in ("accepted", "lacks") and "take" in message.body:
                self._job_news(message)
            elif message.id in self._calls:
                asked, read, future = self._calls.pop(message.id)
                if future.set_running_or_notify_cancel():
                    try:
                        future.set_result(read(message))
                    except KeyError:  # whoever asked must not wait for ever
                        future.set_exception(ProtocolError("The server answered %s with %s." % (asked.type, message.type), "Upgrade it."))

    def _welcome(self, message: Message) -> None:
        self.state, self.problem, self.device = "connected", None, message.body["device"] or "server"
        self._uploads.window = message.body["window"]
        for following in list(self._takes.values()):
            self._subscribe(following)
        for call, _, _ in self._calls.values():  # a cancel among them is of a take that the server must know by now
            self._send(call)

    def _job_news(self, message: Message) -> None:
        following = self._takes.get(message.body["take"])
        if following is None:
            return
        if message.type == "accepted":
            following.job.state, following.job.known = message.body["state"], True
            following.job.again = False  # asked once: after a reconnect a second failure stays one
            return
        following.job.state = "uploading"
        request = following.job.request
        hashes = split_hashes(message.parts[0])
        if request is None:  # whoever has the files sends them
            if not following.total:
                following.total = len(hashes)
                said = "The server still lacks %d of the take's input files, and its folder does not say where they lie: %s"
                following.arrive(Warned(said % (len(hashes), "go on with it in the program that began it.")))
            return
        sizes = {f.sha256: f.size for f in request.all_files()}
        following.lacking = {sha: sizes[sha] for sha in hashes if sha in sizes}
        following.lacking_bytes = sum(following.lacking.values())
        following.total = max(following.total, following.lacking_bytes)
        self._uploads.add(following.job, following.lacking, message.body["partial"])
        self._tell_upload(following)

    def _tell_upload(self, following: Following) -> None:
        following.arrive(Progress("uploading", following.total - following.lacking_bytes, following.total))

    def _upload_news(self, message: Message) -> None:
        body = message.body
        if message.type == "credit":
            self._uploads.window += body["bytes"]
        elif message.type == "resume":
            self._uploads.go_back(body["sha256"], body["offset"])
        else:
            self._uploads.stored(body["sha256"])
            for following in self._takes.values():
                size = following.lacking.pop(body["sha256"], None)
                if size is not None:
                    following.lacking_bytes -= size
                    self._tell_upload(following)
                    if not following.lacking:
                        following.job.state = "queued"

    def _upload(self) -> None:
        while True:
            try:
                message = self._uploads.next()
            except PlatebridgeError as error:  # a file of ours that is gone or has changed
                for take in self._uploads.spoilt():
                    if take in self._takes:
                        self._give_up(self._takes[take], error)
                continue
            if message is None:
                return
            try:
                self.sent["put"] += send(self._socket, message)
            except zmq.Again:
                self._uploads.stuck = True
                return
            self._uploads.was_sent(message)

    def _event(self, message: Message) -> None:
        body = message.body
        following = self._takes.get(body["take"])
        if following is None or body["follow"] != following.number or body["n"] <= following.last:
            return
        part = message.parts[0] if message.parts else b""
        following.granted -= EVENT_COST + len(part)
        if body["offset"] != following.got or body["size"] > MAX_FILE:
            raise ConnectionFailed("The server sent pieces of a file out of order.", "We connect again.")
        if part:
            following.pieces.append(part)
            following.got += len(part)
        if body["kind"] == "started":
            following.job.state = "running"
        if following.got == body["size"] or body["held"]:
            data = b"".join(following.pieces)
            following.pieces, following.got, following.last = [], 0, body["n"]
            if not body["held"]:
                try:
                    event = event_from_plain(body["kind"], body["fields"], data)
                except PlatebridgeError as error:  # passed over, it would be a frame that is lost, or an end that nobody hears of
                    self._send(Message("detach", {"take": body["take"]}))
                    self._fail(following, error)
                    return
                if body["kind"] in LAST:
                    cancelled = isinstance(event, Failed) and event.error.get("code") == "cancelled"
                    following.job.state = "cancelled" if cancelled else body["kind"]
                following.arrive(event, body["n"], EVENT_COST + len(data))
        self._grant(following)

    def _error(self, message: Message) -> None:
        error = from_dict(message.body["error"])
        if isinstance(error, ConnectionFailed):
            raise error  # the server has forgotten us: a new hello mends it
        if message.id in self._calls:
            _, _, future = self._calls.pop(message.id)
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        elif "sha256" in message.body:
            sha256 = message.body["sha256"]
            for take in self._uploads.refused(sha256):
                if take in self._takes:
                    self._give_up(self._takes[take], from_dict({**error.to_dict(), **place(self._takes[take].job, sha256)}))
        elif "take" in message.body:
            following = self._takes.get(message.body["take"])
            if following is not None and message.body.get("follow", following.number) == following.number:
                following.job.known = following.job.state != "connecting"  # refused, where it was not accepted before
                self._fail(following, error)
        else:
            raise error  # not about a job: about us

    def _give_up(self, following: Following, error: PlatebridgeError) -> None:
        """A file of the take can't be sent: it ends at the server too, which would run it as soon as another take brings that file."""
        self.ask("cancel", {"take": following.job.take_id}, lambda message: None)
        self._fail(following, error)

    def _fail(self, following: Following, error: PlatebridgeError) -> None:
        following.job.state = "failed"
        following.arrive(Failed(error.to_dict()))
        self._drop(following)

    def _fail_all(self, error: PlatebridgeError) -> None:
        for following in list(self._takes.values()):
            self._fail(following, error)
        for _, _, future in self._calls.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        self._calls.clear()
