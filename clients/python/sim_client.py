"""A small client of the sim protocol: what `docs/protocol.md` asks of one, standard library only, one thread.

Transport   TLS, the preamble's side of the wire, whole frames
Connection  one login on one transport: handshake, keys, requests and their answers
Timeline    the sync algorithm of section 20, without sockets and clocks
State       what has to outlive the process, in one file
Accounts    tokens over HTTP
Client      reconnects, repeats, heartbeats, redirects; ties the others together
main        the command line; prints one JSON object a line

    python3 sim_client.py --gate localhost:8910 --http http://localhost:8000 --ca dev-ca.pem \
        --user alice --password 'a long password' send bob hello
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import random
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type, Union

import sim_crypto
import sim_protobuf
import sim_protocol as p

#: Seconds for connecting, and for each answer.
ANSWER_TIME = 10.0
#: Requests under way at once; a gate works on 64.
UNDER_WAY_MAX = 32
SDK = "sim-python/1"


class Lost(Exception):
    """The connection ended, or broke the protocol's rules. Another one may do better."""


class Refused(Exception):
    """The gate said no. `refusal.code` says why, `retry` whether asking again may help."""

    def __init__(self, refusal: p.Refusal) -> None:
        known = p.REFUSALS.get(refusal.code)
        self.refusal = refusal
        self.name = known.name if known else f"Unknown({int(refusal.code)})"
        self.retry = p.retry_of(refusal.code)
        super().__init__(f"{self.name}: {refusal.detail}")


class Kicked(Exception):
    """The gate ended the connection, and a client must not come back by itself."""

    def __init__(self, kickout: p.Kickout) -> None:
        self.reason = kickout.reason
        self.name = kickout.reason.name if isinstance(kickout.reason, p.KickReason) else f"Unknown({kickout.reason})"
        super().__init__(f"{self.name}: {kickout.detail}")


class WrongUser(Exception):
    """The token is of another user than the one whose position and messages are kept."""


class AccountError(Exception):
    """The account service said no. `reason` is for programs."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float) -> None:
        super().__init__(f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class Backoff:
    """Growing waits between tries. Held: each is at most double the last, none is over 15 s, half of it is random."""

    def __init__(self) -> None:
        self._step = 0.0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        self._step = min(max(2 * self._step, 0.1), 15.0)
        return random.uniform(self._step / 2, self._step)

    def reset(self) -> None:
        """A try succeeded."""
        self._step = 0.0


# --- Codecs ----------------------------------------------------------------------------------


def encode_body(codec: int, body: p.Struct) -> bytes:
    """The body in one of the three codecs."""
    if codec == p.CodecId.Protobuf:
        return sim_protobuf.encode(body)
    return body.encode_json() if codec == p.CodecId.Json else body.encode()


def decode_body(codec: int, kind: Type[Any], data: bytes) -> Any:
    """Reads a whole body in one of the three codecs; `DecodeError` where it is none."""
    if codec == p.CodecId.Protobuf:
        return sim_protobuf.decode(kind, data)
    return kind.decode_json(data) if codec == p.CodecId.Json else kind.decode(data)


def server_frame_max(codec: int) -> int:
    """Bytes of body that a frame from a gate may have."""
    return p.SERVER_FRAME_LEN_MAX * (1 if codec == p.CodecId.Binary else p.CODED_GROWTH_MAX)


# --- Transport -------------------------------------------------------------------------------


class FrameReader:
    """Cuts a stream into frames, one at a time. Held: whatever is whole comes out before an error that stands behind
    it, and no more is kept than one frame and one read."""

    def __init__(self, length_max: int) -> None:
        self.length_max = length_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        self._buffer += data

    def next(self) -> Optional[p.Frame]:
        """The next whole frame, if there is one; `FrameError` where the stream has stopped being one."""
        if len(self._buffer) < p.HEADER_LEN:
            return None
        header = p.decode_header(bytes(self._buffer[: p.HEADER_LEN]), self.length_max)
        end = p.HEADER_LEN + header.length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[p.HEADER_LEN : end])
        del self._buffer[:end]
        return p.Frame(header.command, header.flags, header.sequence, body)


def split_address(address: str) -> Tuple[str, int]:
    """`host:port`, an IPv6 host in brackets."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(f"not host:port: {address}")
    return host.strip("[]"), int(port)


