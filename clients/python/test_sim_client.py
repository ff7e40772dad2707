"""The client against the vectors of `proto-codec/testdata`, and against real servers.

    SIM_BIN=target/debug/sim python3 -m unittest -v test_sim_client

`SIM_BIN` names the built `sim`, which has `sim-route`, `sim-im-service` and `sim-gate` beside it. Without it the tests
that need a server are skipped; with it none is.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional
from unittest import mock

import sim_client as c
import sim_crypto
import sim_protobuf
import sim_protocol as p

HERE = Path(__file__).resolve().parent
TESTDATA = HERE.parent.parent / "proto-codec" / "testdata"
SIM_BIN = os.environ.get("SIM_BIN")
#: Seconds after which a state that was waited for will not come any more.
DEADLINE = 60.0
CODECS = {p.CodecId.Binary: "binary", p.CodecId.Json: "json", p.CodecId.Protobuf: "protobuf"}


def rows(name: str, part: str = "vectors") -> List[Dict[str, Any]]:
    return json.loads((TESTDATA / name).read_text("utf-8"))[part]


def wait_until(check: Callable[[], Any], what: str, every: float = 0.02) -> Any:
    """What `check` gives once it is true."""
    until = time.monotonic() + DEADLINE
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"did not come: {what}")
        time.sleep(every)


# --- Vectors ---------------------------------------------------------------------------------


def plain_value(value: Any) -> Any:
    """A decoded value as `fields` of the vectors have it."""
    if isinstance(value, p.Target):
        return {value.choice: value.value}
    if isinstance(value, (bytes, bytearray)):
        return {"hex": bytes(value).hex()}
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    return value


def plain_fields(of: Any, value: Any) -> Any:
    """A decoded struct as `fields` have it: by the types of its fields."""
    if isinstance(of, p._Option):
        return None if value is None else plain_fields(of.of, value)
    if isinstance(of, p._List):
        return [plain_fields(of.of, item) for item in value]
    if isinstance(of, p._Struct):
        return {f.name: plain_fields(f.type, getattr(value, f.attribute)) for f in of.fields}
    if isinstance(of, p._Enum):
        known = isinstance(value, of.names)
        return {"number": int(value), "name": value.name.rstrip("_") if known else f"Unknown({int(value)})"}
    if isinstance(of, p._Uint):
        return str(value) if of.width == 8 else value
    return plain_value(value)


class Messages(unittest.TestCase):
    def test_every_message_in_each_codec(self):
        ours = [row for row in rows("messages-v1.json") if row["message"] in p.BODIES]
        self.assertEqual({row["message"] for row in ours}, set(p.BODIES))
        for row in ours:
            kind = p.BODIES[row["message"]]
            bodies = {
                p.CodecId.Binary: bytes.fromhex(row["hex"]),
                p.CodecId.Json: row["json"].encode("utf-8"),
                p.CodecId.Protobuf: bytes.fromhex(row["protobuf"]),
            }
            for codec, body in bodies.items():
                with self.subTest(row["message"], note=row["note"], codec=CODECS[codec]):
                    value = c.decode_body(codec, kind, body)
                    self.assertEqual(plain_fields(kind.TYPE, value), row["fields"])
                    again = c.encode_body(codec, value)
                    if codec == p.CodecId.Json:
                        self.assertEqual(json.loads(again), json.loads(body))
                    else:
                        self.assertEqual(again, body)

    def test_what_is_refused_is_refused_for_its_reason(self):
        def binary(row):
            data = bytes.fromhex(row["hex"])
            if row["kind"] == "preamble":
                return p.decode_preamble(data)
            if row["kind"] == "frame":
                reader = c.FrameReader(p.CLIENT_FRAME_LEN_MAX)
                reader.feed(data)
                return reader.next()
            return p.BODIES[row["kind"]].decode(data)

        readers = {
            "vectors": binary,
            "json": lambda row: p.BODIES[row["kind"]].decode_json(bytes.fromhex(row["hex"])),
            "protobuf": lambda row: sim_protobuf.decode(p.BODIES[row["kind"]], bytes.fromhex(row["hex"])),
        }
        for part, read in readers.items():
            ours = [row for row in rows("refused-v1.json", part) if row["kind"] in {"preamble", "frame", *p.BODIES}]
            self.assertGreater(len(ours), 50)
            for row in ours:
                with self.subTest(part, kind=row["kind"], why=row["why"]):
                    with self.assertRaises((p.DecodeError, p.FrameError)) as refused:
                        read(row)
                    self.assertEqual(refused.exception.kind, row["error"])

    def test_protobuf_takes_what_others_may_write(self):
        """Fields in any order, repeated, unpacked, unknown; see section 5.3."""
        send = p.SendMsg(p.Target.user("b"), "m-1", p.ContentType.Text, b"hi")
        parts = [b"\x0a\x03\x0a\x01\x62", b"\x12\x03m-1", b"\x18\x01", b"\x22\x02hi"]
        self.assertEqual(sim_protobuf.decode(p.SendMsg, b"".join(reversed(parts))), send)
        self.assertEqual(sim_protobuf.decode(p.SendMsg, b"\x22\x03old" + b"".join(parts)), send)
        self.assertEqual(sim_protobuf.decode(p.SendMsg, b"\x0a\x03\x12\x01g" + b"".join(parts)), send)
        unknown = b"\x7a\x01x" + b"\x78\x05" + b"\x7d0123" + b"\x7901234567"
        self.assertEqual(sim_protobuf.decode(p.SendMsg, b"".join(parts) + unknown), send)
        for codecs in (b"\x1a\x02\x00\x01", b"\x18\x00\x18\x01", b"\x1a\x01\x00\x18\x01"):
            self.assertEqual(sim_protobuf.decode(p.HandShake, codecs).codecs, [0, 1])
        split = sim_protobuf.decode(p.GetMsg, b"\x0a\x02\x08\x07" + b"\x0a\x02\x10\x09")
        self.assertEqual(split, p.GetMsg(p.Position(7, 9), 0))


class Streams(unittest.TestCase):
    def frame(self, row):
        return p.Frame(row["command"], row["flags"], row["sequence"], bytes.fromhex(row["body"]))

    def take(self, reader, data):
        """The frames that `data` makes whole, and the error behind them."""
        reader.feed(data)
        frames = []
        try:
            while True:
                frame = reader.next()
                if frame is None:
                    return frames, None
                frames.append(frame)
        except p.FrameError as error:
            return frames, error.kind

    def test_whole_frames_both_ways(self):
        for row in rows("frames-v1.json"):
            with self.subTest(row["what"]):
                frame, data = self.frame(row), bytes.fromhex(row["hex"])
                self.assertEqual(p.encode_frame(frame.command, frame.sequence, frame.body, frame.flags), data)
                self.assertEqual(self.take(c.FrameReader(row["length"]), data), ([frame], None))

    def test_streams_split_at_every_point(self):
        for row in rows("streams-v1.json"):
            length_max = row["length_max"] or p.CLIENT_FRAME_LEN_MAX
            data, whole = bytes.fromhex(row["hex"]), [self.frame(frame) for frame in row["frames"]]
            with self.subTest(row["what"]):
                for split in range(len(data) + 1):
                    reader = c.FrameReader(length_max)
                    first, error = self.take(reader, data[:split])
                    self.assertEqual(len(first), row["complete"][split], split)
                    rest, error = self.take(reader, data[split:])
                    self.assertEqual((first + rest, error), (whole, row["error"]))
                reader, frames, error = c.FrameReader(length_max), [], None
                for at in range(len(data)):
                    more, error = self.take(reader, data[at : at + 1])
                    frames += more
                    if error:
                        break
                self.assertEqual((frames, error), (whole, row["error"]))


class Encryption(unittest.TestCase):
    def setUp(self):
        self.connections = rows("encryption-v1.json")
        self.one = next(row for row in self.connections if row["suite"]["number"] == 1)

    def agree(self, row, **changed):
        value = lambda name: changed.get(name, bytes.fromhex(row[name]))
        names = ("identity_public", "client_private", "preamble", "handshake_frame", "ack_frame")
        return sim_crypto.agree(*(value(name) for name in names))

    def sealer(self, keys, direction, row):
        side, step = direction.split()
        made = keys.handshake(side) if step == "handshake" else keys.session(side, int(row["session_id"]), row["user"])
        return sim_crypto.Sealer(made.secret, keys.suite, 3)

    def test_agreement_and_keys_of_each_suite(self):
        self.assertEqual([row["suite"]["number"] for row in self.connections], [1, 2])
        for row in self.connections:
            with self.subTest(row["suite"]["name"]):
                private, share = bytes.fromhex(row["client_private"]), bytes.fromhex(row["gate_key_share"])
                self.assertEqual(sim_crypto.x25519_public(private).hex(), row["client_key_share"])
                self.assertEqual(sim_crypto.x25519(private, share).hex(), row["shared"])
                keys = self.agree(row)
                self.assertEqual(keys.root.hex(), row["root"])
                for told in row["keys"]:
                    sealer = self.sealer(keys, told["direction"], row)
                    for _ in range(told["generation"]):
                        sealer._begin(sim_crypto.derive(sealer.secret, "rekey", b"", 32))
                    self.assertEqual(
                        [sealer.secret.hex(), sealer.key.hex(), sealer.iv.hex(), sealer.nonce(0).hex(), sealer.nonce(1).hex()],
                        [told["secret"], told["key"], told["iv"], told["nonce_0"], told["nonce_1"]],
                    )

    def frames(self):
        """Frames by direction: header, plain body, the sealed frame."""
        told: Dict[str, Any] = {}
        for row in self.one["frames"]:
            header = p.decode_header(bytes.fromhex(row["header"]), p.CLIENT_FRAME_LEN_MAX)
            told.setdefault(row["direction"], []).append(
                (header, bytes.fromhex(row["body"]), bytes.fromhex(row["sealed"]), row)
            )
        return told

    def test_frames_are_sealed_and_opened_over_rekeys(self):
        keys = self.agree(self.one)
        for direction, frames in self.frames().items():
            sealer, opener = (self.sealer(keys, direction, self.one) for _ in range(2))
            for header, body, sealed, row in frames:
                with self.subTest(direction, generation=row["generation"], number=row["number"]):
                    self.assertEqual(sealer.seal(header.command, header.sequence, body, header.flags).hex(), sealed.hex())
                    frame = p.Frame(header.command, header.flags, header.sequence, sealed[p.HEADER_LEN :])
                    self.assertEqual(opener.open(frame).body, body)

    def test_what_was_changed_moved_or_repeated_does_not_open(self):
        keys = self.agree(self.one)
        header, body, sealed, _ = self.frames()["client session"][1]
        first = self.frames()["client session"][0][2]
        plain = p.Frame(header.command, header.flags & ~p.FLAG_ENCRYPTED, header.sequence, body)
        # The first frame, the first frame again, the second one cut, plain, and with each of its bits changed.
        good = p.Frame(4, 2, 1, first[p.HEADER_LEN :])
        right = p.Frame(header.command, header.flags, header.sequence, sealed[p.HEADER_LEN :])
        bad = [good, right._replace(body=right.body[:15]), right._replace(body=right.body[:-1]), plain]
        for at in range(len(right.body)):
            bad.append(right._replace(body=right.body[:at] + bytes([right.body[at] ^ 1]) + right.body[at + 1 :]))
        bad += [right._replace(command=6), right._replace(sequence=99), right._replace(flags=3)]
        for frame in bad:
            opener = self.sealer(keys, "client session", self.one)
            opener.open(good)
            with self.assertRaises(sim_crypto.NotAuthentic):
                opener.open(frame)

    def test_an_answer_that_was_changed_anywhere_is_not_believed(self):
        answer = bytes.fromhex(self.one["ack_frame"])
        for at in range(p.HEADER_LEN, len(answer)):
            for bit in (0x01, 0x80):
                with self.subTest(at=at, bit=bit), self.assertRaises(sim_crypto.NotAuthentic):
                    self.agree(self.one, ack_frame=answer[:at] + bytes([answer[at] ^ bit]) + answer[at + 1 :])
        handshake = bytes.fromhex(self.one["handshake_frame"])
        with self.assertRaises(sim_crypto.NotAuthentic):
            self.agree(self.one, handshake_frame=handshake.replace(b"chat", b"chad"))
        with self.assertRaises(sim_crypto.NotAuthentic):
            self.agree(self.one, identity_public=bytes.fromhex(self.one["gate_key_share"]))

    def test_a_key_share_of_small_order_is_refused(self):
        with mock.patch.object(sim_crypto, "x25519", return_value=bytes(32)):
            with self.assertRaises(sim_crypto.NotAuthentic):
                self.agree(self.one)
        for small in (bytes(32), b"\1" + bytes(31)):
            self.assertEqual(sim_crypto.x25519(sim_crypto.new_private(), small), bytes(32))

    def test_bodies_of_all_lengths(self):
        for length in [*range(0, 131), 1000]:
            body = bytes(range(256)) * 4
            sealer, opener = (sim_crypto.Sealer(bytes(32), p.Encryption.ChaCha20Poly1305) for _ in range(2))
            sealed = sealer.seal(p.Command.SendMsg, 7, body[:length])
            self.assertEqual(opener.open(p.Frame(5, 2, 7, sealed[p.HEADER_LEN :])).body, body[:length])


# --- Timeline, state, connection: without a server -------------------------------------------


class Recorder(c.Application):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.entries: List[Any] = []
        self.told: List[Any] = []
        self.acks: List[Any] = []

    def message(self, seq, message):
        self.entries.append((seq, message))

    def restored(self):
        self.told.append("restored")

    def trimmed(self, first, last):
        self.told.append(("trimmed", first, last))

    def acked(self, message, ack):
        self.acks.append((message, ack))

    def refused(self, message, refused):
        self.told.append(refused.name)

    def read(self, conversation, reader, seq):
        self.told.append(("read", conversation, reader, seq))

    def signal(self, signal):
        self.told.append(("signal", signal.sender, signal.payload))

    @property
    def texts(self) -> List[str]:
        return [message.payload.decode("utf-8") for _, message in self.entries]


def message(number: int) -> p.Message:
    return p.Message("a:b", number, "a", f"m-{number}", 0, p.ContentType.Text, b"x")


def page(epoch: int, head: int, seqs, floor: int = 0, more: bool = False) -> p.MsgPage:
    return p.MsgPage(p.Position(epoch, head), floor, [p.Entry(seq, message(seq)) for seq in seqs], more)


class Sync(unittest.TestCase):
    """Section 20, line by line."""

    def setUp(self):
        self.app = Recorder()
        self.kept: List[p.Position] = []
        self.begin(0, 0)

    def begin(self, epoch, seq):
        self.timeline = c.Timeline(p.Position(epoch, seq), self.app, self.kept.append)

    def seqs(self):
        return [seq for seq, _ in self.app.entries]

    def pull(self, now=0.0):
        """The pull that has to be due."""
        self.assertLessEqual(self.timeline.due, now)
        return self.timeline.pull()

    def test_from_nothing_page_by_page(self):
        self.timeline.want(0.0)
        self.assertEqual(self.pull(), p.GetMsg(p.Position(0, 0), 0))
        self.timeline.page(page(7, 3, [1, 2], more=True), 0.0)
        self.assertEqual(self.pull(), p.GetMsg(p.Position(7, 2), 0))
        self.timeline.page(page(7, 3, [3]), 0.0)
        self.assertTrue(self.timeline.settled)
        self.assertEqual((self.seqs(), self.app.told), ([1, 2, 3], []))
        self.assertEqual(self.kept[-1], p.Position(7, 3))

    def test_the_position_rises_behind_each_entry(self):
        self.begin(7, 0)
        self.app.message = lambda seq, _: self.assertEqual(self.timeline.position, p.Position(7, seq - 1))
        self.timeline.page(page(7, 2, [1, 2]), 0.0)
        self.assertEqual(self.kept, [p.Position(7, 1), p.Position(7, 2)])

    def test_an_entry_that_was_not_taken_is_not_passed(self):
        self.begin(7, 0)
        self.app.message = mock.Mock(side_effect=[None, OSError("full")])
        with self.assertRaises(OSError):
            self.timeline.page(page(7, 3, [1, 2, 3]), 0.0)
        self.assertEqual(self.kept, [p.Position(7, 1)])

    def test_a_notify_right_behind_is_taken_and_others_are_pulled(self):
        self.begin(7, 2)
        self.timeline.notified(p.NewMsg(p.Position(7, 3), message(3), 0), 0.0)
        self.assertEqual((self.seqs(), self.timeline.settled), ([3], True))
        for old in (1, 3):
            self.timeline.notified(p.NewMsg(p.Position(7, old), message(old), 0), 0.0)
        self.assertEqual((self.seqs(), self.timeline.settled), ([3], True))
        self.timeline.notified(p.NewMsg(p.Position(7, 5), message(5), 0), 0.0)
        self.assertEqual(self.pull(), p.GetMsg(p.Position(7, 3), 0))

    def test_a_notify_without_an_entry_or_of_another_epoch_is_pulled(self):
        for notify in (p.NewMsg(p.Position(7, 3), None, 0), p.NewMsg(p.Position(8, 3), message(3), 0)):
            self.begin(7, 2)
            self.timeline.notified(notify, 0.0)
            self.assertEqual(self.pull(), p.GetMsg(p.Position(7, 2), 0))
        self.assertEqual(self.seqs(), [])

    def test_a_pull_waits_as_long_as_the_notify_says(self):
        self.begin(7, 2)
        self.timeline.notified(p.NewMsg(p.Position(7, 9), None, 1500), 10.0)
        self.assertEqual(self.timeline.due, 11.5)

    def test_one_pull_at_a_time_and_the_next_follows_it(self):
        self.timeline.want(0.0)
        self.pull()
        self.timeline.want(0.0)
        self.assertEqual(self.timeline.due, float("inf"))
        self.timeline.page(page(7, 1, [1]), 0.0)
        self.assertEqual(self.pull(), p.GetMsg(p.Position(7, 1), 0))

    def test_a_page_repeats_what_came_live(self):
        self.begin(7, 0)
        self.timeline.want(0.0)
        self.pull()
        self.timeline.notified(p.NewMsg(p.Position(7, 1), message(1), 0), 0.0)
        self.timeline.page(page(7, 2, [1, 2]), 0.0)
        self.assertEqual(self.seqs(), [1, 2])

    def test_ones_own_message_is_taken_from_its_ack(self):
        self.begin(7, 4)
        self.timeline.acked(p.Position(7, 5), message(5), 0.0)
        self.assertEqual((self.seqs(), self.timeline.settled), ([5], True))
        self.timeline.acked(p.Position(7, 5), message(5), 0.0)
        self.assertEqual((self.seqs(), self.timeline.settled), ([5], True))
        self.timeline.acked(p.Position(7, 9), message(9), 0.0)
        self.assertFalse(self.timeline.settled)
        self.assertEqual(self.seqs(), [5])

    def test_a_heartbeat_finds_a_lost_notify(self):
        self.begin(7, 2)
        self.timeline.heard(p.Position(7, 2), 0.0)
        self.timeline.heard(None, 0.0)
        self.assertTrue(self.timeline.settled)
        self.timeline.heard(p.Position(7, 3), 0.0)
        self.assertEqual(self.pull(), p.GetMsg(p.Position(7, 2), 0))

    def test_what_came_live_is_told_by_a_pull_after_a_heartbeat(self):
        self.begin(7, 2)
        self.timeline.notified(p.NewMsg(p.Position(7, 3), message(3), 0), 0.0)
        self.timeline.heard(p.Position(7, 3), 0.0)
        self.assertEqual(self.pull(), p.GetMsg(p.Position(7, 3), 0))
        self.timeline.page(page(7, 3, []), 0.0)
        self.timeline.heard(p.Position(7, 3), 0.0)
        self.assertTrue(self.timeline.settled)

    def test_another_epoch_begins_anew_and_is_told(self):
        self.begin(7, 9)
        self.timeline.want(0.0)
        self.pull()
        self.timeline.page(page(8, 2, []), 0.0)
        self.assertEqual(self.app.told, ["restored"])
        self.assertEqual(self.pull(), p.GetMsg(p.Position(8, 0), 0))
        self.timeline.page(page(8, 2, [1, 2]), 0.0)
        self.assertEqual((self.seqs(), self.timeline.position), ([1, 2], p.Position(8, 2)))

    def test_a_store_that_lost_its_end_begins_anew_and_is_told_once(self):
        self.begin(7, 9)
        self.timeline.want(0.0)
        self.pull()
        self.timeline.refused(p.RefusalCode.BadPosition, 0.0)
        self.assertGreater(self.timeline.due, 0.0)
        self.assertEqual(self.pull(now=1.0), p.GetMsg(p.Position(0, 0), 0))
        self.timeline.page(page(7, 2, [1, 2]), 1.0)
        self.assertEqual((self.app.told, self.seqs()), (["restored"], [1, 2]))

    def test_trimmed_rows_are_told_and_passed(self):
        self.begin(7, 2)
        self.timeline.page(page(7, 6, [5, 6], floor=4), 0.0)
        self.assertEqual((self.app.told, self.seqs()), ([("trimmed", 3, 4)], [5, 6]))

    def test_a_gap_is_not_taken_and_asked_for_again_with_a_backoff(self):
        self.begin(7, 2)
        waits = []
        for _ in range(4):
            self.timeline.want(0.0)
            self.timeline.pull()
            self.timeline.page(page(7, 6, [4, 5]), 0.0)
            waits.append(self.timeline.due)
        self.assertEqual(self.seqs(), [])
        self.assertEqual(waits, sorted(waits))
        self.assertGreater(waits[0], 0.0)

    def test_a_refused_pull_waits_as_it_is_told_whatever_else_wants_one(self):
        self.timeline.want(0.0)
        self.pull()
        self.timeline.refused(p.RefusalCode.RateLimited, 0.0, 2.5)
        self.timeline.heard(p.Position(7, 9), 0.0)
        self.assertEqual(self.timeline.due, 2.5)

    def test_a_pull_that_was_lost_may_be_sent_again(self):
        self.timeline.want(0.0)
        self.pull()
        self.timeline.lost()
        self.timeline.want(0.0)
        self.assertEqual(self.pull(), p.GetMsg(p.Position(0, 0), 0))


class Kept(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "state.json"

    def test_everything_comes_back(self):
        with c.State.open(self.path, "a") as state:
            state.refresh_token, state.position = "r", p.Position((1 << 64) - 1, 1 << 60)
            state.outbox.append(p.SendMsg(p.Target.group("g"), "m-1", 1000, b"\0\xff"))
            state.seen("a:b", 3)
            state.mark("a:b", "b", 2)
            state.save()
            held = vars(state).copy()
        with c.State.open(self.path, "a") as state:
            self.assertEqual(vars(state), held)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_one_process_and_one_user_at_a_time(self):
        with c.State.open(self.path, "a") as state:
            state.save()
            with self.assertRaises(SystemExit), c.State.open(self.path, "a"):
                pass
        with self.assertRaises(SystemExit), c.State.open(self.path, "b"):
            pass

    def test_marks_only_rise_and_stay_under_the_head(self):
        with c.State.open(self.path, "a") as state:
            state.seen("a:b", 3)
            self.assertEqual([state.mark("a:b", "b", seq) for seq in (2, 1, 2, 9, 4)], [2, None, None, 3, None])
            self.assertIsNone(state.mark("a:c", "c", 1))


class Wire:
    """A transport that answers from a script: each row is called with the frames that were sent."""

    def __init__(self, *script: Callable[[List[p.Frame]], bytes]) -> None:
        self.script = list(script)
        self.reader = c.FrameReader(p.SERVER_FRAME_LEN_MAX)
        self.sent: List[p.Frame] = []
        self.sent_preamble = b""
        self.closed = False

    def __call__(self, address, context):
        return self

    def send(self, data):
        if not self.sent_preamble:
            self.sent_preamble, data = data[:8], data[8:]
        reader = c.FrameReader(p.CLIENT_FRAME_LEN_MAX)
        reader.feed(data)
        self.sent.append(reader.next())

    def receive(self, seconds):
        while True:
            frame = self.reader.next()
            if frame is not None or not self.script:
                return frame
            self.reader.feed(self.script.pop(0)(self.sent))

    def close(self):
        self.closed = True


def answer(body: p.Struct, codec=p.CodecId.Binary, flags: int = 0, command: Optional[int] = None):
    """Answers the last frame that was sent."""

    def make(sent):
        number = sent[-1].command | p.ANSWER_BIT if command is None else command
        return p.encode_frame(number, sent[-1].sequence, c.encode_body(codec, body), flags)

    return make


def unasked(command: int, body: bytes, sequence: int = 0, flags: int = 0):
    return lambda sent: p.encode_frame(command, sequence, body, flags)


SHAKEN = answer(p.HandShakeAck(b"", 1, p.CodecId.Binary, p.Encryption.None_, 65536, b""))
LOGGED_IN = answer(p.AuthAck("a", 1, 30000, 180000, 0))
REFUSAL = p.Refusal(p.RefusalCode.Draining, "", 0).encode()


class Connecting(unittest.TestCase):
    def open(self, *script, **settings):
        self.wire = Wire(*script)
        with mock.patch.object(c, "Transport", self.wire):
            return c.Connection("gate:1", c.Settings(["gate:1"], None, **settings), "token", "d")

    def test_first_bytes(self):
        self.open(SHAKEN, LOGGED_IN)
        self.assertEqual(self.wire.sent_preamble.hex(), "53494d2143010000")
        offer, auth = self.wire.sent
        self.assertEqual(p.HandShake.decode(offer.body).codecs, [p.CodecId.Binary])
        self.assertEqual(p.Auth.decode(auth.body), p.Auth("token", "d", p.Platform.Bot))

    def test_what_was_not_offered_ends_it(self):
        fine = dict(signature=b"", version=1, codec=0, encryption=0, frame_len_max=65536, key_share=b"")
        for wrong in ({"codec": 1}, {"encryption": 1}):
            with self.assertRaises(c.Lost):
                self.open(answer(p.HandShakeAck(**{**fine, **wrong})))
            self.assertTrue(self.wire.closed)
        with self.assertRaises(sim_crypto.NotAuthentic):
            self.open(answer(p.HandShakeAck(**fine)), identity=bytes(32))
        self.assertEqual((len(self.wire.sent), self.wire.closed), (1, True))

    def test_a_refused_login_is_told_and_ends_it(self):
        refusal = p.Refusal(p.RefusalCode.BadToken, "no", 0)
        with self.assertRaises(c.Refused) as refused:
            self.open(SHAKEN, answer(refusal, flags=p.FLAG_REFUSED))
        self.assertEqual((refused.exception.name, refused.exception.retry), ("BadToken", "AfterLogin"))
        self.assertTrue(self.wire.closed)

    def test_answers_find_their_questions_in_any_order(self):
        connection = self.open(SHAKEN, LOGGED_IN)
        got = []
        for number in (1, 2):
            connection.request(p.Command.ReadMsg, p.ReadMsg("a:b", number), lambda _, number=number: got.append(number))
        first, second = (frame.sequence for frame in self.wire.sent[2:])
        self.wire.script = [unasked(0x88, b"\0", sequence) for sequence in (second, 999, first, second)]
        for _ in range(4):
            received = connection.receive(0)
            if received:
                received.then(received.body)
        self.assertEqual((got, connection.under_way), ([2, 1], 0))

    def test_commands_of_a_later_version_are_passed_over(self):
        connection = self.open(SHAKEN, LOGGED_IN)
        self.wire.script = [unasked(0x1234, b"???"), unasked(0x05, b""), unasked(0x09, p.RevReadMsg("a:b", "b", 1).encode())]
        self.assertEqual([connection.receive(0) for _ in range(2)], [None, None])
        self.assertEqual(connection.receive(0).body, p.RevReadMsg("a:b", "b", 1))

    def test_what_breaks_a_rule_ends_it(self):
        bad = [
            unasked(0x06, b"no body"),
            unasked(0x06, b"\0", flags=p.FLAG_ENCRYPTED),
            unasked(0x84, b"\0", sequence=3),  # An answer to another command than was asked.
        ]
        for script in bad:
            connection = self.open(SHAKEN, LOGGED_IN)
            connection.request(p.Command.ReadMsg, p.ReadMsg("a:b", 1), lambda _: None)
            self.wire.script = [script]
            with self.assertRaises(c.Lost):
                connection.receive(0)

    def test_an_answer_that_does_not_come_ends_it(self):
        connection = self.open(SHAKEN, LOGGED_IN)
        connection.request(p.Command.HeartBeat, p.Empty(), lambda _: None)
        self.assertIsNone(connection.receive(0))
        later = time.monotonic() + c.ANSWER_TIME
        self.wire.script = [unasked(0x1234, b"")]  # Whatever else it says meanwhile.
        with mock.patch.object(c.time, "monotonic", return_value=later), self.assertRaises(c.Lost):
            connection.receive(0)

    def test_a_refusal_of_the_connection(self):
        connection = self.open(SHAKEN, LOGGED_IN)
        self.wire.script = [unasked(0x80, REFUSAL, flags=p.FLAG_REFUSED)]
        with self.assertRaises(c.Refused) as refused:
            connection.receive(0)
        self.assertEqual(refused.exception.retry, "Reconnect")

    def test_sequences_are_neither_0_nor_in_use(self):
        connection = self.open(SHAKEN, LOGGED_IN)
        connection.request(p.Command.HeartBeat, p.Empty(), lambda _: None)  # Its number is 3.
        connection._sequence = 0xFFFF_FFFE
        self.assertEqual([connection._next_sequence() for _ in range(4)], [0xFFFF_FFFF, 1, 2, 4])

    def test_a_frame_that_the_gate_would_not_take_is_not_sent(self):
        connection = self.open(SHAKEN, LOGGED_IN)
        users = [f"{number:064}" for number in range(600)]
        with self.assertRaises(p.EncodeError):
            connection.request(p.Command.ChangeMembers, p.ChangeMembers("g", users, users), lambda _: None)
        self.assertEqual((len(self.wire.sent), connection.under_way), (2, 0))


# --- Servers ---------------------------------------------------------------------------------


class Process:
    """A server's process. Held: it is gone at the end of the test."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        assert SIM_BIN is not None
        beside = Path(SIM_BIN).resolve().parent
        count = len(list(folder.glob(f"{name}-*.out")))
        self.out, self.log = (folder / f"{name}-{count}.{kind}" for kind in ("out", "log"))
        with self.out.open("wb") as out, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(beside / name), *arguments], stdout=out, stderr=log, stdin=subprocess.DEVNULL, cwd=folder
            )

    def line(self, path: Path, mark: str) -> Dict[str, Any]:
        """The first line of JSON with that in it."""

        def find():
            if self.process.poll() is not None:
                raise AssertionError(f"ended: {self.log.read_text('utf-8')[-2000:]}")
            whole = path.read_text("utf-8").rpartition("\n")[0].splitlines()
            return next((json.loads(line) for line in whole if mark in line), None)

        return wait_until(find, f"{mark} in {path}")

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(DEADLINE)


