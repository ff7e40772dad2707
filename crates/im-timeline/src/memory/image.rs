//! What a disk holds, as plain ordered maps: the model that the other backends are compared with.
//! Knows the rules of timelines; knows nothing of durability, tasks or time.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use bytes::Bytes;
use im_proto::client::{Direction, Entry, Message};
use im_proto::limits::PAGE_BYTES_MAX;
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};

use crate::{
    Append, AppendError, Change, CommitError, ConversationHead, DumpRow, Expect, HistoryRange, Placed, Record,
    RecordPage, StoreError, SweepPolicy, Swept, SyncHead, SyncPage, Table, user_key,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    histories: BTreeMap<ConversationId, BTreeMap<Seq, Message>>,
    timelines: BTreeMap<UserId, Timeline>,
    sent: BTreeMap<(UserId, ClientMsgId), Sent>,
    records: BTreeMap<(Table, String), Bytes>,
}

#[derive(Clone, Debug, Default)]
struct Timeline {
    floor: Seq,
    entries: BTreeMap<Seq, Reference>,
}

/// What stands at a place of a user's timeline.
#[derive(Clone, Debug)]
struct Reference {
    conversation: ConversationId,
    seq: Seq,
    time_ms: u64,
}

#[derive(Clone, Debug)]
struct Sent {
    conversation: ConversationId,
    seq: Seq,
    sender_seq: Seq,
    receiver_seq: Seq,
    time_ms: u64,
}

/// The smallest change of an image. A journal of these brings the durable image to the live one.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// Put a row in its place. A floor also removes the entries up to it.
    Put(DumpRow),
    /// Remove a record.
    Delete(Table, String),
    /// Remove an idempotency row.
    Forget(UserId, ClientMsgId),
}

/// Where a sweep goes on.
#[derive(Clone, Debug, Default)]
pub(super) enum SweepCursor {
    #[default]
    Start,
    /// Users up to, and not including, this one are done.
    Entries(UserId),
    /// Idempotency rows up to and including this one are done.
    Sent(Option<(UserId, ClientMsgId)>),
}

impl Timeline {
    /// The floor counts too: a timeline of which everything was trimmed goes on behind it.
    fn head(&self) -> Seq {
        self.entries.last_key_value().map_or(self.floor, |(seq, _)| *seq.max(&self.floor))
    }
}

/// Counts rows and payload bytes of a page; the row that reaches the maximum is the page's last.
struct PageBudget {
    rows: usize,
    bytes: usize,
}

impl PageBudget {
    fn new(limit: usize) -> Self {
        Self { rows: limit.max(1), bytes: PAGE_BYTES_MAX }
    }

    fn is_spent(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    fn take(&mut self, message: &Message) {
        self.rows -= 1;
        self.bytes = self.bytes.saturating_sub(message.payload.len());
    }
}

impl Image {
    pub(super) fn is_empty(&self) -> bool {
        self.histories.is_empty() && self.timelines.is_empty() && self.sent.is_empty() && self.records.is_empty()
    }

    pub(super) fn apply(&mut self, write: &Write) {
        match write {
            Write::Delete(table, key) => {
                self.records.remove(&(*table, key.clone()));
            }
            Write::Forget(sender, id) => {
                self.sent.remove(&(sender.clone(), id.clone()));
            }
            Write::Put(row) => self.put(row.clone()),
        }
    }

    fn put(&mut self, row: DumpRow) {
        match row {
            DumpRow::Message(message) => {
                self.histories.entry(message.conversation.clone()).or_default().insert(message.seq, message);
            }
            DumpRow::Entry { user, seq, conversation, conversation_seq, time_ms } => {
                let reference = Reference { conversation, seq: conversation_seq, time_ms };
                self.timelines.entry(user).or_default().entries.insert(seq, reference);
            }
            DumpRow::Floor { user, floor } => {
                let timeline = self.timelines.entry(user).or_default();
                timeline.floor = floor;
                timeline.entries = timeline.entries.split_off(&floor.next());
            }
            DumpRow::Sent { sender, client_msg_id, conversation, seq, sender_seq, receiver_seq, time_ms } => {
                let sent = Sent { conversation, seq, sender_seq, receiver_seq, time_ms };
                self.sent.insert((sender, client_msg_id), sent);
            }
            DumpRow::Record { table, record } => {
                self.records.insert((table, record.key), record.value);
            }
        }
    }