class Transport:
    """A TLS connection to a gate whose certificate was verified for the host that was dialled."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        host, port = split_address(address)
        try:
            plain = socket.create_connection((host, port), ANSWER_TIME)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = context.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError:
            raise
        except OSError as error:
            raise Lost(f"{address}: {error}") from None
        self.reader = FrameReader(server_frame_max(p.CodecId.Binary))

    def send(self, data: bytes) -> None:
        """Sends all of it."""
        self._socket.settimeout(ANSWER_TIME)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Lost(f"sending: {error}") from None

    def receive(self, seconds: float) -> Optional[p.Frame]:
        """The next frame, or `None` when none is whole within the time."""
        until = time.monotonic() + seconds
        while True:
            try:
                frame = self.reader.next()
            except p.FrameError as error:
                raise Lost(f"no frame: {error}") from None
            if frame is not None:
                return frame
            # A read of no time at all still takes what is there.
            self._socket.settimeout(max(until - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(65536)
            except socket.timeout:
                return None
            except OSError as error:
                raise Lost(f"receiving: {error}") from None
            if not data:
                raise Lost("the gate closed")
            self.reader.feed(data)

    def close(self) -> None:
        """Says goodbye (`close_notify`) where that still works."""
        self._socket.settimeout(0.2)
        with contextlib.suppress(OSError, ValueError):
            self._socket.unwrap()
        self._socket.close()


# --- Connection ------------------------------------------------------------------------------


@dataclass
class Settings:
    """How to reach and to speak to the gates."""

    gates: List[str]
    tls: ssl.SSLContext
    codec: p.CodecId = p.CodecId.Binary
    #: Of the handshake itself; a client that speaks binary says it in binary.
    handshake_codec: p.CodecId = p.CodecId.Binary
    #: The gates' public key where bodies are to be encrypted. There is no going on without, then.
    identity: Optional[bytes] = None
    platform: p.Platform = p.Platform.Bot


Answered = Callable[[Any], None]


class Received(NamedTuple):
    """A frame behind the login: an answer where `then` is given, else something unasked."""

    command: int
    body: Any
    then: Optional[Answered]


class _UnderWay(NamedTuple):
    command: int
    then: Answered
    deadline: float


class Connection:
    """One login. Held: nothing is sent before its turn; every request is answered once, by its own answer or refusal,
    or the connection is lost; a frame that breaks a rule ends it."""

    def __init__(self, address: str, settings: Settings, token: str, device: str) -> None:
        self._codec = settings.handshake_codec
        self._sealer: Optional[sim_crypto.Sealer] = None
        self._opener: Optional[sim_crypto.Sealer] = None
        self._sequence = 0
        self._under_way: Dict[int, _UnderWay] = {}
        self._frame_len_max = p.CLIENT_FRAME_LEN_MAX
        self._transport = Transport(address, settings.tls)
        try:
            keys = self._handshake(settings)
            if keys:
                self._sealer, self._opener = keys.handshake("client"), keys.handshake("gate")
            self.login: p.AuthAck = self._exchange(p.Command.Auth, p.Auth(token, device, settings.platform))
            if keys:
                self._sealer = keys.session("client", self.login.session, self.login.user)
                self._opener = keys.session("gate", self.login.session, self.login.user)
        except BaseException:
            self._transport.close()
            raise

    def _handshake(self, settings: Settings) -> Optional[sim_crypto.Keys]:
        """Agrees on codec and keys."""
        preamble = p.PREAMBLE[:6] + bytes([settings.handshake_codec]) + p.PREAMBLE[7:]
        offer = p.HandShake("sim-python", SDK, [settings.codec], [], b"")
        private = b""
        if settings.identity is not None:
            private = sim_crypto.new_private()
            offer.suites = [p.Encryption.ChaCha20Poly1305]
            offer.key_share = sim_crypto.x25519_public(private)
        frame = p.encode_frame(p.Command.HandShake, self._next_sequence(), encode_body(self._codec, offer))
        self._transport.reader.length_max = server_frame_max(self._codec)
        self._transport.send(preamble + frame)
        answer = self._answer(p.Command.HandShake)
        keys = None
        if settings.identity is not None:
            travelled = p.encode_frame(answer.command, answer.sequence, answer.body, answer.flags)
            keys = sim_crypto.agree(settings.identity, private, preamble, frame, travelled)
        ack = self._decode(p.HandShakeAck, answer.body)
        if ack.codec != settings.codec or (keys is None and ack.encryption != p.Encryption.None_):
            raise Lost("the gate chose what was not offered")
        self._codec = settings.codec
        self._frame_len_max = ack.frame_len_max
        self._transport.reader.length_max = server_frame_max(self._codec)
        return keys

    def _exchange(self, command: p.Command, body: p.Struct) -> Any:
        """A request before the login, and its answer."""
        self._send(command, self._next_sequence(), body)
        return self._decode(p.COMMANDS[command].answer, self._answer(command).body)

    def _answer(self, command: p.Command) -> p.Frame:
        """The answer to the one request that is under way; `Refused` where it is a refusal."""
        frame = self._transport.receive(ANSWER_TIME)
        if frame is None:
            raise Lost(f"no answer to {command.name}")
        frame = self._open(frame)
        if frame.is_refused:
            raise Refused(self._decode(p.Refusal, frame.body))
        if frame.command != command | p.ANSWER_BIT or frame.sequence != self._sequence:
            raise Lost(f"not an answer to {command.name}")
        return frame

    def _next_sequence(self) -> int:
        """A number that is not 0 and waits for no answer."""
        while True:
            self._sequence = self._sequence % 0xFFFF_FFFF + 1
            if self._sequence not in self._under_way:
                return self._sequence

    def _send(self, command: int, sequence: int, body: p.Struct) -> None:
        data = encode_body(self._codec, body)
        if len(data) + (sim_crypto.TAG_LEN if self._sealer else 0) > self._frame_len_max:
            raise p.EncodeError("TooLong", "frame", f"{len(data)} bytes are more than the gate takes")
        seal = self._sealer.seal if self._sealer else p.encode_frame
        self._transport.send(seal(command, sequence, data))

    def _open(self, frame: p.Frame) -> p.Frame:
        if self._opener is None:
            if frame.flags & p.FLAG_ENCRYPTED:
                raise Lost("a frame is encrypted, and nothing was agreed")
            return frame
        try:
            return self._opener.open(frame)
        except sim_crypto.NotAuthentic as error:
            raise Lost(str(error)) from None

    def _decode(self, kind: Type[Any], data: bytes) -> Any:
        try:
            return decode_body(self._codec, kind, data)
        except p.DecodeError as error:
            raise Lost(f"a body that does not decode: {error}") from None

    @property
    def under_way(self) -> int:
        """Requests that wait for their answers."""
        return len(self._under_way)

    @property
    def deadline(self) -> float:
        """When the oldest of them is overdue."""
        return min((asked.deadline for asked in self._under_way.values()), default=float("inf"))

    def request(self, command: p.Command, body: p.Struct, then: Answered) -> None:
        """Sends it; `then` goes with its answer or `Refusal`."""
        sequence = self._next_sequence()
        self._send(command, sequence, body)
        self._under_way[sequence] = _UnderWay(command, then, time.monotonic() + ANSWER_TIME)

    def receive(self, seconds: float) -> Optional[Received]:
        """What comes next, or `None` when nothing does in time. `Refused` where the gate refuses the connection."""
        frame = self._transport.receive(seconds)
        if frame is not None:
            frame = self._open(frame)
            if frame.is_answer:
                return self._received_answer(frame)
        if time.monotonic() >= self.deadline:
            raise Lost("no answer in time")
        if frame is None:
            return None
        info = p.COMMANDS.get(frame.command)
        if info is None or info.from_client:
            return None  # Of a later version.
        return Received(frame.command, self._decode(info.request, frame.body), None)

    def _received_answer(self, frame: p.Frame) -> Optional[Received]:
        if frame.sequence == 0 and frame.is_refused:
            raise Refused(self._decode(p.Refusal, frame.body))
        asked = self._under_way.pop(frame.sequence, None)
        if asked is None:
            return None
        if frame.command != asked.command | p.ANSWER_BIT:
            raise Lost("an answer to another command")
        kind = p.Refusal if frame.is_refused else p.COMMANDS[asked.command].answer
        return Received(frame.command, self._decode(kind, frame.body), asked.then)

    def close(self) -> None:
        """Ends it."""
        self._transport.close()


# --- Timeline --------------------------------------------------------------------------------


class Application:
    """What a client tells whoever uses it. Every method may be left as it is."""

    def message(self, seq: int, message: p.Message) -> None:
        """The timeline's next entry. It counts as taken when this returns."""

    def restored(self) -> None:
        """The server's store is older than before: what follows may have been seen."""

    def trimmed(self, first: int, last: int) -> None:
        """These entries are no longer in the timeline; histories have their messages."""

    def acked(self, message: p.SendMsg, ack: p.SendAck) -> None:
        """A message is stored, ordered, readable."""

    def refused(self, message: p.SendMsg, refused: Refused) -> None:
        """A message will not be sent."""

    def read(self, conversation: str, reader: str, seq: int) -> None:
        """Somebody has read."""

    def signal(self, signal: p.RevSignal) -> None:
        """Somebody who is online tells something."""

    def note(self, text: str) -> None:
        """What happened to the connection."""