class Proxy:
    """Bytes from a port of its own to a server that may change its port. It can be told to lose what the server says."""

    def __init__(self) -> None:
        self.target = ("", 0)
        self.swallow = False
        self._pairs: List[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self.target, 5)
                    far.settimeout(None)
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._pairs += [near, far]
                threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if not (down and self.swallow):
                    sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Ends every connection without a word."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for end in pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()


class User:
    """A client of the module itself, with its state in a file."""

    def __init__(self, case: "ServerCase", name: str, device: str = "", gate: str = "", **settings: Any) -> None:
        self.name = name
        self.app = Recorder()
        self.path = case.folder / f"{name}{device}.json"
        self._held = contextlib.ExitStack()
        self.state = self._held.enter_context(c.State.open(self.path, name))
        self.accounts = c.Accounts(case.http, case.tls, self.state, case.password)
        self.client = c.Client(
            c.Settings([gate or case.gate], case.tls, **settings), self.state, self.accounts, self.app
        )
        case.addCleanup(self.close)

    def close(self) -> None:
        self.client.close()
        self._held.close()

    def run(self, until: Callable[[], Any], what: str) -> None:
        """Works until then."""
        together([self], until, what)

    def sync(self) -> "User":
        self.run(self.client.synced, f"{self.name} is synced")
        return self

    def send(self, to: str, text: str) -> p.SendAck:
        """Sends, and waits for the ack."""
        sent = self.client.send(c.target(to), text.encode("utf-8"))
        self.run(lambda: not self.client.unsent(), f"{self.name} has an ack")
        return next(ack for message, ack in self.app.acks if message is sent)

    def history(self, other: str) -> List[str]:
        conversation = c.conversation_with(self.name, other)
        ask = lambda last: (
            p.Command.GetHistory, p.GetHistory(conversation, last.seq if last else 0, p.Direction.Forward, 0)
        )
        return [row.payload.decode("utf-8") for row in c.pages(self.client, DEADLINE, ask, "messages")]


