//! What only a look inside can show: a disk that refuses, a committer that stands still.

#![allow(clippy::unwrap_used)]
// A held lock is how a test makes the disk hang.
#![allow(clippy::await_holding_lock)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use im_proto::client::ContentType;
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, DumpRow, Expect, LoadError, Record, Store, StoreError, Table,
};

use crate::durable::Durable;
use crate::log::Fault;
use crate::rows::KeyBuf;
use crate::{EmbeddedStore, Options};

mod moves;
mod repeats;
mod upgrade;

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn message(number: u32) -> Append {
    Append {
        conversation: ConversationId::pair(&user("a"), &user("b")),
        sender: user("a"),
        client_msg_id: ClientMsgId::new(format!("m{number}")).unwrap(),
        time_ms: 1,
        content_type: ContentType::Text,
        payload: "hi".into(),
        recipients: [user("a"), user("b")].into(),
    }
}

/// After a refused commit nothing is acked any more, even when the disk works again; opening anew
/// shows what was acked before.
#[tokio::test]
async fn a_failed_commit_is_the_last() {
    let home = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(home.path(), &Options::default()).unwrap();
    let durable = store.durable().unwrap();
    store.append(message(1)).await.unwrap();
    assert_eq!(store.health().failed, None);

    *durable.log().fault.lock() = Some(Fault::Full);
    let refused = store.append(message(2)).await;
    assert!(matches!(refused, Err(AppendError::Store(StoreError::Failed(_)))), "{refused:?}");
    *durable.log().fault.lock() = None;
    let refused = store.append(message(3)).await;
    assert!(matches!(refused, Err(AppendError::Store(StoreError::Failed(_)))), "{refused:?}");
    assert!(matches!(store.health().failed, Some(StoreError::Failed(_))));
    assert_eq!(store.head(&user("a")).await.unwrap().head, Seq(1), "what was durable can still be read");

    drop(durable);
    drop(store);
    let store = EmbeddedStore::open(home.path(), &Options::default()).unwrap();
    assert_eq!(store.head(&user("a")).await.unwrap().head, Seq(1));
    assert_eq!(store.append(message(2)).await.unwrap().seq, Seq(2));
}

/// Everybody who waited when the disk refused is told.
#[tokio::test]
async fn a_failed_commit_fails_everybody_who_waits() {
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(home.path(), &Options::default()).unwrap());
    *store.durable().unwrap().log().fault.lock() = Some(Fault::Sync);
    let waiting: Vec<_> = (0..100)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.append(message(number)).await })
        })
        .collect();
    for task in waiting {
        let refused = task.await.unwrap();
        assert!(matches!(refused, Err(AppendError::Store(StoreError::Failed(_)))), "{refused:?}");
    }
}

/// A disk that hangs shows as a stall while work waits, and the stall ends with it.
#[tokio::test]
async fn a_stall_shows_in_health() {
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(home.path(), &Options::default()).unwrap());
    assert_eq!(store.health().stalled, Duration::ZERO);
    let durable = store.durable().unwrap();
    let hang = durable.log().hang.lock();
    let append = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(message(1)).await }
    });
    let begin = Instant::now();
    while store.health().stalled < Duration::from_millis(20) {
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", store.health());
        tokio::task::yield_now().await;
    }
    drop(hang);
    append.await.unwrap().unwrap();
    while store.health().stalled > Duration::ZERO {
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", store.health());
        tokio::task::yield_now().await;
    }
}

/// What a reader sees is durable: while the disk has not answered, nobody sees the message.
#[tokio::test]
async fn readers_do_not_see_what_is_not_durable() {
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(home.path(), &Options::default()).unwrap());
    let durable = store.durable().unwrap();
    let hang = durable.log().hang.lock();
    let append = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(message(1)).await }
    });
    let begin = Instant::now();
    while !durable.log().hanging.load(Ordering::Acquire) {
        assert!(begin.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    // The record is written now, and not yet on disk.
    assert_eq!(store.head(&user("a")).await.unwrap().head, Seq::ZERO);
    assert_eq!(store.sync(&user("a"), Seq::ZERO, 10).await.unwrap().entries, []);
    drop(hang);
    append.await.unwrap().unwrap();
    assert_eq!(store.head(&user("a")).await.unwrap().head, Seq(1));
}

/// Heads are read again after they were evicted, and numbers go on.
#[tokio::test]
async fn numbers_go_on_with_the_smallest_cache() {
    let home = tempfile::tempdir().unwrap();
    let options = Options { heads_max: 1, ..Options::default() };
    let store = EmbeddedStore::open(home.path(), &options).unwrap();
    for number in 1..=50 {
        let placed = store.append(message(number)).await.unwrap();
        assert_eq!([placed.seq, placed.sender_seq, placed.receiver_seq], [Seq(u64::from(number)); 3]);
        if number % 10 == 0 {
            assert_eq!(store.trim(&user("b"), Seq(u64::from(number))).await.unwrap(), Seq(u64::from(number)));
        }
    }
}

/// A trim that meets damage in the middle deletes nothing: rows may go only together with the floor above them.
#[tokio::test]
async fn a_failed_trim_leaves_the_timeline_whole() {
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(home.path(), &Options::default()).unwrap());
    let appends: Vec<_> = (1..=600)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.append(message(number)).await })
        })
        .collect();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    // Sorts right behind place 511, so that it is the last row of the trim's first step.
    let mut rows = Durable::builder();
    rows.put(&[KeyBuf::default().entry(&user("b"), Seq(511)), &[7]].concat(), b"damage");
    store.durable().unwrap().commit(rows).unwrap();

    let refused = store.trim(&user("b"), Seq(600)).await;
    assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    let page = store.sync(&user("b"), Seq::ZERO, 500).await.unwrap();
    assert_eq!(page.head.floor, Seq::ZERO);
    assert_eq!(page.entries.len(), 500);
}

/// A key that the tree could not take is refused, and the store goes on.
#[tokio::test]
async fn a_monstrous_record_key_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(home.path(), &Options::default()).unwrap();
    let key = "k".repeat(70_000);
    let record = Record { key: key.clone(), value: "v".into() };
    let refused = store.load(vec![DumpRow::Record { table: Table::Service, record }]).await;
    assert!(matches!(refused, Err(LoadError::Store(StoreError::Failed(_)))), "{refused:?}");
    let change = Change::Put { table: Table::Service, key, value: "v".into(), expect: Expect::Any };
    let refused = store.commit(vec![change]).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Failed(_)))), "{refused:?}");
    assert_eq!(store.health().failed, None);
    store.append(message(1)).await.unwrap();
}
