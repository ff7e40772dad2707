//! One group of changes on its way to the disk: the rules of appending, worked out in memory.
//!
//! The committer thread feeds it what it drained from the queue, one after another; every step sees
//! what the steps before it did. Nothing here waits or writes: the outcome is one record for the commit log.
//! A step that fails leaves nothing behind.

use std::collections::BTreeMap;
use std::ops::Bound;

use ahash::AHashMap;
use bytes::Bytes;
use im_proto::client::ContentType;
use im_proto::{ConversationId, Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, DumpRow, Expect, LoadError, Placed, StoreError, SweepPolicy, Swept,
    Table, user_key,
};

use crate::cache::Cache;
use crate::read;
use crate::rows::{self, EntryRow, HistoryRow, Key, KeyBuf, KeyRange, SentRow, damaged};
use crate::run::RunBuilder;
use crate::senders::Senders;
use crate::view::View;

/// Rows that one step of a trim deletes at most, so that the appends behind it wait under a millisecond.
const TRIM_STEP_ROWS: usize = 512;

/// What outlives a group. Owned by the committer thread.
pub(crate) struct Numbers {
    users: Cache<UserId, Seq>,
    conversations: Cache<ConversationId, Seq>,
    senders: Senders,
    sweep: SweepCursor,
    importing: bool,
}

/// Where a sweep goes on: behind this key, or at the beginning of that part.
enum SweepCursor {
    Timelines(Vec<u8>),
    Sent(Vec<u8>),
}

impl SweepCursor {
    fn first() -> Self {
        Self::Timelines(KeyRange::timelines().start)
    }
}

/// How far a trim came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trimmed {
    pub(crate) floor: Seq,
    /// Rows up to the floor are left; another step goes on behind this place.
    pub(crate) rest: Option<Seq>,
}

impl Numbers {
    pub(crate) fn new(heads_max: usize) -> Self {
        Self {
            users: Cache::new(heads_max),
            conversations: Cache::new(heads_max),
            senders: Cache::new(heads_max),
            sweep: SweepCursor::first(),
            importing: false,
        }
    }

    /// Gives memory back. Only between groups; see [`Heads`].
    pub(crate) fn shrink(&mut self) {
        self.users.shrink();
        self.conversations.shrink();
        self.senders.shrink();
    }
}

pub(crate) struct Group<'a> {
    view: View,
    numbers: &'a mut Numbers,
    /// Rows that are new for certain: history, entries, idempotency rows of this group's appends.
    rows: RunBuilder,
    /// Rows that may be written several times in a group; the last one counts.
    overlay: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// This group's own appends, so that a repeat within the group is found.
    sent: AHashMap<Vec<u8>, FirstTry>,
    key: KeyBuf,
    value: Vec<u8>,
}

/// An append of this group, to compare a repeat with.
struct FirstTry {
    conversation: ConversationId,
    content_type: ContentType,
    payload: Bytes,
    seq: Seq,
    sender_seq: Seq,
    receiver_seq: Seq,
    time_ms: u64,
}

impl<'a> Group<'a> {
    pub(crate) fn new(view: View, rows: RunBuilder, numbers: &'a mut Numbers) -> Self {
        Self {
            view,
            numbers,
            rows,
            overlay: BTreeMap::new(),
            sent: AHashMap::new(),
            key: KeyBuf::default(),
            value: Vec::new(),
        }
    }

    /// All changes of the group.
    pub(crate) fn into_rows(self) -> RunBuilder {
        let mut rows = self.rows;
        for (key, value) in self.overlay {
            match value {
                Some(value) => rows.put(&key, &value),
                None => rows.delete(&key),
            }
        }
        rows
    }

