//! How our types stand in columns.

use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use im_proto::client::{ContentType, Message};
use im_proto::{ConversationId, Seq};
use im_timeline::Table;
use rusqlite::Row;

use crate::fault::Fault;

/// A number to keep. Refused rather than bent when it does not fit.
pub(crate) fn number(value: u64) -> Result<i64, Fault> {
    i64::try_from(value).map_err(|_| Fault::TooGreat(value))
}

/// A number to compare with: what does not fit is greater than all that is kept.
pub(crate) fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn rows(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, Fault> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Fault::Damaged(format!("a negative number: {value}")))
}

pub(crate) fn seq(row: &Row<'_>, column: usize) -> Result<Seq, Fault> {
    unsigned(row, column).map(Seq)
}

/// An id of any kind, checked again: the file may have been written by anybody.
pub(crate) fn id<T>(row: &Row<'_>, column: usize) -> Result<T, Fault>
where
    T: FromStr,
    T::Err: Display,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| Fault::Damaged(format!("the id {text:?}: {error}")))
}

pub(crate) fn conversation(row: &Row<'_>, column: usize) -> Result<ConversationId, Fault> {
    let text: String = row.get(column)?;
    ConversationId::new(&text).map_err(|error| Fault::Damaged(format!("the conversation {text:?}: {error}")))
}

pub(crate) fn bytes(row: &Row<'_>, column: usize) -> Result<Bytes, Fault> {
    Ok(row.get::<_, Vec<u8>>(column)?.into())
}

pub(crate) fn table(row: &Row<'_>, column: usize) -> Result<Table, Fault> {
    let number: i64 = row.get(column)?;
    let known = Table::ALL.into_iter().find(|table| i64::from(*table as u8) == number);
    known.ok_or_else(|| Fault::Damaged(format!("a record of table {number}")))
}

/// The columns of a message, in the order of [`message`].
pub(crate) const MESSAGE: &str =
    "h.conversation, h.seq, h.sender, h.client_msg_id, h.time_ms, h.content_type, h.payload";

/// A message from seven columns beginning at `first`.
pub(crate) fn message(row: &Row<'_>, first: usize) -> Result<Message, Fault> {
    let content_type: i64 = row.get(first + 5)?;
    let content_type =
        u16::try_from(content_type).map_err(|_| Fault::Damaged(format!("a content type {content_type}")))?;
    Ok(Message {
        conversation: conversation(row, first)?,
        seq: seq(row, first + 1)?,
        sender: id(row, first + 2)?,
        client_msg_id: id(row, first + 3)?,
        time_ms: unsigned(row, first + 4)?,
        content_type: ContentType::from_number(content_type),
        payload: bytes(row, first + 6)?,
    })
}
