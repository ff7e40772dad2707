//! The same send again: the same place, nothing new; the same name for something else: refused.

use bytes::Bytes;
use futures_util::future::join_all;
use im_proto::Seq;
use im_proto::client::ContentType;

use super::Factory;
use super::kit::*;
use crate::{Append, AppendError, Placed};

fn assert_repeats(first: &Placed, again: &Placed) {
    let expected = Placed { places: Vec::new(), repeated: true, ..first.clone() };
    assert_eq!(again, &expected);
}

/// A repeat returns the first one's places and time, whatever its own time, and adds nothing.
pub async fn a_repeat_returns_the_same_place(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let first = put(&*store, direct("a", "b", "m1")).await;
    put(&*store, direct("b", "a", "m2")).await;
    let before = rows(&*store).await;
    assert_repeats(&first, &put(&*store, direct("a", "b", "m1")).await);
    let later = Append { time_ms: NOON + 5000, ..direct("a", "b", "m1") };
    assert_repeats(&first, &put(&*store, later).await);
    assert_eq!(rows(&*store).await, before);
    let posted = put(&*store, grouped("a", "g", &["a", "b", "c"], "m3")).await;
    assert_repeats(&posted, &put(&*store, grouped("a", "g", &["a", "b", "c"], "m3")).await);
}

/// Many tries at once, in whatever commit groups they land: one message.
pub async fn concurrent_repeats_are_one_message(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for round in 1..=10 {
        let id = format!("m{round}");
        let tries = join_all((0..16).map(|_| store.append(direct("a", "b", &id)))).await;
        let tries: Vec<Placed> = tries.into_iter().map(Result::unwrap).collect();
        assert_eq!(tries.iter().filter(|placed| !placed.repeated).count(), 1);
        assert!(tries.iter().all(|placed| placed.seq == Seq(round) && placed.receiver_seq == Seq(round)));
    }
    assert_eq!(timeline(&*store, "b").await.len(), 10);
    assert_eq!(history(&*store, &pair("a", "b")).await.len(), 10);
}

/// Idempotency is as durable as the message.
pub async fn a_repeat_is_recognised_after_reopening<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    let first = put(&*store, direct("a", "b", "m1")).await;
    let store = reopen(factory, &home, store).await;
    assert_repeats(&first, &put(&*store, Append { time_ms: NOON + 1, ..direct("a", "b", "m1") }).await);
    let other = Append { payload: Bytes::from_static(b"other"), ..direct("a", "b", "m1") };
    assert_eq!(store.append(other).await, Err(AppendError::IdReused));
    assert_eq!(put(&*store, direct("a", "b", "m2")).await.seq, Seq(2));
}

/// Neither does a crash lose it.
pub async fn a_repeat_is_recognised_after_a_crash<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    let first = put(&*store, direct("a", "b", "m1")).await;
    factory.abandon(&home, store).await;
    let store = factory.open(&home).await;
    assert_repeats(&first, &put(&*store, direct("a", "b", "m1")).await);
    assert_eq!(timeline(&*store, "b").await.len(), 1);
}

/// Recipients are not content: the group may have changed between two tries.
pub async fn a_repeat_keeps_the_first_recipients(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let first = put(&*store, grouped("a", "g", &["a", "b"], "m1")).await;
    assert_repeats(&first, &put(&*store, grouped("a", "g", &["a", "b", "c"], "m1")).await);
    assert!(timeline(&*store, "c").await.is_empty());
}

/// Another payload, content type or conversation under a used name is refused and leaves no trace.
pub async fn other_content_is_refused(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let first = put(&*store, direct("a", "b", "m1")).await;
    let before = rows(&*store).await;
    let payload = Append { payload: Bytes::from_static(b"other"), ..direct("a", "b", "m1") };
    let content_type = Append { content_type: ContentType::Json, ..direct("a", "b", "m1") };
    let conversation = direct("a", "c", "m1");
    for other in [payload, content_type, conversation] {
        assert_eq!(store.append(other).await, Err(AppendError::IdReused));
    }
    assert_eq!(rows(&*store).await, before);
    assert_repeats(&first, &put(&*store, direct("a", "b", "m1")).await);
}

/// Two contents under one new name at the same moment: one wins, the other is refused.
pub async fn concurrent_other_content_is_refused(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for round in 1..=10u64 {
        let id = format!("m{round}");
        let (one, other) = tokio::join!(
            store.append(direct("a", "b", &id)),
            store.append(Append { payload: Bytes::from_static(b"other"), ..direct("a", "b", &id) }),
        );
        let (winner, loser) = if one.is_ok() { (one, other) } else { (other, one) };
        assert_eq!(winner.unwrap().seq, Seq(round));
        assert_eq!(loser, Err(AppendError::IdReused));
    }
    assert_eq!(timeline(&*store, "b").await.len(), 10);
}

/// The name belongs to its sender.
pub async fn another_sender_may_use_the_same_id(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, direct("a", "b", "m1")).await;
    let placed = put(&*store, direct("b", "a", "m1")).await;
    assert_eq!((placed.seq, placed.repeated), (Seq(2), false));
    let placed = put(&*store, direct("ab", "b", "m1")).await;
    assert_eq!((placed.seq, placed.repeated), (Seq(1), false));
}