class Timeline:
    """The sync algorithm. Held: entries are taken once each, one at a time, in order and without a gap that the
    application was not told of; at most one pull is under way; one that is wanted meanwhile follows it."""

    def __init__(self, position: p.Position, application: Application, keep: Callable[[p.Position], None]) -> None:
        self.position = position
        self._application = application
        self._keep = keep
        self._pulling = False
        self._wanted: Optional[float] = None
        self._not_before = 0.0
        self._backoff = Backoff()
        self._live = False

    @property
    def due(self) -> float:
        """When the next pull is to be sent."""
        if self._pulling or self._wanted is None:
            return float("inf")
        return max(self._wanted, self._not_before)

    @property
    def settled(self) -> bool:
        """Whether no pull is under way or wanted."""
        return not self._pulling and self._wanted is None

    def want(self, at: float) -> None:
        """A pull is wanted, not before that time."""
        self._wanted = at if self._wanted is None else min(self._wanted, at)

    def pull(self) -> p.GetMsg:
        """The pull that is due."""
        self._pulling, self._wanted, self._live = True, None, False
        return p.GetMsg(self.position, 0)

    def lost(self) -> None:
        """The connection is gone, and the pull with it."""
        self._pulling = False

    def notified(self, notify: p.NewMsg, now: float) -> None:
        """A `NewMsg` came."""
        if notify.entry is not None and self._is_next(notify.head):
            self._take_live(notify.head.seq, notify.entry)
        elif self._is_beyond(notify.head):
            self.want(now + notify.query_after_ms / 1000)

    def acked(self, position: p.Position, message: p.Message, now: float) -> None:
        """A message of one's own was stored at `position`."""
        if self._is_next(position):
            self._take_live(position.seq, message)
        elif self._is_beyond(position):
            self.want(now)

    def heard(self, head: Optional[p.Position], now: float) -> None:
        """A heartbeat was answered. Entries that were taken live are told by a pull, too: see section 11."""
        if self._live or (head is not None and self._is_beyond(head)):
            self.want(now)

    def refused(self, code: int, now: float, wait: float = 0.0) -> None:
        """The pull was refused."""
        self._pulling = False
        if code == p.RefusalCode.BadPosition:
            self._application.restored()
            self._move(p.Position(0, 0))
        self._again(now, wait)

    def page(self, page: p.MsgPage, now: float) -> None:
        """The pull was answered."""
        self._pulling = False
        before = self.position
        if page.head.epoch != self.position.epoch:
            if self.position.epoch != 0:
                self._application.restored()
            self._move(p.Position(page.head.epoch, 0))
        if page.floor > self.position.seq:
            self._application.trimmed(self.position.seq + 1, page.floor)
            self._move(p.Position(self.position.epoch, page.floor))
        for entry in page.entries:
            if entry.seq == self.position.seq + 1:
                self._take(entry.seq, entry.message)
        news = self.position != before
        if news:
            self._backoff.reset()
        if page.has_more or page.head.seq > self.position.seq:
            if news:
                self.want(now)
            else:
                self._again(now, 0.0)

    def _again(self, now: float, wait: float) -> None:
        self._not_before = now + max(self._backoff.next(), wait)
        self.want(now)

    def _is_next(self, position: p.Position) -> bool:
        return position == p.Position(self.position.epoch, self.position.seq + 1)

    def _is_beyond(self, position: p.Position) -> bool:
        return position.epoch != self.position.epoch or position.seq > self.position.seq

    def _take_live(self, seq: int, message: p.Message) -> None:
        self._take(seq, message)
        self._live = True

    def _take(self, seq: int, message: p.Message) -> None:
        self._application.message(seq, message)
        self._move(p.Position(self.position.epoch, seq))

    def _move(self, position: p.Position) -> None:
        self.position = position
        self._keep(position)


