//! Bytes that must be refused, and the exact error of each: preambles, frame headers and bodies.

use bytes::{BufMut, Bytes, BytesMut};
use im_proto::fuzzing::BODIES;
use im_proto::limits::CLIENT_FRAME_LEN_MAX;
use proto_codec::{Codec, DecodeError, Deframer, FrameError, Hop, Preamble};
use serde_json::{Value, json};

use super::describe::hex;
use super::{refused_json, refused_protobuf};

/// The whole file; panics where bytes are not refused with the error that stands here.
pub fn file() -> Value {
    let vectors: Vec<Value> = preambles().into_iter().chain(frames()).chain(bodies()).collect();
    let (json, protobuf) = (refused_json::bodies(), refused_protobuf::bodies());
    let count = vectors.len() + json.len() + protobuf.len();
    assert!(count >= 150, "{count}");
    let about = "Bytes that a peer must refuse. Preambles are for the client hop, frames for a maximum of 65536 bytes; any other kind is a message, under vectors in the binary codec, under json and protobuf in those. The error is the same in every language; the detail is what this implementation tells beside.";
    json!({ "about": about, "vectors": vectors, "json": json, "protobuf": protobuf })
}

/// The row of a body, which is refused so.
pub fn body(codec: Codec, message: &str, why: &str, bytes: &[u8], error: DecodeError) -> Value {
    let kind = BODIES.iter().find(|body| body.message == message).unwrap();
    let refusal = (kind.decode)(codec, &Bytes::copy_from_slice(bytes));
    assert_eq!(refusal, Err(error), "{message} in {codec:?}: {why}: {}", String::from_utf8_lossy(bytes));
    let mut row = row(message, why, bytes, error.kind(), decode_detail(error));
    if let (Codec::Json, Ok(text)) = (codec, std::str::from_utf8(bytes)) {
        row["text"] = text.into();
    }
    row
}

fn row(kind: &str, why: &str, bytes: &[u8], error: &str, detail: Value) -> Value {
    json!({ "kind": kind, "why": why, "hex": hex(bytes), "error": error, "detail": detail })
}

fn decode_detail(error: DecodeError) -> Value {
    use DecodeError::{BadText, BadUtf8, BadValue, BadVarint, Missing, TooLong, Trailing};
    match error {
        Missing { what } | BadUtf8 { what } | BadVarint { what } => json!({ "what": what }),
        Trailing { what, left } => json!({ "what": what, "left": left }),
        TooLong { what, length, max } => json!({ "what": what, "length": length, "max": max }),
        BadValue { what, why } => json!({ "what": what, "why": why }),
        BadText { what, why, line, column } => json!({ "what": what, "why": why, "line": line, "column": column }),
    }
}

fn frame_detail(error: FrameError) -> Value {
    use FrameError::{BadCodec, BadHop, BadMagic, BadReserved, BadVersion, TooLong, UnknownFlags};
    match error {
        BadMagic | BadReserved => json!({}),
        BadHop { hop } => json!({ "hop": hop }),
        BadVersion { version } => json!({ "version": version }),
        BadCodec { codec } => json!({ "codec": codec }),
        TooLong { length, max } => json!({ "length": length, "max": max }),
        UnknownFlags { bits } => json!({ "bits": bits }),
    }
}

fn preambles() -> Vec<Value> {
    let refused: [(&str, [u8; 8], FrameError); 14] = [
        ("an HTTP request", *b"GET / HT", FrameError::BadMagic),
        ("a TLS greeting where none belongs", *b"\x16\x03\x01\x00\xf4\x01\x00\x00", FrameError::BadMagic),
        ("the magic in small letters", *b"sim!C\x01\0\0", FrameError::BadMagic),
        ("the hop of tiers", *b"SIM!L\x01\0\0", FrameError::BadHop { hop: b'L' }),
        ("no hop at all", *b"SIM!\0\x01\0\0", FrameError::BadHop { hop: 0 }),
        ("a later version", *b"SIM!C\x02\0\0", FrameError::BadVersion { version: 2 }),
        ("version zero", *b"SIM!C\0\0\0", FrameError::BadVersion { version: 0 }),
        ("a reserved byte that is set", *b"SIM!C\x01\0\x01", FrameError::BadReserved),
        ("the magic and no more", *b"SIM!\0\0\0\0", FrameError::BadHop { hop: 0 }),
        ("the magic backwards", *b"!MISC\x01\0\0", FrameError::BadMagic),
        ("zeros", [0; 8], FrameError::BadMagic),
        ("a hop in a small letter", *b"SIM!c\x01\0\0", FrameError::BadHop { hop: b'c' }),
        ("a codec that is none", *b"SIM!C\x01\x03\0", FrameError::BadCodec { codec: 3 }),
        ("the name of a codec", *b"SIM!C\x01j\0", FrameError::BadCodec { codec: b'j' }),
    ];
    let check = |(why, bytes, error): (&str, [u8; 8], FrameError)| {
        assert_eq!(Preamble::decode(bytes, Hop::Client), Err(error), "{why}");
        row("preamble", why, &bytes, error.kind(), frame_detail(error))
    };
    refused.into_iter().map(check).collect()
}

