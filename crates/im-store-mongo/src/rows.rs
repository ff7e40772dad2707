//! How our types stand in documents, and how they are read again.
//!
//! A row of a timeline is `{_id: {id, seq}, id, seq, message}`. The key itself is the fence: no two
//! rows of one timeline have one place. `id` and `seq` stand beside it once more because that is how
//! people, and programs of others, ask for them.

use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use im_proto::client::{ContentType, Message};
use im_proto::{ConversationId, Seq};
use im_timeline::{Append, Table};
use mongodb::bson::raw::cstr;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc, rawdoc};

use crate::fault::Fault;

/// A number to keep. Refused rather than bent when it does not fit.
pub(crate) fn number(value: u64) -> Result<i64, Fault> {
    i64::try_from(value).map_err(|_| Fault::TooGreat(value))
}

/// A number to compare with: what does not fit is greater than all that is kept.
pub(crate) fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

/// The key of a row.
pub(crate) fn row_key(id: &str, seq: i64) -> RawDocumentBuf {
    rawdoc! { "id": id, "seq": seq }
}

/// The same in a filter.
pub(crate) fn row_id(id: &str, seq: i64) -> Document {
    doc! { "id": id, "seq": seq }
}

/// A row of either kind of timeline, around a message that was encoded once.
pub(crate) fn row(id: &str, seq: i64, message: &RawDocument) -> RawDocumentBuf {
    let mut row = RawDocumentBuf::new();
    row.append(cstr!("_id"), row_key(id, seq));
    row.append(cstr!("id"), id);
    row.append(cstr!("seq"), seq);
    row.append(cstr!("message"), message);
    row
}

/// The `message` of an append at its place.
pub(crate) fn message_of(append: &Append, seq: Seq) -> Result<RawDocumentBuf, Fault> {
    let Append { conversation, sender, client_msg_id, time_ms, content_type, payload, .. } = append;
    let message = Message {
        conversation: conversation.clone(),
        seq,
        sender: sender.clone(),
        client_msg_id: client_msg_id.clone(),
        time_ms: *time_ms,
        content_type: *content_type,
        payload: payload.clone(),
    };
    encode_message(&message)
}

/// A payload that is text is kept as text, so that people can read it; it comes back byte for byte.
pub(crate) fn encode_message(message: &Message) -> Result<RawDocumentBuf, Fault> {
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("conversation"), message.conversation.as_str());
    document.append(cstr!("seq"), number(message.seq.0)?);
    document.append(cstr!("sender"), message.sender.as_str());
    document.append(cstr!("client_msg_id"), message.client_msg_id.as_str());
    document.append(cstr!("time"), DateTime::from_millis(number(message.time_ms)?));
    document.append(cstr!("content_type"), i32::from(message.content_type.number()));
    match std::str::from_utf8(&message.payload) {
        Ok(text) => document.append(cstr!("payload"), text),
        Err(_) => document.append(cstr!("payload"), binary(&message.payload)),
    }
    Ok(document)
}

/// What a row of a user's timeline says of a message whose body has not come yet: an import takes
/// rows in any order.
pub(crate) fn reference(conversation: &ConversationId, seq: Seq, time_ms: u64) -> Result<RawDocumentBuf, Fault> {
    Ok(rawdoc! {
        "conversation": conversation.as_str(),
        "seq": number(seq.0)?,
        "time": DateTime::from_millis(number(time_ms)?),
    })
}

/// Whether it is only a reference.
pub(crate) fn is_reference(message: &RawDocument) -> bool {
    !matches!(message.get("sender"), Ok(Some(_)))
}

pub(crate) fn decode_message(message: &RawDocument) -> Result<Message, Fault> {
    let content_type = u16::try_from(message.get_i32("content_type")?)
        .map_err(|_| Fault::Damaged("a content type is out of range".into()))?;
    Ok(Message {
        conversation: conversation(message, "conversation")?,
        seq: seq(message, "seq")?,
        sender: id(message, "sender")?,
        client_msg_id: id(message, "client_msg_id")?,
        time_ms: time(message, "time")?,
        content_type: ContentType::from_number(content_type),
        payload: bytes(message, "payload")?,
    })
}

/// A number, whichever of its types a person or a program has written it with.
pub(crate) fn unsigned(document: &RawDocument, name: &str) -> Result<u64, Fault> {
    let value = match document.get(name)? {
        Some(RawBsonRef::Int64(value)) => Some(value),
        Some(RawBsonRef::Int32(value)) => Some(i64::from(value)),
        _ => None,
    };
    value.and_then(|value| u64::try_from(value).ok()).ok_or_else(|| Fault::Damaged(format!("{name} is no number")))
}

pub(crate) fn seq(document: &RawDocument, name: &str) -> Result<Seq, Fault> {
    unsigned(document, name).map(Seq)
}

pub(crate) fn time(document: &RawDocument, name: &str) -> Result<u64, Fault> {
    let millis = document.get_datetime(name)?.timestamp_millis();
    u64::try_from(millis).map_err(|_| Fault::Damaged(format!("{name} is before 1970")))
}

/// An id of any kind, checked again: the database may have been written by anybody.
pub(crate) fn id<T>(document: &RawDocument, name: &str) -> Result<T, Fault>
where
    T: FromStr,
    T::Err: Display,
{
    parse(document.get_str(name)?)
}

pub(crate) fn parse<T>(text: &str) -> Result<T, Fault>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| Fault::Damaged(format!("the id {text:?}: {error}")))
}

pub(crate) fn conversation(document: &RawDocument, name: &str) -> Result<ConversationId, Fault> {
    let text = document.get_str(name)?;
    ConversationId::new(text).map_err(|error| Fault::Damaged(format!("the conversation {text:?}: {error}")))
}

pub(crate) fn bytes(document: &RawDocument, name: &str) -> Result<Bytes, Fault> {
    match document.get(name)? {
        Some(RawBsonRef::String(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(RawBsonRef::Binary(binary)) => Ok(Bytes::copy_from_slice(binary.bytes)),
        _ => Err(Fault::Damaged(format!("{name} is neither text nor bytes"))),
    }
}

/// The key of an idempotency row. No id has a colon.
pub(crate) fn sent_key(append: &Append) -> String {
    format!("{}:{}", append.sender, append.client_msg_id)
}

pub(crate) fn table(name: &str) -> Result<Table, Fault> {
    Table::named(name).ok_or_else(|| Fault::Damaged(format!("a record of table {name:?}")))
}

pub(crate) fn record_key(table: Table, key: &str) -> RawDocumentBuf {
    rawdoc! { "table": table.name(), "key": key }
}

/// The same in a filter.
pub(crate) fn record_id(table: Table, key: &str) -> Document {
    doc! { "table": table.name(), "key": key }
}
