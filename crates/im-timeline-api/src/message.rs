//! Messages as this interface knows them: JSON objects, as text. What clients send by other means
//! is shown as such an object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use im_proto::UserId;
use im_proto::client::{ContentType, Message};
use im_proto::limits::PAYLOAD_LEN_MAX;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::ApiError;

/// Takes a message that shall be sent: a JSON object of at most [`PAYLOAD_LEN_MAX`] bytes. It is
/// stored as it came, to the byte.
pub(crate) fn check(text: &str) -> Result<(), ApiError> {
    if text.is_empty() {
        return Err(ApiError::invalid("message is missing"));
    }
    if text.len() > PAYLOAD_LEN_MAX as usize {
        let len = text.len();
        return Err(ApiError::invalid(format!("message has {len} bytes; at most {PAYLOAD_LEN_MAX} are taken")));
    }
    if is_object(text) { Ok(()) } else { Err(ApiError::invalid("message is not a JSON object, written as a string")) }
}

fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whom a message names as its sender, in a field `from`.
pub(crate) fn named_sender(text: &str) -> Option<UserId> {
    #[derive(Deserialize)]
    struct Named {
        from: String,
    }
    serde_json::from_str::<Named>(text).ok().and_then(|named| UserId::new(named.from).ok())
}

/// A stored message as a JSON object: the very text that was sent here, or what a client sent put
/// into one.
pub(crate) fn shown(message: &Message) -> String {
    let text = std::str::from_utf8(&message.payload);
    match (message.content_type, text) {
        (ContentType::Json, Ok(text)) if is_object(text) => text.to_owned(),
        (kind, Ok(text)) => object(message, kind, "text", text),
        (kind, Err(_)) => object(message, kind, "base64", &BASE64.encode(&message.payload)),
    }
}

fn object(message: &Message, kind: ContentType, field: &str, payload: &str) -> String {
    json!({ "from": message.sender.as_str(), "type": format!("{kind:?}"), field: payload }).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use im_proto::{ClientMsgId, ConversationId, Seq};

    use super::*;

    fn message(content_type: ContentType, payload: &'static [u8]) -> Message {
        let user = |name| UserId::new(name).unwrap();
        Message {
            conversation: ConversationId::pair(&user("a"), &user("b")),
            seq: Seq(1),
            sender: user("a"),
            client_msg_id: ClientMsgId::new("1").unwrap(),
            time_ms: 0,
            content_type,
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn objects_are_taken_and_nothing_else() {
        for good in ["{}", " {\"a\":[1,{}]} ", "{\"吃\":\"了\"}", "{\"a\":1,\"a\":2}"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "1", "\"{}\"", "[{}]", "null", "{", "{} {}", "{\"a\":}", "{'a':1}", "{a:1}", "\u{feff}{}"] {
            assert!(matches!(check(bad), Err(ApiError::Invalid(_))), "{bad}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(8000), "]".repeat(100));
        assert!(check(&deep).is_err(), "depth is bounded");
        let longest = format!("{{\"a\":\"{}\"}}", "x".repeat(PAYLOAD_LEN_MAX as usize - 8));
        assert_eq!((longest.len(), check(&longest)), (PAYLOAD_LEN_MAX as usize, Ok(())));
        assert!(check(&format!(" {longest}")).is_err());
    }

    #[test]
    fn whatever_is_stored_is_shown_as_an_object() {
        let cases: [(ContentType, &[u8], &str); 5] = [
            (ContentType::Json, b"{ \"x\": 1 }", "{ \"x\": 1 }"),
            (ContentType::Json, b"no object", r#"{"from":"a","text":"no object","type":"Json"}"#),
            (ContentType::Text, "吃了吗？".as_bytes(), r#"{"from":"a","text":"吃了吗？","type":"Text"}"#),
            (ContentType::Text, b"{}", r#"{"from":"a","text":"{}","type":"Text"}"#),
            (ContentType::Image, b"\xff\x00", r#"{"base64":"/wA=","from":"a","type":"Image"}"#),
        ];
        for (kind, payload, expected) in cases {
            let shown = shown(&message(kind, payload));
            assert_eq!(shown, expected);
            assert!(is_object(&shown));
        }
    }

    #[test]
    fn a_message_may_name_its_sender() {
        assert_eq!(named_sender(r#"{"from":"a"}"#), UserId::new("a").ok());
        for none in ["{}", r#"{"from":1}"#, r#"{"from":"a:b"}"#, r#"{"from":""}"#] {
            assert_eq!(named_sender(none), None, "{none}");
        }
    }
}