fn frames() -> Vec<Value> {
    let max = CLIENT_FRAME_LEN_MAX;
    let refused: [(&str, &[u8], FrameError); 7] = [
        ("one byte over the maximum", b"\0\x01\0\x01\0\x05\0\0\0\0\0\x01", FrameError::TooLong { length: 65_537, max }),
        ("the greatest length", b"\xff\xff\xff\xff\0\x05\0\0\0\0\0\x01", FrameError::TooLong { length: u32::MAX, max }),
        (
            "a length in the wrong byte order",
            b"\x05\0\0\0\0\x05\0\0\0\0\0\x01",
            FrameError::TooLong { length: 0x0500_0000, max },
        ),
        (
            "too long comes before a bad flag",
            b"\0\x02\0\0\0\x05\0\x02\0\0\0\x01",
            FrameError::TooLong { length: 131_072, max },
        ),
        ("an unknown flag", b"\0\0\0\0\0\x05\0\x04\0\0\0\x01", FrameError::UnknownFlags { bits: 4 }),
        (
            "an unknown flag beside a known one",
            b"\0\0\0\0\0\x05\x80\x01\0\0\0\x01",
            FrameError::UnknownFlags { bits: 0x8001 },
        ),
        (
            "an unknown flag, before the body is there",
            b"\0\0\x10\0\0\x05\xff\xff\0\0\0\x01",
            FrameError::UnknownFlags { bits: 0xffff },
        ),
    ];
    let check = |(why, bytes, error): (&str, &[u8], FrameError)| {
        assert_eq!(Deframer::new(max).next(&mut BytesMut::from(bytes)), Some(Err(error)), "{why}");
        row("frame", why, bytes, error.kind(), frame_detail(error))
    };
    refused.into_iter().map(check).collect()
}

/// Bytes written one after the other, without any rule.
#[derive(Default)]
struct Raw(BytesMut);

impl Raw {
    fn u8(mut self, byte: u8) -> Self {
        self.0.put_u8(byte);
        self
    }

    fn u16(mut self, value: u16) -> Self {
        self.0.put_u16(value);
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.put_u64(value);
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.put_slice(bytes);
        self
    }

    /// A run of fewer than 128 bytes behind its length.
    fn run(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        assert!(bytes.len() < 0x80);
        self.u8(bytes.len() as u8).raw(bytes)
    }
}

fn raw() -> Raw {
    Raw::default()
}

/// The front of a `SendMsg` up to its payload.
fn send_front() -> Raw {
    raw().u8(1).run("b").run("m-1").u16(1)
}

/// A `GetMsg` without its end.
fn get_front() -> Raw {
    raw().u64(1).u64(6).u16(100)
}

pub const EMPTY: &str = "an id has at least one character";
const LONG: &str = "an id has at most 64 bytes";
pub const COLON: &str = "an id has no ':'";
pub const CONTROL: &str = "an id has no control characters";
pub const ORDER: &str = "the smaller user id comes first";
const FLAG: &str = "a flag is 0 or 1";
/// The greatest length that a varint can claim.
const GREATEST: &[u8] = b"\xff\xff\xff\xff\x0f";

