//! The one interface to whatever keeps the timelines.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use im_proto::client::{ContentType, Direction, Entry, Message};
use im_proto::{ClientMsgId, ConversationId, Epoch, Seq, UserId};

/// A message that wants its places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The conversation whose history gets it.
    pub conversation: ConversationId,
    /// Who sends it.
    pub sender: UserId,
    /// The sender's own name for it; with `sender` it makes the append idempotent.
    pub client_msg_id: ClientMsgId,
    /// When the service took it, milliseconds since 1970. Not part of the content: a repeat keeps
    /// the time of the first.
    pub time_ms: u64,
    /// What the payload is.
    pub content_type: ContentType,
    /// The payload, at most [`PAYLOAD_LEN_MAX`](im_proto::limits::PAYLOAD_LEN_MAX) bytes.
    pub payload: Bytes,
    /// Whose timelines get it, the sender among them, nobody twice, at most
    /// [`GROUP_MEMBERS_MAX`](im_proto::limits::GROUP_MEMBERS_MAX).
    pub recipients: std::sync::Arc<[UserId]>,
}

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// In the conversation.
    pub seq: Seq,
    /// In the sender's own timeline.
    pub sender_seq: Seq,
    /// In the other user's timeline where the conversation is one of two users (the sender's own in
    /// a notebook); [`Seq::ZERO`] for a group.
    pub receiver_seq: Seq,
    /// When the first try was taken, milliseconds since 1970.
    pub time_ms: u64,
    /// The place in each recipient's timeline, in the order of [`Append::recipients`]. Empty for a
    /// repeat, whose recipients were told the first time.
    pub places: Vec<(UserId, Seq)>,
    /// Whether an earlier try had stored it.
    pub repeated: bool,
}

/// Why a message got no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The same sender used the same client message id for other content: another conversation,
    /// content type or payload.
    #[error("this client message id was used for another message")]
    IdReused,
    /// The recipients are empty, too many, name somebody twice or leave out the sender.
    #[error("recipients: {0}")]
    BadRecipients(&'static str),
    /// Too many appends wait already. Nothing was stored; a retry may help.
    #[error("too many appends are waiting")]
    Busy,
    /// The store failed. The message may or may not have been stored; a retry with the same id
    /// tells, and does no harm.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store itself failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It was closed, or its committer has ended.
    #[error("the store is closed")]
    Closed,
    /// It cannot be reached, or others were faster too often; another try may succeed soon.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// It refused, for a reason that does not go away by itself; a disk's, for instance.
    #[error("the store failed: {0}")]
    Failed(String),
    /// What is stored contradicts itself.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// How far a user's timeline reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncHead {
    /// The greatest place that is durable; [`Seq::ZERO`] for a user without messages.
    pub head: Seq,
    /// The greatest place that was trimmed.
    pub floor: Seq,
}

/// Rows of a user's timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncPage {
    /// The head and the floor, taken in the same view as the rows.
    pub head: SyncHead,
    /// Ascending, dense, beginning at the greater of `after` and the floor, plus one.
    pub entries: Vec<Entry>,
    /// Whether rows up to the head are left.
    pub has_more: bool,
}

/// Which part of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRange {
    /// Where to start; not included. [`Seq::ZERO`] with [`Direction::Backward`] starts at the head.
    pub from: Seq,
    /// Ascending or descending.
    pub direction: Direction,
    /// Rows at most; at least 1.
    pub limit: usize,
}

/// A conversation's head and what was asked for of its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationHead {
    /// The greatest place; [`Seq::ZERO`] without messages.
    pub head: Seq,
    /// The rows, in the direction asked for.
    pub messages: Vec<Message>,
    /// Whether there are rows behind the last one, in that direction.
    pub has_more: bool,
}

