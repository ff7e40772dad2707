"""The protobuf codec of the sim protocol (section 5.3 of `docs/protocol.md`), standard library only.

The generated `sim_protocol` knows every message's fields in their order, which is all that this codec needs:
a field's number is its place in its struct, from 1. Nothing here names a message.

    body = encode(SendMsg(Target.user("bob"), "id-1", ContentType.Text, b"hello"))
    decode(SendMsg, body)
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union

import sim_protocol as p

VARINT, FIXED64, RUN, FIXED32 = 0, 1, 2, 5
FIELD_NUMBER_MAX = (1 << 29) - 1

_S = TypeVar("_S", bound=p.Struct)


class _Slot(NamedTuple):
    """A field by its number: where its value belongs, and its type without option."""

    key: str
    path: str
    type: Any
    optional: bool


def _slots(of: Any) -> Dict[int, _Slot]:
    """The fields of a struct, or the choices of a `Target`, by their numbers."""
    if isinstance(of, p._Union):
        return {number: _Slot(name, of.name, type, False) for name, number, type in of.choices}
    slots = {}
    for number, field in enumerate(of.fields, 1):
        optional = isinstance(field.type, p._Option)
        slots[number] = _Slot(field.attribute, field.path, field.type.of if optional else field.type, optional)
    return slots


def _is_number(of: Any) -> bool:
    return isinstance(of, (p._Uint, p._Bool))


def _is_message(of: Any) -> bool:
    return isinstance(of, (p._Struct, p._Union))


# --- writing ---------------------------------------------------------------------------------


def encode(value: p.Struct) -> bytes:
    """The body in protobuf. What the binary codec would not write is refused here too."""
    value.encode()  # The rules are the same.
    return _message(value.TYPE, value)


def _message(of: Any, value: Any) -> bytes:
    if isinstance(of, p._Union):
        held: Dict[str, Any] = {value.choice: value.value}
    else:
        held = {field.attribute: getattr(value, field.attribute) for field in of.fields}
    out = bytearray()
    for number, slot in _slots(of).items():
        item = held.get(slot.key)
        if isinstance(slot.type, p._List):
            _put_list(out, number, slot.type.of, item)
        elif item is not None and (slot.optional or _is_message(slot.type) or item):
            _put(out, number, slot.type, item)
    return bytes(out)


def _put_list(out: bytearray, number: int, of: Any, items: List[Any]) -> None:
    if not _is_number(of):
        for item in items:
            _put(out, number, of, item)
    elif items:
        packed = bytearray()
        for item in items:
            p._put_varint(packed, int(item))
        _put_run(out, number, bytes(packed))


def _put(out: bytearray, number: int, of: Any, value: Any) -> None:
    if _is_number(of):
        p._put_varint(out, number << 3 | VARINT)
        p._put_varint(out, int(value))
    elif _is_message(of):
        _put_run(out, number, _message(of, value))
    else:
        _put_run(out, number, value.encode("utf-8") if isinstance(value, str) else bytes(value))


def _put_run(out: bytearray, number: int, data: bytes) -> None:
    p._put_varint(out, number << 3 | RUN)
    p._put_varint(out, len(data))
    out += data


# --- reading ---------------------------------------------------------------------------------


def decode(kind: Type[_S], body: bytes) -> _S:
    """Reads a whole body. The caller has all of it: a body that was cut between two fields is a body too."""
    held: Dict[str, Any] = {}
    _merge(kind.TYPE, held, bytes(body))
    return _build(kind.TYPE, held)  # type: ignore[no-any-return]


def _varint(reader: p._Reader, what: str) -> int:
    value = 0
    for index in range(10):
        byte = reader.uint(1, what)
        value |= (byte & 0x7F) << (7 * index)
        if byte & 0x80 == 0:
            if value >> 64:
                break
            return value
    raise p.DecodeError("BadValue", what, "a varint over 64 bits")


def _fields(data: bytes, what: str) -> Iterator[Tuple[int, int, Union[int, bytes]]]:
    """Number, wire type, and value of each field as it stands."""
    reader = p._Reader(data)
    while reader.at < reader.end:
        tag = _varint(reader, what)
        number, wire = tag >> 3, tag & 7
        if not 0 < number <= FIELD_NUMBER_MAX:
            raise p.DecodeError("BadValue", what, "a field number that none can have")
        if wire == VARINT:
            yield number, wire, _varint(reader, what)
        elif wire == RUN:
            yield number, wire, reader.take(_varint(reader, what), what)
        elif wire in (FIXED64, FIXED32):
            yield number, wire, reader.take(8 if wire == FIXED64 else 4, what)
        else:
            raise p.DecodeError("BadValue", what, "a wire type that does not exist, or a group")


def _merge(of: Any, held: Dict[str, Any], data: bytes) -> None:
    """Puts the fields of `data` into `held`: the last number, text or bytes counts, structs are merged and
    lists go on. Structs inside are dictionaries until `_build`."""
    slots = _slots(of)
    for number, wire, value in _fields(data, of.name):
        slot = slots.get(number)
        if slot is None:
            continue
        if isinstance(of, p._Union):
            held.clear()  # The last choice counts.
        if isinstance(slot.type, p._List):
            _merge_list(held.setdefault(slot.key, []), slot, wire, value)
        elif _is_message(slot.type):
            _merge(slot.type, held.setdefault(slot.key, {}), _expect_run(slot, wire, value))
        else:
            held[slot.key] = _scalar(slot.type, slot.path, wire, value)


def _merge_list(items: List[Any], slot: _Slot, wire: int, value: Union[int, bytes]) -> None:
    of = slot.type.of
    if _is_number(of) and isinstance(value, bytes) and wire == RUN:
        packed = p._Reader(value)
        while packed.at < packed.end:
            items.append(_scalar(of, slot.path, VARINT, _varint(packed, slot.path)))
            _bound(items, slot)
    elif _is_message(of):
        items.append({})
        _bound(items, slot)
        _merge(of, items[-1], _expect_run(slot, wire, value))
    else:
        items.append(_scalar(of, slot.path, wire, value))
        _bound(items, slot)


def _bound(items: List[Any], slot: _Slot) -> None:
    if len(items) > slot.type.limit:
        raise p.DecodeError("TooLong", slot.path, f"{len(items)} is over {slot.type.limit}")


def _expect_run(slot: _Slot, wire: int, value: Union[int, bytes]) -> bytes:
    if wire != RUN or not isinstance(value, bytes):
        raise p.DecodeError("BadValue", slot.path, "a wire type that is not the field's")
    return value


def _scalar(of: Any, path: str, wire: int, value: Union[int, bytes]) -> Any:
    """A number, text or bytes, checked by the rules of its type."""
    if wire != (VARINT if _is_number(of) else RUN):
        raise p.DecodeError("BadValue", path, "a wire type that is not the field's")
    if isinstance(of, p._Bool):
        return value != 0
    if isinstance(value, int):
        if value >= 1 << 8 * of.width:
            raise p.DecodeError("BadValue", path, "a number that its type does not hold")
        return of.named(value) if isinstance(of, p._Enum) else value
    # Text and bytes have the binary codec's rules, so its reader judges them, behind a length of its own.
    run = bytearray()
    p._put_varint(run, len(value))
    return of.read(p._Reader(bytes(run) + value), path)


def _build(of: Any, held: Optional[Dict[str, Any]]) -> Any:
    """The struct of what was held; what is absent has its default."""
    held = {} if held is None else held
    if isinstance(of, p._Union):
        if not held:
            raise p.DecodeError("BadValue", of.name, "none of its choices is there")
        return of.make(*next(iter(held.items())))
    values = {}
    for slot in _slots(of).values():
        item = held.get(slot.key)
        if slot.optional and item is None:
            values[slot.key] = None
        elif isinstance(slot.type, p._List):
            items = item or []
            values[slot.key] = [_build(slot.type.of, each) for each in items] if _is_message(slot.type.of) else items
        elif _is_message(slot.type):
            values[slot.key] = _build(slot.type, item)
        else:
            values[slot.key] = _default(slot) if item is None else item
    return of.make(**values)


def _default(slot: _Slot) -> Any:
    of = slot.type
    if isinstance(of, p._Bool):
        return False
    if isinstance(of, p._Uint):
        return of.named(0) if isinstance(of, p._Enum) else 0
    # An empty text or byte string; an id is refused by this, for it has no default.
    return of.read(p._Reader(b"\0"), slot.path)
