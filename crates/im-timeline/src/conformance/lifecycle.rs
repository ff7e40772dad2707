//! A store as a whole: what readers see while others write, closing, reopening, refusing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use im_proto::client::Direction;
use im_proto::{Epoch, Seq};

use super::Factory;
use super::kit::*;
use crate::{AppendError, CommitError, Expect, HistoryRange, LoadError, StoreError, SweepPolicy, SyncHead, Table};

/// Every ack moves the heads to the place it names.
pub async fn head_is_the_last_entry(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for n in 1..=5 {
        let placed = put(&*store, direct("a", "b", &format!("m{n}"))).await;
        let head = store.head(&user("b")).await.unwrap();
        assert_eq!(head, SyncHead { head: placed.receiver_seq, floor: Seq::ZERO });
        assert_eq!(timeline(&*store, "b").await.last().unwrap().seq, head.head);
        let newest = HistoryRange { from: Seq::ZERO, direction: Direction::Backward, limit: 1 };
        let page = store.history(&pair("a", "b"), newest).await.unwrap();
        assert_eq!((page.head, page.messages[0].seq), (placed.seq, placed.seq));
    }
}

/// Polling while others write: dense from the first row on, and the head never goes back.
pub async fn readers_never_see_a_gap(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let writing = Arc::new(AtomicBool::new(true));
    let reader = |name: &'static str| {
        let (store, writing) = (Arc::clone(&store), Arc::clone(&writing));
        tokio::spawn(async move {
            let (mut seen, mut head) = (Seq::ZERO, Seq::ZERO);
            while seen < head || writing.load(Ordering::Acquire) {
                let page = store.sync(&user(name), seen, 5).await.unwrap();
                assert!(page.head.head >= head, "{name}: the head went from {head} back to {}", page.head.head);
                for entry in page.entries {
                    assert_eq!(entry.seq, seen.next(), "{name}: a gap");
                    seen = entry.seq;
                }
                let now = store.head(&user(name)).await.unwrap().head;
                assert!(now >= page.head.head, "{name}: the head went back");
                head = now;
                tokio::task::yield_now().await;
            }
            store.head(&user(name)).await.unwrap().head.0
        })
    };
    let readers = ["a", "b", "c"].map(reader);
    let writers = ["a", "b", "c"].map(|from| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..40 {
                put(&*store, grouped(from, "g", &["a", "b", "c"], &format!("m{n}"))).await;
                put(&*store, direct(from, "a", &format!("d{n}"))).await;
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    writing.store(false, Ordering::Release);
    let heads: Vec<u64> = join_all(readers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(heads, [240, 160, 160]);
}

/// After `close` every method says so, and closing again is harmless.
pub async fn a_closed_store_says_so(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, direct("a", "b", "m1")).await;
    store.close().await;
    store.close().await;
    let a = user("a");
    assert_eq!(store.append(direct("a", "b", "m2")).await, Err(AppendError::Store(StoreError::Closed)));
    assert_eq!(store.head(&a).await, Err(StoreError::Closed));
    assert_eq!(store.sync(&a, Seq::ZERO, 1).await, Err(StoreError::Closed));
    let range = HistoryRange { from: Seq::ZERO, direction: Direction::Forward, limit: 1 };
    assert_eq!(store.history(&pair("a", "b"), range).await, Err(StoreError::Closed));
    assert_eq!(store.trim(&a, Seq(1)).await, Err(StoreError::Closed));
    let policy = SweepPolicy { entries_before_ms: 0, sent_before_ms: 0, rows_max: 1 };
    assert_eq!(store.sweep(policy).await, Err(StoreError::Closed));
    let change = put_record(Table::Service, "k", "v", Expect::Any);
    assert_eq!(store.commit(vec![change]).await, Err(CommitError::Store(StoreError::Closed)));
    assert_eq!(store.record(Table::Service, "k").await, Err(StoreError::Closed));
    assert_eq!(store.records(Table::Service, "", "", 1).await, Err(StoreError::Closed));
    assert_eq!(store.dump(None, 1).await, Err(StoreError::Closed));
    assert_eq!(store.load(Vec::new()).await, Err(LoadError::Store(StoreError::Closed)));
}

/// What was handed in before `close` is acked and durable.
pub async fn close_finishes_what_was_handed_in<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    let names: Vec<String> = (0..30).map(|n| format!("m{n}")).collect();
    let acks = {
        let mut sends = Box::pin(join_all(names.iter().map(|name| store.append(direct("a", "b", name)))));
        // One poll hands every append in; none waits for a place in the queue.
        let early = poll_once(&mut sends).await;
        store.close().await;
        match early {
            Poll::Ready(acks) => acks,
            Poll::Pending => sends.await,
        }
    };
    for (index, ack) in acks.into_iter().enumerate() {
        assert_eq!(ack.unwrap().seq, Seq(index as u64 + 1));
    }
    drop(store);
    let store = factory.open(&home).await;
    assert_eq!(ids(&timeline(&*store, "b").await), names);
}

/// A store's life has one number, and another store has another.
pub async fn the_epoch_outlives_reopening<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    let epoch = store.epoch();
    assert_ne!(epoch, Epoch(0));
    let store = reopen(factory, &home, store).await;
    assert_eq!(store.epoch(), epoch);
    factory.abandon(&home, store).await;
    assert_eq!(factory.open(&home).await.epoch(), epoch);
    let (_other_home, other) = fresh(factory).await;
    assert_ne!(other.epoch(), epoch);
}

/// Over the bound: busy at once, nothing stored of it, and no harm to what was taken.
pub async fn a_full_queue_says_busy<F: Factory>(factory: &F) {
    const BURST: usize = 500;
    /// A burst meets a queue of two; even a committer that is very quick cannot keep up with many.
    const BURSTS: usize = 50;
    let home = factory.home().await;
    let Some(store) = factory.open_with_queue(&home, 2).await else { return };
    let (mut taken, mut busy) = (0, 0);
    for round in 0..BURSTS {
        let names: Vec<String> = (0..BURST).map(|n| format!("m{round}-{n}")).collect();
        let sends = join_all(names.iter().map(|name| store.append(direct("a", "b", name))));
        let acks = tokio::time::timeout(Duration::from_secs(60), sends).await.expect("an append waits for ever");
        for ack in acks {
            match ack {
                Ok(_) => taken += 1,
                Err(AppendError::Busy) => busy += 1,
                Err(other) => panic!("{other}"),
            }
        }
        if busy > 0 {
            break;
        }
    }
    assert!(busy > 0, "bursts of {BURST} never filled a queue of two");
    assert_eq!(timeline(&*store, "b").await.len(), taken);
    assert_eq!(put(&*store, direct("a", "b", "after")).await.seq.0, taken as u64 + 1);

    let changes = (0..BURST).map(|n| store.commit(vec![put_record(Table::Service, &n.to_string(), "", Expect::Any)]));
    let outcomes = join_all(changes).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(CommitError::Busy))));
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(keys(&*store, Table::Service, "").await.len(), done);
}
