//! Bodies in protocol buffers that must be refused.

use proto_codec::Codec;
use proto_codec::DecodeError::{self, BadUtf8, BadValue, Missing, TooLong};
use serde_json::Value;

use super::refused::{COLON, CONTROL, EMPTY, ORDER, body};

const WIRE_TYPE: &str = "a wire type that is not the field's";
const NO_WIRE_TYPE: &str = "a wire type that does not exist, or a group";
const FIELD: &str = "a field number that none can have";
const VARINT: &str = "a varint over 64 bits";
const WIDTH: &str = "a number that its type does not hold";
const CHOICE: &str = "none of its choices is there";

pub fn bodies() -> Vec<Value> {
    let bad = |what, why| BadValue { what, why };
    /// The receiver and the id of a `SendMsg`, then what is wrong.
    fn send(tail: &[u8]) -> Vec<u8> {
        [b"\x0a\x03\x0a\x01b\x12\x03m-1", tail].concat()
    }
    let to = |to: &[u8]| [&[0x0a, to.len() as u8], to, b"\x12\x03m-1"].concat();
    let id = |id: &[u8]| [b"\x0a\x03\x0a\x01b\x12", &[id.len() as u8][..], id].concat();
    let rows: Vec<(&str, &str, Vec<u8>, DecodeError)> = vec![
        // What is absent.
        ("SendMsg", "nothing", vec![], bad("Target", CHOICE)),
        ("SendMsg", "no id", b"\x0a\x03\x0a\x01b".to_vec(), bad("ClientMsgId", EMPTY)),
        ("SendMsg", "an empty receiver", to(b""), bad("Target", CHOICE)),
        ("SendMsg", "an unknown kind of receiver", to(b"\x1a\x01b"), bad("Target", CHOICE)),
        ("SendMsg", "a receiver without an id", to(b"\x0a\x00"), bad("UserId", EMPTY)),
        ("ReadMsg", "nothing", vec![], bad("ConversationId", EMPTY)),
        ("MsgPage", "a row without its message", b"\x1a\x02\x08\x01".to_vec(), bad("ConversationId", EMPTY)),
        // The wire.
        ("SendMsg", "the beginning of a group", vec![0x0b], bad("SendMsg", NO_WIRE_TYPE)),
        ("SendMsg", "the end of a group", vec![0x0c], bad("SendMsg", NO_WIRE_TYPE)),
        ("SendMsg", "wire type 6", send(&[0x7e]), bad("SendMsg", NO_WIRE_TYPE)),
        ("SendMsg", "wire type 7", send(&[0x7f]), bad("SendMsg", NO_WIRE_TYPE)),
        ("SendMsg", "an unknown field that is a group", send(b"\x7b\x7c"), bad("SendMsg", NO_WIRE_TYPE)),
        ("SendMsg", "field number 0", send(b"\x00\x00"), bad("SendMsg", FIELD)),
        ("SendMsg", "a field number of 30 bits", send(b"\x80\x80\x80\x80\x10\x00"), bad("SendMsg", FIELD)),
        (
            "SendMsg",
            "a field number of 61 bits",
            send(b"\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"),
            bad("SendMsg", FIELD),
        ),
        (
            "SendMsg",
            "a number of 65 bits",
            send(b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
            bad("SendMsg", VARINT),
        ),
        (
            "SendMsg",
            "a varint of eleven bytes",
            send(b"\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"),
            bad("SendMsg", VARINT),
        ),
        ("SendMsg", "a varint that is cut", send(b"\x18\x80"), Missing { what: "SendMsg" }),
        ("SendMsg", "a tag that is cut", send(b"\x98"), Missing { what: "SendMsg" }),
        ("SendMsg", "a tag without its value", send(b"\x18"), Missing { what: "SendMsg" }),
        ("SendMsg", "a length without its bytes", send(b"\x22\x05"), Missing { what: "SendMsg" }),
        ("SendMsg", "a payload that is cut", send(b"\x22\x05hell"), Missing { what: "SendMsg" }),
        (
            "SendMsg",
            "a payload of 2^64-1 bytes",
            send(b"\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            Missing { what: "SendMsg" },
        ),
        ("SendMsg", "an unknown fixed32 that is cut", send(b"\x7d\0\0\0"), Missing { what: "SendMsg" }),
        ("SendMsg", "an unknown fixed64 that is cut", send(b"\x79\0\0\0\0\0\0\0"), Missing { what: "SendMsg" }),
        ("SendMsg", "an unknown run that is cut", send(b"\x7a\x02x"), Missing { what: "SendMsg" }),
        ("SendMsg", "a receiver that is cut inside", to(b"\x0a\x05b"), Missing { what: "Target" }),
        ("SendMsg", "a bad wire type inside", to(b"\x0b"), bad("Target", NO_WIRE_TYPE)),
        // Another wire type than the field's.
        ("SendMsg", "a message as a number", b"\x08\x01".to_vec(), bad("SendMsg.to", WIRE_TYPE)),
        (
            "SendMsg",
            "an id as a number",
            b"\x0a\x03\x0a\x01b\x10\x01".to_vec(),
            bad("SendMsg.client_msg_id", WIRE_TYPE),
        ),
        ("SendMsg", "an enum as bytes", send(b"\x1a\x01\x01"), bad("SendMsg.content_type", WIRE_TYPE)),
        ("SendMsg", "an enum as fixed32", send(b"\x1d\x01\0\0\0"), bad("SendMsg.content_type", WIRE_TYPE)),
        ("SendMsg", "bytes as a number", send(b"\x20\x05"), bad("SendMsg.payload", WIRE_TYPE)),
        ("GetMsg", "a number as fixed64", b"\x0a\x09\x11\x01\0\0\0\0\0\0\0".to_vec(), bad("Position.seq", WIRE_TYPE)),
        ("GroupPage", "a truth as bytes", b"\x12\x01\x01".to_vec(), bad("GroupPage.has_more", WIRE_TYPE)),
        ("HandShake", "a list of numbers as fixed32", b"\x1d\0\0\0\0".to_vec(), bad("HandShake.codecs", WIRE_TYPE)),
        ("Redirect", "a list of messages as a number", b"\x08\x01".to_vec(), bad("Redirect.gates", WIRE_TYPE)),
        // Values.
        ("SendMsg", "an enum over 16 bits", send(b"\x18\x80\x80\x04"), bad("SendMsg.content_type", WIDTH)),
        (
            "SendMsg",
            "an enum that is negative",
            send(b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            bad("SendMsg.content_type", WIDTH),
        ),
        ("GetMsg", "a limit over 16 bits", b"\x10\x80\x80\x04".to_vec(), bad("GetMsg.limit", WIDTH)),
        ("Redirect", "a time over 32 bits", b"\x10\x80\x80\x80\x80\x10".to_vec(), bad("Redirect.after_ms", WIDTH)),
        ("HandShake", "a packed codec over 8 bits", b"\x1a\x02\x80\x02".to_vec(), bad("HandShake.codecs", WIDTH)),
        ("HandShake", "packed codecs that are cut", b"\x1a\x01\x80".to_vec(), Missing { what: "HandShake.codecs" }),
        (
            "HandShake",
            "nine codecs, packed",
            b"\x1a\x09\0\0\0\0\0\0\0\0\0".to_vec(),
            TooLong { what: "HandShake.codecs", length: 9, max: 8 },
        ),
        (
            "HandShake",
            "nine codecs, one by one",
            b"\x18\x00".repeat(9),
            TooLong { what: "HandShake.codecs", length: 9, max: 8 },
        ),
        (
            "HandShake",
            "a key of 33 bytes",
            [&b"\x2a\x21"[..], &[7; 33]].concat(),
            TooLong { what: "HandShake.key_share", length: 33, max: 32 },
        ),
        (
            "Redirect",
            "seventeen gates",
            b"\x0a\x00".repeat(17),
            TooLong { what: "Redirect.gates", length: 17, max: 16 },
        ),
        (
            "Kickout",
            "text over its maximum",
            [&b"\x12\x81\x02"[..], &[b'x'; 257]].concat(),
            TooLong { what: "Kickout.detail", length: 257, max: 256 },
        ),
        ("Kickout", "text that is not UTF-8", b"\x08\x01\x12\x01\xff".to_vec(), BadUtf8 { what: "Kickout.detail" }),
        ("Kickout", "an overlong NUL", b"\x08\x01\x12\x02\xc0\x80".to_vec(), BadUtf8 { what: "Kickout.detail" }),
        // Ids.
        ("SendMsg", "an id that is not UTF-8", id(b"\xff"), BadUtf8 { what: "ClientMsgId" }),
        ("SendMsg", "an empty id", id(b""), bad("ClientMsgId", EMPTY)),
        ("SendMsg", "an id with a colon", id(b"a:b"), bad("ClientMsgId", COLON)),
        ("SendMsg", "an id with a NUL", id(b"a\0"), bad("ClientMsgId", CONTROL)),
        ("SendMsg", "an id of 65 bytes", id(&[b'x'; 65]), TooLong { what: "ClientMsgId", length: 65, max: 64 }),
        ("ReadMsg", "a pair in the wrong order", b"\x0a\x03b:a".to_vec(), bad("ConversationId", ORDER)),
        ("SendMsg", "the receiver again, and empty", send(b"\x0a\x02\x0a\x00"), bad("UserId", EMPTY)),
    ];
    rows.into_iter().map(|(message, why, bytes, error)| body(Codec::Protobuf, message, why, &bytes, error)).collect()
}