def together(users: List[User], until: Callable[[], Any], what: str) -> None:
    """Lets all of them work until then."""
    deadline = time.monotonic() + DEADLINE
    while not until():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come: {what}")
        for user in users:
            user.client.run(until, 0.02)


@unittest.skipUnless(SIM_BIN, "SIM_BIN names no server")
class ServerCase(unittest.TestCase):
    """Users and a folder; `begin` starts the server."""

    password = "a long password"
    http = ""
    gate = ""
    tls: ssl.SSLContext

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sim-python-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.begin()

    def begin(self):
        raise NotImplementedError

    def trust(self, keys: Path) -> None:
        self.ca = keys / "dev-ca.pem"
        self.tls = ssl.create_default_context(cafile=str(self.ca))

    def user(self, name: str, **settings: Any) -> User:
        """A new account, and its client."""
        user = User(self, name, **settings)

        def register():
            try:
                user.accounts.register()
            except (c.Lost, c.AccountError) as error:
                if isinstance(error, c.AccountError) and error.status < 500:
                    raise
                return False
            return True

        wait_until(register, f"{name} is registered")
        return user

    def command(self, *arguments: str, gate: str = "") -> List[str]:
        """The command line of the client."""
        at = ["--gate", gate or self.gate, "--http", self.http, "--ca", str(self.ca), "--password", self.password]
        return [sys.executable, str(HERE / "sim_client.py"), *at, *arguments]

    def run_command(self, user: str, *arguments: str, code: int = 0) -> List[Dict[str, Any]]:
        """What it prints."""
        state = str(self.folder / f"cli-{user}.json")
        done = subprocess.run(
            self.command("--user", user, "--state", state, *arguments), capture_output=True, timeout=DEADLINE
        )
        self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
        return [json.loads(line) for line in done.stdout.splitlines()]


