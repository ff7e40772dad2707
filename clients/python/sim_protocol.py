"""The sim protocol between a client and its gate: messages, codec, frames, refusals, limits.

Written by `sim codegen --lang python` from the definitions; do not edit. `docs/protocol.md` says what
the messages mean and in which order they go. Python 3.9 or later, standard library only.

    body = SendMsg(Target.user("bob"), "id-1", ContentType.Text, b"hello").encode()
    socket.sendall(encode_frame(Command.SendMsg, 7, body))

Numbers of enums that this version does not know are kept as plain `int`.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import (
    Any, Callable, ClassVar, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union, cast,
)

PROTOCOL_VERSION = 1
#: The first bytes that a client sends.
PREAMBLE = b"\x53\x49\x4d\x21\x43\x01\x00\x00"
#: Codecs that a gate speaks.
CODECS_KNOWN = (0, 1, 2,)
HEADER_LEN = 12
_HEADER = struct.Struct(">IHHI")
#: Set in `command` where a frame answers a request.
ANSWER_BIT = 0x0080
#: The body is a `Refusal`.
FLAG_REFUSED = 0x0001
#: The body is encrypted.
FLAG_ENCRYPTED = 0x0002
FLAGS_KNOWN = 0x0003

ID_LEN_MAX = 64
CONVERSATION_ID_LEN_MAX = 129
PAYLOAD_LEN_MAX = 16384
SIGNAL_LEN_MAX = 1024
TOKEN_LEN_MAX = 2048
TEXT_LEN_MAX = 256
PAGE_ROWS_MAX = 200
GROUP_MEMBERS_MAX = 1000
CODECS_MAX = 8
SUITES_MAX = 8
KEY_SHARE_LEN = 32
SIGNATURE_LEN = 64
GATES_MAX = 16
CLIENT_FRAME_LEN_MAX = 65536
SERVER_FRAME_LEN_MAX = 524288
CODED_GROWTH_MAX = 4

# ---------------------------------------------------------------------------------------------
# Runtime: how the types of the protocol become bytes. Nothing below names a message.


class ProtocolError(ValueError):
    """Bytes or values that break the protocol's rules. `kind` is one of a few fixed words."""

    def __init__(self, kind: str, what: str, why: str = "") -> None:
        super().__init__(f"{kind}: {what}" + (f": {why}" if why else ""))
        self.kind = kind
        self.what = what
        self.why = why


class DecodeError(ProtocolError):
    """A body that is refused: Missing, Trailing, TooLong, BadUtf8, BadValue, BadVarint, BadText."""


class EncodeError(ProtocolError):
    """A value that may not be sent."""


class FrameError(ProtocolError):
    """A stream that stopped being one: BadMagic, BadHop, BadVersion, BadCodec, BadReserved,
    TooLong or UnknownFlags."""


