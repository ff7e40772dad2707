//! Forgetting: trims and sweeps take rows away and never disturb a number.

use im_proto::Seq;

use super::Factory;
use super::kit::*;
use crate::{Append, Store, SweepPolicy, Swept, SyncHead};

async fn five_messages(store: &dyn Store) {
    for n in 1..=5 {
        put(store, direct("a", "b", &format!("m{n}"))).await;
    }
}

/// The floor rises, reading starts behind it, the other timeline and the history stay.
pub async fn trim_removes_a_run_and_keeps_numbers<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    five_messages(&*store).await;
    assert_eq!(store.trim(&user("b"), Seq(2)).await, Ok(Seq(2)));
    assert_eq!(store.trim(&user("b"), Seq(1)).await, Ok(Seq(2)), "a floor never falls");
    assert_eq!(store.trim(&user("b"), Seq::ZERO).await, Ok(Seq(2)));
    let mut store = store;
    for _ in 0..2 {
        let page = store.sync(&user("b"), Seq::ZERO, 2).await.unwrap();
        assert_eq!(page.head, SyncHead { head: Seq(5), floor: Seq(2) });
        assert_eq!(page.entries.iter().map(|entry| entry.seq.0).collect::<Vec<_>>(), [3, 4]);
        assert!(page.has_more);
        assert_eq!(store.sync(&user("b"), Seq(1), 9).await.unwrap().entries[0].seq, Seq(3));
        assert_eq!(store.sync(&user("b"), Seq(3), 9).await.unwrap().entries[0].seq, Seq(4));
        assert_eq!(ids(&timeline(&*store, "b").await), ["m3", "m4", "m5"]);
        assert_eq!(timeline(&*store, "a").await.len(), 5);
        assert_eq!(history(&*store, &pair("a", "b")).await.len(), 5);
        store = reopen(factory, &home, store).await;
    }
    assert_eq!(put(&*store, direct("a", "b", "m6")).await.receiver_seq, Seq(6));
}

/// Trimming past the head trims up to the head; a user without messages has nothing to trim.
pub async fn trim_never_passes_the_head(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    five_messages(&*store).await;
    assert_eq!(store.trim(&user("b"), Seq(99)).await, Ok(Seq(5)));
    assert_eq!(store.trim(&user("a"), Seq(u64::MAX)).await, Ok(Seq(5)));
    assert_eq!(store.trim(&user("c"), Seq(9)).await, Ok(Seq::ZERO));
    assert_eq!(store.head(&user("c")).await, Ok(SyncHead::default()));
    assert_eq!(put(&*store, direct("c", "b", "m1")).await.sender_seq, Seq(1));
}

/// An emptied timeline remembers its head, over reopening and over crashes.
pub async fn trim_of_everything_keeps_numbers<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    five_messages(&*store).await;
    assert_eq!(store.trim(&user("b"), Seq(5)).await, Ok(Seq(5)));
    let empty = SyncHead { head: Seq(5), floor: Seq(5) };
    assert_eq!(store.head(&user("b")).await, Ok(empty));
    let page = store.sync(&user("b"), Seq::ZERO, 9).await.unwrap();
    assert_eq!((page.head, page.entries.len(), page.has_more), (empty, 0, false));
    assert_eq!(put(&*store, direct("a", "b", "m6")).await.receiver_seq, Seq(6));
    assert_eq!(store.trim(&user("b"), Seq(6)).await, Ok(Seq(6)));

    let store = reopen(factory, &home, store).await;
    assert_eq!(store.head(&user("b")).await, Ok(SyncHead { head: Seq(6), floor: Seq(6) }));
    factory.abandon(&home, store).await;
    let store = factory.open(&home).await;
    assert_eq!(put(&*store, direct("a", "b", "m7")).await.receiver_seq, Seq(7));
    assert_eq!(ids(&timeline(&*store, "b").await), ["m7"]);
}

async fn aged(store: &dyn Store, from: &str, to: &str, id: &str, time_ms: u64) {
    put(store, Append { time_ms, ..direct(from, to, id) }).await;
}

