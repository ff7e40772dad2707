"""Encrypted bodies of the sim protocol (section 18 of `docs/protocol.md`), standard library only.

X25519, the verification of Ed25519, HKDF-SHA256 and ChaCha20-Poly1305 are written out here, because Python's library
has none of them. They are right (the vectors of `encryption-v1.json` say so) and slow, and they take different times
for different keys: whoever can measure this process closely learns something. For more than this, use a native library.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from pathlib import Path
from typing import NamedTuple, Tuple

import sim_protocol as p

#: Frames under one key.
REKEY_AFTER = 1 << 20
TAG_LEN = 16
SIGNED = b"sim encrypted bodies v1, gate\0"
#: Bytes of key that each suite takes.
KEY_LEN = {p.Encryption.ChaCha20Poly1305: 32, p.Encryption.Aes128Gcm: 16}


class NotAuthentic(Exception):
    """A signature, key or frame that is not what the agreed keys make of it. The connection has to be closed."""


# --- X25519, RFC 7748 ------------------------------------------------------------------------

_P = 2**255 - 19
_BASE = (9).to_bytes(32, "little")


def x25519(private: bytes, public: bytes) -> bytes:
    """The shared secret; 32 zero bytes where `public` is a point of small order."""
    scalar = int.from_bytes(private, "little") & ~7 & (1 << 255) - 1 | 1 << 254
    u = int.from_bytes(public, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swapped = 1, 0, u, 1, 0
    for bit in reversed(range(255)):
        now = scalar >> bit & 1
        if now != swapped:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swapped = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % _P, b * b % _P, d * a % _P, c * b % _P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % _P, u * (da - cb) ** 2 % _P
        x2, z2 = aa * bb % _P, e * (aa + 121665 * e) % _P
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _P - 2, _P) % _P).to_bytes(32, "little")


def x25519_public(private: bytes) -> bytes:
    """The public key of a private one."""
    return x25519(private, _BASE)


# --- Ed25519, RFC 8032: verification ---------------------------------------------------------

_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_SQRT_MINUS_1 = pow(2, (_P - 1) // 4, _P)
_Point = Tuple[int, int, int, int]  # X, Y, Z, T of extended coordinates: x = X/Z, y = Y/Z, xy = T/Z


def _add(a: _Point, b: _Point) -> _Point:
    e, f = (a[1] - a[0]) * (b[1] - b[0]), (a[1] + a[0]) * (b[1] + b[0])
    g, h = 2 * a[3] * b[3] * _D, 2 * a[2] * b[2]
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: _Point) -> _Point:
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


def _point(data: bytes) -> _Point:
    """Reads a compressed point; `ValueError` where it is none."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= _P:
        raise ValueError("not a reduced coordinate")
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _SQRT_MINUS_1 % _P
    if (x * x - square) % _P or (x == 0 and sign):
        raise ValueError("not a point of the curve")
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


_GENERATOR = _point((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))


def ed25519_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is of `public`'s owner over `message`."""
    if len(public) != 32 or len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= _L:
        return False
    try:
        key, r = _point(public), _point(signature[:32])
    except ValueError:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    left, right = _times(s, _GENERATOR), _add(r, _times(h, key))
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 and (left[1] * right[2] - right[1] * left[2]) % _P == 0


# --- HKDF-SHA256, RFC 5869 -------------------------------------------------------------------


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """A key of 32 bytes from a secret that is not evenly spread."""
    return hmac.new(salt, secret, hashlib.sha256).digest()


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    """`length` bytes from a key, for one use."""
    out, block, number = b"", b"", 0
    while len(out) < length:
        number += 1
        block = hmac.new(key, block + info + bytes([number]), hashlib.sha256).digest()
        out += block
    return out[:length]


def derive(secret: bytes, label: str, context: bytes, length: int) -> bytes:
    """The protocol's own use of HKDF-Expand (section 18.2)."""
    return hkdf_expand(secret, b"sim v1 " + label.encode("ascii") + b"\0" + context, length)


# --- ChaCha20-Poly1305, RFC 8439 -------------------------------------------------------------

_ROUNDS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)
_WORD = 0xFFFF_FFFF


def _chacha20_block(key: Tuple[int, ...], counter: int, nonce: Tuple[int, ...]) -> bytes:
    start = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key, counter, *nonce)
    s = list(start)
    for _ in range(10):
        for a, b, c, d in _ROUNDS:
            s[a] = s[a] + s[b] & _WORD
            x = s[d] ^ s[a]
            s[d] = x << 16 & _WORD | x >> 16
            s[c] = s[c] + s[d] & _WORD
            x = s[b] ^ s[c]
            s[b] = x << 12 & _WORD | x >> 20
            s[a] = s[a] + s[b] & _WORD
            x = s[d] ^ s[a]
            s[d] = x << 8 & _WORD | x >> 24
            s[c] = s[c] + s[d] & _WORD
            x = s[b] ^ s[c]
            s[b] = x << 7 & _WORD | x >> 25
    return struct.pack("<16I", *(a + b & _WORD for a, b in zip(s, start)))


