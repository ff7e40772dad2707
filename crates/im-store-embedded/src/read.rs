//! Answers to questions, worked out on one [`View`]: everything in an answer is of the same moment.
//!
//! Called on reader threads and by the committer; never on an async worker, since a look into the
//! tree may wait for the disk.

use std::ops::Bound;

use im_proto::client::{Direction, Entry, Message};
use im_proto::limits::PAGE_BYTES_MAX;
use im_proto::{ConversationId, Seq, UserId};
use im_timeline::{
    ConversationHead, DumpCursor, DumpPage, DumpRow, HistoryRange, Record, RecordPage, StoreError, SyncHead, SyncPage,
    Table,
};

use crate::rows::{self, EntryRow, HistoryRow, Key, KeyBuf, KeyRange, SentRow, damaged};
use crate::senders::Uuid;
use crate::view::{Rows, Slice, View};

/// Where a timeline ends, by all that is stored: for who gives numbers.
pub(crate) fn head(view: &View, user: &UserId) -> Result<SyncHead, StoreError> {
    let floor = floor(view, user)?;
    head_behind(user, floor, |start, end| view.between(start, end))
}

/// The same for readers, mostly without the tree: entries come in the order of their numbers, so the last
/// one that the tree does not have yet is the last of all.
pub(crate) fn reader_head(view: &View, user: &UserId) -> Result<SyncHead, StoreError> {
    let floor = floor(view, user)?;
    let recent = head_behind(user, floor, |start, end| view.recent(start, end))?;
    if recent.head > floor { Ok(recent) } else { head_behind(user, floor, |start, end| view.between(start, end)) }
}

fn floor(view: &View, user: &UserId) -> Result<Seq, StoreError> {
    view.get(KeyBuf::default().floor(user))?.map_or(Ok(Seq::ZERO), |row| rows::decode_floor(&row))
}

fn head_behind(
    user: &UserId,
    floor: Seq,
    rows: impl FnOnce(Bound<&[u8]>, Bound<&[u8]>) -> Rows,
) -> Result<SyncHead, StoreError> {
    let mut key = KeyBuf::default();
    // Only behind the floor: under it lie the marks of deleted rows, and stepping over them takes time.
    let end = KeyRange::timeline(user).end;
    let last = rows(Bound::Included(key.entry(user, floor.next())), Bound::Excluded(&end)).next_back();
    let head = match last.transpose()? {
        Some((key, _)) => rows::seq_of(&key, user.as_str().len() + 2)?,
        None => floor,
    };
    Ok(SyncHead { head, floor })
}

pub(crate) fn sync(view: &View, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
    let head = reader_head(view, user)?;
    let mut last = after.max(head.floor);
    let mut page = SyncPage { head, entries: Vec::new(), has_more: false };
    if last >= head.head {
        return Ok(page);
    }
    let mut key = KeyBuf::default();
    let end = KeyRange::timeline(user).end;
    let prefix_len = user.as_str().len() + 2;
    let mut bytes = 0;
    let start = key.entry(user, last.next());
    let (from, to) = (Bound::Included(start), Bound::Excluded(&end[..]));
    // Where one is not in the tree yet, none behind it is.
    let rows = if view.is_recent(start) { view.recent(from, to) } else { view.between(from, to) };
    for row in rows.take(limit.max(1)) {
        let (key, value) = row?;
        let seq = rows::seq_of(&key, prefix_len)?;
        if seq != last.next() {
            return Err(StoreError::Damaged(format!("the timeline of {user} has a hole before {seq}")));
        }
        let entry = EntryRow::decode(user, &value)?;
        let message = message(view, &entry.conversation, entry.conversation_seq)?;
        last = seq;
        bytes += message.payload.len();
        page.entries.push(Entry { seq, message });
        if bytes >= PAGE_BYTES_MAX {
            break;
        }
    }
    page.has_more = last < head.head;
    Ok(page)
}

pub(crate) fn message(view: &View, conversation: &ConversationId, seq: Seq) -> Result<Message, StoreError> {
    match view.get(KeyBuf::default().history(conversation, seq))? {
        Some(row) => HistoryRow::decode(conversation.clone(), seq, &row),
        None => Err(StoreError::Damaged(format!("message {seq} of {conversation} is missing"))),
    }
}

pub(crate) fn conversation_head(view: &View, conversation: &ConversationId) -> Result<Seq, StoreError> {
    // Histories are never trimmed, so the first message tells whether there is any; the tables' filters
    // answer that for a new conversation, while a range would have to look into every table.
    if view.get(KeyBuf::default().history(conversation, Seq(1)))?.is_none() {
        return Ok(Seq::ZERO);
    }
    match view.range(&KeyRange::history(conversation)).next_back().transpose()? {
        Some((key, _)) => rows::seq_of(&key, conversation.as_str().len() + 2),
        None => Ok(Seq::ZERO),
    }
}

