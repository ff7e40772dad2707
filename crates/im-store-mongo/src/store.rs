//! The handle that callers hold.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use im_proto::{ConversationId, Epoch, Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, ConversationHead, DumpCursor, DumpPage, DumpRow, HistoryRange, LoadError,
    Placed, RecordPage, Store, StoreError, SweepPolicy, Swept, SyncHead, SyncPage, Table,
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::committer::{Committer, Pending};
use crate::db::Db;
use crate::fault::Fault;
use crate::health::{Failing, Health};
use crate::hints::Hints;
use crate::trim::SweepCursor;
use crate::{MongoOptions, OpenError, dump, read, records, trim};

/// Between two looks whether MongoDB answers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Commits under way; each is a transaction of its own and so holds a connection.
const COMMITS_MAX: usize = 8;

/// The store. See the [crate](crate).
pub struct MongoStore {
    db: Arc<Db>,
    hints: Arc<Hints>,
    health: Arc<Health>,
    committer: Arc<Committer>,
    /// Gone once the store is closed, which is what ends the committer.
    queue: Mutex<Option<mpsc::Sender<Pending>>>,
    worker: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    watch: JoinHandle<()>,
    /// Commits that wait or are under way: closing waits until all places are free.
    waiting: Arc<Semaphore>,
    waiting_max: u32,
    commits: Arc<Semaphore>,
    closed: AtomicBool,
    sweep: tokio::sync::Mutex<SweepCursor>,
    /// Rows of an import have come into a store that was empty, and nothing else since.
    loading: Arc<AtomicBool>,
}

impl MongoStore {
    /// Opens the store, making it where it is missing.
    pub async fn open(options: MongoOptions) -> Result<Self, OpenError> {
        let db = Arc::new(Db::open(&options).await?);
        let hints = Arc::new(Hints::start(options.redis.as_deref(), db.epoch)?);
        let health = Arc::new(Health::default());
        let committer = Arc::new(Committer::new(Arc::clone(&db), Arc::clone(&hints), Arc::clone(&health)));
        let bound = options.queue_bound.clamp(1, Semaphore::MAX_PERMITS.min(1 << 20));
        let (queue, pendings) = mpsc::channel(bound);
        let worker = tokio::spawn(Arc::clone(&committer).run(pendings));
        let watch = tokio::spawn(watch(Arc::clone(&db), Arc::clone(&health)));
        Ok(Self {
            db,
            hints,
            health,
            committer,
            queue: Mutex::new(Some(queue)),
            worker: tokio::sync::Mutex::new(Some(worker)),
            watch,
            waiting: Arc::new(Semaphore::new(bound)),
            waiting_max: bound as u32,
            commits: Arc::new(Semaphore::new(COMMITS_MAX)),
            closed: AtomicBool::new(false),
            sweep: tokio::sync::Mutex::default(),
            loading: Arc::default(),
        })
    }

    /// Since when MongoDB fails what is asked of it; `None` while it is well.
    pub fn mongo_failing(&self) -> Option<Failing> {
        self.health.failing()
    }