/// Which kind of record. The numbers are part of the stored format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Accounts, by user id.
    Account = 1,
    /// Logins and their refresh tokens, hashed, by `user NUL family`.
    Refresh = 2,
    /// Groups, by group id.
    Group = 3,
    /// Memberships, by `user NUL group`.
    Member = 4,
    /// Conversations of two users, by `user NUL conversation`. Written by [`Store::append`] itself
    /// with a conversation's first message, one row per user, with an empty value.
    Conversation = 5,
    /// Read positions in a conversation, by `user NUL conversation`; a [`Change::Raise`] number.
    Read = 6,
    /// Places fetched in the user's own timeline, by `user NUL device`; a [`Change::Raise`] number.
    Fetched = 7,
    /// What the service remembers of itself: secrets, marks of maintenance.
    Service = 8,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Account,
        Self::Refresh,
        Self::Group,
        Self::Member,
        Self::Conversation,
        Self::Read,
        Self::Fetched,
        Self::Service,
    ];

    /// Its name in exports, and in stores that people read. Part of both formats, as the number is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Refresh => "refresh",
            Self::Group => "group",
            Self::Member => "member",
            Self::Conversation => "conversation",
            Self::Read => "read",
            Self::Fetched => "fetched",
            Self::Service => "service",
        }
    }

    /// The table of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// What must hold of a record for a change to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// There is none of that key.
    Absent,
    /// Its value is exactly this.
    Value(Bytes),
}

/// A change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a value.
    Put {
        /// Which kind.
        table: Table,
        /// Its key, at most 512 bytes.
        key: String,
        /// Its new value.
        value: Bytes,
        /// What must hold before.
        expect: Expect,
    },
    /// Remove a record; removing none is no error.
    Delete {
        /// Which kind.
        table: Table,
        /// Its key.
        key: String,
        /// What must hold before.
        expect: Expect,
    },
    /// Raise an eight-byte big-endian number to `to` where it is smaller or absent. Never conflicts.
    Raise {
        /// Which kind.
        table: Table,
        /// Its key.
        key: String,
        /// The least it shall be.
        to: u64,
    },
}

/// Why changes did not happen; none of them did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// What the change of that index expected does not hold.
    #[error("change {0} expected another value")]
    Conflict(usize),
    /// Too many commits wait already. Nothing happened; a retry may help.
    #[error("too many commits are waiting")]
    Busy,
    /// The store failed; the changes may or may not have happened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A record with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
}

/// Records in the order of their keys' bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPage {
    /// The rows.
    pub records: Vec<Record>,
    /// Whether there are more behind the last.
    pub has_more: bool,
}

/// What a sweep may remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepPolicy {
    /// Rows of users' timelines whose message is older, milliseconds since 1970.
    pub entries_before_ms: u64,
    /// Idempotency rows whose message is older. The window in which a repeat is recognised reaches
    /// back to here.
    pub sent_before_ms: u64,
    /// Rows looked at in one call at most, so that a sweep never delays appends for long.
    pub rows_max: usize,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows of users' timelines removed.
    pub entries: u64,
    /// Idempotency rows removed.
    pub sent: u64,
    /// Whether the sweep has come round: `false` asks for another call soon.
    pub done: bool,
}

/// Where a dump goes on. Opaque, valid for the store that gave it.
pub type DumpCursor = Bytes;

/// One logical row, the same from every backend. An export is these rows in the order of
/// [`Store::dump`]; an import takes them in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpRow {
    /// A message in its history.
    Message(Message),
    /// A place in a user's timeline and the message at it.
    Entry {
        /// Whose timeline.
        user: UserId,
        /// The place in it.
        seq: Seq,
        /// The message's conversation.
        conversation: ConversationId,
        /// The message's place there.
        conversation_seq: Seq,
        /// The message's time, milliseconds since 1970.
        time_ms: u64,
    },
    /// The greatest trimmed place of a user's timeline.
    Floor {
        /// Whose timeline.
        user: UserId,
        /// The place.
        floor: Seq,
    },
    /// What makes a send idempotent.
    Sent {
        /// Who sent.
        sender: UserId,
        /// Under what name.
        client_msg_id: ClientMsgId,
        /// Into which conversation.
        conversation: ConversationId,
        /// To which place there.
        seq: Seq,
        /// To which place in the sender's timeline.
        sender_seq: Seq,
        /// To which place in the receiver's; 0 for a group.
        receiver_seq: Seq,
        /// When, milliseconds since 1970.
        time_ms: u64,
    },
    /// A record.
    Record {
        /// Which kind.
        table: Table,
        /// Key and value.
        record: Record,
    },
}

