//! One store for several im-services: what a database is to the real ones. It lives on the host that
//! opened it and dies with it; meanwhile everybody is told that it is closed.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use im_proto::{ConversationId, Epoch, Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, ConversationHead, DumpCursor, DumpPage, DumpRow, HistoryRange, LoadError,
    Placed, RecordPage, Store, StoreError, SweepPolicy, Swept, SyncHead, SyncPage, Table,
};
use parking_lot::Mutex;

/// The life of every simulated disk; it is never restored.
pub(crate) const EPOCH: Epoch = Epoch(7);

/// Where the store is put when its host starts.
#[derive(Clone, Default)]
pub(crate) struct StoreSlot(Arc<Mutex<Option<Arc<dyn Store>>>>);

impl StoreSlot {
    pub(crate) fn put(&self, store: Arc<dyn Store>) {
        *self.0.lock() = Some(store);
    }

    /// Its host has died.
    pub(crate) fn clear(&self) {
        *self.0.lock() = None;
    }

    pub(crate) fn get(&self) -> Result<Arc<dyn Store>, StoreError> {
        self.0.lock().clone().ok_or(StoreError::Closed)
    }
}

/// The store as an im-service sees it.
pub(crate) struct SharedStore(StoreSlot);

impl SharedStore {
    pub(crate) fn new(slot: StoreSlot) -> Self {
        Self(slot)
    }
}

#[async_trait]
impl Store for SharedStore {
    fn epoch(&self) -> Epoch {
        EPOCH
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn append(&self, append: Append) -> Result<Placed, AppendError> {
        self.0.get()?.append(append).await
    }

    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError> {
        self.0.get()?.head(user).await
    }

    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        self.0.get()?.sync(user, after, limit).await
    }

    async fn history(
        &self,
        conversation: &ConversationId,
        range: HistoryRange,
    ) -> Result<ConversationHead, StoreError> {
        self.0.get()?.history(conversation, range).await
    }

    async fn trim(&self, user: &UserId, through: Seq) -> Result<Seq, StoreError> {
        self.0.get()?.trim(user, through).await
    }

    async fn sweep(&self, policy: SweepPolicy) -> Result<Swept, StoreError> {
        self.0.get()?.sweep(policy).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        self.0.get()?.commit(changes).await
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.0.get()?.record(table, key).await
    }

    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError> {
        self.0.get()?.records(table, prefix, after, limit).await
    }

    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
        self.0.get()?.dump(after, limit).await
    }

    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError> {
        self.0.get()?.load(rows).await
    }

    async fn close(&self) {
        if let Ok(store) = self.0.get() {
            store.close().await;
        }
    }
}