    pub(crate) fn append(&mut self, append: &Append) -> Result<Placed, AppendError> {
        let sent_key = self.key.sent(&append.sender, &append.client_msg_id).to_vec();
        if let Some(placed) = self.repeat(append, &sent_key)? {
            return Ok(placed);
        }

        // Everything that may fail stands before the first number is given.
        let (view, numbers) = (&self.view, &mut *self.numbers);
        numbers
            .conversations
            .get_or_read(&append.conversation, || read::conversation_head(view, &append.conversation))?;
        for user in &*append.recipients {
            numbers.users.get_or_read(user, || read::head(view, user).map(|head| head.head))?;
        }

        numbers.importing = false;
        let lost = || damaged("a head that was just read is gone");
        let seq = numbers.conversations.next(&append.conversation).ok_or_else(lost)?;
        let history = HistoryRow {
            conversation: &append.conversation,
            sender: &append.sender,
            client_msg_id: &append.client_msg_id,
            time_ms: append.time_ms,
            content_type: append.content_type,
            payload: &append.payload,
        };
        history.encode(&mut self.value);
        self.rows.put(self.key.history(&append.conversation, seq), &self.value);

        let peer = rows::peer_of(&append.conversation, &append.sender);
        let (mut sender_seq, mut receiver_seq) = (Seq::ZERO, Seq::ZERO);
        let mut places = Vec::with_capacity(append.recipients.len());
        for user in &*append.recipients {
            let place = numbers.users.next(user).ok_or_else(lost)?;
            EntryRow::encode(user, &append.conversation, seq, append.time_ms, &mut self.value);
            self.rows.put(self.key.entry(user, place), &self.value);
            if *user == append.sender {
                sender_seq = place;
            }
            if peer == Some(user.as_str()) {
                receiver_seq = place;
            }
            places.push((user.clone(), place));
        }

        let row = SentRow {
            conversation: append.conversation.clone(),
            seq,
            sender_seq,
            receiver_seq,
            time_ms: append.time_ms,
        };
        row.encode(&append.sender, &mut self.value);
        self.rows.put(&sent_key, &self.value);

        if seq == Seq(1)
            && let Some((smaller, bigger)) = append.conversation.users()
        {
            for user in [smaller, bigger] {
                let record = user_key(&user, append.conversation.as_str());
                self.overlay.insert(self.key.record(Table::Conversation, &record).to_vec(), Some(Vec::new()));
            }
        }

        let first = FirstTry {
            conversation: row.conversation,
            content_type: append.content_type,
            payload: append.payload.clone(),
            seq,
            sender_seq,
            receiver_seq,
            time_ms: append.time_ms,
        };
        self.sent.insert(sent_key, first);
        self.numbers.senders.appended(&append.sender, &append.client_msg_id);
        Ok(Placed { seq, sender_seq, receiver_seq, time_ms: append.time_ms, places, repeated: false })
    }

    /// The place of an earlier try, in this group or on disk.
    fn repeat(&mut self, append: &Append, sent_key: &[u8]) -> Result<Option<Placed>, AppendError> {
        let (row, same) = if let Some(first) = self.sent.get(sent_key) {
            let same = first.conversation == append.conversation
                && first.content_type == append.content_type
                && first.payload == append.payload;
            let FirstTry { seq, sender_seq, receiver_seq, time_ms, .. } = *first;
            (SentRow { conversation: first.conversation.clone(), seq, sender_seq, receiver_seq, time_ms }, same)
        } else if self.numbers.senders.is_new(&self.view, &append.sender, &append.client_msg_id)? {
            return Ok(None);
        } else if let Some(row) = self.view.get(sent_key)? {
            let row = SentRow::decode(&append.sender, &row)?;
            let same = row.conversation == append.conversation && {
                let first = read::message(&self.view, &row.conversation, row.seq)?;
                first.content_type == append.content_type && first.payload == append.payload
            };
            (row, same)
        } else {
            return Ok(None);
        };
        if !same {
            return Err(AppendError::IdReused);
        }
        Ok(Some(Placed {
            seq: row.seq,
            sender_seq: row.sender_seq,
            receiver_seq: row.receiver_seq,
            time_ms: row.time_ms,
            places: Vec::new(),
            repeated: true,
        }))
    }

