#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicU64;

use im_proto::client::ContentType;
use im_proto::{ClientMsgId, GroupId};

use super::*;
use crate::conformance::Factory;

/// Keeps a handle of the open store, because a crash is the memory store's own method.
struct InMemory;

static EPOCHS: AtomicU64 = AtomicU64::new(1);

struct Home {
    disk: Disk,
    open: Mutex<Option<Arc<MemoryStore>>>,
}

impl Home {
    fn open(&self, options: MemoryOptions) -> Arc<dyn Store> {
        let store = Arc::new(MemoryStore::open_with(&self.disk, options));
        *self.open.lock() = Some(Arc::clone(&store));
        store
    }
}

#[async_trait]
impl Factory for InMemory {
    type Home = Home;

    async fn home(&self) -> Home {
        Home { disk: Disk::new(Epoch(EPOCHS.fetch_add(1, Ordering::Relaxed))), open: Mutex::new(None) }
    }

    async fn open(&self, home: &Home) -> Arc<dyn Store> {
        home.open(MemoryOptions::default())
    }

    async fn open_with_queue(&self, home: &Home, bound: usize) -> Option<Arc<dyn Store>> {
        Some(home.open(MemoryOptions { queue_bound: bound, ..MemoryOptions::default() }))
    }

    async fn abandon(&self, home: &Home, store: Arc<dyn Store>) {
        drop(store);
        home.open.lock().take().unwrap().crash();
    }
}

crate::conformance_suite!(InMemory);

fn post(id: &str) -> Append {
    let a = UserId::new("a").unwrap();
    Append {
        conversation: ConversationId::group(&GroupId::new("g").unwrap()),
        sender: a.clone(),
        client_msg_id: ClientMsgId::new(id).unwrap(),
        time_ms: 1,
        content_type: ContentType::Text,
        payload: Bytes::new(),
        recipients: [a].into(),
    }
}

fn slow(disk: &Disk) -> MemoryStore {
    MemoryStore::open_with(disk, MemoryOptions { fsync: Duration::from_secs(1), ..MemoryOptions::default() })
}

async fn head(store: &MemoryStore) -> u64 {
    store.head(&UserId::new("a").unwrap()).await.unwrap().head.0
}

/// All that arrives during one fsync shares the next, and nobody reads before it.
#[tokio::test(start_paused = true)]
async fn one_fsync_serves_all_that_arrived_meanwhile() {
    let disk = Disk::new(Epoch(1));
    let store = slow(&disk);
    let start = tokio::time::Instant::now();
    let names: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
    let first = store.append(post("first"));
    let rest = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(head(&store).await, 0, "an append is readable before it is durable");
        futures_util::future::join_all(names.iter().map(|name| store.append(post(name)))).await
    };
    let (first, rest) = tokio::join!(first, rest);
    assert_eq!(first.unwrap().seq, Seq(1));
    assert_eq!(rest.into_iter().filter(Result::is_ok).count(), 100);
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(disk.syncs(), 2);
}

/// A crash during the fsync loses the group and fails its callers; the disk goes on from before.
#[tokio::test(start_paused = true)]
async fn a_crash_loses_what_was_not_synced() {
    let disk = Disk::new(Epoch(1));
    let store = slow(&disk);
    store.append(post("kept")).await.unwrap();
    let (lost, ()) = tokio::join!(store.append(post("lost")), async {
        tokio::time::sleep(Duration::from_millis(999)).await;
        store.crash();
    });
    assert_eq!(lost, Err(AppendError::Store(StoreError::Closed)));
    assert_eq!(store.head(&UserId::new("a").unwrap()).await, Err(StoreError::Closed));
    let store = slow(&disk);
    assert_eq!(head(&store).await, 1);
    assert_eq!(store.append(post("next")).await.unwrap().seq, Seq(2));
}

/// An opening fences the one before, as when a process is replaced without its own say.
#[tokio::test(start_paused = true)]
async fn a_second_opening_fences_the_first() {
    let disk = Disk::new(Epoch(1));
    let old = slow(&disk);
    let (late, new) = tokio::join!(old.append(post("late")), async { slow(&disk) });
    assert_eq!(late, Err(AppendError::Store(StoreError::Closed)));
    assert_eq!(old.head(&UserId::new("a").unwrap()).await, Err(StoreError::Closed));
    assert_eq!(head(&new).await, 0);
    assert_eq!(new.append(post("m")).await.unwrap().seq, Seq(1));
}

/// A failed fsync fails its whole group, refusals included, and takes no number.
#[tokio::test(start_paused = true)]
async fn a_failed_fsync_fails_its_group() {
    let disk = Disk::new(Epoch(1));
    let store = slow(&disk);
    store.append(post("first")).await.unwrap();
    disk.fail_next_sync(SyncFault::Lost);
    let other = Append { payload: Bytes::from_static(b"x"), ..post("a") };
    let (a, b, again) = tokio::join!(store.append(post("a")), store.append(post("b")), store.append(other));
    for failed in [a, b, again] {
        assert!(matches!(failed, Err(AppendError::Store(StoreError::Failed(_)))), "{failed:?}");
    }
    assert_eq!(head(&store).await, 1);
    assert_eq!(store.append(post("b")).await.unwrap().seq, Seq(2));
}

/// The ack may be lost while the message is not; the retry tells.
#[tokio::test(start_paused = true)]
async fn a_kept_group_is_recognised_by_the_retry() {
    let disk = Disk::new(Epoch(1));
    let store = slow(&disk);
    disk.fail_next_sync(SyncFault::Kept);
    assert!(store.append(post("m")).await.is_err());
    assert_eq!(head(&store).await, 1);
    let placed = store.append(post("m")).await.unwrap();
    assert_eq!((placed.seq, placed.repeated), (Seq(1), true));
}

/// The bound counts what waits behind the group that is being synced.
#[tokio::test(start_paused = true)]
async fn the_queue_has_a_bound() {
    let disk = Disk::new(Epoch(1));
    let options = MemoryOptions { fsync: Duration::from_secs(1), queue_bound: 3 };
    let store = MemoryStore::open_with(&disk, options);
    let names: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    let acks = futures_util::future::join_all(names.iter().map(|name| store.append(post(name)))).await;
    assert_eq!(acks.iter().filter(|ack| ack.is_ok()).count(), 3);
    assert_eq!(acks.iter().filter(|ack| **ack == Err(AppendError::Busy)).count(), 7);
}