    pub(super) fn append(&self, append: &Append) -> Result<(Placed, Vec<Write>), AppendError> {
        append.check_recipients()?;
        if let Some(placed) = self.repeat(append)? {
            return Ok((placed, Vec::new()));
        }
        let Append { conversation, sender, client_msg_id, time_ms, .. } = append;
        let seq = self.history_head(conversation).next();
        let places: Vec<(UserId, Seq)> =
            append.recipients.iter().map(|user| (user.clone(), self.head(user).head.next())).collect();
        let place_of = |user: &UserId| places.iter().find(|(other, _)| other == user).map_or(Seq::ZERO, |(_, at)| *at);
        let sender_seq = place_of(sender);
        let receiver_seq = conversation.peer_of(sender).map_or(Seq::ZERO, |peer| place_of(&peer));

        let mut rows = vec![
            DumpRow::Message(Message {
                conversation: conversation.clone(),
                seq,
                sender: sender.clone(),
                client_msg_id: client_msg_id.clone(),
                time_ms: *time_ms,
                content_type: append.content_type,
                payload: append.payload.clone(),
            }),
            DumpRow::Sent {
                sender: sender.clone(),
                client_msg_id: client_msg_id.clone(),
                conversation: conversation.clone(),
                seq,
                sender_seq,
                receiver_seq,
                time_ms: *time_ms,
            },
        ];
        rows.extend(places.iter().map(|(user, at)| DumpRow::Entry {
            user: user.clone(),
            seq: *at,
            conversation: conversation.clone(),
            conversation_seq: seq,
            time_ms: *time_ms,
        }));
        if let Some((a, b)) = conversation.users().filter(|_| seq == Seq::ZERO.next()) {
            // In a notebook both are the same row.
            rows.extend([a, b].map(|user| DumpRow::Record {
                table: Table::Conversation,
                record: Record { key: user_key(&user, conversation.as_str()), value: Bytes::new() },
            }));
        }
        let placed = Placed { seq, sender_seq, receiver_seq, time_ms: *time_ms, places, repeated: false };
        Ok((placed, rows.into_iter().map(Write::Put).collect()))
    }

    fn repeat(&self, append: &Append) -> Result<Option<Placed>, AppendError> {
        let Some(sent) = self.sent.get(&(append.sender.clone(), append.client_msg_id.clone())) else {
            return Ok(None);
        };
        let first = self.message(&sent.conversation, sent.seq)?;
        let same = first.conversation == append.conversation
            && first.content_type == append.content_type
            && first.payload == append.payload;
        if !same {
            return Err(AppendError::IdReused);
        }
        Ok(Some(Placed {
            seq: sent.seq,
            sender_seq: sent.sender_seq,
            receiver_seq: sent.receiver_seq,
            time_ms: sent.time_ms,
            places: Vec::new(),
            repeated: true,
        }))
    }

    fn message(&self, conversation: &ConversationId, seq: Seq) -> Result<&Message, StoreError> {
        self.histories
            .get(conversation)
            .and_then(|history| history.get(&seq))
            .ok_or_else(|| StoreError::Damaged(format!("{conversation} has no message {seq}")))
    }

    fn history_head(&self, conversation: &ConversationId) -> Seq {
        self.histories.get(conversation).and_then(|history| history.last_key_value()).map_or(Seq::ZERO, |(seq, _)| *seq)
    }

    pub(super) fn head(&self, user: &UserId) -> SyncHead {
        self.timelines
            .get(user)
            .map_or_else(SyncHead::default, |timeline| SyncHead { head: timeline.head(), floor: timeline.floor })
    }

    pub(super) fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        let head = self.head(user);
        let mut page = SyncPage { head, ..SyncPage::default() };
        let Some(timeline) = self.timelines.get(user) else {
            return Ok(page);
        };
        let mut budget = PageBudget::new(limit);
        for (seq, reference) in timeline.entries.range((Excluded(after.max(head.floor)), Unbounded)) {
            if budget.is_spent() {
                page.has_more = true;
                break;
            }
            let message = self.message(&reference.conversation, reference.seq)?.clone();
            budget.take(&message);
            page.entries.push(Entry { seq: *seq, message });
        }
        Ok(page)
    }

