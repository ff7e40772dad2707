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