class StandaloneCase(ServerCase):
    """All tiers in one process, behind a proxy, so that it can be killed and come back on another port."""

    def begin(self):
        self.proxy, self.http_proxy = Proxy(), Proxy()
        self.addCleanup(self.proxy.close)
        self.addCleanup(self.http_proxy.close)
        self.gate = f"localhost:{self.proxy.port}"
        self.http = f"http://127.0.0.1:{self.http_proxy.port}"
        self.data = self.folder / "data"
        self.start()
        self.trust(self.data / "keys")

    def start(self):
        self.server = Process(self.folder, "sim", "standalone", "--data", str(self.data), "--free-ports", "--json")
        self.addCleanup(self.server.kill)
        told = self.server.line(self.server.out, '"clients"')
        self.proxy.target = c.split_address(told["clients"])
        self.http_proxy.target = c.split_address(told["accounts"].partition("://")[2])

    def kill(self):
        self.server.kill()
        self.proxy.cut()


class Talk(StandaloneCase):
    """What was said arrives."""

    def test_both_ways_in_every_codec(self):
        said = []
        ways = [(codec, p.CodecId.Binary) for codec in CODECS] + [(codec, codec) for codec in (1, 2)]
        for number, (codec, handshake) in enumerate(ways):
            with self.subTest(codec=CODECS[codec], handshake=CODECS[handshake]):
                spoken = {"codec": p.CodecId(codec), "handshake_codec": p.CodecId(handshake)}
                a, b = (self.user(f"{name}{number}", **spoken) for name in "ab")
                b.sync()
                text = f"吃了吗？ {number}\0\u202e"
                ack = a.send(b.name, text)
                b.run(lambda: b.app.entries, "the message")
                b.send(a.name, "吃了")
                a.run(lambda: len(a.app.entries) == 2, "the answer")
                self.assertEqual((a.app.texts, b.app.texts), ([text, "吃了"], [text, "吃了"]))
                (seq, got), _ = b.app.entries
                self.assertEqual((seq, got.seq, got.time_ms), (ack.receiver_seq, ack.seq, ack.time_ms))
                self.assertEqual((got.conversation, got.sender), (ack.conversation, a.name))
                said.append(text)
        self.assertEqual(len(said), 5)

    def test_pages_from_nothing(self):
        a, b = self.user("a"), self.user("b")
        texts = [str(number) for number in range(130)]
        for text in texts:
            a.client.send(p.Target.user("b"), text.encode("utf-8"))
        a.run(lambda: not a.client.unsent(), "all acks")
        b.sync()
        self.assertEqual(b.app.texts, texts)
        self.assertEqual([seq for seq, _ in b.app.entries], list(range(1, 131)))
        self.assertEqual(b.history("a"), texts)
        a.sync()
        self.assertEqual(a.app.texts, texts)

    def test_reads_signals_and_groups(self):
        a, b = self.user("a"), self.user("b")
        b.sync()
        ack = a.send("b", "hello")
        b.run(lambda: b.app.entries, "the message")
        b.client.call(p.Command.ReadMsg, p.ReadMsg(ack.conversation, ack.seq), DEADLINE)
        together([a, b], lambda: ("read", "a:b", "b", 1) in a.app.told, "the read mark")
        with self.assertRaises(c.Refused) as refused:
            b.client.call(p.Command.ReadMsg, p.ReadMsg("a:b", 2), DEADLINE)
        self.assertEqual(refused.exception.name, "BadPosition")
        b.client.call(p.Command.Signal, p.Signal(p.Target.user("a"), p.SignalKind.Typing, b"..."), DEADLINE)
        together([a, b], lambda: ("signal", "b", b"...") in a.app.told, "the signal")
        for _ in range(2):  # Making it again changes nothing.
            group = a.client.call(p.Command.CreateGroup, p.CreateGroup("g", "Lunch", ["b"]), DEADLINE)
            self.assertEqual(group, p.Group("g", "Lunch", "a", ["a", "b"]))
        a.send("group:g", "all")
        together([a, b], lambda: b.app.texts == ["hello", "all"], "the group's message")
        self.assertEqual(a.app.texts, ["hello", "all"])
        self.user("x")
        with self.assertRaises(c.Refused) as refused:
            b.client.call(p.Command.ChangeMembers, p.ChangeMembers("g", [], ["a"]), DEADLINE)
        self.assertEqual(refused.exception.name, "NotAllowed")

    def test_a_message_that_is_refused_is_dropped_and_told(self):
        a = self.user("a").sync()
        a.client.send(p.Target.user("nobody"), b"hello")
        a.run(lambda: "NoSuchUser" in a.app.told, "the refusal")
        self.assertFalse(a.client.unsent())
        with self.assertRaises(p.EncodeError):
            a.client.send(p.Target.user("a"), bytes(p.PAYLOAD_LEN_MAX + 1))
        self.assertFalse(a.client.unsent())