/// The greatest id that is a UUID among those that a sender's idempotency rows have.
pub(crate) fn greatest_uuid(view: &View, sender: &UserId) -> Result<Option<Uuid>, StoreError> {
    let Some((key, _)) = view.range(&KeyRange::sent_uuids(sender)).next_back().transpose()? else { return Ok(None) };
    let uuid = key.last_chunk().copied();
    Ok(Some(uuid.ok_or_else(|| damaged("a short key"))?))
}

pub(crate) fn history(
    view: &View,
    conversation: &ConversationId,
    range: HistoryRange,
) -> Result<ConversationHead, StoreError> {
    let head = conversation_head(view, conversation)?;
    let mut page = ConversationHead { head, messages: Vec::new(), has_more: false };
    let whole = KeyRange::history(conversation);
    let mut key = KeyBuf::default();
    let rows: Box<dyn Iterator<Item = Result<(Slice, Slice), StoreError>>> = match range.direction {
        Direction::Backward if range.from == Seq::ZERO => Box::new(view.range(&whole).rev()),
        Direction::Backward => Box::new(
            view.between(Bound::Included(&whole.start), Bound::Excluded(key.history(conversation, range.from))).rev(),
        ),
        _ if range.from >= head => return Ok(page),
        _ => {
            Box::new(view.between(Bound::Excluded(key.history(conversation, range.from)), Bound::Excluded(&whole.end)))
        }
    };
    let prefix_len = conversation.as_str().len() + 2;
    let mut bytes = 0;
    for row in rows {
        let (key, value) = row?;
        if page.messages.len() >= range.limit.max(1) || bytes >= PAGE_BYTES_MAX {
            page.has_more = true;
            break;
        }
        let message = HistoryRow::decode(conversation.clone(), rows::seq_of(&key, prefix_len)?, &value)?;
        bytes += message.payload.len();
        page.messages.push(message);
    }
    Ok(page)
}

pub(crate) fn records(
    view: &View,
    table: Table,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Result<RecordPage, StoreError> {
    let range = KeyRange::records(table, prefix);
    let mut key = KeyBuf::default();
    let after = key.record(table, after);
    let start =
        if after < range.start.as_slice() { Bound::Included(range.start.as_slice()) } else { Bound::Excluded(after) };
    let mut page = RecordPage::default();
    for row in view.between(start, Bound::Excluded(&range.end)) {
        let (key, value) = row?;
        if page.records.len() >= limit.max(1) {
            page.has_more = true;
            break;
        }
        page.records.push(rows::record(&key, &value)?);
    }
    Ok(page)
}

pub(crate) fn dump(view: &View, after: Option<&DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
    let mut page = DumpPage::default();
    let mut last: Option<Slice> = None;
    let mut floor: Option<(UserId, Seq)> = None;
    for range in KeyRange::data() {
        let start = match after {
            Some(after) if after[..] >= range.start[..] => Bound::Excluded(&after[..]),
            _ => Bound::Included(&range.start[..]),
        };
        for row in view.between(start, Bound::Excluded(&range.end)) {
            let (key, value) = row?;
            if page.rows.len() >= limit.max(1) {
                page.next = last.map(|key| DumpCursor::copy_from_slice(&key));
                return Ok(page);
            }
            let row = dump_row(&key, &value)?;
            if let DumpRow::Entry { user, seq, .. } = &row {
                if floor.as_ref().is_none_or(|(same, _)| same != user) {
                    floor = Some((user.clone(), head(view, user)?.floor));
                }
                if floor.as_ref().is_some_and(|(_, floor)| seq <= floor) {
                    continue;
                }
            }
            page.rows.push(row);
            last = Some(key);
        }
    }
    Ok(page)
}

fn dump_row(key: &[u8], value: &[u8]) -> Result<DumpRow, StoreError> {
    Ok(match Key::decode(key)? {
        Key::History(conversation, seq) => DumpRow::Message(HistoryRow::decode(conversation, seq, value)?),
        Key::Floor(user) => DumpRow::Floor { user, floor: rows::decode_floor(value)? },
        Key::Entry(user, seq) => {
            let EntryRow { conversation, conversation_seq, time_ms } = EntryRow::decode(&user, value)?;
            DumpRow::Entry { user, seq, conversation, conversation_seq, time_ms }
        }
        Key::Sent(sender, client_msg_id) => {
            let SentRow { conversation, seq, sender_seq, receiver_seq, time_ms } = SentRow::decode(&sender, value)?;
            DumpRow::Sent { sender, client_msg_id, conversation, seq, sender_seq, receiver_seq, time_ms }
        }
        Key::Record(table, key) => {
            DumpRow::Record { table, record: Record { key, value: bytes::Bytes::copy_from_slice(value) } }
        }
        Key::Meta => return Err(damaged("a row of the store itself among the data")),
    })
}