def _chacha20(key: bytes, counter: int, nonce: bytes, data: bytes) -> bytes:
    key_words, nonce_words = struct.unpack("<8I", key), struct.unpack("<3I", nonce)
    blocks = range(counter, counter + (len(data) + 63) // 64)
    stream = b"".join(_chacha20_block(key_words, block, nonce_words) for block in blocks)[: len(data)]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(len(data), "little")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def _tag(key: bytes, nonce: bytes, associated: bytes, sealed: bytes) -> bytes:
    once = _chacha20(key, 0, nonce, bytes(32))
    r = int.from_bytes(once[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    text = _padded(associated) + _padded(sealed) + struct.pack("<QQ", len(associated), len(sealed))
    total = 0
    for at in range(0, len(text), 16):
        total = (total + (int.from_bytes(text[at : at + 16], "little") | 1 << 128)) * r % (2**130 - 5)
    return (total + int.from_bytes(once[16:], "little") & (1 << 128) - 1).to_bytes(16, "little")


def chacha20_poly1305_seal(key: bytes, nonce: bytes, associated: bytes, plain: bytes) -> bytes:
    """The ciphertext, and the tag behind it."""
    sealed = _chacha20(key, 1, nonce, plain)
    return sealed + _tag(key, nonce, associated, sealed)


def chacha20_poly1305_open(key: bytes, nonce: bytes, associated: bytes, sealed: bytes) -> bytes:
    """The plain text, or `NotAuthentic`."""
    text, tag = sealed[:-TAG_LEN], sealed[-TAG_LEN:]
    if len(tag) != TAG_LEN or not hmac.compare_digest(tag, _tag(key, nonce, associated, text)):
        raise NotAuthentic("a frame that does not open")
    return _chacha20(key, 1, nonce, text)


# --- The protocol's use of them --------------------------------------------------------------


def read_identity(path: Path) -> bytes:
    """A gate's public key from its PEM file: the last 32 bytes of what is in it."""
    lines = path.read_text("ascii").splitlines()
    if "-----BEGIN PUBLIC KEY-----" not in lines:
        raise ValueError(f"{path}: no public key in PEM")
    body = "".join(line for line in lines if line and not line.startswith("-"))
    return p.base64.b64decode(body, validate=True)[-32:]


class Sealer:
    """One direction of a connection under one secret: numbers its frames and changes its key in time."""

    def __init__(self, secret: bytes, suite: p.Encryption, rekey_after: int = REKEY_AFTER) -> None:
        self._suite = suite
        self._rekey_after = rekey_after
        self._begin(secret)

    def _begin(self, secret: bytes) -> None:
        self.secret = secret
        self.key = derive(secret, "key", b"", KEY_LEN[self._suite])
        self.iv = derive(secret, "iv", b"", 12)
        self.number = 0

    def nonce(self, number: int) -> bytes:
        """The nonce of the frame of that number under this key."""
        return (int.from_bytes(self.iv, "big") ^ number).to_bytes(12, "big")

    def _next(self) -> Tuple[bytes, bytes]:
        if self.number == self._rekey_after:
            self._begin(derive(self.secret, "rekey", b"", 32))
        self.number += 1
        return self.key, self.nonce(self.number - 1)

    def seal(self, command: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
        """A whole frame with its body sealed."""
        room = bytes(len(body) + TAG_LEN)
        header = p.encode_frame(command, sequence, room, flags | p.FLAG_ENCRYPTED)[: p.HEADER_LEN]
        return header + chacha20_poly1305_seal(*self._next(), header, body)

    def open(self, frame: p.Frame) -> p.Frame:
        """The frame with its plain body, or `NotAuthentic`."""
        if frame.flags & p.FLAG_ENCRYPTED == 0:
            raise NotAuthentic("a frame that is not encrypted")
        header = p.encode_frame(frame.command, frame.sequence, frame.body, frame.flags)[: p.HEADER_LEN]
        return frame._replace(body=chacha20_poly1305_open(*self._next(), header, frame.body))


class Keys(NamedTuple):
    """What both sides know once the handshake is over."""

    root: bytes
    suite: p.Encryption

    def handshake(self, side: str) -> Sealer:
        """`side` is `client` or `gate`: whose frames they are."""
        return Sealer(derive(self.root, f"{side} handshake", b"", 32), self.suite)

    def session(self, side: str, session: int, user: str) -> Sealer:
        """The keys from the `AuthAck` on."""
        context = session.to_bytes(8, "big") + user.encode("utf-8")
        return Sealer(derive(self.root, f"{side} session", context, 32), self.suite)


def new_private() -> bytes:
    """An ephemeral X25519 key, for one connection."""
    return secrets.token_bytes(32)


def agree(identity: bytes, private: bytes, preamble: bytes, handshake: bytes, answer: bytes) -> Keys:
    """The keys of a connection from its first bytes as they travelled: preamble, `HandShake` frame and `HandShakeAck`
    frame. `NotAuthentic` where the gate is not the one that `identity` names, or did not choose what was offered."""
    body = answer[p.HEADER_LEN :]
    try:
        offered, ack = p.HandShake.decode(handshake[p.HEADER_LEN :]), p.HandShakeAck.decode(body)
    except p.DecodeError as error:
        raise NotAuthentic(f"a handshake that does not decode: {error}") from None
    if ack.encryption not in offered.suites or ack.encryption not in KEY_LEN:
        raise NotAuthentic("the gate did not choose an encryption that was offered")
    if len(ack.signature) != p.SIGNATURE_LEN:
        raise NotAuthentic("no signature")
    transcript = preamble + handshake + answer[: p.HEADER_LEN] + body[1 + p.SIGNATURE_LEN :]
    digest = hashlib.sha256(transcript).digest()
    if not ed25519_verify(identity, SIGNED + digest, ack.signature):
        raise NotAuthentic("the gate's signature is not of its identity")
    if len(ack.key_share) != p.KEY_SHARE_LEN:
        raise NotAuthentic("no key share")
    shared = x25519(private, ack.key_share)
    if shared == bytes(32):
        raise NotAuthentic("a key share of small order")
    return Keys(hkdf_extract(digest, shared), p.Encryption(ack.encryption))
