//! Timelines on MongoDB and Redis, for where one machine is not enough: [`MongoStore`].
//!
//! MongoDB, a replica set or a sharded cluster, is the truth; Redis is a hint that may be lost, wrong
//! or missing. Any number of processes may hold the same store open and serve the same conversations
//! at the same moment.
//!
//! # How the promise holds
//!
//! Each process has one committer. What arrived while its last batch was under way goes into the next,
//! and a batch is one transaction: the idempotency rows, the heads of every timeline concerned, the
//! rows of histories and of users' timelines. It is committed by a majority, with journals on disk.
//!
//! - *Dense numbers*: a batch moves each head from the value that its numbers were counted from. If
//!   the head is not there any more, nothing happens and the numbers are read again. A number exists
//!   from the moment when its row exists, so a process that dies leaves no hole; the key `(id, seq)`
//!   of the rows themselves is a second fence.
//! - *Each message once*: the idempotency row has the key `sender:client_msg_id` and is part of the
//!   same transaction.
//! - *Readers never get past an unsettled place*: rows and heads become visible together, and two
//!   transactions that write to the same timeline cannot both be under way.
//! - *Nothing but the truth*: numbers are only believed from majority reads, since anything less may
//!   be taken back. Redis is only ever believed until the head says otherwise.
//!
//! `docs/storage.md` has the layout, the indexes and what an operator does with them.

mod abandoned;
mod committer;
mod db;
mod dump;
mod fault;
mod health;
mod hints;
mod place;
mod plan;
mod read;
mod records;
mod rows;
mod store;
mod trim;
mod txn;

use std::time::Duration;

pub use health::Failing;
pub use store::MongoStore;

/// The database when neither the options nor the address name one.
pub const DATABASE_DEFAULT: &str = "im";

/// What a [`MongoStore`] can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoOptions {
    /// Where MongoDB is: `mongodb://host,host/database?replicaSet=name` or `mongodb+srv://…`. A
    /// replica set or a sharded cluster, because transactions need one; of one member at least.
    pub uri: String,
    /// The database, when it is not the one of the address.
    pub database: Option<String>,
    /// Where Redis is: `redis://host:port/number`, `redis+sentinel://host:port,host:port/name` or
    /// `redis+cluster://host:port,host:port`; `rediss` for TLS, `user:password@` before the hosts.
    /// Without it heads are read from MongoDB.
    pub redis: Option<String>,
    /// How long a batch of appends, a commit or a read may take. After it the caller is told that the
    /// store cannot be reached, and may try again. An append that had to wait for the batch before it
    /// is told within twice as long.
    pub patience: Duration,
    /// Appends that may wait for the committer; one more is refused as busy. At least 1.
    pub queue_bound: usize,
    /// The age at which the server itself removes rows of users' timelines; `None` for never.
    pub keep_entries: Option<Duration>,
    /// The age at which it removes idempotency rows; `None` for never.
    pub keep_sent: Option<Duration>,
}

impl MongoOptions {
    /// The defaults: five seconds; 4096 appends of one payload each (16 KiB at most) are 64 MiB; a week.
    pub fn new(uri: impl Into<String>) -> Self {
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        Self {
            uri: uri.into(),
            database: None,
            redis: None,
            patience: Duration::from_secs(5),
            queue_bound: 4096,
            keep_entries: Some(week),
            keep_sent: Some(week),
        }
    }
}

/// Why a store was not opened. One clear line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The address of MongoDB is none.
    #[error("the address of MongoDB: {0}")]
    Uri(String),
    /// The address of Redis is none.
    #[error("the address of Redis: {0}")]
    Redis(String),
    /// A later version of this program wrote it.
    #[error("the store has format version {found}, and this program knows up to {known}")]
    NewerFormat {
        /// The store's.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// What is there is no store of ours.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// MongoDB cannot be reached, or has no primary; another try may succeed.
    #[error("{0}")]
    Unreachable(String),
    /// MongoDB refused.
    #[error("{0}")]
    Failed(String),
}
