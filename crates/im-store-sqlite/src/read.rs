//! Every read as SQL. The caller holds a read transaction, so each sees one moment.

use bytes::Bytes;
use im_proto::client::{Direction, Entry};
use im_proto::limits::PAGE_BYTES_MAX;
use im_proto::{ConversationId, Seq, UserId};
use im_timeline::{ConversationHead, HistoryRange, Record, RecordPage, SyncHead, SyncPage, Table};
use rusqlite::{Connection, OptionalExtension, params};

use crate::fault::Fault;
use crate::values::{MESSAGE, bound, bytes, message, rows, seq};

/// Without a row the floor is the head: everything was trimmed, or nothing ever came.
pub(crate) fn head(connection: &Connection, user: &UserId) -> Result<SyncHead, Fault> {
    let mut query = connection.prepare_cached(
        "SELECT ifnull((SELECT max(seq) FROM inbox WHERE user = ?1), 0),
                ifnull((SELECT floor FROM floor WHERE user = ?1), 0)",
    )?;
    let mut found = query.query([user.as_str()])?;
    // A SELECT without FROM has exactly one row.
    let Some(row) = found.next()? else { return Ok(SyncHead::default()) };
    let (last, floor) = (seq(row, 0)?, seq(row, 1)?);
    Ok(SyncHead { head: last.max(floor), floor })
}

pub(crate) fn sync(connection: &Connection, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, Fault> {
    let mut page = SyncPage { head: head(connection, user)?, ..SyncPage::default() };
    let after = after.max(page.head.floor);
    let mut query = connection.prepare_cached(&format!(
        "SELECT i.seq, i.conversation, i.conversation_seq, {MESSAGE}
         FROM inbox i LEFT JOIN history h ON h.conversation = i.conversation AND h.seq = i.conversation_seq
         WHERE i.user = ?1 AND i.seq > ?2 ORDER BY i.seq"
    ))?;
    let mut found = query.query(params![user.as_str(), bound(after.0)])?;
    let mut bytes_left = PAGE_BYTES_MAX;
    while let Some(row) = found.next()? {
        if page.entries.len() == limit.max(1) || bytes_left == 0 {
            page.has_more = true;
            break;
        }
        if row.get::<_, Option<String>>(3)?.is_none() {
            let (conversation, seq): (String, i64) = (row.get(1)?, row.get(2)?);
            return Err(Fault::Damaged(format!("{conversation} has no message {seq}")));
        }
        let message = message(row, 3)?;
        bytes_left = bytes_left.saturating_sub(message.payload.len());
        page.entries.push(Entry { seq: seq(row, 0)?, message });
    }
    Ok(page)
}

pub(crate) fn history(
    connection: &Connection,
    conversation: &ConversationId,
    range: HistoryRange,
) -> Result<ConversationHead, Fault> {
    let (condition, from) = match (range.direction, range.from) {
        (Direction::Backward, Seq::ZERO) => ("h.seq < ?2 ORDER BY h.seq DESC", i64::MAX),
        (Direction::Backward, from) => ("h.seq < ?2 ORDER BY h.seq DESC", bound(from.0)),
        (_, from) => ("h.seq > ?2 ORDER BY h.seq", bound(from.0)),
    };
    let mut page = ConversationHead { head: history_head(connection, conversation)?, ..ConversationHead::default() };
    let mut query = connection
        .prepare_cached(&format!("SELECT {MESSAGE} FROM history h WHERE h.conversation = ?1 AND {condition}"))?;
    let mut found = query.query(params![conversation.as_str(), from])?;
    let mut bytes_left = PAGE_BYTES_MAX;
    while let Some(row) = found.next()? {
        if page.messages.len() == range.limit.max(1) || bytes_left == 0 {
            page.has_more = true;
            break;
        }
        let message = message(row, 0)?;
        bytes_left = bytes_left.saturating_sub(message.payload.len());
        page.messages.push(message);
    }
    Ok(page)
}

pub(crate) fn history_head(connection: &Connection, conversation: &ConversationId) -> Result<Seq, Fault> {
    let mut query = connection.prepare_cached("SELECT ifnull(max(seq), 0) FROM history WHERE conversation = ?1")?;
    let mut found = query.query([conversation.as_str()])?;
    found.next()?.map_or(Ok(Seq::ZERO), |row| seq(row, 0))
}

pub(crate) fn record(connection: &Connection, table: Table, key: &str) -> Result<Option<Bytes>, Fault> {
    let mut query = connection.prepare_cached("SELECT value FROM record WHERE kind = ?1 AND key = ?2")?;
    let value: Option<Vec<u8>> = query.query_row(params![table as u8, key.as_bytes()], |row| row.get(0)).optional()?;
    Ok(value.map(Bytes::from))
}

pub(crate) fn records(
    connection: &Connection,
    table: Table,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Result<RecordPage, Fault> {
    // No UTF-8 text has the byte 0xff, so this is behind every key that begins with the prefix.
    let end = [prefix.as_bytes(), &[0xff]].concat();
    let mut query = connection.prepare_cached(
        "SELECT key, value FROM record
         WHERE kind = ?1 AND key >= ?2 AND key < ?3 AND key > ?4 ORDER BY key LIMIT ?5",
    )?;
    let limit = limit.max(1);
    let mut found =
        query.query(params![table as u8, prefix.as_bytes(), end, after.as_bytes(), rows(limit.saturating_add(1))])?;
    let mut page = RecordPage::default();
    while let Some(row) = found.next()? {
        if page.records.len() == limit {
            page.has_more = true;
            break;
        }
        let key = String::from_utf8(row.get(0)?).map_err(|_| Fault::Damaged("a record's key is no text".into()))?;
        page.records.push(Record { key, value: bytes(row, 1)? });
    }
    Ok(page)
}
