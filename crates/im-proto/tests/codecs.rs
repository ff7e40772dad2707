//! One set of messages in three codecs: every kept body comes through each of them as it was, and
//! what is wrong is refused with the same words.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use im_proto::client::{Address, ContentType, Empty, GetMsg, HandShake, ListConversations, MsgPage, Redirect, SendMsg};
use im_proto::fuzzing::{self, BODIES, Body};
use im_proto::{ClientMsgId, ConversationId, Epoch, Position, Seq, Target, UserId};
use proptest::collection::vec;
use proptest::prelude::*;
use proto_codec::DecodeError::{self, BadText, BadUtf8, BadValue, Missing, TooLong};
use proto_codec::schema::Type;
use proto_codec::{Codec, Decode, Describe, Encode};

/// Every kept body with its message.
fn kept() -> Vec<(&'static Body, Bytes)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-codec/testdata/messages-v1.json");
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let rows = file["vectors"].as_array().unwrap().iter();
    rows.map(|row| {
        let hex = row["hex"].as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let kind = BODIES.iter().find(|kind| kind.message == row["message"].as_str().unwrap()).unwrap();
        (kind, bytes.into())
    })
    .collect()
}

fn encode<M: Encode + Describe>(codec: Codec, message: &M) -> Bytes {
    let mut out = BytesMut::new();
    codec.encode(message, &mut out);
    out.freeze()
}

fn json<M: Encode + Describe>(message: &M) -> String {
    String::from_utf8(encode(Codec::Json, message).to_vec()).unwrap()
}

fn from_json<M: Decode>(text: impl AsRef<[u8]>) -> Result<M, DecodeError> {
    Codec::Json.decode("message", &Bytes::copy_from_slice(text.as_ref()))
}

fn from_protobuf<M: Decode>(bytes: impl AsRef<[u8]>) -> Result<M, DecodeError> {
    Codec::Protobuf.decode("message", &Bytes::copy_from_slice(bytes.as_ref()))
}

fn message(payload: &'static [u8]) -> SendMsg {
    SendMsg {
        to: Target::User(UserId::new("b").unwrap()),
        client_msg_id: ClientMsgId::new("m-1").unwrap(),
        content_type: ContentType::Text,
        payload: Bytes::from_static(payload),
    }
}

const BY_HAND: &str = r#"{"to":{"user":"b"},"client_msg_id":"m-1","content_type":"Text","payload":"hello"}"#;

#[test]
fn every_kept_body_comes_through_every_codec() {
    for (kind, binary) in kept() {
        for codec in Codec::ALL {
            let coded = codec.encode_binary("message", kind.ty, &binary).unwrap();
            assert_eq!((kind.recode)(*codec, &coded, Codec::Binary).as_ref(), Ok(&binary), "{codec:?}: {coded:?}");
            // By the message and by the schema alone, it is the same.
            assert_eq!((kind.recode)(Codec::Binary, &binary, *codec).as_ref(), Ok(&coded), "{codec:?}");
        }
    }
}

#[test]
fn types_have_a_form_in_every_codec() {
    let mut named = Vec::new();
    BODIES.iter().for_each(|kind| kind.ty.collect_named(&mut named));
    let fields = named.iter().filter_map(|ty| ty.as_struct()).flat_map(|schema| schema.fields);
    for field in fields {
        let inner = match &field.ty {
            Type::Option(inner) | Type::List { of: inner, .. } => *inner,
            _ => continue,
        };
        let holds_another = matches!(inner, Type::Option(_) | Type::List { .. });
        assert!(!holds_another, "{}: protocol buffers have no list or option of these", field.path);
    }
}

#[test]
fn json_is_what_a_person_would_type() {
    assert_eq!(json(&message(b"hello")), BY_HAND);
    assert_eq!(from_json(BY_HAND), Ok(message(b"hello")));
    assert_eq!(json(&Empty {}), "{}");
    let after = Position { epoch: Epoch(1), seq: Seq(u64::MAX) };
    let pull = GetMsg { after, limit: 20 };
    assert_eq!(json(&pull), r#"{"after":{"epoch":"1","seq":"18446744073709551615"},"limit":20}"#);
    // In any order, with numbers either way, with blanks, and with what this version does not know.
    let by_hand = r#" { "limit": "20", "more": [{"a": null}],
        "after": {"seq": 18446744073709551615, "epoch": "1"} } "#;
    assert_eq!(from_json(by_hand), Ok(pull));
}

