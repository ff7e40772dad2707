//! The tree underneath: the one file that talks to fjall.
//!
//! What the commit log has gathered comes here as whole tables, sorted; the tree's own journal and
//! memtable stay empty. A [`TreeView`] is a snapshot that never changes.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use im_timeline::StoreError;

use crate::options::Options;
use crate::run::RowSlices;

/// Name of the one keyspace. One and not several: one table per checkpoint is the least work per message.
const KEYSPACE: &str = "rows";

/// Threads that compact. With more than one, the tree keeps the first free for flushes, which do not
/// happen here, and it passes on compactions in a busy loop meanwhile.
const WORKERS: usize = 1;

/// Tables that overlap all others, at which a new tree compacts. Each compaction rewrites most of the
/// level below, so with four of them a message among four millions cost twice the CPU; but a reader of
/// rows that are long in the tree looks into each, and takes up to twice as long. A tree that an older
/// version made keeps its four.
const OVERLAPPING: u8 = 16;

/// As many of them, above which no more may come until compaction has caught up.
const OVERLAPPING_MAX: usize = 24;

/// Bytes of a table that compaction makes in a new tree; [`OVERLAPPING`] times as many are in the first
/// level.
const TABLE_BYTES: u64 = 32 * 1024 * 1024;

/// A value or a key as the tree holds it.
pub(crate) type Slice = fjall::Slice;

/// The open tree.
pub(crate) struct Tree {
    database: Database,
    rows: Keyspace,
}

/// What is in the tree, as of one moment.
#[derive(Clone)]
pub(crate) struct TreeView {
    rows: Keyspace,
    snapshot: Arc<Snapshot>,
}

/// How a new tree is laid out. The tree writes it down, and keeps to it whatever is said here later.
fn shape() -> KeyspaceCreateOptions {
    let levels = Leveled::default().with_l0_threshold(OVERLAPPING).with_table_target_size(TABLE_BYTES);
    KeyspaceCreateOptions::default().manual_journal_persist(true).compaction_strategy(Arc::new(levels))
}

impl Tree {
    /// Opens or creates the tree in that folder. May panic on damage; see [`crate::open`].
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, fjall::Error> {
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .manual_journal_persist(true)
            .worker_threads(WORKERS)
            .open()?;
        let rows = database.keyspace(KEYSPACE, shape)?;
        Ok(Self { database, rows })
    }

    /// What is in it now.
    pub(crate) fn view(&self) -> TreeView {
        TreeView { rows: self.rows.clone(), snapshot: Arc::new(self.database.snapshot()) }
    }

    /// Takes rows in ascending order of their keys, all of them or none, and returns when the disk has
    /// them. Each counts over what the tree had of its key.
    pub(crate) fn ingest<'a>(&self, rows: impl Iterator<Item = RowSlices<'a>>) -> Result<(), StoreError> {
        let ingest = || {
            // Compaction may have failed meanwhile, and this asks nobody else.
            self.database.persist(PersistMode::Buffer)?;
            let mut ingestion = self.rows.start_ingestion()?;
            for (key, value) in rows {
                match value {
                    Some(value) => ingestion.write(key, value)?,
                    None => ingestion.write_tombstone(key)?,
                }
            }
            ingestion.finish()
        };
        ingest().map_err(store_error)
    }

    /// Whether compaction is far behind.
    pub(crate) fn is_overdue(&self) -> bool {
        self.rows.tree.l0_run_count() >= OVERLAPPING_MAX
    }

    /// Moves what an older version left in memtables and journal into tables.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let flush = || {
            self.database.persist(PersistMode::SyncAll)?;
            self.rows.rotate_memtable_and_wait()
        };
        flush().map_err(store_error)
    }

    /// Tables, and how many of them wait to be compacted.
    pub(crate) fn tables(&self) -> (usize, usize) {
        (self.rows.table_count(), self.rows.tree.l0_run_count())
    }
}

impl TreeView {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        self.snapshot.get(&self.rows, key).map_err(store_error)
    }

    pub(crate) fn between(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> TreeRows {
        // A range that ends before it begins makes the tree panic.
        if let (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) =
            (start, end)
            && low >= high
        {
            return TreeRows::none();
        }
        TreeRows(Some(self.snapshot.range::<&[u8], _>(&self.rows, (start, end))))
    }
}

/// Keys with their values, in the order of the keys.
pub(crate) struct TreeRows(Option<fjall::Iter>);

impl Iterator for TreeRows {
    type Item = Result<(Slice, Slice), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.0.as_mut()?.next();
        self.row(next)
    }
}

impl DoubleEndedIterator for TreeRows {
    fn next_back(&mut self) -> Option<Self::Item> {
        let next = self.0.as_mut()?.next_back();
        self.row(next)
    }
}

impl TreeRows {
    /// Of a range that has none.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Ends for good, from both sides, with the last row.
    fn row(&mut self, next: Option<fjall::Guard>) -> Option<Result<(Slice, Slice), StoreError>> {
        if next.is_none() {
            self.0 = None;
        }
        Some(next?.into_inner().map_err(store_error))
    }
}

fn store_error(error: fjall::Error) -> StoreError {
    if is_io(&error) { StoreError::Failed(error.to_string()) } else { StoreError::Damaged(error.to_string()) }
}

/// Whether the disk or the process is to blame and not what is stored.
pub(crate) fn is_io(error: &fjall::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    let io = match error {
        fjall::Error::Poisoned => return true,
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => io,
        _ => return false,
    };
    !matches!(io.kind(), UnexpectedEof | InvalidData)
}