class Commands(StandaloneCase):
    """The command line."""

    def test_the_command_line(self):
        for name in ("a", "b"):
            self.run_command(name, "register")
        (login,) = self.run_command("a", "login")
        self.assertEqual(login["user"], "a")
        (acked,) = self.run_command("a", "send", "b", "hello")
        (got,) = self.run_command("b", "--codec", "json", "sync")
        self.assertEqual((got["entry"], got["payload"], got["client_msg_id"]), (1, "hello", acked["client_msg_id"]))
        self.assertEqual(self.run_command("b", "sync"), [])
        self.run_command("b", "--codec", "protobuf", "send", "a", "back")
        self.assertEqual([row["payload"] for row in self.run_command("a", "sync")], ["hello", "back"])
        self.assertEqual([row["payload"] for row in self.run_command("a", "history", "b")], ["hello", "back"])
        self.assertEqual(
            [row["payload"] for row in self.run_command("a", "history", "b", "--backward")], ["back", "hello"]
        )
        (row,) = self.run_command("b", "conversations")
        self.assertEqual((row["unread"], row["read_seq"]), ("1", "0"))
        self.run_command("b", "read", "a:b", "2")
        (row,) = self.run_command("b", "conversations")
        self.assertEqual((row["unread"], row["read_seq"]), ("0", "2"))
        self.run_command("a", "group-create", "g", "Lunch")
        (group,) = self.run_command("a", "group-add", "g", "b")
        self.assertEqual(group["members"], ["a", "b"])
        (group,) = self.run_command("a", "group-remove", "g", "b")
        self.assertEqual(group["members"], ["a"])
        self.assertEqual(self.run_command("a", "groups"), [group])
        (refused,) = self.run_command("b", "send", "group:g", "hello", code=1)
        self.assertEqual((refused["event"], refused["name"]), ("refused", "NotAMember"))
        self.assertEqual(self.run_command("a", "logout"), [])
        held = json.loads((self.folder / "cli-a.json").read_text("utf-8"))
        self.assertEqual(held["refresh_token"], "")

    def test_a_password_that_is_wrong(self):
        self.run_command("a", "register")
        (error,) = self.run_command("a", "--password", "another password", "login", code=1)
        self.assertEqual(error["name"], "ACCOUNT_WRONG_PASSWORD")
        (error,) = self.run_command("a", "register", code=1)
        self.assertEqual(error["name"], "ACCOUNT_USER_EXISTS")

    def tail(self, user: str) -> Callable[[], List[Dict[str, Any]]]:
        """Begins to follow the user's timeline in a process of its own; what it printed so far."""
        out = self.folder / f"tail-{user}"
        with out.open("wb") as sink, (self.folder / f"tail-{user}.err").open("wb") as errors:
            process = subprocess.Popen(
                self.command("--user", user, "--state", str(self.folder / f"cli-{user}.json"), "tail"),
                stdout=sink, stderr=errors,
            )

        def end():
            process.kill()
            process.wait()

        self.addCleanup(end)
        return lambda: [json.loads(line) for line in out.read_text("utf-8").splitlines(True) if line.endswith("\n")]

    def test_a_tail_over_a_kill(self):
        for name in ("a", "b"):
            self.run_command(name, "register")
        self.run_command("a", "send", "b", "before")
        printed = self.tail("b")
        wait_until(lambda: [row["payload"] for row in printed()] == ["before"], "what was there")
        self.run_command("a", "send", "b", "live")
        wait_until(lambda: len(printed()) == 2, "what came")
        self.kill()
        self.start()
        self.run_command("a", "send", "b", "after")
        wait_until(lambda: len(printed()) == 3, "what came after the restart")
        rows = printed()
        self.assertEqual([row["payload"] for row in rows], ["before", "live", "after"])
        self.assertEqual([row["entry"] for row in rows], [1, 2, 3])

    def test_a_message_waits_for_the_server(self):
        for name in ("a", "b"):
            self.run_command(name, "register")
        self.run_command("a", "send", "b", "first")
        self.kill()
        (error,) = self.run_command("a", "--timeout", "1", "send", "b", "second", code=4)
        self.assertIn(error["name"], ("TimeoutError", "Lost"))
        self.start()
        rows = self.run_command("a", "sync")
        self.assertEqual(sorted(row["event"] for row in rows), ["acked", "message", "message"])
        self.assertEqual([row["payload"] for row in self.run_command("b", "sync")], ["first", "second"])


