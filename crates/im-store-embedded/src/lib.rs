//! The default store: timelines in a folder, nothing to install.
//!
//! ```text
//!  append, commit ─▶ bounded queue ─▶ committer thread ─▶ one batch ─▶ fdatasync ─▶ publish ─▶ answers
//!  sync, history  ─▶ bounded queue ─▶ reader threads   ─▶ the published view
//! ```
//!
//! * `committer`: the one thread that writes; group commit.
//! * `group`: the rules of appending, trimming, sweeping, worked out in memory for one batch.
//! * `read` on `readers`: answers, each from one view of what is durable.
//! * `rows`: the stored format. `tree`: the only file that knows fjall. `open`: opening a folder.
//! * `memtables`: frees what the tree has flushed, off the committer's way.
//!
//! What must not happen: an answer before the disk has the batch; a reader that sees what the disk may
//! not have; a call into the tree from an async worker; a commit after a failed one. Above `tree`
//! nobody knows how a batch gets to the disk, so a commit log of our own in front of the tree would
//! change that file alone.

mod committer;
mod format;
mod group;
mod heads;
mod journal;
mod memtables;
mod open;
mod options;
mod queue;
mod read;
mod readers;
mod rows;
mod store;
mod tree;

#[cfg(test)]
mod tests;

pub use open::OpenError;
pub use options::Options;
pub use store::{EmbeddedStore, Health, STALL_FATAL, STALL_UNREADY};
