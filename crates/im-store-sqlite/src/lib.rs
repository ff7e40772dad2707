//! The second store: SQLite, plain tables, written apart from the others so that it can be their
//! oracle. [`SqliteStore`] is one committer thread with a bounded queue and group commit, and a few
//! connections for readers, which work off the async workers and see only what is durable.
//!
//! The folder holds `timelines.sqlite` (with its write-ahead log) and `lock`.

mod committer;
mod dump;
mod fault;
mod folder;
mod read;
mod schema;
mod values;
mod write;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use im_proto::{ConversationId, Epoch, Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, ConversationHead, DumpCursor, DumpPage, DumpRow, HistoryRange, LoadError,
    Placed, RecordPage, Store, StoreError, SweepPolicy, Swept, SyncHead, SyncPage, Table,
};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use committer::{Committer, Request};
use fault::Fault;

/// Why a folder was not opened. One clear line each.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has it open.
    #[error("{dir}: the store is open already", dir = dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// A later version of this program wrote it.
    #[error("the store has format version {found}, and this program knows up to {known}")]
    NewerFormat {
        /// The store's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It is no store of ours, or no longer.
    #[error("{path}: the store is damaged: {why}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("{path}: {why}", path = path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl OpenError {
    fn of(path: &Path, fault: Fault) -> Self {
        let (path, why) = (path.to_owned(), fault.to_string());
        if fault.is_damage() { Self::Damaged { path, why } } else { Self::Failed { path, why } }
    }

    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// What a [`SqliteStore`] can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Requests that may wait for the committer; one more is refused as busy. At least 1.
    pub queue_bound: usize,
    /// Connections for readers, and so reads at one moment. At least 1. Each costs a page cache of
    /// about 2 MiB.
    pub readers: usize,
}

impl Default for SqliteOptions {
    /// 4096 requests of one payload each (16 KiB at most) are 64 MiB; four readers.
    fn default() -> Self {
        Self { queue_bound: 4096, readers: 4 }
    }
}

/// The store. See the [crate](self).
pub struct SqliteStore {
    epoch: Epoch,
    queue: mpsc::Sender<Request>,
    readers: Readers,
    closed: AtomicBool,
}

impl SqliteStore {
    /// Opens the store in a folder, or makes both. Blocks for some file operations.
    pub fn open(dir: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        folder::create(dir).map_err(|source| OpenError::io(dir, source))?;
        let lock = lock(dir)?;
        let path = dir.join("timelines.sqlite");
        folder::sync_log(dir).map_err(|source| OpenError::io(dir, source))?;
        let (connection, epoch) = schema::open_writer(&path)?;
        let readers = (0..options.readers.max(1)).map(|_| schema::open_reader(&path));
        let readers = Readers::new(readers.collect::<Result<_, _>>()?);
        let (queue, requests) = mpsc::channel(options.queue_bound.max(1));
        let committer = Committer::new(connection, requests, lock);
        std::thread::Builder::new()
            .name("sqlite-committer".into())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::io(dir, source))?;
        Ok(Self { epoch, queue, readers, closed: AtomicBool::new(false) })
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        self.readers.run(read).await
    }

    /// Hands a request in; a full queue is busy at once. A caller that stops waiting does not stop
    /// the request.
    async fn hand_in<T, E: From<StoreError>>(
        &self,
        busy: E,
        request: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Request,
    ) -> Result<T, E> {
        self.check_open()?;
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(request(reply)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed.into(),
        })?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// For maintenance, whose errors have no word for busy: waits for a place in the queue.
    async fn hand_in_patiently<T, E: From<StoreError>>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Request,
    ) -> Result<T, E> {
        self.check_open()?;
        let (reply, answer) = oneshot::channel();
        self.queue.send(request(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

/// The lock goes with the file handle, so a process that dies leaves none behind.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|source| OpenError::io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::io(&path, source)),
    }
}

/// A few connections, each used by one read at a time, on threads that may block.
struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    count: u32,
}

impl Readers {
    fn new(connections: Vec<Connection>) -> Self {
        let count = connections.len();
        Self { idle: Arc::new(Mutex::new(connections)), permits: Arc::new(Semaphore::new(count)), count: count as u32 }
    }

    async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let idle = Arc::clone(&self.idle);
        let work = move || {
            let connection = idle.lock().pop().ok_or(StoreError::Closed)?;
            let outcome = in_one_view(&connection, read);
            idle.lock().push(connection);
            // The connection is back before its permit is.
            drop(permit);
            outcome.map_err(StoreError::from)
        };
        let ended = tokio::task::spawn_blocking(work).await;
        ended.unwrap_or_else(|error| Err(StoreError::Failed(format!("a read did not end: {error}"))))
    }

    /// Waits for the reads that run, then closes the connections.
    async fn close(&self) {
        let all = self.permits.acquire_many(self.count).await;
        self.permits.close();
        self.idle.lock().clear();
        drop(all);
    }
}

/// A deferred transaction is one snapshot from its first SELECT on.
fn in_one_view<T>(connection: &Connection, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    let view = connection.unchecked_transaction()?;
    let outcome = read(&view)?;
    view.finish()?;
    Ok(outcome)
}

#[async_trait]
impl Store for SqliteStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    async fn append(&self, append: Append) -> Result<Placed, AppendError> {
        append.check_recipients()?;
        self.hand_in(AppendError::Busy, |reply| Request::Append(append, reply)).await
    }

    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError> {
        let user = user.clone();
        self.read(move |connection| read::head(connection, &user)).await
    }

    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        let user = user.clone();
        self.read(move |connection| read::sync(connection, &user, after, limit)).await
    }

    async fn history(
        &self,
        conversation: &ConversationId,
        range: HistoryRange,
    ) -> Result<ConversationHead, StoreError> {
        let conversation = conversation.clone();
        self.read(move |connection| read::history(connection, &conversation, range)).await
    }

    async fn trim(&self, user: &UserId, through: Seq) -> Result<Seq, StoreError> {
        self.hand_in_patiently(|reply| Request::Trim(user.clone(), through, reply)).await
    }

    async fn sweep(&self, policy: SweepPolicy) -> Result<Swept, StoreError> {
        self.hand_in_patiently(|reply| Request::Sweep(policy, reply)).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        self.hand_in(CommitError::Busy, |reply| Request::Commit(changes, reply)).await
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_owned();
        self.read(move |connection| read::record(connection, table, &key)).await
    }

    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.read(move |connection| read::records(connection, table, &prefix, &after, limit)).await
    }

    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
        self.read(move |connection| dump::dump(connection, after, limit)).await
    }

    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError> {
        self.hand_in_patiently(|reply| Request::Load(rows, reply)).await
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Readers first: the last connection to close, the committer's, then tidies the log away.
        self.readers.close().await;
        // An error says that the committer has ended already.
        drop(self.queue.send(Request::Close).await);
        self.queue.closed().await;
    }
}
