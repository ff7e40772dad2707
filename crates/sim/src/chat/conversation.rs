//! One conversation as the chat knows it.

use std::collections::BTreeMap;

use im_proto::client::{ConversationSummary, Message, SendMsg};
use im_proto::{ClientMsgId, ConversationId, Seq, Target, UserId};

/// Messages kept in memory per conversation; older ones are loaded again when wanted.
const MESSAGES_MAX: usize = 2000;

#[derive(Clone, Debug)]
pub(super) struct Conversation {
    pub(super) id: ConversationId,
    pub(super) target: Target,
    /// The peer's or the group's name.
    pub(super) name: String,
    pub(super) unread: u64,
    /// The greatest place that is known.
    pub(super) head: Seq,
    /// Up to where this user has read.
    pub(super) read: Seq,
    /// Up to where others have read.
    pub(super) peer_read: Seq,
    pub(super) last: Option<Message>,
    /// By their places; history and live messages meet here without doubles.
    pub(super) messages: BTreeMap<Seq, Message>,
    /// Own messages without a place, in the order they were written.
    pub(super) unsent: Vec<Unsent>,
    /// Whether there may be older messages than the ones in memory.
    pub(super) has_older: bool,
    /// Whether a page of history is on its way.
    pub(super) loading: bool,
    /// Who is writing, and until when that is believed, milliseconds since 1970.
    pub(super) typing: Option<(UserId, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsent {
    pub(super) message: SendMsg,
    /// Why it will never be sent; `None` while it is on its way.
    pub(super) refused: Option<String>,
}

impl Conversation {
    pub(super) fn new(target: Target, me: &UserId) -> Self {
        let name = match &target {
            Target::User(user) if user == me => "notes to self".to_owned(),
            Target::User(user) => user.to_string(),
            Target::Group(group) => group.to_string(),
        };
        Self {
            id: target.conversation(me),
            target,
            name,
            unread: 0,
            head: Seq::ZERO,
            read: Seq::ZERO,
            peer_read: Seq::ZERO,
            last: None,
            messages: BTreeMap::new(),
            unsent: Vec::new(),
            has_older: true,
            loading: false,
            typing: None,
        }
    }

    /// Of an id, as seen by `me`; `None` for a pair that `me` is no part of.
    pub(super) fn of(id: &ConversationId, me: &UserId) -> Option<Self> {
        let target = match id.as_group() {
            Some(group) => Target::Group(group),
            None => Target::User(id.peer_of(me)?),
        };
        Some(Self::new(target, me))
    }

    /// What the server says of it.
    pub(super) fn on_summary(&mut self, summary: ConversationSummary) {
        if !summary.name.is_empty() {
            self.name = summary.name;
        }
        self.read = self.read.max(summary.read_seq);
        // A list that was asked for before the newest message came knows less than we do.
        if summary.head >= self.head {
            self.head = summary.head;
            self.unread = summary.unread;
            self.last = summary.last.or_else(|| self.last.take());
        }
    }

    /// A message at its place. Whether it is new, and not only newly loaded.
    pub(super) fn on_message(&mut self, message: Message) -> bool {
        self.unsent.retain(|unsent| unsent.message.client_msg_id != message.client_msg_id);
        let seq = message.seq;
        let is_new = seq > self.head;
        if is_new {
            self.head = seq;
            self.last = Some(message.clone());
            if self.typing.as_ref().is_some_and(|(user, _)| *user == message.sender) {
                self.typing = None;
            }
        }
        self.messages.insert(seq, message);
        if self.messages.len() > MESSAGES_MAX {
            self.messages.pop_first();
            self.has_older = true;
        }
        is_new
    }

    /// A page of older messages.
    pub(super) fn on_history(&mut self, messages: Vec<Message>, has_more: bool) {
        self.loading = false;
        self.has_older = has_more;
        for message in messages {
            self.on_message(message);
        }
    }

    pub(super) fn on_refused(&mut self, name: &ClientMsgId, why: &str) {
        if let Some(unsent) = self.unsent.iter_mut().find(|unsent| unsent.message.client_msg_id == *name) {
            unsent.refused = Some(why.to_owned());
        }
    }

    /// Where to load older messages from; `Seq::ZERO` is the newest. `None` while there is nothing to load.
    pub(super) fn wants_older(&mut self) -> Option<Seq> {
        if self.loading || !self.has_older {
            return None;
        }
        self.loading = true;
        Some(self.oldest_run())
    }

    /// The first place of the run of messages that reaches the head. Live messages may have left a
    /// gap behind them, which the history then fills.
    fn oldest_run(&self) -> Seq {
        let mut oldest = Seq::ZERO;
        for &seq in self.messages.keys().rev() {
            if oldest != Seq::ZERO && seq.next() != oldest {
                break;
            }
            oldest = seq;
        }
        oldest
    }
}