class Faults(StandaloneCase):
    """Nothing is lost, nothing comes twice."""

    def test_a_send_without_its_ack_is_repeated_and_makes_no_duplicate(self):
        a, b = self.user("a").sync(), self.user("b")
        watcher = f"localhost:{self.proxy.target[1]}"
        b.client._gates[0] = watcher  # Not through the proxy that swallows.
        b.sync()
        self.proxy.swallow = True
        a.client.send(p.Target.user("b"), b"once")
        together([a, b], lambda: b.app.texts, "the message at its receiver")
        self.assertEqual((a.app.acks, len(a.state.outbox)), ([], 1))
        self.proxy.cut()
        self.proxy.swallow = False
        a.run(lambda: a.app.acks, "the ack")
        ((_, ack),) = a.app.acks
        self.assertTrue(ack.repeated)
        a.sync()
        self.assertEqual((a.app.texts, b.sync().app.texts), (["once"], ["once"]))
        self.assertEqual(b.history("a"), ["once"])

    def test_a_send_without_its_ack_is_repeated_by_the_next_process(self):
        a, b = self.user("a").sync(), self.user("b")
        b.client._gates[0] = f"localhost:{self.proxy.target[1]}"
        b.sync()
        self.proxy.swallow = True
        sent = a.client.send(p.Target.user("b"), b"once")
        together([a, b], lambda: b.app.texts, "the message at its receiver")
        self.proxy.cut()
        a.close()
        self.proxy.swallow = False
        again = User(self, "a")
        again.run(lambda: again.app.acks, "the ack")
        ((message, ack),) = again.app.acks
        self.assertEqual((message.client_msg_id, ack.repeated), (sent.client_msg_id, True))
        self.assertEqual(b.history("a"), ["once"])

    def test_a_stream_of_messages_over_kills_is_whole_and_in_order(self):
        a, b = self.user("a").sync(), self.user("b").sync()
        texts = [str(number) for number in range(60)]
        for text in texts:
            a.client.send(p.Target.user("b"), text.encode("utf-8"))
        for acked in (10, 30):
            together([a, b], lambda: len(a.app.acks) >= acked, f"{acked} acks")
            self.assertTrue(a.client.unsent())
            self.kill()
            self.start()
        together([a, b], lambda: not a.client.unsent() and len(b.app.entries) >= 60, "everything")
        self.assertEqual(b.app.texts, texts)
        self.assertEqual([seq for seq, _ in b.app.entries], list(range(1, 61)))
        self.assertEqual(b.history("a"), texts)
        self.assertEqual(a.sync().app.texts, texts)
        self.assertEqual((a.app.told, b.app.told), ([], []))

    def test_a_restart_of_the_client_goes_on_at_its_position(self):
        a, b = self.user("a"), self.user("b").sync()
        a.send("b", "one")
        b.run(lambda: b.app.entries, "one")
        b.close()
        a.send("b", "two")
        again = User(self, "b").sync()
        self.assertEqual([(seq, m.payload) for seq, m in again.app.entries], [(2, b"two")])

    def test_a_store_that_lost_its_end(self):
        a, b = self.user("a"), self.user("b")
        a.send("b", "one")
        self.kill()
        shutil.copytree(self.data, self.folder / "older")
        self.start()
        a.send("b", "two")
        self.assertEqual(b.sync().app.texts, ["one", "two"])
        self.kill()
        shutil.rmtree(self.data)
        (self.folder / "older").rename(self.data)
        self.start()
        b.run(lambda: b.app.told == ["restored"] and b.client.synced(), "the older store")
        self.assertEqual(b.app.texts, ["one", "two", "one"])
        a.send("b", "three")
        together([a, b], lambda: b.app.texts[3:], "what follows")
        self.assertEqual(b.app.texts, ["one", "two", "one", "three"])

    def test_a_store_of_another_epoch(self):
        a, b = self.user("a"), self.user("b")
        a.send("b", "one")
        b.sync()
        before = b.state.position
        self.kill()
        tool, dump, store = str(Path(str(SIM_BIN)).resolve()), str(self.folder / "dump"), self.data / "store"
        for arguments in (["export", str(store), dump], ["import", str(store), dump]):
            done = subprocess.run([tool, "store", *arguments], capture_output=True, timeout=DEADLINE)
            self.assertEqual(done.returncode, 0, done.stderr)
            if arguments[0] == "export":
                shutil.rmtree(store)
        self.start()
        b.run(lambda: b.client.logins == 2 and b.client.synced(), "the other epoch")
        self.assertNotEqual(b.state.position.epoch, before.epoch)
        self.assertEqual((b.app.told, b.app.texts), (["restored"], ["one", "one"]))