    pub(super) fn history(&self, conversation: &ConversationId, range: HistoryRange) -> ConversationHead {
        let mut page = ConversationHead { head: self.history_head(conversation), ..ConversationHead::default() };
        let Some(history) = self.histories.get(conversation) else {
            return page;
        };
        let mut rows: Box<dyn Iterator<Item = &Message>> = match (range.direction, range.from) {
            (Direction::Backward, Seq::ZERO) => Box::new(history.values().rev()),
            (Direction::Backward, from) => Box::new(history.range(..from).rev().map(|(_, message)| message)),
            (_, from) => Box::new(history.range((Excluded(from), Unbounded)).map(|(_, message)| message)),
        };
        let mut budget = PageBudget::new(range.limit);
        while !budget.is_spent() {
            let Some(message) = rows.next() else {
                return page;
            };
            budget.take(message);
            page.messages.push(message.clone());
        }
        page.has_more = rows.next().is_some();
        page
    }

    pub(super) fn trim(&self, user: &UserId, through: Seq) -> (Seq, Vec<Write>) {
        let SyncHead { head, floor } = self.head(user);
        let wanted = through.min(head);
        if wanted <= floor {
            return (floor, Vec::new());
        }
        (wanted, vec![Write::Put(DumpRow::Floor { user: user.clone(), floor: wanted })])
    }

    pub(super) fn sweep(&self, policy: SweepPolicy, cursor: &mut SweepCursor) -> (Swept, Vec<Write>) {
        let mut swept = Swept::default();
        let mut writes = Vec::new();
        let mut budget = policy.rows_max.max(1);
        let from = match cursor {
            SweepCursor::Start => Some(Unbounded),
            SweepCursor::Entries(user) => Some(Included(user.clone())),
            SweepCursor::Sent(_) => None,
        };
        if let Some(from) = from {
            for (user, timeline) in self.timelines.range((from, Unbounded)) {
                let old = timeline.entries.iter().take_while(|(_, at)| at.time_ms < policy.entries_before_ms);
                let run: Vec<Seq> = old.map(|(seq, _)| *seq).take(budget).collect();
                if let Some(last) = run.last() {
                    writes.push(Write::Put(DumpRow::Floor { user: user.clone(), floor: *last }));
                }
                swept.entries += run.len() as u64;
                // A user without anything old costs a look as well.
                budget -= run.len().max(1).min(budget);
                if budget == 0 {
                    // This user may have more; looking again costs at most one row.
                    *cursor = SweepCursor::Entries(user.clone());
                    if run.is_empty() {
                        *cursor = self.behind(user);
                    }
                    return (swept, writes);
                }
            }
            *cursor = SweepCursor::Sent(None);
        }
        let from = match cursor {
            SweepCursor::Sent(Some(key)) => Excluded(key.clone()),
            _ => Unbounded,
        };
        for (key, sent) in self.sent.range((from, Unbounded)) {
            if budget == 0 {
                return (swept, writes);
            }
            budget -= 1;
            if sent.time_ms < policy.sent_before_ms {
                swept.sent += 1;
                writes.push(Write::Forget(key.0.clone(), key.1.clone()));
            }
            *cursor = SweepCursor::Sent(Some(key.clone()));
        }
        *cursor = SweepCursor::Start;
        swept.done = true;
        (swept, writes)
    }

    fn behind(&self, user: &UserId) -> SweepCursor {
        self.timelines
            .range::<UserId, _>((Excluded(user), Unbounded))
            .next()
            .map_or(SweepCursor::Sent(None), |(next, _)| SweepCursor::Entries(next.clone()))
    }

    /// Each change sees what those before it did. Nothing is changed here: the caller applies the
    /// writes of a commit that had no conflict.
    pub(super) fn commit(&self, changes: &[Change]) -> Result<Vec<Write>, CommitError> {
        let mut touched: BTreeMap<(Table, String), Option<Bytes>> = BTreeMap::new();
        for (index, change) in changes.iter().enumerate() {
            let (table, key) = match change {
                Change::Put { table, key, .. }
                | Change::Delete { table, key, .. }
                | Change::Raise { table, key, .. } => (*table, key.clone()),
            };
            let place = (table, key);
            let before = touched.get(&place).cloned().unwrap_or_else(|| self.records.get(&place).cloned());
            let after = match change {
                Change::Put { value, expect, .. } if holds(expect, before.as_ref()) => Some(value.clone()),
                Change::Delete { expect, .. } if holds(expect, before.as_ref()) => None,
                Change::Raise { to, .. } => Some(raised(before, *to)?),
                Change::Put { .. } | Change::Delete { .. } => return Err(CommitError::Conflict(index)),
            };
            touched.insert(place, after);
        }
        Ok(touched
            .into_iter()
            .map(|((table, key), value)| match value {
                Some(value) => Write::Put(DumpRow::Record { table, record: Record { key, value } }),
                None => Write::Delete(table, key),
            })
            .collect())
    }

