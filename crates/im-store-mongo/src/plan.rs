//! Numbers for a batch of messages: pure arithmetic over the heads, no server, no clock.

use std::collections::{BTreeMap, HashMap};

use im_proto::{ConversationId, Seq, UserId};
use im_timeline::{Append, Placed, Table, user_key};
use mongodb::bson::{DateTime, RawDocumentBuf, rawdoc};

use crate::fault::Fault;
use crate::rows;

/// The name of a timeline in `chat_heads`. Users and groups may share an id, so the kind goes before.
pub(crate) fn user_head(user: &UserId) -> String {
    format!("sync/{user}")
}

/// See [`user_head`].
pub(crate) fn conversation_head(conversation: &ConversationId) -> String {
    format!("history/{conversation}")
}

/// Every timeline that an append writes to.
pub(crate) fn timelines(append: &Append) -> impl Iterator<Item = String> {
    let conversation = std::iter::once_with(|| conversation_head(&append.conversation));
    conversation.chain(append.recipients.iter().map(user_head))
}

/// What one transaction writes, and what the senders are told when it has.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Each timeline with its head before and after, in one order for everybody: two transactions
    /// that meet do so at their first common timeline, and one of them goes on.
    pub(crate) heads: BTreeMap<String, (u64, u64)>,
    pub(crate) sent: Vec<RawDocumentBuf>,
    pub(crate) history: Vec<RawDocumentBuf>,
    pub(crate) sync: Vec<RawDocumentBuf>,
    /// Keys of conversation records that a pair's first message makes.
    pub(crate) conversations: Vec<RawDocumentBuf>,
    /// In the order of the appends.
    pub(crate) placed: Vec<Placed>,
}

impl Plan {
    /// Gives each append its places behind `heads`; a timeline that is not in there is empty.
    pub(crate) fn new<'a>(
        appends: impl IntoIterator<Item = &'a Append>,
        heads: &HashMap<String, u64>,
    ) -> Result<Self, Fault> {
        let mut plan = Self::default();
        for append in appends {
            plan.add(append, heads)?;
        }
        Ok(plan)
    }

    fn next(&mut self, timeline: String, heads: &HashMap<String, u64>) -> Result<(Seq, i64), Fault> {
        let entry = self.heads.entry(timeline);
        let (_, head) = entry.or_insert_with_key(|timeline| {
            let head = heads.get(timeline).copied().unwrap_or_default();
            (head, head)
        });
        let next = head.checked_add(1).ok_or(Fault::TooGreat(*head))?;
        let number = rows::number(next)?;
        *head = next;
        Ok((Seq(next), number))
    }

    fn add(&mut self, append: &Append, heads: &HashMap<String, u64>) -> Result<(), Fault> {
        let (seq, number) = self.next(conversation_head(&append.conversation), heads)?;
        let message = rows::message_of(append, seq)?;
        self.history.push(rows::row(append.conversation.as_str(), number, &message));

        let peer = append.conversation.peer_of(&append.sender);
        let (mut sender_seq, mut receiver_seq) = (Seq::ZERO, Seq::ZERO);
        let mut places = Vec::with_capacity(append.recipients.len());
        for user in &*append.recipients {
            let (place, number) = self.next(user_head(user), heads)?;
            self.sync.push(rows::row(user.as_str(), number, &message));
            if *user == append.sender {
                sender_seq = place;
            }
            if peer.as_ref() == Some(user) {
                receiver_seq = place;
            }
            places.push((user.clone(), place));
        }

        self.sent.push(rawdoc! {
            "_id": rows::sent_key(append),
            "conversation": append.conversation.as_str(),
            "seq": number,
            "sender_seq": rows::number(sender_seq.0)?,
            "receiver_seq": rows::number(receiver_seq.0)?,
            "time": DateTime::from_millis(rows::number(append.time_ms)?),
        });
        if seq == Seq(1)
            && let Some((smaller, bigger)) = append.conversation.users()
        {
            for user in [smaller, bigger] {
                let key = user_key(&user, append.conversation.as_str());
                self.conversations.push(rows::record_key(Table::Conversation, &key));
            }
        }
        self.placed.push(Placed { seq, sender_seq, receiver_seq, time_ms: append.time_ms, places, repeated: false });
        Ok(())
    }
}