class _Reader:
    """A cursor over one body that never looks behind its end."""

    __slots__ = ("data", "at", "end")

    def __init__(self, data: bytes, at: int = 0, end: Optional[int] = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    def take(self, length: int, what: str) -> bytes:
        if length > self.end - self.at:
            raise DecodeError("Missing", what)
        start = self.at
        self.at += length
        return self.data[start : self.at]

    def uint(self, width: int, what: str) -> int:
        return int.from_bytes(self.take(width, what), "big")

    def flag(self, what: str) -> bool:
        value = self.uint(1, what)
        if value > 1:
            raise DecodeError("BadValue", what, "a flag is 0 or 1")
        return value == 1

    def varint(self, what: str) -> int:
        value = 0
        for index in range(5):
            byte = self.uint(1, what)
            value |= (byte & 0x7F) << (7 * index)
            if byte & 0x80 == 0:
                # A last byte of zero behind others is the same number written longer.
                if (byte == 0 and index > 0) or value > 0xFFFF_FFFF:
                    raise DecodeError("BadVarint", what)
                return value
        raise DecodeError("BadVarint", what)

    def length(self, limit: int, what: str) -> int:
        """A length or count, which meets its maximum before anything is done with it."""
        length = self.varint(what)
        if length > limit:
            raise DecodeError("TooLong", what, f"{length} is over {limit}")
        return length

    def sub(self, length: int, what: str) -> "_Reader":
        start = self.at
        self.take(length, what)
        return _Reader(self.data, start, self.at)

    def finish(self, what: str) -> None:
        if self.at != self.end:
            raise DecodeError("Trailing", what, f"{self.end - self.at} bytes are left")


def _put_varint(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_run(out: bytearray, data: bytes, limit: int, what: str) -> None:
    if len(data) > limit:
        raise EncodeError("TooLong", what, f"{len(data)} is over {limit}")
    _put_varint(out, len(data))
    out += data


def _utf8(text: Any, what: str) -> bytes:
    if not isinstance(text, str):
        raise EncodeError("BadValue", what, "not a text")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise EncodeError("BadUtf8", what) from None


def _json_refusal(what: str, why: str) -> DecodeError:
    return DecodeError("BadValue", what, why)


class _Type:
    """What a field can be: how it is written to and read from bytes and JSON."""

    def write(self, value: Any, out: bytearray, what: str) -> None:
        raise NotImplementedError

    def read(self, reader: _Reader, what: str) -> Any:
        raise NotImplementedError

    def to_json(self, value: Any) -> Any:
        return value

    def from_json(self, value: Any, what: str) -> Any:
        raise NotImplementedError


class _Bool(_Type):
    def write(self, value: Any, out: bytearray, what: str) -> None:
        if not isinstance(value, bool):
            raise EncodeError("BadValue", what, "not True or False")
        out.append(value)

    def read(self, reader: _Reader, what: str) -> bool:
        return reader.flag(what)

    def from_json(self, value: Any, what: str) -> bool:
        if not isinstance(value, bool):
            raise _json_refusal(what, "not true or false")
        return value


class _Uint(_Type):
    def __init__(self, width: int) -> None:
        self.width = width

    def write(self, value: Any, out: bytearray, what: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 8 * self.width:
            raise EncodeError("BadValue", what, f"not a number of {8 * self.width} bits")
        out += int(value).to_bytes(self.width, "big")

    def read(self, reader: _Reader, what: str) -> int:
        return reader.uint(self.width, what)

    def to_json(self, value: int) -> Any:
        # Many readers of JSON lose bits over 2^53.
        return str(value) if self.width == 8 else int(value)

    def from_json(self, value: Any, what: str) -> int:
        if isinstance(value, str) and value and all("0" <= digit <= "9" for digit in value):
            value = int(value) if len(value) <= 40 else 1 << 64
        if not isinstance(value, int) or isinstance(value, bool):
            raise _json_refusal(what, "not a number, or a string of digits")
        if not 0 <= value < 1 << 8 * self.width:
            raise _json_refusal(what, "a number that its type does not hold")
        return value


class _Enum(_Uint):
    """A number with names. A number that has none is kept as it is."""

    def __init__(self, names: Any, width: int) -> None:
        super().__init__(width)
        self.names = names

    def read(self, reader: _Reader, what: str) -> int:
        return self.named(super().read(reader, what))

    def named(self, number: int) -> int:
        try:
            return self.names(number)
        except ValueError:
            return number

    def to_json(self, value: int) -> Any:
        named = self.named(value)
        return named.name.rstrip("_") if isinstance(named, self.names) else int(value)

    def from_json(self, value: Any, what: str) -> int:
        if isinstance(value, str):
            for named in self.names:
                if named.name.rstrip("_") == value:
                    return named
            if not value.isdigit():
                raise _json_refusal(what, "a name that is not known; a number would do")
        return self.named(super().from_json(value, what))


class _Text(_Type):
    def __init__(self, limit: int) -> None:
        self.limit = limit

    def write(self, value: Any, out: bytearray, what: str) -> None:
        self.check(value, what, EncodeError)
        _put_run(out, _utf8(value, what), self.limit, what)

    def read(self, reader: _Reader, what: str) -> str:
        data = reader.take(reader.length(self.limit, what), what)
        try:
            text = data.decode("utf-8", "strict")
        except UnicodeDecodeError:
            raise DecodeError("BadUtf8", what) from None
        self.check(text, what, DecodeError)
        return text

    def from_json(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise _json_refusal(what, "not a string")
        try:
            length = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise DecodeError("BadText", what, "half of a surrogate pair") from None
        if length > self.limit:
            raise DecodeError("TooLong", what, f"{length} is over {self.limit}")
        self.check(value, what, DecodeError)
        return value

    def check(self, text: Any, what: str, error: Type[ProtocolError]) -> None:
        """The rules beside the length."""


class _Id(_Text):
    """A text with rules of its own; `pair` allows two of them with a colon between."""

    def __init__(self, limit: int, pair: bool) -> None:
        super().__init__(limit)
        self.pair = pair

    def check(self, text: Any, what: str, error: Type[ProtocolError]) -> None:
        _utf8(text, what)
        parts = text.split(":", 1) if self.pair else [text]
        for part in parts:
            if not part:
                raise error("BadValue", what, "an id has at least one character")
            if len(part.encode("utf-8")) > ID_LEN_MAX:
                raise error("BadValue" if self.pair else "TooLong", what, f"an id has at most {ID_LEN_MAX} bytes")
            if ":" in part:
                raise error("BadValue", what, "an id has no ':'")
            if any(c <= "\x1f" or "\x7f" <= c <= "\x9f" for c in part):
                raise error("BadValue", what, "an id has no control characters")
        if len(parts) == 2 and parts[0].encode("utf-8") > parts[1].encode("utf-8"):
            raise error("BadValue", what, "the smaller user id comes first")


class _Bytes(_Type):
    def __init__(self, limit: int) -> None:
        self.limit = limit

    def write(self, value: Any, out: bytearray, what: str) -> None:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise EncodeError("BadValue", what, "not bytes")
        _put_run(out, bytes(value), self.limit, what)

    def read(self, reader: _Reader, what: str) -> bytes:
        return bytes(reader.take(reader.length(self.limit, what), what))

    def to_json(self, value: bytes) -> Any:
        # Whichever spelling is shorter.
        spelled = base64.b64encode(value).decode("ascii")
        try:
            text = bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            return {"base64": spelled}
        two = sum(value.count(c) for c in b'"\\\n\r\t\b\f')
        six = sum(1 for c in value if c < 0x20) - sum(value.count(c) for c in b"\n\r\t\b\f")
        return text if len(value) + two + 5 * six <= len(spelled) + 11 else {"base64": spelled}

    def from_json(self, value: Any, what: str) -> bytes:
        if isinstance(value, str):
            try:
                data = value.encode("utf-8")
            except UnicodeEncodeError:
                raise DecodeError("BadText", what, "half of a surrogate pair") from None
        elif isinstance(value, _Object) and [key for key, _ in value.pairs] == ["base64"]:
            text = value.pairs[0][1]
            try:
                data = base64.b64decode(text.encode("ascii"), validate=True)
                if base64.b64encode(data).decode("ascii") != text:
                    raise ValueError(text)
            except (AttributeError, ValueError):
                raise _json_refusal(what, "not base64") from None
        else:
            raise _json_refusal(what, 'not a string or {"base64":"…"}')
        if len(data) > self.limit:
            raise DecodeError("TooLong", what, f"{len(data)} is over {self.limit}")
        return data


class _List(_Type):
    def __init__(self, of: _Type, limit: int) -> None:
        self.of = of
        self.limit = limit

    def write(self, value: Any, out: bytearray, what: str) -> None:
        if len(value) > self.limit:
            raise EncodeError("TooLong", what, f"{len(value)} is over {self.limit}")
        _put_varint(out, len(value))
        for item in value:
            self.of.write(item, out, what)

    def read(self, reader: _Reader, what: str) -> List[Any]:
        return [self.of.read(reader, what) for _ in range(reader.length(self.limit, what))]

    def to_json(self, value: Any) -> Any:
        return [self.of.to_json(item) for item in value]

    def from_json(self, value: Any, what: str) -> List[Any]:
        if not isinstance(value, list):
            raise _json_refusal(what, "not a list")
        if len(value) > self.limit:
            raise DecodeError("TooLong", what, f"{len(value)} is over {self.limit}")
        return [self.of.from_json(item, what) for item in value]


class _Option(_Type):
    def __init__(self, of: _Type) -> None:
        self.of = of

    def write(self, value: Any, out: bytearray, what: str) -> None:
        out.append(value is not None)
        if value is not None:
            self.of.write(value, out, what)

    def read(self, reader: _Reader, what: str) -> Any:
        return self.of.read(reader, what) if reader.flag(what) else None

    def to_json(self, value: Any) -> Any:
        return None if value is None else self.of.to_json(value)

    def from_json(self, value: Any, what: str) -> Any:
        return None if value is None else self.of.from_json(value, what)


class _Field:
    """A field of a struct. `since` is the protocol version that brought it."""

    __slots__ = ("name", "attribute", "path", "type", "since", "default")

    def __init__(
        self, name: str, attribute: str, path: str, type: _Type, since: int, default: Callable[[], Any]
    ) -> None:
        self.name = name
        self.attribute = attribute
        self.path = path
        self.type = type
        self.since = since
        self.default = default


_NOTHING = object()


class _Struct(_Type):
    """Fields in order, then the tail: a count of appended fields, each with its length in front."""

    def __init__(self, make: Any, name: str, sealed: bool, fields: List[_Field]) -> None:
        self.make = make
        self.name = name
        self.sealed = sealed
        self.base = [field for field in fields if field.since == 1]
        self.appended = [field for field in fields if field.since > 1]
        self.fields = fields

    def write(self, value: Any, out: bytearray, what: str) -> None:
        if not isinstance(value, self.make):
            raise EncodeError("BadValue", what, f"not a {self.name}")
        for field in self.base:
            field.type.write(getattr(value, field.attribute), out, field.path)
        if self.sealed:
            return
        out.append(len(self.appended))
        for field in self.appended:
            inner = bytearray()
            field.type.write(getattr(value, field.attribute), inner, field.path)
            _put_varint(out, len(inner))
            out += inner

    def read(self, reader: _Reader, what: str) -> Any:
        values = {field.attribute: field.type.read(reader, field.path) for field in self.base}
        if not self.sealed:
            self._read_tail(reader, values)
        return self.make(**values)

    def _read_tail(self, reader: _Reader, values: Dict[str, Any]) -> None:
        count = reader.uint(1, self.name)
        for field in self.appended[:count]:
            inner = reader.sub(reader.varint(field.path), field.path)
            values[field.attribute] = field.type.read(inner, field.path)
            inner.finish(field.path)
        for field in self.appended[count:]:
            values[field.attribute] = field.default()
        for _ in range(count - len(self.appended)):
            # Appended by a later version than this file's.
            reader.take(reader.varint(self.name), self.name)

    def to_json(self, value: Any) -> Any:
        told = {}
        for field in self.fields:
            held = getattr(value, field.attribute)
            if held is not None:
                told[field.name] = field.type.to_json(held)
        return told

    def from_json(self, value: Any, what: str) -> Any:
        if not isinstance(value, _Object):
            raise _json_refusal(what, "not an object")
        known = {field.name: field for field in self.fields}
        held: Dict[str, Any] = {}
        for key, item in value.pairs:
            field = known.get(key)
            if field is None:
                continue
            if field.attribute in held:
                raise _json_refusal(field.path, "a field that stands twice")
            held[field.attribute] = field.type.from_json(item, field.path)
        for field in self.fields:
            if field.attribute in held:
                continue
            if field.since == 1 and not isinstance(field.type, _Option):
                raise DecodeError("Missing", field.path)
            held[field.attribute] = field.default() if field.since > 1 else None
        return self.make(**held)


class _Union(_Type):
    """One byte that says which, then that. `choices` are (name, number, type)."""

    def __init__(self, make: Any, name: str, choices: List[Tuple[str, int, _Type]]) -> None:
        self.make = make
        self.name = name
        self.choices = choices

    def write(self, value: Any, out: bytearray, what: str) -> None:
        for name, number, type in self.choices:
            if isinstance(value, self.make) and value.choice == name:
                out.append(number)
                return type.write(value.value, out, self.name)
        raise EncodeError("BadValue", what, f"not a {self.name}")

    def read(self, reader: _Reader, what: str) -> Any:
        chosen = reader.uint(1, self.name)
        for name, number, type in self.choices:
            if number == chosen:
                return self.make(name, type.read(reader, self.name))
        raise DecodeError("BadValue", self.name, "none of its choices")

    def to_json(self, value: Any) -> Any:
        types = {name: type for name, _, type in self.choices}
        return {value.choice: types[value.choice].to_json(value.value)}

    def from_json(self, value: Any, what: str) -> Any:
        types = {name: type for name, _, type in self.choices}
        pairs = [pair for pair in value.pairs if pair[0] in types] if isinstance(value, _Object) else []
        if len(pairs) != 1:
            raise _json_refusal(what, "not an object with the one key that says which")
        name, item = pairs[0]
        return self.make(name, types[name].from_json(item, self.name))


class _Object:
    """A JSON object with its keys as they stand, so that one that stands twice is seen."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: List[Tuple[str, Any]]) -> None:
        self.pairs = pairs


def _no_constant(text: str) -> Any:
    raise ValueError(text)


_T = TypeVar("_T", bound="Struct")


class Struct:
    """What every message is: it turns itself into bytes, and is made of them."""

    TYPE: ClassVar[Any]

    def encode(self) -> bytes:
        """The body in the binary codec."""
        out = bytearray()
        self.TYPE.write(self, out, self.TYPE.name)
        return bytes(out)

    @classmethod
    def decode(cls: Type[_T], body: bytes) -> _T:
        """Reads a whole body in the binary codec; it must end where the message ends."""
        reader = _Reader(bytes(body))
        value = cls.TYPE.read(reader, cls.TYPE.name)
        reader.finish(cls.TYPE.name)
        return cast(_T, value)

    def encode_json(self) -> bytes:
        """The body in the JSON codec."""
        self.encode()  # The rules are the same.
        told = json.dumps(self.TYPE.to_json(self), ensure_ascii=False, separators=(",", ":"))
        return told.encode("utf-8")

    @classmethod
    def decode_json(cls: Type[_T], body: bytes) -> _T:
        """Reads a whole body in the JSON codec."""
        name = cls.TYPE.name
        try:
            tree = json.loads(
                bytes(body).decode("utf-8"), object_pairs_hook=_Object, parse_constant=_no_constant
            )
        except (ValueError, RecursionError) as error:
            raise DecodeError("BadText", name, str(error)) from None
        return cast(_T, cls.TYPE.from_json(tree, name))


class Header(NamedTuple):
    """The fixed header in front of every body."""

    length: int
    command: int
    flags: int
    sequence: int


class Frame(NamedTuple):
    """One whole frame, its body not decoded yet."""

    command: int
    flags: int
    sequence: int
    body: bytes

    @property
    def is_answer(self) -> bool:
        """Whether this answers a request."""
        return self.command & ANSWER_BIT != 0

    @property
    def is_refused(self) -> bool:
        """Whether the body is a `Refusal`."""
        return self.flags & FLAG_REFUSED != 0


def decode_preamble(data: bytes) -> int:
    """Checks a client's first bytes, as a gate does; the version that they name."""
    if len(data) != len(PREAMBLE):
        raise FrameError("Missing", "preamble")
    if data[:4] != PREAMBLE[:4]:
        raise FrameError("BadMagic", "preamble")
    if data[4] != PREAMBLE[4]:
        raise FrameError("BadHop", "preamble")
    if data[5] != PREAMBLE[5]:
        raise FrameError("BadVersion", "preamble")
    if data[7] != PREAMBLE[7]:
        raise FrameError("BadReserved", "preamble")
    if data[6] not in CODECS_KNOWN:
        raise FrameError("BadCodec", "preamble")
    return data[5]


def decode_header(data: bytes, length_max: int) -> Header:
    """Reads a header and checks its length before anyone reserves it."""
    header = Header._make(_HEADER.unpack(data))
    if header.length > length_max:
        raise FrameError("TooLong", "frame", f"{header.length} bytes are over {length_max}")
    if header.flags & ~FLAGS_KNOWN:
        raise FrameError("UnknownFlags", "frame", hex(header.flags))
    return header


def encode_frame(command: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
    """Header and body."""
    return _HEADER.pack(len(body), command, flags, sequence) + body


class Deframer:
    """Cuts a stream of bytes into frames. After an error the stream has no next frame.
    `length_max` may change between two frames."""

    def __init__(self, length_max: int) -> None:
        self.length_max = length_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Takes what came and hands out the frames that are whole now, and then the error that stands
        behind them. Frames that are not asked for stay."""
        self._buffer += data
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        while len(self._buffer) >= HEADER_LEN:
            header = decode_header(bytes(self._buffer[:HEADER_LEN]), self.length_max)
            end = HEADER_LEN + header.length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[HEADER_LEN:end])
            del self._buffer[:end]
            yield Frame(header.command, header.flags, header.sequence, body)


# ---------------------------------------------------------------------------------------------
# Types, each behind what it is made of.

_BOOL = _Bool()
_U8 = _Uint(1)
_U16 = _Uint(2)
_U32 = _Uint(4)
_U64 = _Uint(8)


class CodecId(IntEnum):
    """Which codec a client chose in its handshake. Every codec carries the same messages."""

    #: The compact binary layout.
    Binary = 0

    #: JSON text, for debugging and scripts.
    Json = 1

    #: Protocol buffers.
    Protobuf = 2


_CodecId = _Enum(CodecId, 1)


class Encryption(IntEnum):
    """How bodies are encrypted inside TLS."""

    #: They are not; TLS is enough.
    None_ = 0

    #: X25519, HKDF-SHA256, ChaCha20-Poly1305.
    ChaCha20Poly1305 = 1

    #: X25519, HKDF-SHA256, AES-128-GCM.
    Aes128Gcm = 2


_Encryption = _Enum(Encryption, 1)


@dataclass
class HandShake(Struct):
    """The client's first frame: what it is and what it can do."""

    #: Which application this is; free text for logs.
    app_id: str

    #: The client library and its version; free text for logs.
    sdk: str

    #: Codecs that the client speaks, the one it likes best first.
    codecs: List[int]

    #: Body encryptions that the client accepts, the one it likes best first; empty asks for none.
    suites: List[int]

    #: The client's ephemeral X25519 public key where it asks for encryption, else empty.
    key_share: bytes


_HandShake = HandShake.TYPE = _Struct(HandShake, "HandShake", False, [
    _Field("app_id", "app_id", "HandShake.app_id", _Text(256), 1, lambda: ""),
    _Field("sdk", "sdk", "HandShake.sdk", _Text(256), 1, lambda: ""),
    _Field("codecs", "codecs", "HandShake.codecs", _List(_CodecId, 8), 1, lambda: []),
    _Field("suites", "suites", "HandShake.suites", _List(_Encryption, 8), 1, lambda: []),
    _Field("key_share", "key_share", "HandShake.key_share", _Bytes(32), 1, lambda: b""),
])


@dataclass
class HandShakeAck(Struct):
    """What the gate made of it."""

    #: The gate's Ed25519 signature where bodies will be encrypted, else empty. It covers everything
    #: that was said so far and the whole of this body behind this field, which is why it stands
    #: first.
    signature: bytes

    #: The gate's protocol version.
    version: int

    #: The codec of every frame after this one.
    codec: int

    #: The body encryption of every frame after this one.
    encryption: int

    #: Bytes of body that a frame from the client may have, an authentication tag included.
    frame_len_max: int

    #: The gate's ephemeral X25519 public key where bodies will be encrypted, else empty.
    key_share: bytes


_HandShakeAck = HandShakeAck.TYPE = _Struct(HandShakeAck, "HandShakeAck", False, [
    _Field("signature", "signature", "HandShakeAck.signature", _Bytes(64), 1, lambda: b""),
    _Field("version", "version", "HandShakeAck.version", _U8, 1, lambda: 0),
    _Field("codec", "codec", "HandShakeAck.codec", _CodecId, 1, lambda: _CodecId.named(0)),
    _Field("encryption", "encryption", "HandShakeAck.encryption", _Encryption, 1, lambda: _Encryption.named(0)),
    _Field("frame_len_max", "frame_len_max", "HandShakeAck.frame_len_max", _U32, 1, lambda: 0),
    _Field("key_share", "key_share", "HandShakeAck.key_share", _Bytes(32), 1, lambda: b""),
])

#: One installation of a client. A user has one sync position per device.
#: The rules: 1 to 64 bytes of UTF-8 without ':' and without control characters (U+0000 to U+001F,
#: U+007F to U+009F).
DeviceId = str
_DeviceId = _Id(64, pair=False)


class Platform(IntEnum):
    """The kind of a device."""

    #: A program without a person at it.
    Bot = 0

    #: A computer.
    Desktop = 1

    #: A telephone or tablet.
    Mobile = 2

    #: A browser.
    Web = 3


_Platform = _Enum(Platform, 1)


@dataclass
class Auth(Struct):
    """Log in."""

    #: The access token that `POST /user/login` gave.
    token: str

    #: This installation. A second login of the same device replaces the first.
    device: DeviceId

    #: Its kind.
    platform: int


_Auth = Auth.TYPE = _Struct(Auth, "Auth", False, [
    _Field("token", "token", "Auth.token", _Text(2048), 1, lambda: ""),
    _Field("device", "device", "Auth.device", _DeviceId, 1, lambda: None),
    _Field("platform", "platform", "Auth.platform", _Platform, 1, lambda: _Platform.named(0)),
])

#: A person or a program that sends and receives.
#: The rules: 1 to 64 bytes of UTF-8 without ':' and without control characters (U+0000 to U+001F,
#: U+007F to U+009F).
UserId = str
_UserId = _Id(64, pair=False)

#: One login. Unique within the gate's BootId, so the two together fence a late goodbye.
SessionId = int
_SessionId = _U64


@dataclass
class AuthAck(Struct):
    """Logged in."""

    #: Who the token says this is.
    user: UserId

    #: This login.
    session: SessionId

    #: Milliseconds between heartbeats that the client should keep.
    heartbeat_ms: int

    #: Milliseconds of silence after which the gate closes.
    keep_alive_ms: int

    #: The server's clock, milliseconds since 1970.
    server_time_ms: int


_AuthAck = AuthAck.TYPE = _Struct(AuthAck, "AuthAck", False, [
    _Field("user", "user", "AuthAck.user", _UserId, 1, lambda: None),
    _Field("session", "session", "AuthAck.session", _SessionId, 1, lambda: 0),
    _Field("heartbeat_ms", "heartbeat_ms", "AuthAck.heartbeat_ms", _U32, 1, lambda: 0),
    _Field("keep_alive_ms", "keep_alive_ms", "AuthAck.keep_alive_ms", _U32, 1, lambda: 0),
    _Field("server_time_ms", "server_time_ms", "AuthAck.server_time_ms", _U64, 1, lambda: 0),
])


@dataclass
class Empty(Struct):
    """A body without fields."""


_Empty = Empty.TYPE = _Struct(Empty, "Empty", False, [
])

#: Which life of a store a position belongs to. A store restored from an older state gets a new one;
#: 0 says that the client has no position yet.
Epoch = int
_Epoch = _U64

#: A place in one timeline. The first is 1; 0 stands before the first.
Seq = int
_Seq = _U64


@dataclass
class Position(Struct):
    """How far a user's timeline has been read, or reaches."""

    #: The store's life.
    epoch: Epoch

    #: The place within it.
    seq: Seq


_Position = Position.TYPE = _Struct(Position, "Position", True, [
    _Field("epoch", "epoch", "Position.epoch", _Epoch, 1, lambda: 0),
    _Field("seq", "seq", "Position.seq", _Seq, 1, lambda: 0),
])


@dataclass
class HeartBeatAck(Struct):
    """The answer to a heartbeat."""

    #: The head of the user's timeline; `None` when it could not be had in time.
    head: Optional[Position]

    #: The server's clock, milliseconds since 1970.
    server_time_ms: int


_HeartBeatAck = HeartBeatAck.TYPE = _Struct(HeartBeatAck, "HeartBeatAck", False, [
    _Field("head", "head", "HeartBeatAck.head", _Option(_Position), 1, lambda: None),
    _Field("server_time_ms", "server_time_ms", "HeartBeatAck.server_time_ms", _U64, 1, lambda: 0),
])

#: A group; also the id of its conversation.
#: The rules: 1 to 64 bytes of UTF-8 without ':' and without control characters (U+0000 to U+001F,
#: U+007F to U+009F).
GroupId = str
_GroupId = _Id(64, pair=False)


@dataclass(frozen=True)
class Target:
    """To whom a message goes: one byte (1 a user, 2 a group), then the id."""

    choice: str
    value: Union[UserId, GroupId]

    @classmethod
    def user(cls, value: UserId) -> "Target":
        """A user."""
        return cls("user", value)

    @classmethod
    def group(cls, value: GroupId) -> "Target":
        """A group."""
        return cls("group", value)


_Target = _Union(Target, "Target", [
    ("user", 1, _UserId),
    ("group", 2, _GroupId),
])

#: Chosen by the sender, once per message; with the sender's id it makes a send idempotent.
#: The rules: 1 to 64 bytes of UTF-8 without ':' and without control characters (U+0000 to U+001F,
#: U+007F to U+009F).
ClientMsgId = str
_ClientMsgId = _Id(64, pair=False)


class ContentType(IntEnum):
    """What a message's payload is. The server never looks into it."""

    #: UTF-8 text.
    Text = 1

    #: A picture.
    Image = 2

    #: Sound.
    Audio = 3

    #: A film.
    Video = 4

    #: A place on earth.
    Position = 5

    #: A file.
    File = 6

    #: A sticker or emotion.
    Sticker = 7

    #: A link with a snapshot of what it leads to.
    Link = 8

    #: A JSON object, as sent by the HTTP interface.
    Json = 9

    #: Written by the server: a member came or went.
    System = 10


_ContentType = _Enum(ContentType, 2)


@dataclass
class SendMsg(Struct):
    """Send a message."""

    #: To whom. Stands first: a route reads it to keep a conversation with one im-service.
    to: Target

    #: The sender's own name for this message; the same name means the same message.
    client_msg_id: ClientMsgId

    #: What the payload is.
    content_type: int

    #: The payload.
    payload: bytes


_SendMsg = SendMsg.TYPE = _Struct(SendMsg, "SendMsg", False, [
    _Field("to", "to", "SendMsg.to", _Target, 1, lambda: None),
    _Field("client_msg_id", "client_msg_id", "SendMsg.client_msg_id", _ClientMsgId, 1, lambda: None),
    _Field("content_type", "content_type", "SendMsg.content_type", _ContentType, 1, lambda: _ContentType.named(0)),
    _Field("payload", "payload", "SendMsg.payload", _Bytes(16384), 1, lambda: b""),
])

#: A conversation: the two user ids with a ':' between them, or a group's id. Only the former has a
#: ':'.
#: The rules: a group id; or two user ids with ':' between them, the smaller by bytes first.
ConversationId = str
_ConversationId = _Id(129, pair=True)


@dataclass
class SendAck(Struct):
    """Stored, ordered, readable."""

    #: The conversation.
    conversation: ConversationId

    #: The message's place in the conversation.
    seq: Seq

    #: Its place in the sender's own timeline.
    position: Position

    #: Its place in the receiver's timeline; 0 for a group.
    receiver_seq: Seq

    #: When the server took it, milliseconds since 1970.
    time_ms: int

    #: Whether the message was there already: an earlier try had arrived.
    repeated: bool


_SendAck = SendAck.TYPE = _Struct(SendAck, "SendAck", False, [
    _Field("conversation", "conversation", "SendAck.conversation", _ConversationId, 1, lambda: None),
    _Field("seq", "seq", "SendAck.seq", _Seq, 1, lambda: 0),
    _Field("position", "position", "SendAck.position", _Position, 1, lambda: Position(0, 0)),
    _Field("receiver_seq", "receiver_seq", "SendAck.receiver_seq", _Seq, 1, lambda: 0),
    _Field("time_ms", "time_ms", "SendAck.time_ms", _U64, 1, lambda: 0),
    _Field("repeated", "repeated", "SendAck.repeated", _BOOL, 1, lambda: False),
])


@dataclass
class Message(Struct):
    """A message in its conversation."""

    #: The conversation.
    conversation: ConversationId

    #: The place in the conversation.
    seq: Seq

    #: Who sent it.
    sender: UserId

    #: The sender's own name for it.
    client_msg_id: ClientMsgId

    #: When the server took it, milliseconds since 1970.
    time_ms: int

    #: What the payload is.
    content_type: int

    #: The payload.
    payload: bytes


_Message = Message.TYPE = _Struct(Message, "Message", False, [
    _Field("conversation", "conversation", "Message.conversation", _ConversationId, 1, lambda: None),
    _Field("seq", "seq", "Message.seq", _Seq, 1, lambda: 0),
    _Field("sender", "sender", "Message.sender", _UserId, 1, lambda: None),
    _Field("client_msg_id", "client_msg_id", "Message.client_msg_id", _ClientMsgId, 1, lambda: None),
    _Field("time_ms", "time_ms", "Message.time_ms", _U64, 1, lambda: 0),
    _Field("content_type", "content_type", "Message.content_type", _ContentType, 1, lambda: _ContentType.named(0)),
    _Field("payload", "payload", "Message.payload", _Bytes(16384), 1, lambda: b""),
])


@dataclass
class NewMsg(Struct):
    """← The user's timeline has grown. A hint: it may be lost, and the next heartbeat tells the same."""

    #: The head of the timeline, as far as the sender of this knows.
    head: Position

    #: The entry at `head`, so that a client that stands right before it needs no pull.
    entry: Optional[Message]

    #: Milliseconds to wait before a pull, so that a burst in a large group is no stampede.
    query_after_ms: int


_NewMsg = NewMsg.TYPE = _Struct(NewMsg, "NewMsg", False, [
    _Field("head", "head", "NewMsg.head", _Position, 1, lambda: Position(0, 0)),
    _Field("entry", "entry", "NewMsg.entry", _Option(_Message), 1, lambda: None),
    _Field("query_after_ms", "query_after_ms", "NewMsg.query_after_ms", _U32, 1, lambda: 0),
])


@dataclass
class GetMsg(Struct):
    """Pull what is behind a position. Everything up to it counts as fetched by this device."""

    #: The last position that the client has; the default when it has none.
    after: Position

    #: Rows wanted at most; 0 leaves it to the server.
    limit: int


_GetMsg = GetMsg.TYPE = _Struct(GetMsg, "GetMsg", False, [
    _Field("after", "after", "GetMsg.after", _Position, 1, lambda: Position(0, 0)),
    _Field("limit", "limit", "GetMsg.limit", _U16, 1, lambda: 0),
])


@dataclass
class Entry(Struct):
    """A message in a user's timeline."""

    #: The place in the user's timeline.
    seq: Seq

    #: The message.
    message: Message


_Entry = Entry.TYPE = _Struct(Entry, "Entry", False, [
    _Field("seq", "seq", "Entry.seq", _Seq, 1, lambda: 0),
    _Field("message", "message", "Entry.message", _Message, 1, lambda: Message(None, 0, None, None, 0, _ContentType.named(0), b"")),
])


@dataclass
class MsgPage(Struct):
    """The rows behind a position, ascending and without a gap."""

    #: The head of the timeline. Another epoch than the one asked with says that the store was
    #: restored: the page then is empty and the client starts again from this epoch's beginning.
    head: Position

    #: The greatest place that was trimmed; rows up to it are no longer here.
    floor: Seq

    #: The rows.
    entries: List[Entry]

    #: Whether there was more than fits.
    has_more: bool


_MsgPage = MsgPage.TYPE = _Struct(MsgPage, "MsgPage", False, [
    _Field("head", "head", "MsgPage.head", _Position, 1, lambda: Position(0, 0)),
    _Field("floor", "floor", "MsgPage.floor", _Seq, 1, lambda: 0),
    _Field("entries", "entries", "MsgPage.entries", _List(_Entry, 200), 1, lambda: []),
    _Field("has_more", "has_more", "MsgPage.has_more", _BOOL, 1, lambda: False),
])


@dataclass
class ReadMsg(Struct):
    """Everything in the conversation up to `seq` has been read."""

    #: The conversation.
    conversation: ConversationId

    #: The place in the conversation.
    seq: Seq


_ReadMsg = ReadMsg.TYPE = _Struct(ReadMsg, "ReadMsg", False, [
    _Field("conversation", "conversation", "ReadMsg.conversation", _ConversationId, 1, lambda: None),
    _Field("seq", "seq", "ReadMsg.seq", _Seq, 1, lambda: 0),
])


@dataclass
class RevReadMsg(Struct):
    """← Somebody has read: the peer, or this user on another device."""

    #: The conversation.
    conversation: ConversationId

    #: Who has read.
    reader: UserId

    #: Up to where.
    seq: Seq


_RevReadMsg = RevReadMsg.TYPE = _Struct(RevReadMsg, "RevReadMsg", False, [
    _Field("conversation", "conversation", "RevReadMsg.conversation", _ConversationId, 1, lambda: None),
    _Field("reader", "reader", "RevReadMsg.reader", _UserId, 1, lambda: None),
    _Field("seq", "seq", "RevReadMsg.seq", _Seq, 1, lambda: 0),
])


class KickReason(IntEnum):
    """Why a connection is ended by the server."""

    #: A later login took this one's place: of the same device, or of one more than may be logged
    #: in.
    LoggedInElsewhere = 1

    #: The account may not log in any more.
    Forbidden = 2

    #: The password changed or the login was revoked.
    Revoked = 3

    #: The connection did not take what was sent to it.
    SlowConsumer = 4

    #: Nothing was heard for the keep-alive time.
    Idle = 5


_KickReason = _Enum(KickReason, 1)


@dataclass
class Kickout(Struct):
    """← The gate ends this connection."""

    #: Why.
    reason: int

    #: For a person.
    detail: str


_Kickout = Kickout.TYPE = _Struct(Kickout, "Kickout", False, [
    _Field("reason", "reason", "Kickout.reason", _KickReason, 1, lambda: _KickReason.named(0)),
    _Field("detail", "detail", "Kickout.detail", _Text(256), 1, lambda: ""),
])


@dataclass
class Address(Struct):
    """`host:port`."""

    #: `host:port`.
    text: str


_Address = Address.TYPE = _Struct(Address, "Address", True, [
    _Field("text", "text", "Address.text", _Text(256), 1, lambda: ""),
])


@dataclass
class Redirect(Struct):
    """← Connect again, elsewhere where addresses are given."""

    #: Addresses to try, `host:port`; empty for "the ones you know".
    gates: List[Address]

    #: Milliseconds to wait before, so that not everybody comes at once.
    after_ms: int


_Redirect = Redirect.TYPE = _Struct(Redirect, "Redirect", False, [
    _Field("gates", "gates", "Redirect.gates", _List(_Address, 16), 1, lambda: []),
    _Field("after_ms", "after_ms", "Redirect.after_ms", _U32, 1, lambda: 0),
])


class Direction(IntEnum):
    """Which way a history is read."""

    #: Ascending: places greater than `from`.
    Forward = 0

    #: Descending: places smaller than `from`; 0 stands for "from the newest".
    Backward = 1


_Direction = _Enum(Direction, 1)


@dataclass
class GetHistory(Struct):
    """Read a conversation's history."""

    #: The conversation; the asker must be part of it.
    conversation: ConversationId

    #: Where to start; not included.
    from_: Seq

    #: Which way.
    direction: int

    #: Rows wanted at most; 0 leaves it to the server.
    limit: int


_GetHistory = GetHistory.TYPE = _Struct(GetHistory, "GetHistory", False, [
    _Field("conversation", "conversation", "GetHistory.conversation", _ConversationId, 1, lambda: None),
    _Field("from", "from_", "GetHistory.from", _Seq, 1, lambda: 0),
    _Field("direction", "direction", "GetHistory.direction", _Direction, 1, lambda: _Direction.named(0)),
    _Field("limit", "limit", "GetHistory.limit", _U16, 1, lambda: 0),
])


@dataclass
class HistoryPage(Struct):
    """A page of a history, in the order that was asked for."""

    #: The conversation's greatest place.
    head: Seq

    #: The rows.
    messages: List[Message]

    #: Whether there is more behind the last row.
    has_more: bool


_HistoryPage = HistoryPage.TYPE = _Struct(HistoryPage, "HistoryPage", False, [
    _Field("head", "head", "HistoryPage.head", _Seq, 1, lambda: 0),
    _Field("messages", "messages", "HistoryPage.messages", _List(_Message, 200), 1, lambda: []),
    _Field("has_more", "has_more", "HistoryPage.has_more", _BOOL, 1, lambda: False),
])


class SignalKind(IntEnum):
    """What an online-only signal says."""

    #: The user is writing.
    Typing = 1

    #: Whatever the application makes of the payload.
    Custom = 2


_SignalKind = _Enum(SignalKind, 2)


@dataclass
class Signal(Struct):
    """Tell those who are online; nothing is stored."""

    #: To whom.
    to: Target

    #: What.
    kind: int

    #: The application's own.
    payload: bytes


_Signal = Signal.TYPE = _Struct(Signal, "Signal", False, [
    _Field("to", "to", "Signal.to", _Target, 1, lambda: None),
    _Field("kind", "kind", "Signal.kind", _SignalKind, 1, lambda: _SignalKind.named(0)),
    _Field("payload", "payload", "Signal.payload", _Bytes(1024), 1, lambda: b""),
])


@dataclass
class RevSignal(Struct):
    """← Somebody who is online tells something."""

    #: In which conversation.
    conversation: ConversationId

    #: Who.
    sender: UserId

    #: What.
    kind: int

    #: The application's own.
    payload: bytes


_RevSignal = RevSignal.TYPE = _Struct(RevSignal, "RevSignal", False, [
    _Field("conversation", "conversation", "RevSignal.conversation", _ConversationId, 1, lambda: None),
    _Field("sender", "sender", "RevSignal.sender", _UserId, 1, lambda: None),
    _Field("kind", "kind", "RevSignal.kind", _SignalKind, 1, lambda: _SignalKind.named(0)),
    _Field("payload", "payload", "RevSignal.payload", _Bytes(1024), 1, lambda: b""),
])


@dataclass
class ListConversations(Struct):
    """List the user's conversations, in the order of their ids."""

    #: The last id of the page before; `None` for the first page.
    after: Optional[ConversationId]

    #: Rows wanted at most; 0 leaves it to the server.
    limit: int


_ListConversations = ListConversations.TYPE = _Struct(ListConversations, "ListConversations", False, [
    _Field("after", "after", "ListConversations.after", _Option(_ConversationId), 1, lambda: None),
    _Field("limit", "limit", "ListConversations.limit", _U16, 1, lambda: 0),
])


@dataclass
class ConversationSummary(Struct):
    """One conversation as its member sees it."""

    #: The conversation.
    conversation: ConversationId

    #: The group's name; empty for two users.
    name: str

    #: Its greatest place.
    head: Seq

    #: Up to where this user has read.
    read_seq: Seq

    #: Messages of others behind `read_seq`.
    unread: int

    #: The newest message, if there is any.
    last: Optional[Message]


_ConversationSummary = ConversationSummary.TYPE = _Struct(ConversationSummary, "ConversationSummary", False, [
    _Field("conversation", "conversation", "ConversationSummary.conversation", _ConversationId, 1, lambda: None),
    _Field("name", "name", "ConversationSummary.name", _Text(256), 1, lambda: ""),
    _Field("head", "head", "ConversationSummary.head", _Seq, 1, lambda: 0),
    _Field("read_seq", "read_seq", "ConversationSummary.read_seq", _Seq, 1, lambda: 0),
    _Field("unread", "unread", "ConversationSummary.unread", _U64, 1, lambda: 0),
    _Field("last", "last", "ConversationSummary.last", _Option(_Message), 1, lambda: None),
])


@dataclass
class ConversationPage(Struct):
    """A page of conversations."""

    #: The rows.
    conversations: List[ConversationSummary]

    #: Whether there is more behind the last row.
    has_more: bool


_ConversationPage = ConversationPage.TYPE = _Struct(ConversationPage, "ConversationPage", False, [
    _Field("conversations", "conversations", "ConversationPage.conversations", _List(_ConversationSummary, 200), 1, lambda: []),
    _Field("has_more", "has_more", "ConversationPage.has_more", _BOOL, 1, lambda: False),
])


@dataclass
class CreateGroup(Struct):
    """Make a group. The maker becomes its owner and a member. Idempotent: the same group made again by the same owner with the same name answers with what is there."""

    #: The group's id.
    group: GroupId

    #: Its name for people.
    name: str

    #: Further members.
    members: List[UserId]


_CreateGroup = CreateGroup.TYPE = _Struct(CreateGroup, "CreateGroup", False, [
    _Field("group", "group", "CreateGroup.group", _GroupId, 1, lambda: None),
    _Field("name", "name", "CreateGroup.name", _Text(256), 1, lambda: ""),
    _Field("members", "members", "CreateGroup.members", _List(_UserId, 1000), 1, lambda: []),
])


@dataclass
class Group(Struct):
    """A group."""

    #: Its id.
    group: GroupId

    #: Its name for people.
    name: str

    #: Who made it.
    owner: UserId

    #: Who belongs to it, the owner included, in the order of their ids.
    members: List[UserId]


_Group = Group.TYPE = _Struct(Group, "Group", False, [
    _Field("group", "group", "Group.group", _GroupId, 1, lambda: None),
    _Field("name", "name", "Group.name", _Text(256), 1, lambda: ""),
    _Field("owner", "owner", "Group.owner", _UserId, 1, lambda: None),
    _Field("members", "members", "Group.members", _List(_UserId, 1000), 1, lambda: []),
])


@dataclass
class ChangeMembers(Struct):
    """Change who belongs to a group. The owner may add and remove; a member may add, and may remove itself."""

    #: The group.
    group: GroupId

    #: Users to add; those who are members stay.
    add: List[UserId]

    #: Users to remove; those who are none are passed over.
    remove: List[UserId]


_ChangeMembers = ChangeMembers.TYPE = _Struct(ChangeMembers, "ChangeMembers", False, [
    _Field("group", "group", "ChangeMembers.group", _GroupId, 1, lambda: None),
    _Field("add", "add", "ChangeMembers.add", _List(_UserId, 1000), 1, lambda: []),
    _Field("remove", "remove", "ChangeMembers.remove", _List(_UserId, 1000), 1, lambda: []),
])


@dataclass
class ListGroups(Struct):
    """List the groups that the user belongs to, in the order of their ids."""

    #: The last id of the page before; `None` for the first page.
    after: Optional[GroupId]

    #: Rows wanted at most; 0 leaves it to the server.
    limit: int


_ListGroups = ListGroups.TYPE = _Struct(ListGroups, "ListGroups", False, [
    _Field("after", "after", "ListGroups.after", _Option(_GroupId), 1, lambda: None),
    _Field("limit", "limit", "ListGroups.limit", _U16, 1, lambda: 0),
])


@dataclass
class GroupPage(Struct):
    """A page of groups."""

    #: The rows.
    groups: List[Group]

    #: Whether there is more behind the last row.
    has_more: bool


_GroupPage = GroupPage.TYPE = _Struct(GroupPage, "GroupPage", False, [
    _Field("groups", "groups", "GroupPage.groups", _List(_Group, 200), 1, lambda: []),
    _Field("has_more", "has_more", "GroupPage.has_more", _BOOL, 1, lambda: False),
])


class RefusalCode(IntEnum):
    """Why a request or a connection was refused."""

    #: the first bytes are not this protocol's
    BadMagic = 100

    #: this protocol version is not spoken here
    BadVersion = 101

    #: a frame that breaks the framing rules
    BadFrame = 102

    #: a frame over the maximum length
    FrameTooLong = 103

    #: a body that does not decode
    BadBody = 104

    #: a command that is not known here
    UnknownCommand = 105

    #: a command that does not belong at this step
    OutOfOrder = 106

    #: none of the offered codecs is spoken here
    NoCodec = 107

    #: encrypted bodies are not offered here
    NoEncryption = 108

    #: only encrypted bodies are taken here
    EncryptionRequired = 109

    #: none of the offered body encryptions is spoken here
    NoSuite = 110

    #: a key share that no key can be agreed with
    BadKeyShare = 111

    #: a frame that does not open with the agreed keys
    NotAuthentic = 112

    #: the token is malformed, or signed by no known key
    BadToken = 200

    #: the token has expired
    ExpiredToken = 201

    #: a command that needs a login first
    NotLoggedIn = 202

    #: the step took longer than it may
    TooSlow = 203

    #: this device logged in on another connection
    LoggedInElsewhere = 204

    #: this account is banned
    Banned = 205

    #: an id that is empty, too long, or has a forbidden character
    BadId = 300

    #: a payload or list over its maximum
    TooLarge = 301

    #: the same message id was sent before with other content
    IdReused = 302

    #: there is no such group
    NoSuchGroup = 303

    #: only members may do this
    NotAMember = 304

    #: the role does not allow this
    NotAllowed = 305

    #: there is no such conversation
    NoSuchConversation = 306

    #: a group of that id exists
    GroupExists = 307

    #: a position beyond the head of the timeline
    BadPosition = 308

    #: there is no such user
    NoSuchUser = 309

    #: too many requests
    RateLimited = 400

    #: too many connections
    TooManyConnections = 401

    #: the server has no room for the request right now
    Busy = 500

    #: a part of the server cannot be reached
    Unavailable = 501

    #: no answer in time; the request may or may not have happened
    DeadlineExceeded = 502

    #: this server is going away
    Draining = 503

    #: the server failed; its log says why
    Internal = 504


_RefusalCode = _Enum(RefusalCode, 2)


@dataclass
class Refusal(Struct):
    """A refusal with what the peer may want to know beside the code."""

    #: Which row of the table.
    code: int

    #: For a person; never parsed.
    detail: str

    #: Milliseconds to wait before a retry; 0 leaves it to the peer.
    retry_after_ms: int


_Refusal = Refusal.TYPE = _Struct(Refusal, "Refusal", False, [
    _Field("code", "code", "Refusal.code", _RefusalCode, 1, lambda: _RefusalCode.named(0)),
    _Field("detail", "detail", "Refusal.detail", _Text(256), 1, lambda: ""),
    _Field("retry_after_ms", "retry_after_ms", "Refusal.retry_after_ms", _U32, 1, lambda: 0),
])


class Command(IntEnum):
    """What a frame between a client and its gate is. Those marked ← come from the server unasked."""

    #: HandShake → HandShakeAck; the first frame, in the codec that the preamble names.
    HandShake = 1

    #: Auth → AuthAck; the second.
    Auth = 2

    #: Empty → Empty; the login ends, and the gate closes.
    Logout = 3

    #: Empty → HeartBeatAck; the client is there, and asks how far its timeline reaches.
    HeartBeat = 4

    #: SendMsg → SendAck; idempotent by sender and `client_msg_id`.
    SendMsg = 5

    #: ← NewMsg.
    NewMsg = 6

    #: GetMsg → MsgPage.
    GetMsg = 7

    #: ReadMsg → Empty.
    ReadMsg = 8

    #: ← RevReadMsg.
    RevReadMsg = 9

    #: ← Kickout; then the gate closes.
    Kickout = 10

    #: ← Redirect.
    Redirect = 11

    #: GetHistory → HistoryPage.
    GetHistory = 12

    #: Signal → Empty.
    Signal = 13

    #: ← RevSignal.
    RevSignal = 14

    #: ListConversations → ConversationPage.
    ListConversations = 15

    #: CreateGroup → Group.
    CreateGroup = 16

    #: ChangeMembers → Group.
    ChangeMembers = 17

    #: ListGroups → GroupPage.
    ListGroups = 18


class CommandInfo(NamedTuple):
    """A command: who begins, and the bodies of its frames."""

    name: str
    number: int
    from_client: bool
    request: Any
    answer: Any


#: Every command by its number.
COMMANDS: Dict[int, CommandInfo] = {
    0x01: CommandInfo("HandShake", 0x01, True, HandShake, HandShakeAck),
    0x02: CommandInfo("Auth", 0x02, True, Auth, AuthAck),
    0x03: CommandInfo("Logout", 0x03, True, Empty, Empty),
    0x04: CommandInfo("HeartBeat", 0x04, True, Empty, HeartBeatAck),
    0x05: CommandInfo("SendMsg", 0x05, True, SendMsg, SendAck),
    0x06: CommandInfo("NewMsg", 0x06, False, NewMsg, None),
    0x07: CommandInfo("GetMsg", 0x07, True, GetMsg, MsgPage),
    0x08: CommandInfo("ReadMsg", 0x08, True, ReadMsg, Empty),
    0x09: CommandInfo("RevReadMsg", 0x09, False, RevReadMsg, None),
    0x0a: CommandInfo("Kickout", 0x0a, False, Kickout, None),
    0x0b: CommandInfo("Redirect", 0x0b, False, Redirect, None),
    0x0c: CommandInfo("GetHistory", 0x0c, True, GetHistory, HistoryPage),
    0x0d: CommandInfo("Signal", 0x0d, True, Signal, Empty),
    0x0e: CommandInfo("RevSignal", 0x0e, False, RevSignal, None),
    0x0f: CommandInfo("ListConversations", 0x0f, True, ListConversations, ConversationPage),
    0x10: CommandInfo("CreateGroup", 0x10, True, CreateGroup, Group),
    0x11: CommandInfo("ChangeMembers", 0x11, True, ChangeMembers, Group),
    0x12: CommandInfo("ListGroups", 0x12, True, ListGroups, GroupPage),
}

#: Every body by its name.
BODIES: Dict[str, Any] = {
    "HandShake": HandShake,
    "HandShakeAck": HandShakeAck,
    "Auth": Auth,
    "AuthAck": AuthAck,
    "Empty": Empty,
    "HeartBeatAck": HeartBeatAck,
    "SendMsg": SendMsg,
    "SendAck": SendAck,
    "NewMsg": NewMsg,
    "GetMsg": GetMsg,
    "MsgPage": MsgPage,
    "ReadMsg": ReadMsg,
    "RevReadMsg": RevReadMsg,
    "Kickout": Kickout,
    "Redirect": Redirect,
    "GetHistory": GetHistory,
    "HistoryPage": HistoryPage,
    "Signal": Signal,
    "RevSignal": RevSignal,
    "ListConversations": ListConversations,
    "ConversationPage": ConversationPage,
    "CreateGroup": CreateGroup,
    "Group": Group,
    "ChangeMembers": ChangeMembers,
    "ListGroups": ListGroups,
    "GroupPage": GroupPage,
    "Refusal": Refusal,
}


class RefusalInfo(NamedTuple):
    """A row of the table of refusals. `retry` is Never, Later, AfterLogin or Reconnect."""

    name: str
    number: int
    sentence: str
    retry: str


#: Every refusal by its number.
REFUSALS: Dict[int, RefusalInfo] = {
    100: RefusalInfo("BadMagic", 100, "the first bytes are not this protocol's", "Never"),
    101: RefusalInfo("BadVersion", 101, "this protocol version is not spoken here", "Never"),
    102: RefusalInfo("BadFrame", 102, "a frame that breaks the framing rules", "Never"),
    103: RefusalInfo("FrameTooLong", 103, "a frame over the maximum length", "Never"),
    104: RefusalInfo("BadBody", 104, "a body that does not decode", "Never"),
    105: RefusalInfo("UnknownCommand", 105, "a command that is not known here", "Never"),
    106: RefusalInfo("OutOfOrder", 106, "a command that does not belong at this step", "Never"),
    107: RefusalInfo("NoCodec", 107, "none of the offered codecs is spoken here", "Never"),
    108: RefusalInfo("NoEncryption", 108, "encrypted bodies are not offered here", "Never"),
    109: RefusalInfo("EncryptionRequired", 109, "only encrypted bodies are taken here", "Never"),
    110: RefusalInfo("NoSuite", 110, "none of the offered body encryptions is spoken here", "Never"),
    111: RefusalInfo("BadKeyShare", 111, "a key share that no key can be agreed with", "Never"),
    112: RefusalInfo("NotAuthentic", 112, "a frame that does not open with the agreed keys", "Reconnect"),
    200: RefusalInfo("BadToken", 200, "the token is malformed, or signed by no known key", "AfterLogin"),
    201: RefusalInfo("ExpiredToken", 201, "the token has expired", "AfterLogin"),
    202: RefusalInfo("NotLoggedIn", 202, "a command that needs a login first", "AfterLogin"),
    203: RefusalInfo("TooSlow", 203, "the step took longer than it may", "Reconnect"),
    204: RefusalInfo("LoggedInElsewhere", 204, "this device logged in on another connection", "Never"),
    205: RefusalInfo("Banned", 205, "this account is banned", "Never"),
    300: RefusalInfo("BadId", 300, "an id that is empty, too long, or has a forbidden character", "Never"),
    301: RefusalInfo("TooLarge", 301, "a payload or list over its maximum", "Never"),
    302: RefusalInfo("IdReused", 302, "the same message id was sent before with other content", "Never"),
    303: RefusalInfo("NoSuchGroup", 303, "there is no such group", "Never"),
    304: RefusalInfo("NotAMember", 304, "only members may do this", "Never"),
    305: RefusalInfo("NotAllowed", 305, "the role does not allow this", "Never"),
    306: RefusalInfo("NoSuchConversation", 306, "there is no such conversation", "Never"),
    307: RefusalInfo("GroupExists", 307, "a group of that id exists", "Never"),
    308: RefusalInfo("BadPosition", 308, "a position beyond the head of the timeline", "Never"),
    309: RefusalInfo("NoSuchUser", 309, "there is no such user", "Never"),
    400: RefusalInfo("RateLimited", 400, "too many requests", "Later"),
    401: RefusalInfo("TooManyConnections", 401, "too many connections", "Later"),
    500: RefusalInfo("Busy", 500, "the server has no room for the request right now", "Later"),
    501: RefusalInfo("Unavailable", 501, "a part of the server cannot be reached", "Later"),
    502: RefusalInfo("DeadlineExceeded", 502, "no answer in time; the request may or may not have happened", "Later"),
    503: RefusalInfo("Draining", 503, "this server is going away", "Reconnect"),
    504: RefusalInfo("Internal", 504, "the server failed; its log says why", "Later"),
}


def retry_of(code: int) -> str:
    """Whether asking again may help; a code that is not known is judged by its number."""
    known = REFUSALS.get(code)
    if known is not None:
        return known.retry
    return "Later" if code >= 500 else "Never"