    pub(super) fn record(&self, table: Table, key: &str) -> Option<Bytes> {
        self.records.get(&(table, key.to_owned())).cloned()
    }

    pub(super) fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> RecordPage {
        let from =
            if after >= prefix { Excluded((table, after.to_owned())) } else { Included((table, prefix.to_owned())) };
        let mut rows = self
            .records
            .range((from, Unbounded))
            .take_while(|((other, key), _)| *other == table && key.starts_with(prefix))
            .map(|((_, key), value)| Record { key: key.clone(), value: value.clone() });
        let records = rows.by_ref().take(limit.max(1)).collect();
        RecordPage { records, has_more: rows.next().is_some() }
    }

    /// The rows whose [`dump_key`] is greater than `after`, in the order of these keys, which is the
    /// order of the maps. Looks at every row: good enough for a test double.
    pub(super) fn dump(&self, after: &[u8], limit: usize) -> Vec<DumpRow> {
        let messages = self.histories.values().flat_map(|history| history.values()).cloned().map(DumpRow::Message);
        let floors = self.timelines.iter().filter(|(_, timeline)| timeline.floor > Seq::ZERO);
        let floors = floors.map(|(user, timeline)| DumpRow::Floor { user: user.clone(), floor: timeline.floor });
        let entries = self.timelines.iter().flat_map(|(user, timeline)| {
            timeline.entries.iter().map(|(seq, at)| DumpRow::Entry {
                user: user.clone(),
                seq: *seq,
                conversation: at.conversation.clone(),
                conversation_seq: at.seq,
                time_ms: at.time_ms,
            })
        });
        let sent = self.sent.iter().map(|((sender, id), sent)| DumpRow::Sent {
            sender: sender.clone(),
            client_msg_id: id.clone(),
            conversation: sent.conversation.clone(),
            seq: sent.seq,
            sender_seq: sent.sender_seq,
            receiver_seq: sent.receiver_seq,
            time_ms: sent.time_ms,
        });
        let records = self.records.iter().map(|((table, key), value)| DumpRow::Record {
            table: *table,
            record: Record { key: key.clone(), value: value.clone() },
        });
        let rows = messages.chain(floors).chain(entries).chain(sent).chain(records);
        rows.filter(|row| dump_key(row).as_slice() > after).take(limit).collect()
    }
}

/// A row's name, as the cursor of a dump: rows that come and go meanwhile do not move the others.
/// No id has a NUL, so a NUL ends it and sorts before whatever a longer id goes on with.
pub(super) fn dump_key(row: &DumpRow) -> Vec<u8> {
    let (kind, id, rest): (u8, &str, &[u8]) = match row {
        DumpRow::Message(message) => (1, message.conversation.as_str(), &message.seq.0.to_be_bytes()),
        DumpRow::Floor { user, .. } => (2, user.as_str(), &[]),
        DumpRow::Entry { user, seq, .. } => (3, user.as_str(), &seq.0.to_be_bytes()),
        DumpRow::Sent { sender, client_msg_id, .. } => (4, sender.as_str(), client_msg_id.as_str().as_bytes()),
        DumpRow::Record { table, record } => return [&[5, *table as u8], record.key.as_bytes()].concat(),
    };
    [&[kind], id.as_bytes(), &[0], rest].concat()
}

fn holds(expect: &Expect, value: Option<&Bytes>) -> bool {
    match expect {
        Expect::Any => true,
        Expect::Absent => value.is_none(),
        Expect::Value(expected) => value == Some(expected),
    }
}

fn raised(before: Option<Bytes>, to: u64) -> Result<Bytes, StoreError> {
    let Some(before) = before else {
        return Ok(Bytes::copy_from_slice(&to.to_be_bytes()));
    };
    let number: [u8; 8] = before
        .as_ref()
        .try_into()
        .map_err(|_| StoreError::Damaged(format!("a number of {} bytes is to be raised", before.len())))?;
    Ok(Bytes::copy_from_slice(&u64::from_be_bytes(number).max(to).to_be_bytes()))
}
