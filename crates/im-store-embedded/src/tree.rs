//! The tree underneath: the one file that talks to fjall.
//!
//! Writes come from the committer thread alone, as whole batches. Readers get a [`View`], which is a
//! snapshot that the committer took after the batch before it had reached the disk; nothing that a
//! power loss could take back can be seen through it.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use im_timeline::StoreError;
use parking_lot::Mutex;

use crate::memtables::Memtables;
use crate::options::Options;
use crate::rows::KeyRange;

/// Name of the one keyspace. One and not several: a keyspace that is written rarely keeps journals
/// from being deleted, and one batch into one memtable is the least work per message.
const KEYSPACE: &str = "rows";

/// Bytes of journal at most before memtables are flushed to free some; bounds the time to reopen.
const JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Bytes of a memtable before it is flushed; with at most four sealed ones in front of it, bounds memory.
/// A flush and each compaction make the tree sync its list of tables four times under the lock that every
/// read and insert needs. Against 16 MiB, these waits are a quarter as many and a third less is written.
/// A folder keeps the value that it was made with.
const MEMTABLE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One thread that always flushes and one that compacts: a long compaction never delays a flush.
const WORKERS: usize = 2;

/// A value or a key as the tree holds it.
pub(crate) type Slice = fjall::Slice;

/// The open tree.
pub(crate) struct Tree {
    database: Database,
    rows: Keyspace,
    published: ArcSwap<Snapshot>,
    memtables: Mutex<Memtables>,
    /// Makes the disk refuse.
    #[cfg(test)]
    pub(crate) fault: std::sync::atomic::AtomicBool,
    /// Makes the disk hang, between the tree and the fsync, while a test holds it.
    #[cfg(test)]
    pub(crate) hang: Mutex<()>,
    /// Whether a commit stands in front of the fsync.
    #[cfg(test)]
    pub(crate) hanging: std::sync::atomic::AtomicBool,
}

/// What is on disk, as of one moment.
#[derive(Clone)]
pub(crate) struct View {
    rows: Keyspace,
    snapshot: Arc<Snapshot>,
}

/// Changes that happen together. A key may stand in it only once: within one batch the tree cannot
/// tell which of two came later. Without a value the key is deleted.
#[derive(Default)]
pub(crate) struct Batch(Vec<(Slice, Option<Slice>)>);

/// Figures of the tree for the metrics.
pub(crate) struct TreeFigures {
    pub(crate) journal_bytes: u64,
    pub(crate) journals: usize,
    pub(crate) memtable_bytes: u64,
    pub(crate) flushes_waiting: usize,
    pub(crate) tables: usize,
}

impl Tree {
    /// Opens or creates the tree in that folder. May panic on damage; see [`crate::open`].
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, fjall::Error> {
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .manual_journal_persist(true)
            .worker_threads(WORKERS)
            .open()?;
        let rows = database.keyspace(KEYSPACE, || {
            KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX).manual_journal_persist(true)
        })?;
        let published = ArcSwap::from_pointee(database.snapshot());
        Ok(Self {
            database,
            rows,
            published,
            memtables: Mutex::new(Memtables::start()?),
            #[cfg(test)]
            fault: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            hang: Mutex::new(()),
            #[cfg(test)]
            hanging: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// What readers may see now.
    pub(crate) fn view(&self) -> View {
        View { rows: self.rows.clone(), snapshot: self.published.load_full() }
    }

    /// Applies a batch and waits until it is on disk, then lets readers see it. Returns how long the
    /// disk took. After an error nothing may be committed any more: what the disk holds is unknown.
    pub(crate) fn commit(&self, batch: Batch) -> Result<Duration, StoreError> {
        #[cfg(test)]
        if self.fault.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::Failed("a disk fault was asked for".to_owned()));
        }
        self.apply(batch).map_err(store_error)?;
        #[cfg(test)]
        {
            self.hanging.store(true, std::sync::atomic::Ordering::Release);
            drop(self.hang.lock());
            self.hanging.store(false, std::sync::atomic::Ordering::Release);
        }
        let begin = Instant::now();
        self.database.persist(PersistMode::SyncData).map_err(store_error)?;
        let sync = begin.elapsed();
        self.published.store(Arc::new(self.database.snapshot()));
        Ok(sync)
    }

    /// Into the journal's buffer and the memtable.
    fn apply(&self, Batch(mut changes): Batch) -> Result<(), fjall::Error> {
        // Ascending, so that each search in the memtable goes the way of the one before it, which the
        // processor's caches still have.
        changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut batch = self.database.batch();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.rows, key, value),
                None => batch.remove(&self.rows, key),
            }
        }
        batch.commit()
    }

    /// To be called between two groups; see [`Memtables`]. May wait for a lock of the tree, as a commit may.
    pub(crate) fn hold_memtables(&self) {
        self.memtables.lock().hold(self.rows.tree.active_memtable());
    }

    /// Moves what is in memory into tables, so that nothing depends on the journal.
    pub(crate) fn flush(&self) -> Result<(), fjall::Error> {
        self.database.persist(PersistMode::SyncAll)?;
        self.rows.rotate_memtable_and_wait()
    }

    pub(crate) fn figures(&self) -> TreeFigures {
        TreeFigures {
            journal_bytes: self.database.journal_disk_space().unwrap_or_default(),
            journals: self.database.journal_count(),
            memtable_bytes: self.database.write_buffer_size(),
            flushes_waiting: self.database.outstanding_flushes(),
            tables: self.rows.table_count(),
        }
    }
}

impl Batch {
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.into(), Some(value.into())));
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.0.push((key.into(), None));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl View {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        self.snapshot.get(&self.rows, key).map_err(store_error)
    }

    /// Rows of a range, from either end.
    pub(crate) fn range(&self, range: &KeyRange) -> Rows {
        self.between(Bound::Included(&range.start), Bound::Excluded(&range.end))
    }

    pub(crate) fn between(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Rows {
        // A range that ends before it begins makes the tree panic.
        if let (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) =
            (start, end)
            && low >= high
        {
            return Rows(None);
        }
        Rows(Some(self.snapshot.range::<&[u8], _>(&self.rows, (start, end))))
    }
}

/// Keys with their values, in the order of the keys.
pub(crate) struct Rows(Option<fjall::Iter>);

impl Iterator for Rows {
    type Item = Result<(Slice, Slice), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.as_mut()?.next()?.into_inner().map_err(store_error))
    }
}

impl DoubleEndedIterator for Rows {
    fn next_back(&mut self) -> Option<Self::Item> {
        Some(self.0.as_mut()?.next_back()?.into_inner().map_err(store_error))
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