    /// Since when Redis is away; `None` while it answers, or where none is wanted. Without it the
    /// store works on, at the cost of more reads of MongoDB.
    pub fn redis_failing(&self) -> Option<Failing> {
        self.hints.down().map(|(since, why)| Failing { since: since.elapsed(), why })
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Runs a read or a piece of maintenance.
    async fn run<T, F>(&self, operation: impl FnOnce(Arc<Db>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        self.check_open()?;
        let outcome = self.db.run(operation(Arc::clone(&self.db))).await;
        match &outcome {
            Ok(_) => self.health.well(),
            Err(fault) => {
                tracing::warn!(%fault, "a read failed");
                self.health.unwell(fault);
            }
        }
        outcome.map_err(StoreError::from)
    }
}

impl Drop for MongoStore {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Looks whether MongoDB answers, so that one knows also where nobody asks anything of it.
async fn watch(db: Arc<Db>, health: Arc<Health>) {
    loop {
        match db.ping().await {
            Ok(()) => health.well(),
            Err(fault) => health.unwell(&fault),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[async_trait]
impl Store for MongoStore {
    fn epoch(&self) -> Epoch {
        self.db.epoch
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn append(&self, append: Append) -> Result<Placed, AppendError> {
        self.check_open()?;
        append.check_recipients()?;
        self.loading.store(false, Ordering::Release);
        let (reply, answer) = oneshot::channel();
        let pending = Pending { append, reply, since: Instant::now() };
        match self.queue.lock().as_ref() {
            None => return Err(StoreError::Closed.into()),
            Some(queue) => queue.try_send(pending).map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => AppendError::Busy,
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed.into(),
            })?,
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError> {
        let user = user.clone();
        self.run(|db| read::head(db, user)).await
    }

    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        let user = user.clone();
        self.run(|db| read::sync(db, user, after, limit)).await
    }

    async fn history(
        &self,
        conversation: &ConversationId,
        range: HistoryRange,
    ) -> Result<ConversationHead, StoreError> {
        let conversation = conversation.clone();
        self.run(|db| read::history(db, conversation, range)).await
    }

    async fn trim(&self, user: &UserId, through: Seq) -> Result<Seq, StoreError> {
        self.check_open()?;
        self.loading.store(false, Ordering::Release);
        let user = user.clone();
        self.run(|db| trim::trim(db, user, through)).await
    }

    async fn sweep(&self, policy: SweepPolicy) -> Result<Swept, StoreError> {
        self.check_open()?;
        let mut cursor = self.sweep.lock().await;
        let from = *cursor;
        let (swept, next) = self.run(|db| trim::sweep(db, policy, from)).await?;
        *cursor = next;
        if swept.entries + swept.sent > 0 {
            self.loading.store(false, Ordering::Release);
        }
        Ok(swept)
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        self.check_open()?;
        let place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| CommitError::Busy)?;
        if changes.is_empty() {
            return Ok(());
        }
        let (db, commits, loading) = (Arc::clone(&self.db), Arc::clone(&self.commits), Arc::clone(&self.loading));
        let health = Arc::clone(&self.health);
        // In a task of its own: a caller that stops waiting does not stop the commit.
        let task = tokio::spawn(async move {
            let _place = place;
            // Never closed.
            let _turn = commits.acquire_owned().await;
            let outcome = records::commit(db, changes).await;
            match &outcome {
                Ok(()) => loading.store(false, Ordering::Release),
                Err(CommitError::Store(error)) => health.unwell(&Fault::Refused(error.to_string())),
                Err(_) => {}
            }
            outcome
        });
        match tokio::time::timeout(self.db.patience * 2, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StoreError::Closed.into()),
            Err(_) => Err(StoreError::Unavailable("MongoDB: a commit has not ended in time".into()).into()),
        }
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_owned();
        self.run(|db| records::record(db, table, key)).await
    }

    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.run(|db| records::records(db, table, prefix, after, limit)).await
    }

    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
        self.check_open()?;
        let from = dump::decode_cursor(after.as_ref())?;
        self.run(|db| dump::dump(db, from, limit)).await
    }

    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError> {
        self.check_open()?;
        if !self.loading.load(Ordering::Acquire) {
            if !self.run(dump::is_empty).await? {
                return Err(LoadError::NotEmpty);
            }
            self.loading.store(true, Ordering::Release);
        }
        self.run(|db| dump::load(db, rows)).await?;
        self.committer.forget_all();
        Ok(())
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.watch.abort();
        drop(self.queue.lock().take());
        if let Some(worker) = self.worker.lock().await.take() {
            // A committer that panicked has nothing left to finish.
            drop(worker.await);
        }
        // All places free: no commit waits or is under way.
        drop(self.waiting.acquire_many(self.waiting_max).await);
        self.db.client.clone().shutdown().immediate(true).await;
    }
}