class Doors(StandaloneCase):
    """Tokens, kicks, refusals."""

    def test_a_bad_token_is_a_typed_refusal(self):
        a = self.user("a")
        good = a.accounts.access_token()
        head, body, signature = good.split(".")
        forged = ".".join([head, body, ("A" if signature[0] != "A" else "B") + signature[1:]])
        for token in ("nonsense", forged, ""):
            with self.assertRaises(c.Refused) as refused:
                c.Connection(self.gate, a.client._settings, token, "d")
            self.assertEqual((refused.exception.name, refused.exception.retry), ("BadToken", "AfterLogin"), token)
        c.Connection(self.gate, a.client._settings, good, "d").close()

    def test_a_client_mends_a_bad_token_once(self):
        a = self.user("a")
        before = a.state.refresh_token
        a.accounts._access = "nonsense"
        a.sync()
        self.assertNotEqual(a.state.refresh_token, before)
        a.client.close()
        with mock.patch.object(a.accounts, "access_token", return_value="nonsense"):
            with self.assertRaises(c.Refused) as refused:
                a.sync()
        self.assertEqual(refused.exception.name, "BadToken")

    def test_the_token_of_another_user_moves_nothing(self):
        a, b = self.user("a"), self.user("b")
        a.send("b", "hello")
        with mock.patch.object(a.accounts, "access_token", b.accounts.access_token):
            a.client.close()
            with self.assertRaises(c.WrongUser):
                a.sync()
        self.assertEqual((a.client.connection, a.app.texts), (None, ["hello"]))

    def test_refresh_tokens(self):
        a = self.user("a")
        first = a.state.refresh_token
        a.accounts.stale()
        a.accounts.access_token()
        second = a.state.refresh_token
        self.assertNotEqual(first, second)
        a.state.refresh_token = first  # The answer was lost: it is taken once more.
        a.accounts.stale()
        a.accounts.access_token()
        self.assertEqual(json.loads(a.path.read_text("utf-8"))["refresh_token"], a.state.refresh_token)
        a.state.refresh_token = "nonsense"
        a.accounts.stale()
        a.accounts._password = None
        with self.assertRaises(c.AccountError) as refused:
            a.accounts.access_token()
        self.assertEqual((refused.exception.status, refused.exception.reason), (401, "REFRESH_TOKEN_INVALID"))
        a.accounts._password = self.password
        a.sync()

    def test_the_same_device_elsewhere_ends_the_first(self):
        a = self.user("a").sync()
        second = c.Connection(self.gate, a.client._settings, a.accounts.access_token(), a.state.device)
        self.addCleanup(second.close)
        with self.assertRaises(c.Kicked) as kicked:
            a.run(lambda: a.client.logins > 1, "nothing")
        self.assertEqual(kicked.exception.reason, p.KickReason.LoggedInElsewhere)

    def test_a_logout_of_everywhere_revokes(self):
        a = self.user("a").sync()
        self.assertEqual(a.client.logins, 1)
        a.accounts._call("POST", "/user/logout", bearer=a.state.refresh_token, body={"everywhere": True})
        with self.assertRaises(c.Kicked) as kicked:
            a.run(lambda: a.client.logins > 1, "the kick")
        self.assertEqual((kicked.exception.reason, a.state.refresh_token), (p.KickReason.Revoked, ""))

    def test_a_logout_ends_the_connections_of_its_login_and_of_no_other(self):
        a, other = self.user("a").sync(), User(self, "a", device="-other").sync()
        a.accounts._call("POST", "/user/logout", bearer=a.state.refresh_token)
        with self.assertRaises(c.Kicked) as kicked:
            a.run(lambda: a.client.logins > 1, "the kick")
        self.assertEqual(kicked.exception.reason, p.KickReason.Revoked)
        other.client.call(p.Command.ListGroups, p.ListGroups(None, 0), DEADLINE)
        self.assertEqual(other.client.logins, 1)

    def test_a_gate_that_is_not_who_it_should_be(self):
        a = self.user("a")
        a.client._settings.tls = ssl.create_default_context()
        with self.assertRaises(ssl.SSLCertVerificationError):
            a.sync()

    def test_first_bytes_that_are_wrong(self):
        for preamble, codec, name in [
            (b"GET / HT", 0, "BadMagic"), (b"SIM!G\1\0\0", 0, "BadFrame"), (b"SIM!C\2\0\0", 0, "BadVersion"),
            (b"SIM!C\1\0\1", 0, "BadFrame"), (b"SIM!C\1\7\0", 0, "NoCodec"),
        ]:
            wire = c.Transport(self.gate, self.tls)
            wire.send(preamble)
            frame = wire.receive(DEADLINE)
            self.assertEqual((frame.command, frame.flags, frame.sequence), (0x80, p.FLAG_REFUSED, 0))
            self.assertEqual(p.Refusal.decode(frame.body).code.name, name)
            with self.assertRaises(c.Lost):
                wire.receive(DEADLINE)
            wire.close()

    def test_a_gate_that_does_not_encrypt_is_not_spoken_to_in_plain(self):
        a = self.user("a", identity=bytes(32))
        with self.assertRaises(c.Refused) as refused:
            a.sync()
        self.assertEqual(refused.exception.name, "NoEncryption")