# --- State -----------------------------------------------------------------------------------


@dataclass
class State:
    """What outlives the process. Held: `save` is all or nothing, and is on the disk when it returns; one process has
    the file at a time, because two with one device id would kick each other."""

    path: Path
    user: str
    device: str
    refresh_token: str = ""
    position: p.Position = field(default_factory=lambda: p.Position(0, 0))
    #: Messages that were not acked, in the order in which they were sent.
    outbox: List[p.SendMsg] = field(default_factory=list)
    #: The greatest place that was seen in each conversation.
    heads: Dict[str, int] = field(default_factory=dict)
    #: Up to where others have read: by conversation, then reader.
    marks: Dict[str, Dict[str, int]] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, user: str) -> Iterator["State"]:
        """The state in that file, or a new one of that user."""
        with open(f"{path}.lock", "w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SystemExit(f"{path} is in use by another process") from None
            yield cls._load(path, user)

    @classmethod
    def _load(cls, path: Path, user: str) -> "State":
        if not path.exists():
            return cls(path, user, f"py-{uuid.uuid4()}")
        held = json.loads(path.read_text("utf-8"))
        if held["user"] != user:
            raise SystemExit(f"{path} belongs to {held['user']}")
        return cls(
            path, user, held["device"], held["refresh_token"], p.Position(*held["position"]),
            [p.SendMsg.decode_json(text.encode("utf-8")) for text in held["outbox"]], held["heads"], held["marks"],
        )

    def save(self) -> None:
        """Keeps it. The file holds a token, so it is its owner's alone."""
        held = {
            "user": self.user, "device": self.device, "refresh_token": self.refresh_token,
            "position": [self.position.epoch, self.position.seq],
            "outbox": [message.encode_json().decode("utf-8") for message in self.outbox],
            "heads": self.heads, "marks": self.marks,
        }
        new = Path(f"{self.path}.new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(held, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def seen(self, conversation: str, seq: int) -> None:
        """A message of that place was seen."""
        self.heads[conversation] = max(seq, self.heads.get(conversation, 0))

    def mark(self, conversation: str, reader: str, seq: int) -> Optional[int]:
        """The mark of a reader where it has risen; never over the head that is known (section 14)."""
        marks = self.marks.setdefault(conversation, {})
        seq = min(seq, self.heads.get(conversation, 0))
        if seq <= marks.get(reader, 0):
            return None
        marks[reader] = seq
        return seq

    def forget_places(self) -> None:
        """The store was restored: places that were seen may never come again."""
        self.heads.clear()
        self.marks.clear()


# --- Accounts --------------------------------------------------------------------------------


class Accounts:
    """The account service, and this user's tokens. Held: a refresh token is kept before the access token that came
    with it is used; tokens go nowhere else."""

    def __init__(self, base: str, tls: ssl.SSLContext, state: State, password: Optional[str]) -> None:
        self._base = base.rstrip("/")
        self._open = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        ).open
        self._state = state
        self._password = password
        self._access = ""
        self._until = 0.0

    def register(self) -> None:
        """Makes the account, and logs in."""
        self._keep(self._call("POST", "/user/register", body=self._credentials()))

    def login(self) -> None:
        """Logs in with the password."""
        self._keep(self._call("POST", "/user/login", body=self._credentials()))

    def logout(self) -> None:
        """Ends the login that the refresh token belongs to."""
        if self._state.refresh_token:
            self._call("POST", "/user/logout", bearer=self._state.refresh_token)
        self.forget()

    def forget(self) -> None:
        """The login is over."""
        self.stale()
        self._state.refresh_token = ""
        self._state.save()

    def stale(self) -> None:
        """The access token is no longer good."""
        self._until = 0.0

    def access_token(self) -> str:
        """An access token that has some life left: the one at hand, one for the refresh token, one for the password."""
        if time.monotonic() >= self._until:
            if self._state.refresh_token:
                try:
                    self._keep(self._call("GET", "/user/token", bearer=self._state.refresh_token))
                except AccountError as error:
                    if error.status != 401 or self._password is None:
                        raise
                    self.login()
            else:
                self.login()
        return self._access

    def _credentials(self) -> Dict[str, Any]:
        if self._password is None:
            raise SystemExit("a password is needed")
        return {"user": self._state.user, "password": self._password}

    def _keep(self, session: Dict[str, Any]) -> None:
        self._state.refresh_token = session["refreshToken"]
        self._state.save()
        self._access = session["accessToken"]
        self._until = time.monotonic() + 0.9 * session["expiresIn"]

    def _call(self, method: str, path: str, bearer: str = "", body: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        data = None if body is None else json.dumps(body).encode("utf-8")
        request = urllib.request.Request(self._base + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        if bearer:
            request.add_header("Authorization", f"Bearer {bearer}")
        try:
            with self._open(request, timeout=ANSWER_TIME) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise self._error(error) from None
        except OSError as error:
            raise Lost(f"{self._base}: {error}") from None
        return json.loads(text) if text else {}

    @staticmethod
    def _error(error: urllib.error.HTTPError) -> AccountError:
        try:
            told = json.loads(error.read())
            reason, message = str(told["reason"]), str(told["message"])
        except (OSError, ValueError, KeyError, TypeError):
            reason, message = "UNKNOWN", error.reason
        wait = error.headers.get("Retry-After", "")
        return AccountError(error.code, reason, message, float(wait) if wait.isdigit() else 0.0)


# --- Client ----------------------------------------------------------------------------------


@dataclass
class Request:
    """Something to ask until it is answered. Of those with the same `lane` one is under way at a time."""

    command: p.Command
    body: p.Struct
    answered: Callable[[Any], None]
    refused: Callable[[Refused], None]
    lane: Optional[p.Target] = None
    under_way: bool = False
    not_before: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)


class Client:
    """A user on one device, for as long as it takes. Held: what was given to `send` is kept first and sent, with the
    same id, until it is acked or refused for good; the timeline is followed as `Timeline` says; requests are repeated
    over as many connections as it takes.

    With `sync` off the timeline is left alone, so that another run finds everything."""

    def __init__(
        self, settings: Settings, state: State, accounts: Accounts, application: Application, sync: bool = True
    ) -> None:
        self._settings = settings
        self._state = state
        self._accounts = accounts
        self._application = application
        self._sync = sync
        self.timeline = Timeline(state.position, _Kept(state, application), self._keep_position)
        self.connection: Optional[Connection] = None
        self.logins = 0
        self._requests: List[Request] = []
        self._backoff = Backoff()
        self._retry_at = 0.0
        self._gates: Deque[str] = deque(settings.gates)
        self._redirected: Deque[str] = deque()
        self._move_at: Optional[float] = None
        self._heartbeat_at = 0.0
        self._bad_tokens = 0
        for message in state.outbox:
            self._requests.append(self._sending(message))

    # What an application asks for.

    def send(self, to: p.Target, payload: bytes, content_type: int = p.ContentType.Text) -> p.SendMsg:
        """Keeps a message, to be sent. `EncodeError` where it may not be sent at all."""
        message = p.SendMsg(to, str(uuid.uuid4()), content_type, payload)
        message.encode()
        self._state.outbox.append(message)
        self._state.save()
        self._requests.append(self._sending(message))
        return message

    def call(self, command: p.Command, body: p.Struct, seconds: float) -> Any:
        """Asks, and works until the answer is there. `Refused`, or `TimeoutError`."""
        answers: List[Any] = []
        request = Request(command, body, answers.append, answers.append)
        self._requests.append(request)
        if not self.run(lambda: bool(answers), seconds):
            self._requests.remove(request)
            raise TimeoutError(f"no answer to {command.name} in {seconds:g} s")
        if isinstance(answers[0], Refused):
            raise answers[0]
        return answers[0]

    def run(self, until: Callable[[], bool], seconds: float) -> bool:
        """Works until `until()` holds; says whether it does. Raises what ends a client: `Kicked`, a `Refused` that will
        not change, `WrongUser`, an `AccountError` that asks for the user."""
        deadline = time.monotonic() + seconds
        while not until():
            now = time.monotonic()
            if now >= deadline:
                return False
            if self.connection is not None:
                self._work(now, deadline)
            elif now >= self._retry_at:
                self._connect()
            else:
                time.sleep(min(self._retry_at, deadline) - now)
        return True

    def synced(self) -> bool:
        """Whether this login has pulled to the head that it knows."""
        return self.connection is not None and self.timeline.settled

    def unsent(self) -> bool:
        """Whether messages wait for their acks."""
        return bool(self._state.outbox)

    def close(self) -> None:
        """Ends the connection. What was not acked stays in the state."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # Connecting.

    def _connect(self) -> None:
        """One try at one gate."""
        if self._redirected:
            address = self._redirected.popleft()
        else:
            address = self._gates[0]
            self._gates.rotate(-1)
        try:
            connection = Connection(address, self._settings, self._accounts.access_token(), self._state.device)
        except Lost as error:
            self._retry(f"{address}: {error}")
        except Refused as refused:
            self._login_refused(refused)
        except AccountError as error:
            if error.status not in (429, 500, 503):
                raise
            self._retry(str(error), error.retry_after)
        else:
            self._logged_in(connection)

    def _login_refused(self, refused: Refused) -> None:
        if refused.retry == "Never":
            raise refused
        if refused.retry == "AfterLogin":
            if refused.refusal.code == p.RefusalCode.BadToken:
                self._bad_tokens += 1
                if self._bad_tokens > 1:
                    raise refused
            self._accounts.stale()
        self._retry(str(refused), refused.refusal.retry_after_ms / 1000)

    def _logged_in(self, connection: Connection) -> None:
        """Takes the connection into use; the one before, if there is still one, has had its time."""
        if connection.login.user != self._state.user:
            connection.close()
            raise WrongUser(f"the token is {connection.login.user}'s, the state {self._state.user}'s")
        self.close()
        self.connection = connection
        self.logins += 1
        self._bad_tokens = 0
        self._backoff.reset()
        self._redirected.clear()
        self._move_at = None
        now = time.monotonic()
        self._heartbeat_at = now + connection.login.heartbeat_ms / 1000
        for request in self._requests:
            request.under_way = False
        self.timeline.lost()
        if self._sync:
            self.timeline.want(now)
        self._application.note(f"logged in as {connection.login.user}")

    def _retry(self, why: str, wait: float = 0.0) -> None:
        """Tries again after a backoff, or after `wait` seconds where that is longer."""
        self._retry_at = time.monotonic() + max(self._backoff.next(), wait)
        if self._move_at is not None:
            self._move_at = max(self._move_at, self._retry_at)
        self._application.note(why)

    # Working on a connection.

    def _work(self, now: float, deadline: float) -> None:
        """Sends what is due, and takes what comes."""
        assert self.connection is not None
        if self._move_at is not None and now >= self._move_at:
            # The old connection goes on until the new one is logged in; from its Auth on nobody reads the old one, so
            # that its Kickout is passed over.
            return self._connect()
        try:
            self._send_due(self.connection, now)
            wait = min(self._next_due(now), self.connection.deadline, deadline) - time.monotonic()
            received = self.connection.receive(max(wait, 0.0))
            if received is not None:
                if received.then is not None:
                    received.then(received.body)
                else:
                    self._unasked(received.command, received.body)
        except Lost as error:
            self._dropped(str(error))
        except Refused as refused:
            if refused.retry == "Never":
                raise
            if refused.retry == "AfterLogin":
                self._accounts.stale()
            self._dropped(str(refused), refused.refusal.retry_after_ms / 1000)

    def _dropped(self, why: str, wait: float = 0.0) -> None:
        """The connection is no more, or is not to be."""
        self.close()
        self._retry(why, wait)
        if self._move_at is not None:
            self._retry_at = self._move_at

    def _next_due(self, now: float) -> float:
        due = [self._heartbeat_at, self.timeline.due]
        if self._move_at is not None:
            due.append(self._move_at)
        due += [request.not_before for request in self._requests if not request.under_way and request.not_before > now]
        return min(due)

    def _send_due(self, connection: Connection, now: float) -> None:
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + connection.login.heartbeat_ms / 1000
            connection.request(p.Command.HeartBeat, p.Empty(), self._heartbeat_answered)
        if now >= self.timeline.due:
            connection.request(p.Command.GetMsg, self.timeline.pull(), self._pull_answered)
        lanes = set()
        for request in self._requests:
            free = request.lane is None or request.lane not in lanes
            lanes.add(request.lane)
            if free and not request.under_way and now >= request.not_before:
                if connection.under_way >= UNDER_WAY_MAX:
                    return
                request.under_way = True
                connection.request(request.command, request.body, self._answer_to(request))

    def _answer_to(self, request: Request) -> Answered:
        def then(answer: Any) -> None:
            request.under_way = False
            if not isinstance(answer, p.Refusal):
                self._requests.remove(request)
                return request.answered(answer)
            refused = Refused(answer)
            if refused.retry == "Never":
                self._requests.remove(request)
                return request.refused(refused)
            request.not_before = time.monotonic() + max(request.backoff.next(), answer.retry_after_ms / 1000)
            if refused.retry != "Later":
                raise refused

        return then

    def _heartbeat_answered(self, answer: Union[p.HeartBeatAck, p.Refusal]) -> None:
        if isinstance(answer, p.HeartBeatAck) and self._sync:
            self.timeline.heard(answer.head, time.monotonic())

    def _pull_answered(self, answer: Union[p.MsgPage, p.Refusal]) -> None:
        if isinstance(answer, p.Refusal):
            self.timeline.refused(answer.code, time.monotonic(), answer.retry_after_ms / 1000)
        else:
            self.timeline.page(answer, time.monotonic())

    def _unasked(self, command: int, body: Any) -> None:
        if command == p.Command.NewMsg:
            if self._sync:
                self.timeline.notified(body, time.monotonic())
        elif command == p.Command.RevReadMsg:
            seq = self._state.mark(body.conversation, body.reader, body.seq)
            if seq is not None:
                self._state.save()
                self._application.read(body.conversation, body.reader, seq)
        elif command == p.Command.RevSignal:
            self._application.signal(body)
        elif command == p.Command.Redirect:
            self._redirected = deque(address.text for address in body.gates)
            self._move_at = time.monotonic() + body.after_ms / 1000
            self._application.note("redirected")
        elif command == p.Command.Kickout:
            self._kicked(Kicked(body))

    def _kicked(self, kicked: Kicked) -> None:
        reason = kicked.reason
        if reason == p.KickReason.Revoked:
            self._accounts.forget()
        if reason in (p.KickReason.LoggedInElsewhere, p.KickReason.Forbidden, p.KickReason.Revoked):
            self.close()
            raise kicked
        self._dropped(str(kicked))
        if reason == p.KickReason.Idle:
            self._retry_at = 0.0

    # Messages and positions.

    def _sending(self, message: p.SendMsg) -> Request:
        def answered(ack: p.SendAck) -> None:
            self._state.outbox.remove(message)
            self._state.seen(ack.conversation, ack.seq)
            self._state.save()
            self._application.acked(message, ack)
            if self._sync:
                own = p.Message(
                    ack.conversation, ack.seq, self._state.user, message.client_msg_id, ack.time_ms,
                    message.content_type, message.payload,
                )
                self.timeline.acked(ack.position, own, time.monotonic())

        def refused(refused: Refused) -> None:
            self._state.outbox.remove(message)
            self._state.save()
            self._application.refused(message, refused)

        return Request(p.Command.SendMsg, message, answered, refused, lane=message.to)

    def _keep_position(self, position: p.Position) -> None:
        self._state.position = position
        self._state.save()


class _Kept(Application):
    """Writes down what the state keeps of the timeline, and passes on what the timeline tells."""

    def __init__(self, state: State, application: Application) -> None:
        self._state = state
        self._application = application

    def message(self, seq: int, message: p.Message) -> None:
        self._application.message(seq, message)
        self._state.seen(message.conversation, message.seq)

    def restored(self) -> None:
        self._state.forget_places()
        self._application.restored()

    def trimmed(self, first: int, last: int) -> None:
        self._application.trimmed(first, last)


# --- Command line ----------------------------------------------------------------------------


class Printer(Application):
    """Prints one JSON object a line, in ASCII: control and bidirectional characters of others come out as escapes."""

    def __init__(self) -> None:
        self.exit_code = 0

    @staticmethod
    def show(event: str, **what: Any) -> None:
        """One line."""
        print(json.dumps({"event": event, **what}), flush=True)

    def message(self, seq: int, message: p.Message) -> None:
        self.show("message", entry=seq, **plain(message))

    def restored(self) -> None:
        self.show("restored")

    def trimmed(self, first: int, last: int) -> None:
        self.show("trimmed", first=first, last=last)

    def acked(self, message: p.SendMsg, ack: p.SendAck) -> None:
        self.show("acked", client_msg_id=message.client_msg_id, **plain(ack))

    def refused(self, message: p.SendMsg, refused: Refused) -> None:
        self.exit_code = 1
        self.show("refused", client_msg_id=message.client_msg_id, name=refused.name, detail=refused.refusal.detail)

    def read(self, conversation: str, reader: str, seq: int) -> None:
        self.show("read", conversation=conversation, reader=reader, seq=seq)

    def signal(self, signal: p.RevSignal) -> None:
        self.show("signal", **plain(signal))

    def note(self, text: str) -> None:
        print(json.dumps({"note": text}), file=sys.stderr, flush=True)


def plain(body: p.Struct) -> Dict[str, Any]:
    """A body as its JSON has it."""
    told: Dict[str, Any] = json.loads(body.encode_json())
    return told


def target(text: str) -> p.Target:
    """`USER`, or `group:ID`."""
    return p.Target.group(text[6:]) if text.startswith("group:") else p.Target.user(text)


def conversation_with(user: str, other: str) -> str:
    """The conversation with a user, or `group:ID`'s: two user ids, the smaller by bytes first."""
    to = target(other)
    if to.choice == "group":
        return to.value
    return ":".join(sorted((user, other), key=lambda name: name.encode("utf-8")))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description="A client of the sim protocol. Prints one JSON object a line.")
    top.add_argument("--gate", action="append", metavar="HOST:PORT", help="may be given several times")
    top.add_argument("--http", default="http://127.0.0.1:8000", metavar="URL", help="where accounts are served")
    top.add_argument("--ca", metavar="FILE", help="the authority of the gates' certificates, PEM; else the system's")
    top.add_argument("--user", required=True)
    top.add_argument("--password", default=os.environ.get("SIM_PASSWORD"), help="or SIM_PASSWORD")
    top.add_argument("--state", type=Path, metavar="FILE", help="what is kept, for one device [sim-USER.json]")
    top.add_argument("--codec", choices=["binary", "json", "protobuf"], default="binary")
    top.add_argument("--encrypt", action="store_true", help="encrypt bodies inside TLS")
    top.add_argument("--identity", type=Path, metavar="FILE", help="the gates' identity, for that; PEM")
    top.add_argument("--timeout", type=float, default=20.0, metavar="SECONDS", help="for the command as a whole")
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, does: str, *arguments: str, **more: Any) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=does, description=does)
        for argument in arguments:
            one.add_argument(argument)
        for argument, nargs in more.items():
            one.add_argument(argument, nargs=nargs)
        return one

    command("register", "make an account and log in")
    command("login", "log in with the password, and try the token at a gate")
    command("logout", "end the login")
    command("send", "send a text to USER or group:ID, and what is still unsent", "to", "text")
    command("sync", "print what is new since the last sync")
    command("tail", "print what is new, and then what comes")
    history = command("history", "print the conversation with USER or group:ID", "with")
    history.add_argument("--backward", action="store_true", help="the newest first")
    command("read", "say that CONV, an id of `conversations`, was read up to SEQ", "conversation").add_argument(
        "seq", type=int
    )
    command("conversations", "list conversations")
    command("signal", "tell USER or group:ID something while they are online", "to", "text")
    command("group-create", "make a group", "group", "name", members="*")
    command("group-add", "add members", "group", members="+")
    command("group-remove", "remove members", "group", members="+")
    command("groups", "list groups")
    return top