fn bodies() -> Vec<Value> {
    use DecodeError::{BadUtf8, BadValue, BadVarint, Missing, TooLong, Trailing};

    let read_msg = |id: &[u8]| raw().run(id).u64(3).u8(0);
    let wrong_id = |why| BadValue { what: "ConversationId", why };
    let wrong_user = |why| BadValue { what: "UserId", why };
    let session_down = |id: &[u8]| raw().run(id).u64(42).u8(0);
    let long = "x".repeat(65);
    let long_pair = format!("{}:{}", "x".repeat(65), "x".repeat(60));

    let refused: Vec<(&'static str, &'static str, Raw, DecodeError)> = vec![
        // Messages that do not end where their bytes end.
        ("Empty", "no bytes at all", raw(), Missing { what: "Empty" }),
        ("Empty", "a byte behind the end", raw().u8(0).u8(0), Trailing { what: "Empty", left: 1 }),
        ("Empty", "an appended field that is not there", raw().u8(1), Missing { what: "Empty" }),
        ("Empty", "more appended fields than bytes", raw().raw(&[255, 0, 0]), Missing { what: "Empty" }),
        ("Empty", "an appended field longer than the body", raw().u8(1).raw(GREATEST), Missing { what: "Empty" }),
        (
            "Empty",
            "an appended field with an overlong length",
            raw().u8(1).raw(&[0x80, 0]),
            BadVarint { what: "Empty" },
        ),
        ("GetMsg", "garbage behind the end", get_front().u8(0).raw(b"garbage"), Trailing { what: "GetMsg", left: 7 }),
        ("GetMsg", "no count of appended fields", get_front(), Missing { what: "GetMsg" }),
        ("GetMsg", "cut in a number", raw().u64(1).raw(&[0, 0, 0]), Missing { what: "Seq" }),
        ("Ping", "text instead of a body", raw().raw(b"PING"), Missing { what: "Ping" }),
        // Lengths that lie.
        (
            "SendMsg",
            "payload longer than the body",
            send_front().u8(5).raw(b"abc"),
            Missing { what: "SendMsg.payload" },
        ),
        (
            "SendMsg",
            "payload one byte over its maximum",
            send_front().raw(&[0x81, 0x80, 0x01]),
            TooLong { what: "SendMsg.payload", length: 16_385, max: 16_384 },
        ),
        (
            "SendMsg",
            "payload of four gigabytes",
            send_front().raw(GREATEST),
            TooLong { what: "SendMsg.payload", length: u32::MAX, max: 16_384 },
        ),
        ("SendMsg", "payload shorter than it is", send_front().u8(2).raw(b"abc").u8(0), Missing { what: "SendMsg" }),
        (
            "SendMsg",
            "length with a needless byte",
            send_front().raw(b"\x83\x00abc\x00"),
            BadVarint { what: "SendMsg.payload" },
        ),
        (
            "SendMsg",
            "length of 33 bits",
            send_front().raw(b"\xff\xff\xff\xff\x1f"),
            BadVarint { what: "SendMsg.payload" },
        ),
        (
            "SendMsg",
            "length of six bytes",
            send_front().raw(b"\x80\x80\x80\x80\x80\x01"),
            BadVarint { what: "SendMsg.payload" },
        ),
        ("SendMsg", "length that is cut", send_front().raw(b"\x80\x80"), Missing { what: "SendMsg.payload" }),
        (
            "HandShake",
            "text over its maximum",
            raw().raw(&[0x81, 0x02]),
            TooLong { what: "HandShake.app_id", length: 257, max: 256 },
        ),
        (
            "Auth",
            "token over its maximum",
            raw().raw(&[0x81, 0x10]),
            TooLong { what: "Auth.token", length: 2049, max: 2048 },
        ),
        (
            "Signal",
            "payload over its maximum",
            raw().u8(1).run("b").u16(1).raw(&[0x81, 0x08]),
            TooLong { what: "Signal.payload", length: 1025, max: 1024 },
        ),
        (
            "Relay",
            "body over its maximum",
            raw().u8(0).u8(0).u16(8).raw(&[0x81, 0x80, 0x20]),
            TooLong { what: "Relay.body", length: 524_289, max: 524_288 },
        ),
        // Counts that lie.
        (
            "MsgPage",
            "count of four milliards",
            raw().u64(1).u64(9).u64(0).raw(GREATEST),
            TooLong { what: "MsgPage.entries", length: u32::MAX, max: 200 },
        ),
        (
            "MsgPage",
            "count one over its maximum",
            raw().u64(1).u64(9).u64(0).raw(&[0xc9, 0x01]),
            TooLong { what: "MsgPage.entries", length: 201, max: 200 },
        ),
        ("MsgPage", "rows that are not there", raw().u64(1).u64(9).u64(0).raw(&[0xc8, 0x01]), Missing { what: "Seq" }),
        ("HandShake", "nine codecs", raw().u8(0).u8(0).u8(9), TooLong { what: "HandShake.codecs", length: 9, max: 8 }),
        ("HandShake", "codecs that are not there", raw().u8(0).u8(0).u8(8).raw(&[0; 7]), Missing { what: "CodecId" }),
        ("Redirect", "seventeen gates", raw().u8(17), TooLong { what: "Redirect.gates", length: 17, max: 16 }),
        (
            "CreateGroup",
            "a thousand and one members",
            raw().run("g").run("name").raw(&[0xe9, 0x07]),
            TooLong { what: "CreateGroup.members", length: 1001, max: 1000 },
        ),
        (
            "CreateGroup",
            "members that are not there",
            raw().run("g").run("name").raw(&[0xe8, 0x07]),
            Missing { what: "UserId" },
        ),
        ("ConversationPage", "rows that are not there", raw().raw(&[0xc8, 0x01]), Missing { what: "ConversationId" }),
        (
            "PushSessions",
            "too many targets",
            raw().u64(1).raw(&[0xea, 0x07]),
            TooLong { what: "PushSessions.targets", length: 1002, max: 1001 },
        ),
        ("Push", "targets of half the bytes", raw().u64(1).u8(2).run("a").u64(2), Missing { what: "UserId" }),
        // Text that is none.
        ("Kickout", "a lone continuation byte", raw().u8(1).run([0x80]).u8(0), BadUtf8 { what: "Kickout.detail" }),
        ("Kickout", "an overlong NUL", raw().u8(1).run([0xc0, 0x80]).u8(0), BadUtf8 { what: "Kickout.detail" }),
        (
            "Kickout",
            "half of a surrogate pair",
            raw().u8(1).run([0xed, 0xa0, 0x80]).u8(0),
            BadUtf8 { what: "Kickout.detail" },
        ),
        (
            "Kickout",
            "a character cut at the end of its run",
            raw().u8(1).run([0xe5, 0x90]).u8(0),
            BadUtf8 { what: "Kickout.detail" },
        ),
        ("SessionDown", "an id that is not UTF-8", session_down(&[0xff]), BadUtf8 { what: "UserId" }),
        // Ids.
        ("SessionDown", "an empty id", session_down(b""), wrong_user(EMPTY)),
        ("SessionDown", "an id with a colon", session_down(b"a:b"), wrong_user(COLON)),
        ("SessionDown", "an id with a line end", session_down(b"a\nb"), wrong_user(CONTROL)),
        ("SessionDown", "an id with a NUL", session_down(b"a\0"), wrong_user(CONTROL)),
        ("SessionDown", "an id with a delete", session_down(b"a\x7f"), wrong_user(CONTROL)),
        ("SessionDown", "an id with a C1 control", session_down("a\u{85}".as_bytes()), wrong_user(CONTROL)),
        (
            "SessionDown",
            "an id of 65 bytes",
            session_down(long.as_bytes()),
            TooLong { what: "UserId", length: 65, max: 64 },
        ),
        ("ReadMsg", "a pair in the wrong order", read_msg(b"b:a"), wrong_id(ORDER)),
        ("ReadMsg", "a pair in the order of letters, not of bytes", read_msg(b"a:B"), wrong_id(ORDER)),
        ("ReadMsg", "a pair without its smaller half", read_msg(b":b"), wrong_id(EMPTY)),
        ("ReadMsg", "a pair without its bigger half", read_msg(b"a:"), wrong_id(EMPTY)),
        ("ReadMsg", "three users", read_msg(b"a:b:c"), wrong_id(COLON)),
        ("ReadMsg", "no id", read_msg(b""), wrong_id(EMPTY)),
        ("ReadMsg", "a tab in a pair", read_msg(b"a:b\t"), wrong_id(CONTROL)),
        ("ReadMsg", "a group id of 65 bytes", read_msg(long.as_bytes()), wrong_id(LONG)),
        ("ReadMsg", "a user id of 65 bytes in a pair", read_msg(long_pair.as_bytes()), wrong_id(LONG)),
        (
            "ReadMsg",
            "a conversation id of 130 bytes",
            raw().raw(&[0x82, 0x01]),
            TooLong { what: "ConversationId", length: 130, max: 129 },
        ),
        ("Auth", "an empty device", raw().run("t").run("").u8(2).u8(0), BadValue { what: "DeviceId", why: EMPTY }),
        (
            "SendMsg",
            "a message id with a colon",
            raw().u8(1).run("b").run("m:1"),
            BadValue { what: "ClientMsgId", why: COLON },
        ),
        ("ListGroups", "a group id with a colon", raw().u8(1).run("a:b"), BadValue { what: "GroupId", why: COLON }),
        (
            "SendMsg",
            "a target that is neither user nor group",
            raw().u8(0).run("b"),
            BadValue { what: "Target", why: "a target is a user (1) or a group (2)" },
        ),
        (
            "Signal",
            "a target of an unknown kind",
            raw().u8(3).run("b"),
            BadValue { what: "Target", why: "a target is a user (1) or a group (2)" },
        ),
        // Flags.
        (
            "HeartBeatAck",
            "a presence of 2",
            raw().u8(2).u64(1).u64(1).u64(1).u8(0),
            BadValue { what: "Option", why: FLAG },
        ),
        ("HeartBeatAck", "present, and not there", raw().u8(1), Missing { what: "Epoch" }),
        ("GroupPage", "a truth of 255", raw().u8(0).u8(255).u8(0), BadValue { what: "bool", why: FLAG }),
        ("ListConversations", "a letter as presence", raw().raw(b"yes"), BadValue { what: "Option", why: FLAG }),
        ("NewMsg", "a presence of 128", raw().u64(1).u64(7).u8(0x80), BadValue { what: "Option", why: FLAG }),
    ];
    refused
        .into_iter()
        .map(|(message, why, Raw(bytes), error)| body(Codec::Binary, message, why, &bytes, error))
        .collect()
}
