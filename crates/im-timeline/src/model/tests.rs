#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use im_proto::{ConversationId, Epoch, Seq, UserId};

use super::*;
use crate::{
    Append, Change, CommitError, ConversationHead, Disk, DumpCursor, DumpPage, DumpRow, HistoryRange, LoadError,
    MemoryStore, RecordPage, SyncHead, SyncPage, Table,
};

/// A mistake that a backend could make.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    /// A trim goes one place too far.
    TrimsOneMore,
    /// A repeat is told as new.
    ForgetsRepeats,
    /// The last page of a history promises more.
    PromisesMore,
    /// A conflict in a later change leaves the ones before done.
    CommitsOneByOne,
    /// A crash brings back what was trimmed: a floor that was not synced.
    KeepsNothing,
}

/// A memory store that makes one mistake.
struct Mistaken {
    inner: MemoryStore,
    mistake: Mistake,
}

struct Backend(Mistake);

#[async_trait]
impl Factory for Backend {
    type Home = Disk;

    async fn home(&self) -> Disk {
        InMemory.home().await
    }

    async fn open(&self, home: &Disk) -> Arc<dyn Store> {
        let home = if self.0 == Mistake::KeepsNothing { &Disk::new(Epoch(9)) } else { home };
        Arc::new(Mistaken { inner: MemoryStore::open(home), mistake: self.0 })
    }
}

#[async_trait]
impl Store for Mistaken {
    fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }

    async fn append(&self, append: Append) -> Result<Placed, AppendError> {
        let mut placed = self.inner.append(append).await?;
        placed.repeated &= self.mistake != Mistake::ForgetsRepeats;
        Ok(placed)
    }

    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError> {
        self.inner.head(user).await
    }

    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        self.inner.sync(user, after, limit).await
    }

    async fn history(
        &self,
        conversation: &ConversationId,
        range: HistoryRange,
    ) -> Result<ConversationHead, StoreError> {
        let mut page = self.inner.history(conversation, range).await?;
        page.has_more |= self.mistake == Mistake::PromisesMore && !page.messages.is_empty();
        Ok(page)
    }

    async fn trim(&self, user: &UserId, through: Seq) -> Result<Seq, StoreError> {
        let more = u64::from(self.mistake == Mistake::TrimsOneMore);
        self.inner.trim(user, Seq(through.0.saturating_add(more))).await
    }

    async fn sweep(&self, policy: SweepPolicy) -> Result<Swept, StoreError> {
        self.inner.sweep(policy).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        if self.mistake != Mistake::CommitsOneByOne {
            return self.inner.commit(changes).await;
        }
        for (index, change) in changes.into_iter().enumerate() {
            self.inner.commit(vec![change]).await.map_err(|error| match error {
                CommitError::Conflict(_) => CommitError::Conflict(index),
                other => other,
            })?;
        }
        Ok(())
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.record(table, key).await
    }

    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError> {
        self.inner.records(table, prefix, after, limit).await
    }

    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
        self.inner.dump(after, limit).await
    }

    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError> {
        self.inner.load(rows).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[test]
fn equal_backends_are_the_same() {
    assert_same(&Backend(Mistake::None), &InMemory);
}

/// The harness finds every mistake, the same one when the seed is the same.
#[test]
fn every_mistake_is_found() {
    for mistake in [
        Mistake::TrimsOneMore,
        Mistake::ForgetsRepeats,
        Mistake::PromisesMore,
        Mistake::CommitsOneByOne,
        Mistake::KeepsNothing,
    ] {
        let search = || find_difference(&InMemory, &Backend(mistake), CASES, 1);
        let found = search().expect_err(&format!("{mistake:?} went unnoticed"));
        assert!(found.contains("operations:"), "{found}");
        assert_eq!(search().unwrap_err(), found, "{mistake:?}: the seed does not repeat the run");
    }
}