def pages(client: Client, seconds: float, ask: Callable[[Any], Tuple[p.Command, p.Struct]], rows: str) -> Iterator[Any]:
    """All rows of a list that comes in pages; `ask` makes the question from the last row, at first from `None`."""
    last = None
    while True:
        page = client.call(*ask(last), seconds)
        for last in getattr(page, rows):
            yield last
        if not page.has_more or not getattr(page, rows):
            return


def perform(options: argparse.Namespace, client: Client, accounts: Accounts, printer: Printer, user: str) -> int:
    """Does what a command asks of a client; the exit code."""
    seconds = options.timeout

    def call(command: p.Command, body: p.Struct) -> Any:
        return client.call(command, body, seconds)

    if options.command == "login":
        accounts.login()
        if not client.run(lambda: client.connection is not None, seconds):
            raise TimeoutError("the gate was not reached")
        assert client.connection is not None
        printer.show("login", **plain(client.connection.login))
    elif options.command == "logout":
        call(p.Command.Logout, p.Empty())
        accounts.logout()
    elif options.command == "send":
        client.send(target(options.to), options.text.encode("utf-8"))
        if not client.run(lambda: not client.unsent(), seconds):
            raise TimeoutError("not acked; it stays kept, and goes with the next command")
    elif options.command == "sync":
        if not client.run(lambda: client.synced() and not client.unsent(), seconds):
            raise TimeoutError("not synced")
    elif options.command == "tail":
        client.run(lambda: False, float("inf"))
    elif options.command == "history":
        conversation = conversation_with(user, getattr(options, "with"))
        way = p.Direction.Backward if options.backward else p.Direction.Forward
        ask = lambda last: (p.Command.GetHistory, p.GetHistory(conversation, last.seq if last else 0, way, 0))
        for message in pages(client, seconds, ask, "messages"):
            printer.show("message", **plain(message))
    elif options.command == "read":
        call(p.Command.ReadMsg, p.ReadMsg(options.conversation, options.seq))
    elif options.command == "conversations":
        ask = lambda last: (p.Command.ListConversations, p.ListConversations(last.conversation if last else None, 0))
        for row in pages(client, seconds, ask, "conversations"):
            printer.show("conversation", **plain(row))
    elif options.command == "signal":
        call(p.Command.Signal, p.Signal(target(options.to), p.SignalKind.Custom, options.text.encode("utf-8")))
    elif options.command == "group-create":
        made = p.CreateGroup(options.group, options.name, options.members)
        printer.show("group", **plain(call(p.Command.CreateGroup, made)))
    elif options.command in ("group-add", "group-remove"):
        add, remove = (options.members, []) if options.command == "group-add" else ([], options.members)
        printer.show("group", **plain(call(p.Command.ChangeMembers, p.ChangeMembers(options.group, add, remove))))
    elif options.command == "groups":
        ask = lambda last: (p.Command.ListGroups, p.ListGroups(last.group if last else None, 0))
        for row in pages(client, seconds, ask, "groups"):
            printer.show("group", **plain(row))
    return printer.exit_code


