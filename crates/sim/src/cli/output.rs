//! What goes to standard output: a line of text, or a JSON object per line.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use im_proto::Seq;
use im_proto::client::{ContentType, Message};
use serde_json::{Value, json};

use super::Failure;

/// Text or JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints one thing in the form that was asked for. A reader that has gone away, as `head` does,
    /// ends the command.
    pub(crate) fn line(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> Result<(), Failure> {
        let line = if self.json { json().to_string() } else { text() };
        let mut out = std::io::stdout().lock();
        Ok(writeln!(out, "{line}").and_then(|()| out.flush())?)
    }

    /// Says something that is not the result, where it does not disturb programs.
    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        if !self.json {
            eprintln!("{}", text());
        }
    }

    /// Prints a message at its place in a timeline.
    pub(crate) fn message(&self, seq: Seq, message: &Message) -> Result<(), Failure> {
        self.line(|| message_line(seq, message), || message_json(seq, message))
    }
}

/// `[seq=1] a -> b: hello`.
pub(crate) fn message_line(seq: Seq, message: &Message) -> String {
    format!("[seq={seq}] {} -> {}: {}", message.sender, receiver(message), content(message))
}

/// The other user, or the group.
fn receiver(message: &Message) -> String {
    match message.conversation.peer_of(&message.sender) {
        Some(peer) => peer.to_string(),
        None => message.conversation.to_string(),
    }
}

/// What a message says, on one line and harmless to a terminal.
pub(crate) fn content(message: &Message) -> String {
    match (message.content_type, std::str::from_utf8(&message.payload)) {
        (ContentType::Text | ContentType::Json | ContentType::System, Ok(text)) => harmless(text),
        (kind, _) => format!("<{}, {} bytes>", kind_name(kind), message.payload.len()),
    }
}

/// Text without control characters: they are written out, so that nobody's message steers a terminal.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_bidi_control(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Characters that reorder the text around them, and with it who said what.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub(crate) fn message_json(seq: Seq, message: &Message) -> Value {
    let mut value = json!({
        "seq": seq.0,
        "conversation": message.conversation.as_str(),
        "conversationSeq": message.seq.0,
        "from": message.sender.as_str(),
        "to": receiver(message),
        "clientMsgId": message.client_msg_id.as_str(),
        "timeMs": message.time_ms,
        "contentType": kind_name(message.content_type),
    });
    match std::str::from_utf8(&message.payload) {
        Ok(text) => value["text"] = text.into(),
        Err(_) => value["base64"] = BASE64.encode(&message.payload).into(),
    }
    value
}

fn kind_name(kind: ContentType) -> String {
    match kind {
        ContentType::Unknown(number) => format!("type {number}"),
        known => format!("{known:?}").to_lowercase(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use im_proto::{ClientMsgId, ConversationId, GroupId, UserId};

    use super::*;

    pub(crate) fn message(conversation: &str, sender: &str, text: &str) -> Message {
        let conversation = match conversation.strip_prefix("group:") {
            Some(group) => ConversationId::group(&GroupId::new(group).unwrap()),
            None => ConversationId::new(conversation).unwrap(),
        };
        Message {
            conversation,
            seq: Seq(1),
            sender: UserId::new(sender).unwrap(),
            client_msg_id: ClientMsgId::new("m").unwrap(),
            time_ms: 0,
            content_type: ContentType::Text,
            payload: Bytes::from(text.to_owned()),
        }
    }

    #[test]
    fn lines_name_both_sides() {
        assert_eq!(message_line(Seq(1), &message("a:b", "a", "吃了吗？")), "[seq=1] a -> b: 吃了吗？");
        assert_eq!(message_line(Seq(2), &message("a:b", "b", "吃了")), "[seq=2] b -> a: 吃了");
        assert_eq!(message_line(Seq(3), &message("group:group_a", "a", "大家好")), "[seq=3] a -> group_a: 大家好");
        assert_eq!(message_line(Seq(4), &message("a:a", "a", "note")), "[seq=4] a -> a: note");
    }

    #[test]
    fn no_message_steers_the_terminal() {
        let evil = message("a:b", "a", "x\u{1b}[2J\ny\u{202e}z");
        assert_eq!(content(&evil), "x\\u{1b}[2J\\ny\\u{202e}z");
        let picture = Message { content_type: ContentType::Image, ..evil };
        assert_eq!(content(&picture), format!("<image, {} bytes>", picture.payload.len()));
    }
}