class Tiers(ServerCase):
    """The three tiers by hand, with settings that show what standalone's do not."""

    def begin(self):
        assert SIM_BIN is not None
        self.keys = self.folder / "keys"
        subprocess.run([str(Path(SIM_BIN).resolve()), "keys", str(self.keys)], check=True, capture_output=True)
        self.trust(self.keys)
        self.route = self.tier(
            "sim-route", "the route listens", "--listen", "--http-listen", link_cert="route.pem",
            link_key="route.key.pem",
        )["tiers"]

    def tier(self, name: str, mark: str, *listens: str, extra: Any = (), **keys: str) -> Dict[str, Any]:
        """Starts one; what its log says about where it listens."""
        arguments = ["--log-format", "json", "--log", "info", "--link-ca", str(self.ca), *extra]
        for flag, file in keys.items():
            arguments += [f"--{flag.replace('_', '-')}", str(self.keys / file)]
        for listen in listens:
            arguments += [listen, "127.0.0.1:0"]
        process = Process(self.folder, name, *arguments)
        self.addCleanup(process.kill)
        return {"process": process, **process.line(process.log, mark)}

    def service(self, *extra: str) -> None:
        self.im_service = self.tier(
            "sim-im-service", "the im-service listens", "--http-listen", "--admin-listen", "--grpc-listen",
            extra=["--routes", self.route, "--data", str(self.folder / "data"), *extra],
            link_cert="im-service-link.pem", link_key="im-service-link.key.pem", token_keys="",
        )
        self.http = f"http://{self.im_service['http']}"

    def add_gate(self, name: str, *extra: str) -> Process:
        """Starts a gate, which is the one that users dial from now on."""
        gate = self.tier(
            "sim-gate", "the gate listens", "--client-listen", "--http-listen",
            extra=["--routes", self.route, "--name", name, *extra],
            client_cert="gate-server.pem", client_key="gate-server.key.pem", link_cert="gate-link.pem",
            link_key="gate-link.key.pem", token_keys="token-ed25519.pub.pem", identity_key="identity-ed25519.pem",
        )
        self.gate = f"localhost:{c.split_address(gate['clients'])[1]}"
        return gate["process"]

    def identity(self) -> bytes:
        return sim_crypto.read_identity(self.keys / "identity-ed25519.pub.pem")

    def test_encrypted_bodies_in_every_codec(self):
        self.service()
        self.add_gate("gate-1", "--encryption", "required")
        for codec, name in CODECS.items():
            with self.subTest(name):
                a, b = (self.user(f"{user}{codec}", codec=codec, identity=self.identity()) for user in "ab")
                b.sync()
                big = "x" * 16000
                a.send(b.name, big)
                b.run(lambda: b.app.entries, "the message")
                b.send(a.name, "back")
                a.run(lambda: len(a.app.entries) == 2, "the answer")
                self.assertEqual(a.app.texts, [big, "back"])
                connection = b.client.connection
                self.assertIsNotNone(connection._sealer)
                self.assertGreater(connection._opener.number, 1)

    def test_encryption_by_the_command_line(self):
        self.service()
        self.add_gate("gate-1", "--encryption", "allowed")
        self.user("warm").sync()
        encrypted = ["--encrypt", "--identity", str(self.keys / "identity-ed25519.pub.pem")]
        for name in ("a", "b"):
            self.run_command(name, "register")
        self.run_command("a", *encrypted, "send", "b", "hello")
        (got,) = self.run_command("b", *encrypted, "sync")
        self.assertEqual(got["payload"], "hello")
        (error,) = self.run_command(
            "b", "--encrypt", "--identity", str(self.keys / "token-ed25519.pub.pem"), "sync", code=1
        )
        self.assertEqual(error["name"], "NotAuthentic")

    def test_encryption_that_is_refused(self):
        self.service()
        self.add_gate("gate-1", "--encryption", "required")
        plain = self.user("a")
        with self.assertRaises(c.Refused) as refused:
            plain.sync()
        self.assertEqual(refused.exception.name, "EncryptionRequired")
        with self.assertRaises(c.Refused) as refused:
            self.user("b", identity=self.identity(), handshake_codec=p.CodecId.Json, codec=p.CodecId.Json).sync()
        self.assertEqual(refused.exception.name, "NoEncryption")
        other = self.user("c", identity=bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))
        with self.assertRaises(sim_crypto.NotAuthentic):
            other.sync()
        good = self.user("d", identity=self.identity()).sync()
        with self.assertRaises(c.Refused) as refused:
            c.Connection(self.gate, good.client._settings, "nonsense", "d")
        self.assertEqual(refused.exception.name, "BadToken")

    def test_a_frame_that_does_not_open_ends_the_connection(self):
        self.service()
        self.add_gate("gate-1", "--encryption", "required")
        a = self.user("a", identity=self.identity()).sync()
        a.client.connection._sealer.number += 1  # As if a frame had been left out.
        a.client.call(p.Command.ListGroups, p.ListGroups(None, 0), DEADLINE)
        self.assertEqual(a.client.logins, 2)

    def test_a_redirect_to_another_gate_loses_nothing(self):
        self.service()
        self.add_gate("gate-2")
        second = self.gate
        first = self.add_gate("gate-1", "--drain-gates", second)
        a, b = self.user("a").sync(), self.user("b", gate=second).sync()
        texts = [str(number) for number in range(200)]
        for text in texts:
            a.client.send(p.Target.user("b"), text.encode("utf-8"))
        together([a, b], lambda: len(a.app.acks) >= 20, "some acks")
        first.process.send_signal(signal.SIGTERM)
        together([a, b], lambda: not a.client.unsent() and len(b.app.entries) >= 200, "everything")
        a.run(lambda: a.client.logins == 2, "the login at the other gate")
        first.kill(signal.SIGTERM)
        self.assertEqual((b.app.texts, b.history("a")), (texts, texts))
        self.assertEqual(a.sync().app.texts, texts)
        self.assertEqual(a.client.logins, 2)

    def test_a_redirect_to_the_gates_that_are_known(self):
        self.service()
        self.add_gate("gate-2")
        second = self.gate
        first = self.add_gate("gate-1")
        a = self.user("a").sync()
        a.client._gates.append(second)
        first.process.send_signal(signal.SIGTERM)
        a.run(lambda: a.client.logins == 2, "the login at the other gate")
        a.send("a", "note")
        self.assertEqual(a.sync().app.texts, ["note"])

    def test_heartbeats_keep_a_connection_and_silence_ends_it(self):
        self.service()
        self.add_gate("gate-1", "--heartbeat", "300ms", "--keep-alive", "2s")
        a = self.user("a").sync()
        silent = c.Connection(self.gate, a.client._settings, a.accounts.access_token(), "silent")
        self.addCleanup(silent.close)
        heard: List[Any] = []

        def listen():
            received = None if heard else silent.receive(0.02)
            if received is not None:
                heard.append(received)
            return heard

        a.run(listen, "the silent one is kicked")
        self.assertEqual((heard[0].command, heard[0].body.reason), (p.Command.Kickout, p.KickReason.Idle))
        self.assertEqual(a.client.logins, 1)

    def test_a_token_that_has_expired_is_exchanged(self):
        self.service("--access-lifetime", "2s")
        self.add_gate("gate-1")
        a = self.user("a")
        token = a.accounts.access_token()

        def expired():
            try:
                c.Connection(self.gate, a.client._settings, token, "d").close()
            except c.Refused as refused:
                self.assertEqual((refused.name, refused.retry), ("ExpiredToken", "AfterLogin"))
                return True
            return False

        wait_until(expired, "the token runs out", every=0.25)
        before = a.state.refresh_token
        a.accounts._access, a.accounts._until = token, float("inf")
        a.sync()
        self.assertNotEqual(a.state.refresh_token, before)

    def test_trimmed_entries_are_told_and_histories_have_them(self):
        self.service("--keep-entries", "1s", "--sweep-every", "1s")
        self.add_gate("gate-1")
        a = self.user("a")
        a.send("a", "old")

        def trimmed():
            probe = User(self, "a", device="-probe")
            try:
                probe.sync()
                return probe.app.told == [("trimmed", 1, 1)] and probe.app.entries == []
            finally:
                probe.close()
                probe.path.unlink()

        wait_until(trimmed, "the entry is trimmed", every=0.25)
        self.assertEqual(a.history("a"), ["old"])

    def test_rate_limits_are_heeded(self):
        self.service()
        self.add_gate("gate-1", "--messages-per-connection", "50/s burst 5")
        a = self.user("a").sync()
        texts = [str(number) for number in range(40)]
        for text in texts:
            a.client.send(p.Target.user("a"), text.encode("utf-8"))
        a.run(lambda: not a.client.unsent(), "all acks")
        self.assertEqual((a.sync().app.texts, a.client.logins), (texts, 1))


class CommandLine(unittest.TestCase):
    def test_wrong_usage(self):
        for arguments in ([], ["--user", "a"], ["--user", "a", "--encrypt", "sync"], ["--user", "a", "nonsense"]):
            with self.subTest(arguments), self.assertRaises(SystemExit) as ended:
                with contextlib.redirect_stderr(io.StringIO()):
                    c.main(arguments)
            self.assertEqual(ended.exception.code, 2)

    def test_conversations_and_targets(self):
        self.assertEqual(c.conversation_with("b", "a"), "a:b")
        self.assertEqual(c.conversation_with("a", "a"), "a:a")
        # By bytes of UTF-8, as Python sorts code points, and not as UTF-16 does.
        self.assertEqual(c.conversation_with("\U00010000", "\uffff"), "\uffff:\U00010000")
        self.assertEqual(c.conversation_with("a", "group:g"), "g")
        self.assertEqual(c.target("group:g"), p.Target.group("g"))

    def test_addresses(self):
        self.assertEqual(c.split_address("[2001:db8::3]:8910"), ("2001:db8::3", 8910))
        self.assertEqual(c.split_address("gate.example:8910"), ("gate.example", 8910))
        for wrong in ("gate", "gate:", "gate:x"):
            with self.assertRaises(ValueError):
                c.split_address(wrong)


if __name__ == "__main__":
    unittest.main()
