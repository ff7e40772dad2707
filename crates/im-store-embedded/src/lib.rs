//! The default store: timelines in a folder, nothing to install.
//!
//! ```text
//!  append, commit ─▶ bounded queue ─▶ committer thread ─▶ log, fdatasync ─▶ publish ─▶ answers
//!  sync, history  ─▶ bounded queue ─▶ reader threads   ─▶ the published view
//!                                       mover thread   ─▶ from the log's rows in memory into the tree
//! ```
//!
//! * `committer`: the one thread that writes; group commit.
//! * `group`: the rules of appending, trimming, sweeping, worked out in memory for one group. `cache`: the
//!   heads of timelines; `senders`: which messages are new for certain; so that it seldom asks the tree.
//! * `durable`: what the disk has. `log`: the commit log. `overlay`: the rows that the tree does not have
//!   yet, as `run`s in memory. `tree`: the only file that knows fjall. `view`: the overlay over the tree,
//!   as of one moment.
//! * `read` on `readers`: answers, each from one view.
//! * `rows`: the stored format. `open`: opening a folder. `journal`: a folder of the first format.
//!
//! What must not happen: an answer before the disk has the group; a reader that sees what the disk may
//! not have; a call into the tree from an async worker; a commit after a failed one.

mod cache;
mod committer;
mod durable;
mod format;
mod group;
mod journal;
mod log;
mod open;
mod options;
mod overlay;
mod queue;
mod read;
mod readers;
mod rows;
mod run;
mod senders;
mod store;
mod tree;
mod view;

#[cfg(test)]
mod tests;

pub use open::OpenError;
pub use options::Options;
pub use store::{EmbeddedStore, Health, STALL_FATAL, STALL_UNREADY};
