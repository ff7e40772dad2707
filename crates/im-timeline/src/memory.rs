//! A store in memory, for tests and simulations: a test double with a *durable* image, which is
//! what a disk would hold, and a *live* one, which runs ahead of it by at most one commit group.
//!
//! Readers see the durable image alone. [`MemoryStore::crash`] loses the live one, as does
//! dropping the runtime that the store lives in; [`MemoryStore::open`] on the same [`Disk`] goes on
//! from what was durable. Everything is ordered and no thread is started, so that a run on a
//! current-thread runtime with a simulated clock repeats exactly.

mod committer;
mod image;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_proto::{ConversationId, Epoch, Seq, UserId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::{
    Append, AppendError, Change, CommitError, ConversationHead, DumpCursor, DumpPage, DumpRow, HistoryRange, LoadError,
    Placed, RecordPage, Store, StoreError, SweepPolicy, Swept, SyncHead, SyncPage, Table,
};
use committer::{Committer, Request};
use image::{Image, dump_key};

/// The simulated disk: a handle of the durable image, which outlives the stores opened on it.
#[derive(Clone, Debug)]
pub struct Disk {
    state: Arc<Mutex<DiskState>>,
}

#[derive(Debug)]
struct DiskState {
    image: Image,
    epoch: Epoch,
    /// Which opening may write. A store of an earlier one is fenced off.
    generation: u64,
    fault: Option<SyncFault>,
    syncs: u64,
}

/// How a simulated fsync fails. The callers get the same error; only the disk knows the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// Nothing of the group is on the disk.
    Lost,
    /// All of it is.
    Kept,
}

impl Disk {
    /// An empty disk. The epoch is the caller's choice so that simulations repeat.
    ///
    /// # Panics
    /// When the epoch is 0, which stands for "no position yet".
    pub fn new(epoch: Epoch) -> Self {
        assert_ne!(epoch, Epoch(0), "epoch 0 says that a client has no position yet");
        let state = DiskState { image: Image::default(), epoch, generation: 0, fault: None, syncs: 0 };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Lets the next fsync fail, and its whole commit group with it.
    pub fn fail_next_sync(&self, fault: SyncFault) {
        self.state.lock().fault = Some(fault);
    }

    /// How many commit groups were synced so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }
}

/// What a [`MemoryStore`] can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOptions {
    /// How long a simulated fsync takes by the runtime's clock.
    pub fsync: Duration,
    /// Requests that may wait for the next commit group; one more is refused as busy. At least 1.
    pub queue_bound: usize,
}

impl Default for MemoryOptions {
    /// An fsync without delay. 4096 requests of one payload each (16 KiB at most) are 64 MiB.
    fn default() -> Self {
        Self { fsync: Duration::ZERO, queue_bound: 4096 }
    }
}

/// The store. See the [module](self).
#[derive(Debug)]
pub struct MemoryStore {
    disk: Disk,
    epoch: Epoch,
    generation: u64,
    queue: mpsc::Sender<Request>,
    closed: AtomicBool,
    committer: AbortHandle,
}

impl MemoryStore {
    /// Opens the disk with the default options. Must be called within a runtime.
    pub fn open(disk: &Disk) -> Self {
        Self::open_with(disk, MemoryOptions::default())
    }

    /// Opens the disk. A store that is open on it is fenced off, as if its process had died.
    pub fn open_with(disk: &Disk, options: MemoryOptions) -> Self {
        let (generation, epoch) = {
            let mut state = disk.state.lock();
            state.generation += 1;
            (state.generation, state.epoch)
        };
        let (queue, requests) = mpsc::channel(options.queue_bound.max(1));
        let committer = Committer::new(disk.clone(), generation, options.fsync, requests);
        let committer = tokio::spawn(committer.run()).abort_handle();
        Self { disk: disk.clone(), epoch, generation, queue, closed: AtomicBool::new(false), committer }
    }

    /// Ends at once, as by kill -9: what is not durable is lost, and everybody who waits is failed.
    pub fn crash(&self) {
        self.closed.store(true, Ordering::Release);
        let mut disk = self.disk.state.lock();
        if disk.generation == self.generation {
            // Aborting takes effect at the committer's next await; the fence takes effect now.
            disk.generation += 1;
        }
        drop(disk);
        self.committer.abort();
    }

    fn view<T>(&self, read: impl FnOnce(&Image) -> T) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let disk = self.disk.state.lock();
        if disk.generation != self.generation {
            return Err(StoreError::Closed);
        }
        Ok(read(&disk.image))
    }

    /// Hands a request in and waits for its answer. A caller that stops waiting does not stop the
    /// request.
    async fn hand_in<T, E: From<StoreError>>(
        &self,
        busy: E,
        request: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Request,
    ) -> Result<T, E> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed.into());
        }
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(request(reply)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed.into(),
        })?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Like [`hand_in`](Self::hand_in) for maintenance, whose errors have no word for busy: it waits
    /// for a place in the queue instead.
    async fn hand_in_patiently<T, E: From<StoreError>>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Request,
    ) -> Result<T, E> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed.into());
        }
        let (reply, answer) = oneshot::channel();
        self.queue.send(request(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    async fn append(&self, append: Append) -> Result<Placed, AppendError> {
        append.check_recipients()?;
        self.hand_in(AppendError::Busy, |reply| Request::Append(append, reply)).await
    }

    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError> {
        self.view(|image| image.head(user))
    }

    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        self.view(|image| image.sync(user, after, limit))?
    }

    async fn history(
        &self,
        conversation: &ConversationId,
        range: HistoryRange,
    ) -> Result<ConversationHead, StoreError> {
        self.view(|image| image.history(conversation, range))
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
        self.view(|image| image.record(table, key))
    }

    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError> {
        self.view(|image| image.records(table, prefix, after, limit))
    }

    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
        let limit = limit.max(1);
        let mut rows = self.view(|image| image.dump(after.as_deref().unwrap_or_default(), limit + 1))?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| dump_key(row).into());
        Ok(DumpPage { rows, next })
    }

    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError> {
        self.hand_in_patiently(|reply| Request::Load(rows, reply)).await
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // An error says that the committer has ended already.
        drop(self.queue.send(Request::Close).await);
        self.queue.closed().await;
    }
}

#[cfg(test)]
mod tests;
