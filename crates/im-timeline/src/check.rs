//! Does a store keep its own rules? [`check`] reads every row and follows every reference.
//!
//! Meant for a store without traffic (`sim store check`): rows that come or go meanwhile may be
//! reported. Memory grows with the number of timelines, not with the number of rows.

use std::collections::BTreeMap;

use im_proto::client::{Direction, Message};
use im_proto::limits::PAYLOAD_LEN_MAX;
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};

use crate::{DumpRow, HistoryRange, Store, StoreError};

/// Findings kept in a report; more are only counted. A store with this many needs no longer list.
pub const FINDINGS_MAX: usize = 1000;

/// Rows asked for at once.
const PAGE_ROWS: usize = 500;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows looked at.
    pub rows: RowCounts,
    /// What contradicts a rule, the first [`FINDINGS_MAX`] of them.
    pub findings: Vec<Finding>,
    /// Findings beyond that.
    pub omitted: u64,
}

impl Report {
    /// Whether every rule holds.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.omitted += 1;
        }
    }
}

/// Rows by their kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Messages in histories.
    pub messages: u64,
    /// Places in users' timelines.
    pub entries: u64,
    /// Users' timelines that were trimmed.
    pub floors: u64,
    /// Idempotency rows.
    pub sent: u64,
    /// Records.
    pub records: u64,
}

/// One contradiction, as a sentence for people and as data for tests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A history is not dense from 1.
    #[error("the history of {conversation} goes on with {found} where {expected} is due")]
    HistoryGap {
        /// Whose history.
        conversation: ConversationId,
        /// The place that is due.
        expected: Seq,
        /// The place that came.
        found: Seq,
    },
    /// The store's word about the greatest place is wrong.
    #[error("the history of {conversation} ends at {last}, and its head says {head}")]
    HistoryHead {
        /// Whose history.
        conversation: ConversationId,
        /// The last row.
        last: Seq,
        /// What the store says.
        head: Seq,
    },
    /// A message of a conversation of two was sent by a third.
    #[error("message {seq} of {conversation} was sent by {sender}, who is not part of it")]
    SenderNotPart {
        /// In which conversation.
        conversation: ConversationId,
        /// At which place.
        seq: Seq,
        /// By whom.
        sender: UserId,
    },
    /// A message that no client could have sent, and none can be given.
    #[error("message {seq} of {conversation} has a payload of {len} bytes")]
    PayloadTooLong {
        /// In which conversation.
        conversation: ConversationId,
        /// At which place.
        seq: Seq,
        /// Its bytes.
        len: usize,
    },
    /// A user's timeline has a hole.
    #[error("the timeline of {user} goes on with {found} where {expected} is due")]
    TimelineGap {
        /// Whose timeline.
        user: UserId,
        /// The place that is due.
        expected: Seq,
        /// The place that came.
        found: Seq,
    },
    /// A user's timeline does not begin right behind its floor.
    #[error("the timeline of {user} begins with {first}, and its floor is {floor}")]
    TimelineStart {
        /// Whose timeline.
        user: UserId,
        /// The first row.
        first: Seq,
        /// The floor.
        floor: Seq,
    },
    /// The store's word about how far a timeline reaches is wrong.
    #[error("the timeline of {user} ends at {last}, and its head says {head}")]
    TimelineHead {
        /// Whose timeline.
        user: UserId,
        /// The last row, or the floor.
        last: Seq,
        /// What the store says.
        head: Seq,
    },
    /// An entry's message is not there.
    #[error("entry {seq} of {user} refers to message {conversation_seq} of {conversation}, which does not exist")]
    EntryWithoutMessage {
        /// Whose timeline.
        user: UserId,
        /// At which place.
        seq: Seq,
        /// The message's conversation.
        conversation: ConversationId,
        /// The message's place there.
        conversation_seq: Seq,
    },
    /// An entry and its message disagree about the time.
    #[error("entry {seq} of {user} says {time_ms} ms where its message says {message_ms} ms")]
    EntryTime {
        /// Whose timeline.
        user: UserId,
        /// At which place.
        seq: Seq,
        /// What the entry says.
        time_ms: u64,
        /// What the message says.
        message_ms: u64,
    },
    /// A message of two users stands in a third user's timeline.
    #[error("entry {seq} of {user} is a message of {conversation}, which {user} is not part of")]
    EntryNotPart {
        /// Whose timeline.
        user: UserId,
        /// At which place.
        seq: Seq,
        /// The message's conversation.
        conversation: ConversationId,
    },
    /// An idempotency row's message is not there, or is another.
    #[error("{client_msg_id} of {sender} is remembered as message {seq} of {conversation}, which is not that message")]
    SentOther {
        /// Who sent.
        sender: UserId,
        /// Under what name.
        client_msg_id: ClientMsgId,
        /// Into which conversation.
        conversation: ConversationId,
        /// To which place.
        seq: Seq,
    },
    /// An idempotency row and its message disagree about the time.
    #[error("{client_msg_id} of {sender} is remembered at {time_ms} ms where its message says {message_ms} ms")]
    SentTime {
        /// Who sent.
        sender: UserId,
        /// Under what name.
        client_msg_id: ClientMsgId,
        /// What the row says.
        time_ms: u64,
        /// What the message says.
        message_ms: u64,
    },
    /// An idempotency row names a place in a timeline where its message is not.
    #[error("{client_msg_id} of {sender} is remembered at place {seq} of {user}, where it is not")]
    SentPlace {
        /// Who sent.
        sender: UserId,
        /// Under what name.
        client_msg_id: ClientMsgId,
        /// Whose timeline.
        user: UserId,
        /// The place.
        seq: Seq,
    },
    /// An idempotency row of a group names a receiver's place, which a group has not.
    #[error("{client_msg_id} of {sender} went to a group and is remembered with receiver's place {seq}")]
    SentReceiver {
        /// Who sent.
        sender: UserId,
        /// Under what name.
        client_msg_id: ClientMsgId,
        /// The place.
        seq: Seq,
    },
}

