//! The handle: checks what it is given, hands it to the committer or a reader, waits for the answer.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_proto::{ConversationId, Epoch, Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, ConversationHead, DumpCursor, DumpPage, DumpRow, HistoryRange, LoadError,
    Placed, RecordPage, Store, StoreError, SweepPolicy, Swept, SyncHead, SyncPage, Table,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::committer::{Committer, Inbox, Op};
use crate::durable::Durable;
use crate::open::{OpenError, Opened, open};
use crate::options::Options;
use crate::queue::{PushError, Queue};
use crate::read;
use crate::readers::Readers;
use crate::rows::KeyBuf;

/// Rows that one step of a sweep looks at, so that the appends behind it wait about a millisecond.
const SWEEP_STEP_ROWS: usize = 256;

/// The store in a folder. See the crate's head.
pub struct EmbeddedStore {
    epoch: Epoch,
    inbox: Arc<Inbox>,
    readers: Readers,
    running: Arc<Mutex<Option<Running>>>,
}

/// What has to end before the folder is free.
struct Running {
    committer: JoinHandle<()>,
    readers: Vec<JoinHandle<()>>,
    background: Background,
    lock: File,
}

/// Whether the store gets anything done; for a watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Why it has failed for good; the process should be started again.
    pub failed: Option<StoreError>,
    /// Operations that wait.
    pub waiting: usize,
    /// How long there has been work without any of it getting finished. Readiness should end after
    /// [`STALL_UNREADY`], the process after [`STALL_FATAL`].
    pub stalled: Duration,
}

/// A store that is stalled for this long should not be given more work.
pub const STALL_UNREADY: Duration = Duration::from_secs(5);
/// A store that is stalled for this long will not recover by itself.
pub const STALL_FATAL: Duration = Duration::from_secs(30);

impl EmbeddedStore {
    /// Opens the store in that folder, or makes one. Blocks: the end of the commit log is replayed, which
    /// takes up to a second or two.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        let dir = dir.as_ref();
        let Opened { durable, epoch, lock } = open(dir, options)?;
        let durable = Arc::new(durable);
        let queue = Queue::new(options.queue_len_max, options.queue_bytes_max);
        let inbox = Arc::new(Inbox::new(queue, durable.failed()));
        let io = |source| OpenError::Io { dir: dir.to_owned(), source };
        let (readers, reader_handles) =
            Readers::start(&durable, options.reader_threads, options.reads_max).map_err(io)?;
        let background = Background::start(&durable).inspect_err(|_| readers.close()).map_err(io)?;
        let committer = Committer::new(durable, Arc::clone(&inbox), options.heads_max);
        let committer = std::thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(move || committer.run())
            .inspect_err(|_| readers.close())
            .map_err(io)?;
        Ok(Self {
            epoch,
            inbox,
            readers,
            running: Arc::new(Mutex::new(Some(Running { committer, readers: reader_handles, background, lock }))),
        })
    }

    /// What is durable, while the store is open.
    #[cfg(test)]
    pub(crate) fn durable(&self) -> Option<Arc<Durable>> {
        self.running.lock().as_ref().map(|running| Arc::clone(&running.background.durable))
    }

    /// How it is doing. Cheap; may be asked at any time.
    pub fn health(&self) -> Health {
        let depth = self.inbox.queue.depth();
        Health { failed: self.inbox.failure().cloned(), waiting: depth.len, stalled: depth.stalled }
    }

    /// Groups that reached the disk since it was opened, one fsync each.
    pub fn commits(&self) -> u64 {
        self.inbox.commits.load(Ordering::Relaxed)
    }

    /// Hands an operation in and waits for its answer. Once handed in it happens, whether or not the
    /// future lives on. A full queue is the caller's `busy`.
    async fn submit<T, E: From<StoreError>>(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Op,
        busy: E,
    ) -> Result<T, E> {
        let (reply, answer) = oneshot::channel();
        match self.push(op(reply)) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(self.gone().into())),
            Err((PushError::Closed, _)) => Err(self.gone().into()),
            Err((PushError::Full, _)) => {
                metrics::counter!("sim_store_busy_total").increment(1);
                Err(busy)
            }
        }
    }

    /// Like [`submit`](Self::submit) for maintenance, which has no busy to answer: it waits until there
    /// is room.
    async fn submit_patiently<T, E: From<StoreError>>(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Op,
    ) -> Result<T, E> {
        /// Long against a group, short against how often maintenance runs.
        const PAUSE: Duration = Duration::from_millis(20);
        let (reply, answer) = oneshot::channel();
        let mut op = op(reply);
        loop {
            match self.push(op) {
                Ok(()) => return answer.await.unwrap_or_else(|_| Err(self.gone().into())),
                Err((PushError::Closed, _)) => return Err(self.gone().into()),
                Err((PushError::Full, refused)) => op = refused,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    // The refused operation goes back to the caller a few lines above, who keeps it in the same place.
    #[allow(clippy::result_large_err)]
    fn push(&self, op: Op) -> Result<(), (PushError, Op)> {
        let cost = op.cost();
        self.inbox.queue.push(op, cost)
    }

    fn gone(&self) -> StoreError {
        self.inbox.failure().cloned().unwrap_or(StoreError::Closed)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    async fn append(&self, append: Append) -> Result<Placed, AppendError> {
        append.check_recipients()?;
        let mut outcomes = self.submit(|reply| Op::Append(vec![append], reply), AppendError::Busy).await?;
        outcomes.pop().unwrap_or_else(|| Err(self.gone().into()))
    }

    async fn append_all(&self, mut appends: Vec<Append>) -> Vec<Result<Placed, AppendError>> {
        let checked: Vec<_> = appends.iter().map(Append::check_recipients).collect();
        let mut checks = checked.iter();
        appends.retain(|_| checks.next().is_some_and(Result::is_ok));
        let handed_in = appends.len();
        let outcomes = match handed_in {
            0 => Vec::new(),
            _ => self
                .submit(|reply| Op::Append(appends, reply), AppendError::Busy)
                .await
                .unwrap_or_else(|error| vec![Err(error); handed_in]),
        };
        let mut outcomes = outcomes.into_iter();
        let outcome_of = |check: Result<(), AppendError>| {
            check.and_then(|()| outcomes.next().unwrap_or_else(|| Err(self.gone().into())))
        };
        checked.into_iter().map(outcome_of).collect()
    }

    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError> {
        let user = user.clone();
        self.readers.read(move |view| read::reader_head(view, &user)).await
    }

    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        let user = user.clone();
        self.readers.read(move |view| read::sync(view, &user, after, limit)).await
    }

    async fn history(
        &self,
        conversation: &ConversationId,
        range: HistoryRange,
    ) -> Result<ConversationHead, StoreError> {
        let conversation = conversation.clone();
        self.readers.read(move |view| read::history(view, &conversation, range)).await
    }

    async fn trim(&self, user: &UserId, through: Seq) -> Result<Seq, StoreError> {
        let mut from = None;
        loop {
            let user = user.clone();
            let step = self.submit_patiently(|reply| Op::Trim { user, through, from, reply }).await?;
            if step.rest.is_none() {
                return Ok(step.floor);
            }
            from = step.rest;
        }
    }

    async fn sweep(&self, policy: SweepPolicy) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let mut left = policy.rows_max.max(1);
        while left > 0 && !swept.done {
            let rows_max = left.min(SWEEP_STEP_ROWS);
            let (step, looked) = self.submit_patiently(|reply| Op::Sweep { policy, rows_max, reply }).await?;
            swept.entries += step.entries;
            swept.sent += step.sent;
            swept.done = step.done;
            left -= looked.min(left);
        }
        Ok(swept)
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        check_keys(changes.iter().map(key_of))?;
        self.submit(|reply| Op::Commit(changes, reply), CommitError::Busy).await
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = KeyBuf::default().record(table, key).to_vec();
        self.readers.read(move |view| Ok(view.get(&key)?.map(|value| Bytes::copy_from_slice(&value)))).await
    }

    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.readers.read(move |view| read::records(view, table, &prefix, &after, limit)).await
    }

    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
        self.readers.read(move |view| read::dump(view, after.as_ref(), limit)).await
    }

    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError> {
        check_keys(rows.iter().filter_map(|row| match row {
            DumpRow::Record { record, .. } => Some(record.key.as_str()),
            _ => None,
        }))?;
        self.submit_patiently(|reply| Op::Load(rows, reply)).await
    }

    async fn close(&self) {
        self.readers.close();
        self.inbox.queue.close();
        let running = Arc::clone(&self.running);
        // Waits for threads and for the disk. The lock is held meanwhile, so that a second close
        // returns only when the first has finished.
        let ended = tokio::task::spawn_blocking(move || end(&mut running.lock())).await;
        if let Err(error) = ended {
            tracing::error!(%error, "closing the store was cut short");
        }
    }
}

