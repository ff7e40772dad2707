"""The generated module against the vectors of `proto-codec/testdata`. Run: python3 -m unittest -v"""

import json
import unittest
from dataclasses import dataclass
from pathlib import Path

import sim_protocol as p

TESTDATA = Path(__file__).resolve().parent.parent.parent / "proto-codec" / "testdata"


def rows(name):
    return json.loads((TESTDATA / name).read_text("utf-8"))["vectors"]


def spoken(value):
    """A vector's field values as the JSON codec takes them."""
    if isinstance(value, list):
        return [spoken(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"hex"}:
        data = bytes.fromhex(value["hex"])
        return {"base64": p.base64.b64encode(data).decode("ascii")}
    if set(value) == {"name", "number"}:
        return value["number"]
    return {key: spoken(item) for key, item in value.items()}


def messages():
    """Rows of the messages that a client meets."""
    return [row for row in rows("messages-v1.json") if row["message"] in p.BODIES]


class Messages(unittest.TestCase):
    def test_every_body_has_a_vector(self):
        self.assertEqual({row["message"] for row in messages()}, set(p.BODIES))

    def test_fields_and_bytes_agree(self):
        for row in messages():
            with self.subTest(row["message"], note=row["note"]):
                body = p.BODIES[row["message"]]
                data = bytes.fromhex(row["hex"])
                decoded = body.decode(data)
                told = body.decode_json(json.dumps(spoken(row["fields"])).encode())
                self.assertEqual(decoded, told)
                self.assertEqual(decoded.encode(), data)
                self.assertEqual(told.encode(), data)

    def test_json_comes_back(self):
        for row in messages():
            with self.subTest(row["message"], note=row["note"]):
                body = p.BODIES[row["message"]]
                decoded = body.decode(bytes.fromhex(row["hex"]))
                self.assertEqual(body.decode_json(decoded.encode_json()), decoded)
                if "json" in row:
                    self.assertEqual(decoded.encode_json().decode(), row["json"])
                    self.assertEqual(body.decode_json(row["json"].encode()), decoded)

    def test_cut_anywhere_is_missing_and_longer_is_trailing(self):
        for row in messages():
            body = p.BODIES[row["message"]]
            data = bytes.fromhex(row["hex"])
            for cut in range(len(data)):
                with self.assertRaises(p.DecodeError) as refused:
                    body.decode(data[:cut])
                self.assertEqual(refused.exception.kind, "Missing", (row["message"], cut))
            with self.assertRaises(p.DecodeError) as refused:
                body.decode(data + b"\0")
            self.assertEqual(refused.exception.kind, "Trailing")

    def test_fields_of_a_later_version_are_skipped(self):
        ack = p.HeartBeatAck(None, 5)
        body = ack.encode()
        self.assertEqual(body[-1], 0)
        later = body[:-1] + b"\x02" + b"\x03new" + b"\x00"
        self.assertEqual(p.HeartBeatAck.decode(later), ack)


@dataclass
class Old(p.Struct):
    first: p.Position


@dataclass
class Later(p.Struct):
    first: p.Position
    second: str
    third: str


FIRST = p._Field("first", "first", "Later.first", p.Position.TYPE, 1, lambda: None)
Old.TYPE = p._Struct(Old, "Later", False, [FIRST])
Later.TYPE = p._Struct(Later, "Later", False, [
    FIRST,
    p._Field("second", "second", "Later.second", p._Text(9), 2, lambda: "none"),
    p._Field("third", "third", "Later.third", p._Text(9), 3, lambda: "none"),
])


class Versions(unittest.TestCase):
    def test_appended_fields_are_read_skipped_and_filled(self):
        place = p.Position(1, 2)
        body = Later(place, "b", "c").encode()
        self.assertEqual(body.hex(), "0000000000000001" + "0000000000000002" + "02" + "020162" + "020163")
        self.assertEqual(Later.decode(body), Later(place, "b", "c"))
        self.assertEqual(Old.decode(body), Old(place))
        self.assertEqual(Later.decode(Old(place).encode()), Later(place, "none", "none"))
        self.assertEqual(Later.decode_json(Old(place).encode_json()), Later(place, "none", "none"))

    def test_an_appended_field_fills_its_length(self):
        front = p.Position(1, 2).encode()
        for tail, kind in [(b"\x01\x03\x01b\0", "Trailing"), (b"\x01\x01\x01b", "Missing")]:
            with self.assertRaises(p.DecodeError) as refused:
                Later.decode(front + tail)
            self.assertEqual(refused.exception.kind, kind)


class Refused(unittest.TestCase):
    def refuse(self, row):
        data = bytes.fromhex(row["hex"])
        if row["kind"] == "preamble":
            return p.decode_preamble(data)
        if row["kind"] == "frame":
            return list(p.Deframer(p.CLIENT_FRAME_LEN_MAX).feed(data))
        return p.BODIES[row["kind"]].decode(data)

    def test_every_refused_byte_string_is_refused_for_its_reason(self):
        kinds = {"preamble", "frame", *p.BODIES}
        ours = [row for row in rows("refused-v1.json") if row["kind"] in kinds]
        self.assertGreater(len(ours), 60)
        for row in ours:
            with self.subTest(row["kind"], why=row["why"]):
                with self.assertRaises((p.DecodeError, p.FrameError)) as refused:
                    self.refuse(row)
                self.assertEqual(refused.exception.kind, row["error"].split(" ")[0])

    def test_what_may_not_be_sent_is_not_encoded(self):
        bad = [
            (p.ReadMsg("b:a", 1), "BadValue"),
            (p.ReadMsg("", 1), "BadValue"),
            (p.ReadMsg("a\n", 1), "BadValue"),
            (p.ReadMsg("x" * 130, 1), "BadValue"),
            (p.ReadMsg("a:b", 1 << 64), "BadValue"),
            (p.ReadMsg("a:b", -1), "BadValue"),
            (p.SendMsg(p.Target.user("u" * 65), "m", 1, b""), "TooLong"),
            (p.SendMsg(p.Target("other", "u"), "m", 1, b""), "BadValue"),
            (p.SendMsg(p.Target.user("u"), "m", 1, bytes(p.PAYLOAD_LEN_MAX + 1)), "TooLong"),
            (p.SendMsg(p.Target.user("u"), "m", 65536, b""), "BadValue"),
            (p.SendMsg(p.Target.user("u"), "m", 1, "text"), "BadValue"),
            (p.Kickout(1, "\ud800"), "BadUtf8"),
            (p.ChangeMembers("g", ["u"] * (p.GROUP_MEMBERS_MAX + 1), []), "TooLong"),
        ]
        for value, kind in bad:
            with self.subTest(kind):
                with self.assertRaises(p.EncodeError) as refused:
                    value.encode()
                self.assertEqual(refused.exception.kind, kind)

    def test_json_that_breaks_the_rules(self):
        for text, kind in [
            (b'{"conversation":"a:b","seq":"1","seq":"1"}', "BadValue"),
            (b'{"conversation":"a:b"}', "Missing"),
            (b'{"conversation":"a:b","seq":1.5}', "BadValue"),
            (b'{"conversation":"a:b","seq":NaN}', "BadText"),
            (b'{"conversation":"a:b","seq":"18446744073709551616"}', "BadValue"),
            (b'{"conversation":"a:b","seq":1} 2', "BadText"),
            (b'{"conversation":"\xff","seq":1}', "BadText"),
            (b"[", "BadText"),
            (b"[]", "BadValue"),
        ]:
            with self.subTest(text):
                with self.assertRaises(p.DecodeError) as refused:
                    p.ReadMsg.decode_json(text)
                self.assertEqual(refused.exception.kind, kind)
        whole = b'{"seq":18446744073709551615,"later":{"a":[1]},"conversation":"a:b"}'
        self.assertEqual(p.ReadMsg.decode_json(whole), p.ReadMsg("a:b", (1 << 64) - 1))


class Frames(unittest.TestCase):
    def frame(self, row):
        return p.Frame(row["command"], row["flags"], row["sequence"], bytes.fromhex(row["body"]))

    def feed(self, deframer, data):
        """The frames that `data` makes whole, and the name of the error behind them."""
        frames = []
        try:
            for frame in deframer.feed(data):
                frames.append(frame)
        except p.FrameError as error:
            return frames, error.kind
        return frames, None

    def test_whole_frames_both_ways(self):
        for row in rows("frames-v1.json"):
            with self.subTest(row["what"]):
                frame, data = self.frame(row), bytes.fromhex(row["hex"])
                self.assertEqual(p.encode_frame(frame.command, frame.sequence, frame.body, frame.flags), data)
                self.assertEqual(self.feed(p.Deframer(row["length"]), data), ([frame], None))

    def test_streams_split_at_every_point(self):
        for row in rows("streams-v1.json"):
            data, whole = bytes.fromhex(row["hex"]), [self.frame(frame) for frame in row["frames"]]
            for split in range(len(data) + 1):
                with self.subTest(row["what"], split=split):
                    deframer = p.Deframer(row["length_max"])
                    first, _ = self.feed(deframer, data[:split])
                    self.assertEqual(len(first), row["complete"][split])
                    rest, error = self.feed(deframer, data[split:])
                    self.assertEqual((first + rest, error), (whole, row["error"]))

    def test_frames_that_are_not_asked_for_stay(self):
        stream = p.encode_frame(p.Command.HeartBeat, 1, b"\0") * 2
        deframer = p.Deframer(64)
        self.assertEqual(next(deframer.feed(stream)).sequence, 1)
        self.assertEqual([frame.is_answer for frame in deframer.feed(b"")], [False])


class Tables(unittest.TestCase):
    def test_refusals_say_whether_to_try_again(self):
        self.assertEqual(p.REFUSALS[201].name, "ExpiredToken")
        self.assertEqual(p.retry_of(201), "AfterLogin")
        self.assertEqual((p.retry_of(499), p.retry_of(599)), ("Never", "Later"))

    def test_unknown_numbers_are_kept(self):
        refusal = p.Refusal.decode(p.Refusal(999, "", 0).encode())
        self.assertEqual(refusal.code, 999)
        self.assertIs(p.Refusal.decode(p.Refusal(500, "", 0).encode()).code, p.RefusalCode.Busy)


if __name__ == "__main__":
    unittest.main()
