//! Faults of the system itself, put in on purpose. Each one breaks a promise in a way that real code
//! has broken it somewhere; a simulation that does not find them would find nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_proto::client::{Entry, Message};
use im_proto::{ClientMsgId, ConversationId, Epoch, Position, Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, ConversationHead, Disk, DumpCursor, DumpPage, DumpRow, HistoryRange,
    LoadError, MemoryStore, Placed, RecordPage, Store, StoreError, SweepPolicy, Swept, SyncHead, SyncPage, Table,
};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::shared_store::EPOCH;

/// Which fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// None: the system as it is.
    Nothing,
    /// The store acks from memory and writes later.
    AcksBeforeDurable,
    /// Every user's timeline leaves a place out.
    LeavesAHole,
    /// The store does not know a message again that is sent a second time.
    ForgetsNames,
    /// A group's last member does not get what is sent to it.
    LeavesAMemberOut,
    /// A client resumes behind a message that it has not taken.
    ResumesTooFar,
}

/// How far the disk is behind what [`Planted::AcksBeforeDurable`] has acked.
const WRITE_BEHIND: Duration = Duration::from_millis(300);

/// Appends that wait to be written behind; a world has some two hundred in all.
const WRITE_BEHIND_MAX: usize = 4096;

/// The place that [`Planted::LeavesAHole`] leaves out.
const HOLE: u64 = 4;

impl Planted {
    /// Puts the fault in front of a store that was just opened on `disk`.
    pub(crate) async fn spoil(self, store: Arc<dyn Store>, disk: &Disk) -> Arc<dyn Store> {
        match self {
            Self::Nothing | Self::ResumesTooFar => store,
            Self::AcksBeforeDurable => Arc::new(Volatile::open(store).await),
            Self::LeavesAHole | Self::ForgetsNames | Self::LeavesAMemberOut => {
                // Runs of one disk go on where the last one was.
                let tries = AtomicU64::new(disk.syncs() * 1000);
                Arc::new(Spoiled { store, how: self, tries })
            }
        }
    }

    /// Where a client that stood at `position` resumes.
    pub(crate) fn resume(self, position: Position) -> Position {
        match self {
            Self::ResumesTooFar if position.seq > Seq::ZERO => Position { seq: position.seq.next(), ..position },
            _ => position,
        }
    }
}

/// A store that changes what goes in and what comes out.
struct Spoiled {
    store: Arc<dyn Store>,
    how: Planted,
    /// Makes every try of a message another message.
    tries: AtomicU64,
}

impl Spoiled {
    fn incoming(&self, mut append: Append) -> Append {
        match self.how {
            Planted::ForgetsNames => {
                let name = format!("{}~{}", append.client_msg_id, self.tries.fetch_add(1, Ordering::Relaxed));
                append.client_msg_id = ClientMsgId::new(name).expect("the names of a world are short");
            }
            Planted::LeavesAMemberOut if append.conversation.as_group().is_some() => {
                let last = append.recipients.iter().rposition(|user| *user != append.sender);
                let all = append.recipients.iter().enumerate();
                append.recipients =
                    all.filter(|(index, _)| Some(*index) != last).map(|(_, user)| user.clone()).collect();
            }
            _ => {}
        }
        append
    }

    /// A place as it is told.
    fn outgoing(&self, seq: Seq) -> Seq {
        if self.how == Planted::LeavesAHole && seq.0 >= HOLE { seq.next() } else { seq }
    }

    /// A place as it was told.
    fn told(&self, seq: Seq) -> Seq {
        if self.how == Planted::LeavesAHole && seq.0 > HOLE { Seq(seq.0 - 1) } else { seq }
    }

    fn original(&self, mut message: Message) -> Message {
        if let Some((name, _)) = message.client_msg_id.as_str().split_once('~') {
            message.client_msg_id = ClientMsgId::new(name).expect("a part of a good name");
        }
        message
    }

    fn row(&self, row: DumpRow) -> DumpRow {
        match row {
            DumpRow::Message(message) => DumpRow::Message(self.original(message)),
            DumpRow::Entry { user, seq, conversation, conversation_seq, time_ms } => {
                DumpRow::Entry { user, seq: self.outgoing(seq), conversation, conversation_seq, time_ms }
            }
            row => row,
        }
    }
}