/// A part of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpPage {
    /// The rows.
    pub rows: Vec<DumpRow>,
    /// Where to go on; `None` after the last row.
    pub next: Option<DumpCursor>,
}

/// Why rows were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Only a store without any row takes an import.
    #[error("the store is not empty")]
    NotEmpty,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps timelines and records.
///
/// Every method may be called by many tasks at once. An append or commit is handed in when its future
/// is polled first, without waiting for a place in a queue. A dropped future never leaves half a
/// change: what was handed in either happens wholly or not at all.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Which life of the store this is; never 0.
    fn epoch(&self) -> Epoch;

    /// Whether other processes may have the same store open. What was read from such a store changes
    /// without this process.
    fn is_shared(&self) -> bool {
        false
    }

    /// Gives a message its places and makes it durable, together with whatever else arrived meanwhile.
    /// An append is handed in when its future is first polled; of two appends to one timeline the one
    /// handed in first gets the lower place.
    async fn append(&self, append: Append) -> Result<Placed, AppendError>;

    /// Like as many calls of [`append`](Self::append), all handed in at the first poll and in their order;
    /// with one outcome each, in that order. Who has several at hand saves a store the wake-ups between
    /// them. All or none may be refused as [`AppendError::Busy`] where only some find no room.
    async fn append_all(&self, appends: Vec<Append>) -> Vec<Result<Placed, AppendError>> {
        join_all(appends.into_iter().map(|append| self.append(append))).await
    }

    /// How far a user's timeline reaches.
    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError>;

    /// Rows of a user's timeline behind `after`, at most `limit` (at least 1) and cut short after
    /// [`PAGE_BYTES_MAX`](im_proto::limits::PAGE_BYTES_MAX) of payload.
    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError>;

    /// Rows of a conversation's history, cut short like [`sync`](Self::sync).
    async fn history(&self, conversation: &ConversationId, range: HistoryRange)
    -> Result<ConversationHead, StoreError>;

    /// Forgets a user's timeline up to and including `through` (never past its head) and returns
    /// the new floor. Histories keep the messages, and numbers go on as if nothing had happened.
    async fn trim(&self, user: &UserId, through: Seq) -> Result<Seq, StoreError>;

    /// Removes some of what has become too old, from where the last call stopped. Of a user's
    /// timeline only a run from its beginning is removed, so that what is left stays dense.
    async fn sweep(&self, policy: SweepPolicy) -> Result<Swept, StoreError>;

    /// Changes records: all of them, durably, or none. They happen in their order, so that each one
    /// expects of what those before it left.
    async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError>;

    /// One record's value.
    async fn record(&self, table: Table, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Records whose key begins with `prefix` and is greater than `after`, at most `limit` (at least 1).
    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError>;

    /// Every row, piece by piece. Not a snapshot: appends that happen meanwhile may or may not be in it.
    /// A row that stays in its place is in it exactly once, and rows of one timeline come ascending.
    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError>;

    /// Takes the rows of a dump into a store that was empty when the import began: the first call
    /// finds it empty, and nothing but further calls has written since. The store keeps its own, new
    /// epoch, so that clients notice.
    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError>;

    /// Finishes what was handed in, makes it durable and ends. Later calls fail with
    /// [`StoreError::Closed`].
    async fn close(&self);
}