/// Sweeps in steps of a few rows until it has come round.
async fn sweep(store: &dyn Store, entries_before_ms: u64, sent_before_ms: u64) -> Swept {
    let policy = SweepPolicy { entries_before_ms, sent_before_ms, rows_max: 3 };
    let mut total = Swept::default();
    for _ in 0..1000 {
        let swept = store.sweep(policy).await.unwrap();
        assert!(swept.entries + swept.sent <= 3, "more rows were removed than may be looked at");
        total.entries += swept.entries;
        total.sent += swept.sent;
        if swept.done {
            total.done = true;
            return total;
        }
    }
    panic!("a sweep does not come round");
}

/// Old entries go from every timeline; young ones, and all histories, stay.
pub async fn sweep_removes_old_entries<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    for n in 0..8 {
        aged(&*store, "a", "b", &format!("m{n}"), NOON + n).await;
        aged(&*store, "c", "b", &format!("m{n}"), NOON + n).await;
    }
    let swept = sweep(&*store, NOON + 5, 0).await;
    assert_eq!(swept, Swept { entries: 20, sent: 0, done: true });
    let mut store = store;
    for _ in 0..2 {
        assert_eq!(store.head(&user("b")).await, Ok(SyncHead { head: Seq(16), floor: Seq(10) }));
        assert_eq!(store.head(&user("a")).await, Ok(SyncHead { head: Seq(8), floor: Seq(5) }));
        assert_eq!(ids(&timeline(&*store, "a").await), ["m5", "m6", "m7"]);
        assert_eq!(timeline(&*store, "b").await.len(), 6);
        assert_eq!(history(&*store, &pair("a", "b")).await.len(), 8);
        store = reopen(factory, &home, store).await;
    }
}

/// An old message behind a young one stays: what is left of a timeline is dense.
pub async fn sweep_removes_only_a_run_from_the_beginning(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for (n, age) in [0, 1, 100, 2, 3].into_iter().enumerate() {
        aged(&*store, "a", "b", &format!("m{n}"), NOON + age).await;
    }
    assert_eq!(sweep(&*store, NOON + 50, 0).await.entries, 4);
    assert_eq!(ids(&timeline(&*store, "b").await), ["m2", "m3", "m4"]);
    assert_eq!(sweep(&*store, NOON + 50, 0).await, Swept { entries: 0, sent: 0, done: true });
}

/// Within the window a repeat is recognised; behind it, it is a new message.
pub async fn sweep_honours_the_idempotency_window(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for n in 0..8 {
        aged(&*store, "a", "b", &format!("m{n}"), NOON + n).await;
    }
    assert_eq!(sweep(&*store, 0, NOON + 4).await, Swept { entries: 0, sent: 4, done: true });
    for n in 4..8 {
        let placed = put(&*store, direct("a", "b", &format!("m{n}"))).await;
        assert_eq!((placed.repeated, placed.seq), (true, Seq(n + 1)));
    }
    let placed = put(&*store, direct("a", "b", "m3")).await;
    assert_eq!((placed.repeated, placed.seq, placed.receiver_seq), (false, Seq(9), Seq(9)));
    assert_eq!(timeline(&*store, "b").await.len(), 9);
}

/// Sweeping every row leaves every number as it was.
pub async fn sweep_of_everything_keeps_numbers<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    five_messages(&*store).await;
    assert_eq!(sweep(&*store, u64::MAX, u64::MAX).await, Swept { entries: 10, sent: 5, done: true });
    assert_eq!(store.head(&user("b")).await, Ok(SyncHead { head: Seq(5), floor: Seq(5) }));
    let store = reopen(factory, &home, store).await;
    let placed = put(&*store, direct("a", "b", "m1")).await;
    assert_eq!((placed.repeated, placed.seq, placed.receiver_seq), (false, Seq(6), Seq(6)));
    assert_eq!(history(&*store, &pair("a", "b")).await.len(), 6);
}