#[async_trait]
impl Store for Spoiled {
    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    async fn append(&self, append: Append) -> Result<Placed, AppendError> {
        let placed = self.store.append(self.incoming(append)).await?;
        Ok(Placed {
            sender_seq: self.outgoing(placed.sender_seq),
            receiver_seq: self.outgoing(placed.receiver_seq),
            places: placed.places.into_iter().map(|(user, seq)| (user, self.outgoing(seq))).collect(),
            ..placed
        })
    }

    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError> {
        let head = self.store.head(user).await?;
        Ok(SyncHead { head: self.outgoing(head.head), ..head })
    }

    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        let page = self.store.sync(user, self.told(after), limit).await?;
        let entry = |entry: Entry| Entry { seq: self.outgoing(entry.seq), message: self.original(entry.message) };
        Ok(SyncPage {
            head: SyncHead { head: self.outgoing(page.head.head), ..page.head },
            entries: page.entries.into_iter().map(entry).collect(),
            has_more: page.has_more,
        })
    }

    async fn history(
        &self,
        conversation: &ConversationId,
        range: HistoryRange,
    ) -> Result<ConversationHead, StoreError> {
        let page = self.store.history(conversation, range).await?;
        let messages = page.messages.into_iter().map(|message| self.original(message)).collect();
        Ok(ConversationHead { messages, ..page })
    }

    async fn trim(&self, user: &UserId, through: Seq) -> Result<Seq, StoreError> {
        self.store.trim(user, self.told(through)).await
    }

    async fn sweep(&self, policy: SweepPolicy) -> Result<Swept, StoreError> {
        self.store.sweep(policy).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        self.store.commit(changes).await
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.store.record(table, key).await
    }

    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError> {
        self.store.records(table, prefix, after, limit).await
    }

    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
        let page = self.store.dump(after, limit).await?;
        Ok(DumpPage { rows: page.rows.into_iter().map(|row| self.row(row)).collect(), ..page })
    }

    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError> {
        self.store.load(rows).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

/// A store that serves from memory and writes appends to the real one a little later.
struct Volatile {
    memory: MemoryStore,
    disk: Arc<dyn Store>,
    behind: mpsc::Sender<Append>,
}

impl Volatile {
    async fn open(disk: Arc<dyn Store>) -> Self {
        let memory = MemoryStore::open(&Disk::new(EPOCH));
        let durable = disk.dump(None, usize::MAX - 1).await.expect("a store that was just opened");
        memory.load(durable.rows).await.expect("an empty store takes rows");
        let (behind, mut appends) = mpsc::channel::<Append>(WRITE_BEHIND_MAX);
        let writer = Arc::clone(&disk);
        tokio::spawn(async move {
            while let Some(append) = appends.recv().await {
                sleep(WRITE_BEHIND).await;
                // One that fails is lost, which is what this store is for.
                let _ = writer.append(append).await;
            }
        });
        Self { memory, disk, behind }
    }
}

#[async_trait]
impl Store for Volatile {
    fn epoch(&self) -> Epoch {
        self.memory.epoch()
    }

    async fn append(&self, append: Append) -> Result<Placed, AppendError> {
        let placed = self.memory.append(append.clone()).await?;
        if !placed.repeated {
            self.behind.try_send(append).map_err(|_| AppendError::Busy)?;
        }
        Ok(placed)
    }

    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError> {
        self.memory.head(user).await
    }

    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        self.memory.sync(user, after, limit).await
    }

    async fn history(
        &self,
        conversation: &ConversationId,
        range: HistoryRange,
    ) -> Result<ConversationHead, StoreError> {
        self.memory.history(conversation, range).await
    }

    async fn trim(&self, user: &UserId, through: Seq) -> Result<Seq, StoreError> {
        self.memory.trim(user, through).await
    }

    async fn sweep(&self, policy: SweepPolicy) -> Result<Swept, StoreError> {
        self.memory.sweep(policy).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        self.disk.commit(changes.clone()).await?;
        self.memory.commit(changes).await
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.memory.record(table, key).await
    }

    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError> {
        self.memory.records(table, prefix, after, limit).await
    }

    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
        self.memory.dump(after, limit).await
    }

    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError> {
        self.disk.load(rows).await
    }

    async fn close(&self) {
        self.disk.close().await;
    }
}
