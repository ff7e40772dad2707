//! JSON bodies that must be refused.

use proto_codec::Codec;
use proto_codec::DecodeError::{self, BadText, BadValue, Missing, TooLong};
use serde_json::Value;

use super::refused::{COLON, CONTROL, EMPTY, ORDER, body};

/// Most rows are this `SendMsg` with one thing wrong.
const GOOD: &str = r#"{"to":{"user":"b"},"client_msg_id":"m-1","content_type":"Text","payload":"hi"}"#;
const SYNTAX: &str = "not JSON";
const ENDS: &str = "the text ends inside a value";
const WIDTH: &str = "a number that its type does not hold";
const NUMBER: &str = "not a number, or a string of digits";
const NAMED: &str = "not a name or a number";
const UNKNOWN_NAME: &str = "a name that is not known; a number would do";
const BYTES: &str = "not a string or {\"base64\":\"…\"}";
const CHOICE: &str = "not an object with the one key that says which";

pub fn bodies() -> Vec<Value> {
    let bad = |what, why| BadValue { what, why };
    let text = |what, why, column| BadText { what, why, line: 1, column };
    let with = |part: &str, other: &str| {
        assert!(GOOD.contains(part));
        GOOD.replace(part, other).into_bytes()
    };
    let to = |other: &str| with(r#"{"user":"b"}"#, other);
    let id = |other: &str| with(r#""m-1""#, other);
    let content = |other: &str| with(r#""Text""#, other);
    let payload = |other: &str| with(r#""hi""#, other);
    let send: Vec<(&str, Vec<u8>, DecodeError)> = vec![
        // Not one object.
        ("nothing", b"".to_vec(), text("SendMsg", ENDS, 0)),
        ("blanks", b" \n\t ".to_vec(), BadText { what: "SendMsg", why: ENDS, line: 2, column: 2 }),
        ("an open brace", b"{".to_vec(), text("SendMsg", ENDS, 1)),
        ("cut behind a field", br#"{"to":{"user":"b"}"#.to_vec(), text("SendMsg", ENDS, 18)),
        ("cut in a string", br#"{"to":{"user":"b"},"client_ms"#.to_vec(), text("SendMsg", ENDS, 29)),
        ("without its last brace", GOOD.as_bytes()[..GOOD.len() - 1].to_vec(), text("SendMsg", ENDS, 77)),
        ("null", b"null".to_vec(), bad("SendMsg", "not an object")),
        ("a list", b"[]".to_vec(), bad("SendMsg", "not an object")),
        ("a number", b"7".to_vec(), bad("SendMsg", "not an object")),
        ("a string", br#""SendMsg""#.to_vec(), bad("SendMsg", "not an object")),
        ("true", b"true".to_vec(), bad("SendMsg", "not an object")),
        ("two messages", format!("{GOOD} {GOOD}").into(), text("SendMsg", "more text behind the message", 80)),
        ("a NUL behind it", format!("{GOOD}\0").into(), text("SendMsg", "more text behind the message", 79)),
        // Not JSON.
        ("single quotes", b"{'to':1}".to_vec(), text("SendMsg", SYNTAX, 2)),
        ("a key without quotes", b"{to:1}".to_vec(), text("SendMsg", SYNTAX, 2)),
        ("a comment", b"/* hi */ {}".to_vec(), text("SendMsg", SYNTAX, 1)),
        ("a byte order mark", "\u{feff}{}".into(), text("SendMsg", SYNTAX, 1)),
        ("a comma at the end", with(r#""hi"}"#, r#""hi",}"#), text("SendMsg", SYNTAX, 79)),
        ("a comma at the beginning", b"{,}".to_vec(), text("SendMsg", SYNTAX, 2)),
        ("no colon", br#"{"to" {"user":"b"}}"#.to_vec(), text("SendMsg", SYNTAX, 7)),
        (
            "a line end in a string",
            payload("\"a\nb\""),
            BadText { what: "SendMsg.payload", why: SYNTAX, line: 2, column: 0 },
        ),
        ("an escape that is none", payload(r#""\x41""#), text("SendMsg.payload", SYNTAX, 76)),
        ("half of a surrogate pair", payload(r#""\ud83d""#), text("SendMsg.payload", SYNTAX, 81)),
        ("the other half alone", payload(r#""\udf5c""#), text("SendMsg.payload", SYNTAX, 80)),
        ("a number with a zero in front", content("01"), text("SendMsg.content_type", SYNTAX, 58)),
        ("a number with a plus", content("+1"), text("SendMsg.content_type", SYNTAX, 57)),
        ("a number that is none", content("NaN"), text("SendMsg.content_type", SYNTAX, 57)),
        (
            "a payload in Latin-1",
            [&GOOD.as_bytes()[..75], b"\xe9", &GOOD.as_bytes()[75..]].concat(),
            text("SendMsg.payload", SYNTAX, 76),
        ),
        // Fields.
        ("no field at all", b"{}".to_vec(), Missing { what: "SendMsg.to" }),
        ("no receiver", with(r#""to":{"user":"b"},"#, ""), Missing { what: "SendMsg.to" }),
        ("no id", with(r#""client_msg_id":"m-1","#, ""), Missing { what: "SendMsg.client_msg_id" }),
        ("no payload", with(r#","payload":"hi""#, ""), Missing { what: "SendMsg.payload" }),
        ("a field in capitals", with("payload", "Payload"), Missing { what: "SendMsg.payload" }),
        (
            "a field twice",
            with(r#","payload""#, r#","to":{"user":"c"},"payload""#),
            bad("SendMsg.to", "a field that stands twice"),
        ),
        // One of several.
        ("a receiver as a string", to(r#""b""#), bad("SendMsg.to", CHOICE)),
        ("no receiver chosen", to("{}"), bad("SendMsg.to", CHOICE)),
        ("an unknown receiver", to(r#"{"channel":"b"}"#), bad("SendMsg.to", CHOICE)),
        ("two receivers", to(r#"{"user":"b","group":"g"}"#), bad("SendMsg.to", CHOICE)),
        ("a receiver that is null", to("null"), bad("SendMsg.to", CHOICE)),
        ("a receiver that is a number", to(r#"{"group":7}"#), bad("Target", "not a string")),
        // Ids.
        ("an id that is a number", id("7"), bad("SendMsg.client_msg_id", "not a string")),
        ("an id that is null", id("null"), bad("SendMsg.client_msg_id", "not a string")),
        ("an empty id", id(r#""""#), bad("ClientMsgId", EMPTY)),
        ("an id with a colon", id(r#""a:b""#), bad("ClientMsgId", COLON)),
        ("an id with an escaped NUL", id(r#""a\u0000""#), bad("ClientMsgId", CONTROL)),
        ("an id with an escaped line end", id(r#""a\nb""#), bad("ClientMsgId", CONTROL)),
        (
            "an id of 65 bytes",
            id(&format!("\"{}\"", "x".repeat(65))),
            TooLong { what: "ClientMsgId", length: 65, max: 64 },
        ),
        // Enums.
        ("a negative number", content("-1"), bad("SendMsg.content_type", NAMED)),
        ("a fraction", content("1.0"), bad("SendMsg.content_type", NAMED)),
        ("an exponent", content("1e0"), bad("SendMsg.content_type", NAMED)),
        ("a number over 16 bits", content("65536"), bad("SendMsg.content_type", WIDTH)),
        ("a number over 16 bits in a string", content(r#""65536""#), bad("SendMsg.content_type", WIDTH)),
        ("a name in small letters", content(r#""text""#), bad("SendMsg.content_type", UNKNOWN_NAME)),
        ("a name that is empty", content(r#""""#), bad("SendMsg.content_type", UNKNOWN_NAME)),
        ("a truth for a name", content("true"), bad("SendMsg.content_type", NAMED)),
        // Bytes.
        ("a number for bytes", payload("104"), bad("SendMsg.payload", BYTES)),
        ("a list for bytes", payload("[104,105]"), bad("SendMsg.payload", BYTES)),
        ("bytes in hex", payload(r#"{"hex":"6869"}"#), bad("SendMsg.payload", BYTES)),
        ("an empty object for bytes", payload("{}"), bad("SendMsg.payload", BYTES)),
        ("base64 without its padding", payload(r#"{"base64":"aGk"}"#), bad("SendMsg.payload", "not base64")),
        ("base64 for URLs", payload(r#"{"base64":"__8="}"#), bad("SendMsg.payload", "not base64")),
        ("base64 with a line end", payload(r#"{"base64":"aG\nk="}"#), bad("SendMsg.payload", "not base64")),
        ("base64 and more", payload(r#"{"base64":"aGk=","hex":"6869"}"#), bad("SendMsg.payload", BYTES)),
    ];
    let send = send.into_iter().map(|(why, bytes, error)| ("SendMsg", why, bytes, error));

    let hello =
        |codecs: &str| format!(r#"{{"app_id":"","sdk":"","codecs":{codecs},"suites":[],"key_share":""}}"#).into_bytes();
    let pull = |after: &str, limit: &str| format!(r#"{{"after":{after},"limit":{limit}}}"#).into_bytes();
    let seq = |seq: &str| pull(&format!(r#"{{"epoch":"1","seq":{seq}}}"#), "1");
    let others: Vec<(&str, &str, Vec<u8>, DecodeError)> = vec![
        ("GetMsg", "a number over 64 bits", seq("18446744073709551616"), bad("Position.seq", NUMBER)),
        ("GetMsg", "a string of a number over 64 bits", seq(r#""18446744073709551616""#), bad("Position.seq", NUMBER)),
        ("GetMsg", "a string with a minus", seq(r#""-1""#), bad("Position.seq", NUMBER)),
        ("GetMsg", "a string with a blank", seq(r#"" 1""#), bad("Position.seq", NUMBER)),
        ("GetMsg", "a string in hex", seq(r#""0x10""#), bad("Position.seq", NUMBER)),
        ("GetMsg", "an empty string", seq(r#""""#), bad("Position.seq", NUMBER)),
        ("GetMsg", "a fraction", seq("1.5"), bad("Position.seq", NUMBER)),
        ("GetMsg", "a limit over 16 bits", pull(r#"{"epoch":1,"seq":1}"#, "65536"), bad("GetMsg.limit", WIDTH)),
        ("GetMsg", "no limit", br#"{"after":{"epoch":1,"seq":1}}"#.to_vec(), Missing { what: "GetMsg.limit" }),
        ("GetMsg", "half of a position", pull(r#"{"epoch":1}"#, "1"), Missing { what: "Position.seq" }),
        ("GetMsg", "a position that is null", pull("null", "1"), bad("GetMsg.after", "not an object")),
        ("GetMsg", "a position as a list", pull("[1,1]", "1"), bad("GetMsg.after", "not an object")),
        ("HandShake", "codecs that are no list", hello(r#""Json""#), bad("HandShake.codecs", "not a list")),
        ("HandShake", "a codec in small letters", hello(r#"["json"]"#), bad("HandShake.codecs", UNKNOWN_NAME)),
        ("HandShake", "a codec over 8 bits", hello("[256]"), bad("HandShake.codecs", WIDTH)),
        ("HandShake", "a codec that is null", hello("[null]"), bad("HandShake.codecs", NAMED)),
        (
            "HandShake",
            "nine codecs",
            hello("[0,0,0,0,0,0,0,0,0]"),
            TooLong { what: "HandShake.codecs", length: 9, max: 8 },
        ),
        (
            "Kickout",
            "text over its maximum",
            format!(r#"{{"reason":1,"detail":"{}"}}"#, "x".repeat(257)).into(),
            TooLong { what: "Kickout.detail", length: 257, max: 256 },
        ),
        (
            "Redirect",
            "seventeen gates",
            format!(r#"{{"gates":[{}{{"text":""}}],"after_ms":0}}"#, r#"{"text":""},"#.repeat(16)).into(),
            TooLong { what: "Redirect.gates", length: 17, max: 16 },
        ),
        (
            "Redirect",
            "a gate without its text",
            br#"{"gates":[{}],"after_ms":0}"#.to_vec(),
            Missing { what: "Address.text" },
        ),
        (
            "GroupPage",
            "a truth as a number",
            br#"{"groups":[],"has_more":1}"#.to_vec(),
            bad("GroupPage.has_more", "not true or false"),
        ),
        (
            "GroupPage",
            "a truth as a string",
            br#"{"groups":[],"has_more":"true"}"#.to_vec(),
            bad("GroupPage.has_more", "not true or false"),
        ),
        (
            "GroupPage",
            "rows as an object",
            br#"{"groups":{},"has_more":true}"#.to_vec(),
            bad("GroupPage.groups", "not a list"),
        ),
        (
            "ReadMsg",
            "a pair in the wrong order",
            br#"{"conversation":"b:a","seq":1}"#.to_vec(),
            bad("ConversationId", ORDER),
        ),
        (
            "ListConversations",
            "an option that is empty",
            br#"{"after":"","limit":1}"#.to_vec(),
            bad("ConversationId", EMPTY),
        ),
        (
            "ListConversations",
            "an option of another type",
            br#"{"after":5,"limit":1}"#.to_vec(),
            bad("ListConversations.after", "not a string"),
        ),
    ];
    send.chain(others).map(|(message, why, bytes, error)| body(Codec::Json, message, why, &bytes, error)).collect()
}