    /// All changes or none; each sees what those before it did.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        let mut staged: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for (index, change) in changes.iter().enumerate() {
            let (table, key) = match change {
                Change::Put { table, key, .. }
                | Change::Delete { table, key, .. }
                | Change::Raise { table, key, .. } => (*table, key),
            };
            let key = self.key.record(table, key).to_vec();
            let now = match staged.get(&key) {
                Some(value) => value.clone(),
                None => self.value_now(&key)?,
            };
            match change {
                Change::Put { value, expect, .. } => {
                    check(expect, now.as_deref(), index)?;
                    staged.insert(key, Some(value.to_vec()));
                }
                Change::Delete { expect, .. } => {
                    check(expect, now.as_deref(), index)?;
                    if now.is_some() {
                        staged.insert(key, None);
                    }
                }
                Change::Raise { to, .. } => {
                    let number = match &now {
                        None => None,
                        Some(value) => {
                            let bytes = value.as_slice().try_into().map_err(|_| damaged("a raised number"))?;
                            Some(u64::from_be_bytes(bytes))
                        }
                    };
                    if number.is_none_or(|number| number < *to) {
                        staged.insert(key, Some(to.to_be_bytes().to_vec()));
                    }
                }
            }
        }
        self.numbers.importing = false;
        self.overlay.extend(staged);
        Ok(())
    }

    /// Raises the floor and deletes a step's worth of the rows under it, those behind `from`. The
    /// floor alone hides them, so it does not matter when the deleting is cut short.
    pub(crate) fn trim(&mut self, user: &UserId, through: Seq, from: Option<Seq>) -> Result<Trimmed, StoreError> {
        let view = &self.view;
        let head = *self.numbers.users.get_or_read(user, || read::head(view, user).map(|head| head.head))?;
        let old = self.floor(user)?;
        let floor = through.min(head).max(old);
        let begin = from.unwrap_or(old);
        // Set aside until nothing can fail any more: rows deleted without the floor above them would be a hole.
        let (mut rest, mut deleted) = (None, Vec::new());
        if begin < floor {
            let start = self.key.entry(user, begin.next()).to_vec();
            let end = self.key.entry(user, floor).to_vec();
            let prefix_len = user.as_str().len() + 2;
            for row in self.view.between(Bound::Included(&start), Bound::Excluded(&[&end[..], &[0]].concat())) {
                let (key, _) = row?;
                deleted.push((key.to_vec(), None));
                if deleted.len() == TRIM_STEP_ROWS {
                    rest = Some(rows::seq_of(&key, prefix_len)?);
                    break;
                }
            }
        }
        self.overlay.extend(deleted);
        if floor > old {
            self.numbers.importing = false;
            self.overlay.insert(self.key.floor(user).to_vec(), Some(rows::encode_floor(floor)));
        }
        Ok(Trimmed { floor, rest })
    }

    /// Looks at up to `rows_max` rows from where the last step stopped. Returns how many it looked at.
    pub(crate) fn sweep(&mut self, policy: &SweepPolicy, rows_max: usize) -> Result<(Swept, usize), StoreError> {
        let mut swept = Swept::default();
        let mut looked = 0;
        if let SweepCursor::Timelines(start) = &self.numbers.sweep {
            let start = start.clone();
            let stopped = self.sweep_timelines(start, policy.entries_before_ms, rows_max, &mut looked, &mut swept)?;
            self.numbers.sweep = match stopped {
                Some(next) => SweepCursor::Timelines(next),
                None => SweepCursor::Sent(KeyRange::sent().start),
            };
        }
        if let SweepCursor::Sent(start) = &self.numbers.sweep
            && looked < rows_max
        {
            let start = start.clone();
            let stopped = self.sweep_sent(&start, policy.sent_before_ms, rows_max, &mut looked, &mut swept)?;
            swept.done = stopped.is_none();
            self.numbers.sweep = stopped.map_or_else(SweepCursor::first, SweepCursor::Sent);
        }
        Ok((swept, looked))
    }

    /// Returns where to go on, or `None` at the end.
    fn sweep_timelines(
        &mut self,
        mut start: Vec<u8>,
        before_ms: u64,
        rows_max: usize,
        looked: &mut usize,
        swept: &mut Swept,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let end = KeyRange::timelines().end;
        'seek: loop {
            let mut user_now: Option<(UserId, Seq)> = None;
            for row in self.view.between(Bound::Included(&start), Bound::Excluded(&end)) {
                let (key, value) = row?;
                if *looked >= rows_max {
                    return Ok(Some(key.to_vec()));
                }
                *looked += 1;
                let (user, seq) = match Key::decode(&key)? {
                    Key::Floor(_) => continue,
                    Key::Entry(user, seq) => (user, seq),
                    _ => return Err(damaged("a foreign row among the timelines")),
                };
                let floor = match &user_now {
                    Some((same, floor)) if *same == user => *floor,
                    _ => self.floor(&user)?,
                };
                if seq <= floor {
                    // Left by a trim that was cut short.
                    self.overlay.insert(key.to_vec(), None);
                    user_now = Some((user, floor));
                } else if seq == floor.next() && EntryRow::decode(&user, &value)?.time_ms < before_ms {
                    self.overlay.insert(key.to_vec(), None);
                    self.overlay.insert(self.key.floor(&user).to_vec(), Some(rows::encode_floor(seq)));
                    self.numbers.importing = false;
                    swept.entries += 1;
                    user_now = Some((user, seq));
                } else {
                    start = KeyRange::timeline(&user).end;
                    continue 'seek;
                }
            }
            return Ok(None);
        }
    }

    fn sweep_sent(
        &mut self,
        start: &[u8],
        before_ms: u64,
        rows_max: usize,
        looked: &mut usize,
        swept: &mut Swept,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        for row in self.view.between(Bound::Included(start), Bound::Excluded(&KeyRange::sent().end)) {
            let (key, value) = row?;
            if *looked >= rows_max {
                return Ok(Some(key.to_vec()));
            }
            *looked += 1;
            let Key::Sent(sender, _) = Key::decode(&key)? else {
                return Err(damaged("a foreign row among the idempotency rows"));
            };
            if SentRow::decode(&sender, &value)?.time_ms < before_ms {
                self.overlay.insert(key.to_vec(), None);
                self.numbers.importing = false;
                swept.sent += 1;
            }
        }
        Ok(None)
    }

    /// Takes rows of a dump. Only as a group of its own: it writes under numbers that appends give.
    pub(crate) fn load(&mut self, rows: &[DumpRow]) -> Result<(), LoadError> {
        if !self.numbers.importing {
            for range in KeyRange::data() {
                if self.view.range(&range).next().transpose()?.is_some() {
                    return Err(LoadError::NotEmpty);
                }
            }
            self.numbers.importing = true;
        }
        for row in rows {
            let (key, value) = self.load_row(row);
            self.overlay.insert(key, Some(value));
        }
        self.numbers.users.clear();
        self.numbers.conversations.clear();
        self.numbers.senders.clear();
        Ok(())
    }

    fn load_row(&mut self, row: &DumpRow) -> (Vec<u8>, Vec<u8>) {
        let mut value = Vec::new();
        let key = match row {
            DumpRow::Message(message) => {
                let row = HistoryRow {
                    conversation: &message.conversation,
                    sender: &message.sender,
                    client_msg_id: &message.client_msg_id,
                    time_ms: message.time_ms,
                    content_type: message.content_type,
                    payload: &message.payload,
                };
                row.encode(&mut value);
                self.key.history(&message.conversation, message.seq)
            }
            DumpRow::Entry { user, seq, conversation, conversation_seq, time_ms } => {
                EntryRow::encode(user, conversation, *conversation_seq, *time_ms, &mut value);
                self.key.entry(user, *seq)
            }
            DumpRow::Floor { user, floor } => {
                value = rows::encode_floor(*floor);
                self.key.floor(user)
            }
            DumpRow::Sent { sender, client_msg_id, conversation, seq, sender_seq, receiver_seq, time_ms } => {
                let row = SentRow {
                    conversation: conversation.clone(),
                    seq: *seq,
                    sender_seq: *sender_seq,
                    receiver_seq: *receiver_seq,
                    time_ms: *time_ms,
                };
                row.encode(sender, &mut value);
                self.key.sent(sender, client_msg_id)
            }
            DumpRow::Record { table, record } => {
                value = record.value.to_vec();
                self.key.record(*table, &record.key)
            }
        };
        (key.to_vec(), value)
    }

    fn floor(&mut self, user: &UserId) -> Result<Seq, StoreError> {
        let key = self.key.floor(user).to_vec();
        self.value_now(&key)?.map_or(Ok(Seq::ZERO), |row| rows::decode_floor(&row))
    }

    fn value_now(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.overlay.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.view.get(key)?.map(|value| value.to_vec())),
        }
    }
}

fn check(expect: &Expect, now: Option<&[u8]>, index: usize) -> Result<(), CommitError> {
    let holds = match expect {
        Expect::Any => true,
        Expect::Absent => now.is_none(),
        Expect::Value(value) => now == Some(value),
    };
    if holds { Ok(()) } else { Err(CommitError::Conflict(index)) }
}
