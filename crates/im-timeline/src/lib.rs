//! Timelines: the rules that every store keeps, the [`Store`] trait that says them in types, an
//! in-memory store with a durable and a live image, and the conformance suite that every store passes.
//!
//! The rules, which are the promise of the whole system (`docs/delivery.md`):
//!
//! 1. When [`Store::append`] returns, the message is durable and has its place in the conversation's
//!    timeline and in the timeline of each recipient, all of them or none.
//! 2. Places of one timeline start at 1, are dense and strictly increasing, for ever: across
//!    crashes, reopening, trimming and failed appends.
//! 3. What a reader gets is durable, and it never gets past a lower place that is still in flight.
//! 4. The same sender and client message id again changes nothing and returns the same place; with
//!    other content it is refused.

pub mod check;
pub mod conformance;
pub mod export;
pub mod memory;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod rules;
mod store;

pub use memory::{Disk, MemoryOptions, MemoryStore, SyncFault};
pub use rules::user_key;
pub use store::{
    Append, AppendError, Change, CommitError, ConversationHead, DumpCursor, DumpPage, DumpRow, Expect, HistoryRange,
    LoadError, Placed, Record, RecordPage, Store, StoreError, SweepPolicy, Swept, SyncHead, SyncPage, Table,
};