#[test]
fn bytes_are_text_where_they_can_be() {
    for (payload, spelling) in [
        (&b""[..], r#""""#),
        ("吃了吗 \"\n".as_bytes(), r#""吃了吗 \"\n""#),
        (&[0xff, 0xfe], r#"{"base64":"//4="}"#),
        (&[0; 20], r#"{"base64":"AAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#),
    ] {
        let sent = message(payload.to_vec().leak());
        assert!(json(&sent).ends_with(&format!(r#""payload":{spelling}}}"#)), "{}", json(&sent));
        assert_eq!(from_json(json(&sent)), Ok(sent));
    }
    // Text may come as base64 too.
    let spelled = BY_HAND.replace(r#""hello""#, r#"{"base64":"aGVsbG8="}"#);
    assert_eq!(from_json(spelled), Ok(message(b"hello")));
    let bad = |payload: &str| from_json::<SendMsg>(BY_HAND.replace(r#""hello""#, payload)).unwrap_err();
    let refused = |why| BadValue { what: "SendMsg.payload", why };
    assert_eq!(bad(r#"{"base64":"%"}"#), refused("not base64"));
    assert_eq!(bad(r#"{"hex":"00"}"#), refused("not a string or {\"base64\":\"…\"}"));
    assert_eq!(bad("[1,2]"), refused("not a string or {\"base64\":\"…\"}"));
    let base64 = "QUFB".repeat(6000);
    let long = TooLong { what: "SendMsg.payload", length: 18_000, max: 16_384 };
    assert_eq!(bad(&format!(r#"{{"base64":"{base64}"}}"#)), long);
}

#[test]
fn a_payload_grows_by_no_more_than_a_third_in_json() {
    for byte in 0..=255u8 {
        let sent = message(vec![byte; 3000].leak());
        assert!(json(&sent).len() <= 3000 / 3 * 4 + 120, "{byte:#04x}: {}", json(&sent).len());
    }
}

#[test]
fn enums_go_by_name_or_number() {
    let hello = |codecs: &str| format!(r#"{{"app_id":"","sdk":"","codecs":{codecs},"suites":[],"key_share":""}}"#);
    let read: HandShake = from_json(hello(r#"["Json", 2, "0", 200]"#)).unwrap();
    let text = json(&read);
    assert!(text.contains(r#""codecs":["Json","Protobuf","Binary",200]"#), "{text}");
    let why = "a name that is not known; a number would do";
    assert_eq!(from_json::<HandShake>(hello(r#"["json"]"#)), Err(BadValue { what: "HandShake.codecs", why }));
    let why = "a number that its type does not hold";
    assert_eq!(from_json::<HandShake>(hello("[256]")), Err(BadValue { what: "HandShake.codecs", why }));
}

#[test]
fn json_that_is_no_message_is_refused_with_a_reason() {
    let swap = |from: &str, to: &str| from_json::<SendMsg>(BY_HAND.replace(from, to)).unwrap_err();
    let bad = |what, why| BadValue { what, why };
    assert_eq!(swap(r#""to":{"user":"b"},"#, ""), Missing { what: "SendMsg.to" });
    assert_eq!(swap(r#","payload":"hello""#, ""), Missing { what: "SendMsg.payload" });
    assert_eq!(swap(r#"{"user":"b"}"#, r#""b""#), bad("SendMsg.to", "not an object with the one key that says which"));
    assert_eq!(swap(r#"{"user":"b"}"#, "{}"), bad("SendMsg.to", "not an object with the one key that says which"));
    let both = r#"{"user":"b","group":"g"}"#;
    assert_eq!(swap(r#"{"user":"b"}"#, both), bad("SendMsg.to", "not an object with the one key that says which"));
    assert_eq!(swap(r#""m-1""#, "7"), bad("SendMsg.client_msg_id", "not a string"));
    assert_eq!(swap(r#""Text""#, "-1"), bad("SendMsg.content_type", "not a name or a number"));
    assert_eq!(swap(r#""Text""#, "1.0"), bad("SendMsg.content_type", "not a name or a number"));
    assert_eq!(swap(r#""Text""#, "65536"), bad("SendMsg.content_type", "a number that its type does not hold"));
    assert_eq!(swap(r#""payload""#, r#""to":{"user":"c"},"payload""#), bad("SendMsg.to", "a field that stands twice"));
    // The rules of ids are the decoder's own, whatever the codec.
    assert_eq!(swap(r#"{"user":"b"}"#, r#"{"user":"b:c"}"#), bad("UserId", "an id has no ':'"));
    assert_eq!(swap(r#""m-1""#, r#""""#), bad("ClientMsgId", "an id has at least one character"));
    let long = format!(r#""{}""#, "x".repeat(65));
    assert_eq!(swap(r#""m-1""#, &long), TooLong { what: "ClientMsgId", length: 65, max: 64 });

    let text = |text: &str| from_json::<SendMsg>(text).unwrap_err();
    let more = BadText { what: "message", why: "more text behind the message", line: 1, column: 83 };
    assert_eq!(text(&format!("{BY_HAND} {{}}")), more);
    assert_eq!(text("[]"), bad("message", "not an object"));
    assert!(matches!(text(""), BadText { why: "the text ends inside a value", .. }));
    assert!(matches!(text("{'to':1}"), BadText { why: "not JSON", line: 1, column: 2, .. }));
    // What is not known is skipped at any depth, without a stack of its own.
    let (open, close) = ("[".repeat(60_000), "]".repeat(60_000));
    assert!(matches!(text(&format!(r#"{{"x":{open}"#)), BadText { why: "the text ends inside a value", .. }));
    assert_eq!(from_json(BY_HAND.replace(r#"{"to""#, &format!(r#"{{"x":{open}{close},"to""#))), Ok(message(b"hello")));
    let latin1 = [&BY_HAND.as_bytes()[..77], b"\xe9", &BY_HAND.as_bytes()[77..]].concat();
    assert!(matches!(from_json::<SendMsg>(latin1).unwrap_err(), BadText { why: "not JSON", .. }));
}

#[test]
fn json_cut_anywhere_is_refused() {
    for (kind, binary) in kept() {
        let text = (kind.recode)(Codec::Binary, &binary, Codec::Json).unwrap();
        for cut in 0..text.len() {
            let refusal = (kind.decode)(Codec::Json, &text.slice(..cut)).unwrap_err();
            assert!(matches!(refusal, BadText { .. }), "{} cut at {cut}: {refusal:?}", kind.message);
        }
    }
}

/// Neither does its depth cost stack: frames of 64 KiB may hold some 30,000 brackets.
#[test]
fn what_stands_under_an_unknown_key_is_skipped_however_deep() {
    for depth in [1, 128, 30_000] {
        let text = format!(r#"{{"limit":7,"later":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let read: Result<ListConversations, _> = from_json(&text);
        assert_eq!(read.map(|list| list.limit), Ok(7), "{depth}");
        let read: Result<ListConversations, _> = from_json(&text[..text.len() - 1]);
        assert!(matches!(read, Err(BadText { .. })), "{depth} and an end that is missing");
    }
}

#[test]
fn lists_meet_their_maximum_in_every_codec() {
    let gates = |count| Redirect { gates: vec![Address { text: "g:1".into() }; count], after_ms: 0 };
    for codec in Codec::ALL {
        let read = |count| codec.decode::<Redirect>("message", &encode(*codec, &gates(count)));
        assert_eq!(read(16), Ok(gates(16)));
        assert_eq!(read(17), Err(TooLong { what: "Redirect.gates", length: 17, max: 16 }), "{codec:?}");
        let long = Redirect { gates: vec![Address { text: "x".repeat(257) }], after_ms: 0 };
        let refused = codec.decode::<Redirect>("message", &encode(*codec, &long));
        assert_eq!(refused, Err(TooLong { what: "Address.text", length: 257, max: 256 }), "{codec:?}");
    }
}

#[test]
fn protobuf_is_the_standards_wire() {
    let sent = message(b"hello");
    let bytes = b"\x0a\x03\x0a\x01b\x12\x03m-1\x18\x01\x22\x05hello";
    assert_eq!(encode(Codec::Protobuf, &sent), &bytes[..]);
    assert_eq!(from_protobuf(bytes), Ok(sent.clone()));
    // In any order, with unknown fields of every kind, and again: the last counts, messages are merged.
    let odd = b"\x22\x05never\x18\x07\x7d\0\0\0\0\x12\x03m-1\x79\0\0\0\0\0\0\0\0\x18\x01\x22\x05hello\x7a\x01x\x78\x05\x0a\0\x0a\x03\x0a\x01b";
    assert_eq!(from_protobuf(odd), Ok(sent));
    let halves = from_protobuf::<GetMsg>(b"\x0a\x02\x08\x01\x0a\x02\x10\x02");
    assert_eq!(halves, Ok(GetMsg { after: Position { epoch: Epoch(1), seq: Seq(2) }, limit: 0 }));
    // Of a oneof, the last stands.
    let group = from_protobuf::<SendMsg>(b"\x0a\x06\x0a\x01b\x12\x01g\x12\x03m-1").unwrap();
    assert_eq!(group.to, Target::Group(im_proto::GroupId::new("g").unwrap()));
    assert_eq!(
        (group.content_type, group.payload.len()),
        (ContentType::Unknown(0), 0),
        "what is absent is the default"
    );
}

#[test]
fn packed_and_not_packed_are_the_same() {
    let read = |codecs: &[u8]| from_protobuf::<HandShake>(codecs).map(|hello| hello.codecs.len());
    assert_eq!(read(b"\x1a\x03\x01\x02\x00"), Ok(3));
    assert_eq!(read(b"\x18\x01\x18\x02\x1a\x01\x00"), Ok(3));
    assert_eq!(
        read(&[&b"\x1a\x09"[..], &[1; 9]].concat()),
        Err(TooLong { what: "HandShake.codecs", length: 9, max: 8 })
    );
    assert_eq!(read(b"\x1a\x01\x80"), Err(Missing { what: "HandShake.codecs" }));
}

#[test]
fn protobuf_that_is_no_message_is_refused_with_a_reason() {
    let read = |bytes: &[u8]| from_protobuf::<SendMsg>(bytes).unwrap_err();
    let bad = |what, why| BadValue { what, why };
    assert_eq!(read(b""), bad("Target", "none of its choices is there"));
    assert_eq!(read(b"\x0a\x03\x0a\x01b"), bad("ClientMsgId", "an id has at least one character"));
    assert_eq!(read(b"\x0b"), bad("SendMsg", "a wire type that does not exist, or a group"));
    assert_eq!(read(b"\x0c"), bad("SendMsg", "a wire type that does not exist, or a group"));
    assert_eq!(read(b"\x08\x01"), bad("SendMsg.to", "a wire type that is not the field's"));
    assert_eq!(read(b"\x0a\x03\x0a\x01b\x10\x01"), bad("SendMsg.client_msg_id", "a wire type that is not the field's"));
    let head = b"\x0a\x03\x0a\x01b\x12\x03m-1";
    let with = |tail: &[u8]| read(&[head, tail].concat());
    assert_eq!(with(b"\x18\x80\x80\x04"), bad("SendMsg.content_type", "a number that its type does not hold"));
    assert_eq!(with(b"\x1a\x01\x01"), bad("SendMsg.content_type", "a wire type that is not the field's"));
    assert_eq!(with(b"\x22\x05hell"), Missing { what: "SendMsg" });
    assert_eq!(with(b"\x00\x00"), bad("SendMsg", "a field number that none can have"));
    assert_eq!(read(b"\x0a\x03\x0a\x01\xff\x12\x03m-1"), BadUtf8 { what: "UserId" });
    assert_eq!(with(b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), bad("SendMsg", "a varint over 64 bits"));
}

/// A page of fifty messages, as a client that was away gets it.
#[test]
fn sizes_stay_in_proportion() {
    let conversation = ConversationId::new("alice:bob").unwrap();
    let entries = (1..=50)
        .map(|seq| im_proto::client::Entry {
            seq: Seq(seq),
            message: im_proto::client::Message {
                conversation: conversation.clone(),
                seq: Seq(seq),
                sender: UserId::new("alice").unwrap(),
                client_msg_id: ClientMsgId::new(format!("018f0000-0000-7000-8000-{seq:012}")).unwrap(),
                time_ms: 1_700_000_000_000 + seq,
                content_type: ContentType::Text,
                payload: Bytes::from_static(b"shall we eat together at noon?"),
            },
        })
        .collect();
    let head = Position { epoch: Epoch(1), seq: Seq(50) };
    let page = MsgPage { head, floor: Seq(0), entries, has_more: false };
    let [binary, json, protobuf] = [Codec::Binary, Codec::Json, Codec::Protobuf].map(|codec| {
        let bytes = encode(codec, &page);
        assert_eq!(codec.decode("MsgPage", &bytes), Ok(page.clone()));
        bytes.len()
    });
    assert!(protobuf < binary && binary < json && json < 3 * binary, "{binary} {json} {protobuf}");
}

proptest! {
    #[test]
    fn any_text_has_one_meaning_in_json(text in any::<String>()) {
        let sent = HandShake { app_id: text.chars().take(60).collect(), ..from_json(
            r#"{"app_id":"","sdk":"","codecs":[],"suites":[],"key_share":""}"#
        ).unwrap() };
        prop_assert_eq!(from_json(json(&sent)), Ok(sent));
    }

    #[test]
    fn any_payload_comes_through(payload in vec(any::<u8>(), 0..200)) {
        let sent = message(payload.leak());
        for codec in Codec::ALL {
            let read = codec.decode("message", &encode(*codec, &sent));
            prop_assert_eq!(read.as_ref(), Ok(&sent));
        }
    }

    #[test]
    fn changed_bodies_decode_to_one_value_or_none(
        at in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let kept = kept();
        let (kind, binary) = &kept[at.index(kept.len())];
        for codec in [Codec::Json, Codec::Protobuf] {
            let mut body = (kind.recode)(Codec::Binary, binary, codec).unwrap().to_vec();
            for (at, to) in &changes {
                if !body.is_empty() {
                    let at = at.index(body.len());
                    body[at] = *to;
                }
            }
            fuzzing::coded_body(codec, &body);
        }
    }

    #[test]
    fn garbage_decodes_to_one_value_or_none(body in vec(any::<u8>(), 0..100)) {
        fuzzing::json_body(&body);
        fuzzing::protobuf_body(&body);
    }
}