impl Drop for EmbeddedStore {
    /// Ends like [`close`](Store::close), so that the folder is free afterwards. Blocks for at most
    /// what is queued; a service calls `close` first, and then there is nothing left to do here.
    fn drop(&mut self) {
        self.readers.close();
        self.inbox.queue.close();
        end(&mut self.running.lock());
    }
}

fn end(running: &mut Option<Running>) {
    let Some(Running { committer, readers, background, lock }) = running.take() else {
        return;
    };
    // The others only after the committer, which may wait for them to make room.
    readers.into_iter().chain([committer]).for_each(join);
    background.durable.trim_log();
    drop(background);
    drop(lock);
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}

/// The threads that work on what is durable already. They end when this is dropped.
struct Background {
    durable: Arc<Durable>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    fn start(durable: &Arc<Durable>) -> std::io::Result<Self> {
        let mut background = Self { durable: Arc::clone(durable), threads: Vec::new() };
        background.spawn("store-mover", Durable::run_mover)?;
        background.spawn("store-merger", Durable::run_merger)?;
        Ok(background)
    }

    fn spawn(&mut self, name: &str, body: fn(&Durable)) -> std::io::Result<()> {
        let durable = Arc::clone(&self.durable);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || body(&durable))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.durable.close();
        self.threads.drain(..).for_each(join);
    }
}

/// See [`Change`].
const RECORD_KEY_LEN_MAX: usize = 512;

/// The tree would panic over a much longer key, and the store fail with it.
fn check_keys<'a>(keys: impl Iterator<Item = &'a str>) -> Result<(), StoreError> {
    match keys.map(str::len).max() {
        Some(len) if len > RECORD_KEY_LEN_MAX => {
            Err(StoreError::Failed(format!("a record key of {len} bytes is too long")))
        }
        _ => Ok(()),
    }
}

fn key_of(change: &Change) -> &str {
    match change {
        Change::Put { key, .. } | Change::Delete { key, .. } | Change::Raise { key, .. } => key,
    }
}