def main(arguments: Optional[List[str]] = None) -> int:
    """0 done, 1 refused or failed, 2 wrong usage, 4 not reached in time."""
    top = parser()
    options = top.parse_args(arguments)
    if options.encrypt != (options.identity is not None):
        top.error("--encrypt and --identity go together")
    tls = ssl.create_default_context(cafile=options.ca)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    identity = sim_crypto.read_identity(options.identity) if options.encrypt else None
    codec = {"binary": p.CodecId.Binary, "json": p.CodecId.Json, "protobuf": p.CodecId.Protobuf}[options.codec]
    settings = Settings(options.gate or ["localhost:8910"], tls, codec, identity=identity)
    printer = Printer()
    path = (options.state or Path(f"sim-{options.user}.json")).resolve()
    try:
        with State.open(path, options.user) as state:
            accounts = Accounts(options.http, tls, state, options.password)
            if options.command == "register":
                accounts.register()
                printer.show("registered", user=state.user)
                return 0
            client = Client(settings, state, accounts, printer, sync=options.command in ("sync", "tail"))
            try:
                return perform(options, client, accounts, printer, state.user)
            finally:
                client.close()
    except (Refused, Kicked) as error:
        printer.show("error", name=error.name, detail=str(error))
        return 1
    except AccountError as error:
        printer.show("error", name=error.reason, detail=str(error))
        return 1
    except (p.EncodeError, sim_crypto.NotAuthentic, ssl.SSLCertVerificationError, WrongUser) as error:
        printer.show("error", name=type(error).__name__, detail=str(error))
        return 1
    except (Lost, TimeoutError) as error:
        printer.show("error", name=type(error).__name__, detail=str(error))
        return 4
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