/// Reads the whole store and tells what contradicts its rules.
pub async fn check(store: &dyn Store) -> Result<Report, StoreError> {
    let mut check = Check { store, report: Report::default(), histories: BTreeMap::new(), timelines: BTreeMap::new() };
    let mut after = None;
    loop {
        let page = store.dump(after, PAGE_ROWS).await?;
        for row in page.rows {
            check.row(row).await?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    check.heads().await?;
    Ok(check.report)
}

struct Check<'a> {
    store: &'a dyn Store,
    report: Report,
    /// The last place seen of each history.
    histories: BTreeMap<ConversationId, Seq>,
    timelines: BTreeMap<UserId, Span>,
}

/// The first and the last place seen of a timeline; both zero where only a floor was.
#[derive(Default)]
struct Span {
    first: Seq,
    last: Seq,
}

impl Check<'_> {
    async fn row(&mut self, row: DumpRow) -> Result<(), StoreError> {
        match row {
            DumpRow::Message(message) => self.message(&message),
            DumpRow::Entry { user, seq, conversation, conversation_seq, time_ms } => {
                self.report.rows.entries += 1;
                self.place(&user, seq);
                self.entry(user, seq, conversation, conversation_seq, time_ms).await?;
            }
            DumpRow::Floor { user, .. } => {
                // The floor itself is asked for with the head.
                self.report.rows.floors += 1;
                self.timelines.entry(user).or_default();
            }
            DumpRow::Sent { sender, client_msg_id, conversation, seq, sender_seq, receiver_seq, time_ms } => {
                self.report.rows.sent += 1;
                let found = find(self.store, &conversation, seq).await?;
                match found {
                    Some(found) if found.sender == sender && found.client_msg_id == client_msg_id => {
                        let message_ms = found.time_ms;
                        if time_ms != message_ms {
                            let (sender, client_msg_id) = (sender.clone(), client_msg_id.clone());
                            self.report.add(Finding::SentTime { sender, client_msg_id, time_ms, message_ms });
                        }
                        self.sent_places(&found, sender_seq, receiver_seq).await?;
                    }
                    _ => self.report.add(Finding::SentOther { sender, client_msg_id, conversation, seq }),
                }
            }
            DumpRow::Record { .. } => self.report.rows.records += 1,
        }
        Ok(())
    }

    fn message(&mut self, message: &Message) {
        self.report.rows.messages += 1;
        let Message { conversation, seq, sender, payload, .. } = message;
        let last = self.histories.entry(conversation.clone()).or_default();
        let expected = last.next();
        *last = *seq;
        if *seq != expected {
            let conversation = conversation.clone();
            self.report.add(Finding::HistoryGap { conversation, expected, found: *seq });
        }
        if conversation.users().is_some() && conversation.peer_of(sender).is_none() {
            let (conversation, sender) = (conversation.clone(), sender.clone());
            self.report.add(Finding::SenderNotPart { conversation, seq: *seq, sender });
        }
        if payload.len() > PAYLOAD_LEN_MAX as usize {
            let conversation = conversation.clone();
            self.report.add(Finding::PayloadTooLong { conversation, seq: *seq, len: payload.len() });
        }
    }

    fn place(&mut self, user: &UserId, seq: Seq) {
        let span = self.timelines.entry(user.clone()).or_default();
        if span.last == Seq::ZERO {
            span.first = seq;
        } else if seq != span.last.next() {
            let (user, expected) = (user.clone(), span.last.next());
            self.report.add(Finding::TimelineGap { user, expected, found: seq });
        }
        span.last = seq;
    }

    async fn entry(
        &mut self,
        user: UserId,
        seq: Seq,
        conversation: ConversationId,
        conversation_seq: Seq,
        time_ms: u64,
    ) -> Result<(), StoreError> {
        if conversation.users().is_some() && conversation.peer_of(&user).is_none() {
            let (user, conversation) = (user.clone(), conversation.clone());
            self.report.add(Finding::EntryNotPart { user, seq, conversation });
        }
        match find(self.store, &conversation, conversation_seq).await? {
            None => self.report.add(Finding::EntryWithoutMessage { user, seq, conversation, conversation_seq }),
            Some(message) if message.time_ms != time_ms => {
                self.report.add(Finding::EntryTime { user, seq, time_ms, message_ms: message.time_ms });
            }
            Some(_) => {}
        }
        Ok(())
    }

    async fn sent_places(&mut self, message: &Message, sender_seq: Seq, receiver_seq: Seq) -> Result<(), StoreError> {
        let Message { sender, client_msg_id, conversation, .. } = message;
        let mut places = vec![(sender.clone(), sender_seq)];
        match conversation.peer_of(sender) {
            Some(peer) => places.push((peer, receiver_seq)),
            None if receiver_seq > Seq::ZERO => {
                let (sender, client_msg_id) = (sender.clone(), client_msg_id.clone());
                self.report.add(Finding::SentReceiver { sender, client_msg_id, seq: receiver_seq });
            }
            None => {}
        }
        for (user, seq) in places {
            if !self.stands_at(message, &user, seq).await? {
                let (sender, client_msg_id) = (sender.clone(), client_msg_id.clone());
                self.report.add(Finding::SentPlace { sender, client_msg_id, user, seq });
            }
        }
        Ok(())
    }

    /// A place that was trimmed gets the benefit of the doubt.
    async fn stands_at(&self, message: &Message, user: &UserId, seq: Seq) -> Result<bool, StoreError> {
        let Some(before) = seq.0.checked_sub(1) else {
            return Ok(false);
        };
        match self.store.sync(user, Seq(before), 1).await {
            Ok(page) if seq <= page.head.floor => Ok(true),
            Ok(page) => Ok(page.entries.first().is_some_and(|entry| {
                let there = &entry.message;
                (entry.seq, &there.conversation, there.seq) == (seq, &message.conversation, message.seq)
            })),
            // The entry refers to nothing, which its own row tells.
            Err(StoreError::Damaged(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn heads(&mut self) -> Result<(), StoreError> {
        for (conversation, last) in std::mem::take(&mut self.histories) {
            let newest = HistoryRange { from: Seq::ZERO, direction: Direction::Backward, limit: 1 };
            let head = self.store.history(&conversation, newest).await?.head;
            if head != last {
                self.report.add(Finding::HistoryHead { conversation, last, head });
            }
        }
        for (user, Span { first, last }) in std::mem::take(&mut self.timelines) {
            let head = self.store.head(&user).await?;
            if last > Seq::ZERO && first != head.floor.next() {
                let user = user.clone();
                self.report.add(Finding::TimelineStart { user, first, floor: head.floor });
            }
            let last = last.max(head.floor);
            if head.head != last {
                self.report.add(Finding::TimelineHead { user, last, head: head.head });
            }
        }
        Ok(())
    }
}

async fn find(store: &dyn Store, conversation: &ConversationId, seq: Seq) -> Result<Option<Message>, StoreError> {
    let Some(before) = seq.0.checked_sub(1) else {
        return Ok(None);
    };
    let range = HistoryRange { from: Seq(before), direction: Direction::Forward, limit: 1 };
    Ok(store.history(conversation, range).await?.messages.pop().filter(|message| message.seq == seq))
}

#[cfg(test)]
mod tests;
