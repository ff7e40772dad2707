//! Places: from 1, dense, ascending, everywhere or nowhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use im_proto::Seq;

use super::Factory;
use super::kit::*;
use crate::{Append, AppendError, Table};

/// The first message of a timeline has place 1 in it.
pub async fn first_place_is_one(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let placed = put(&*store, direct("a", "b", "m1")).await;
    assert_eq!((placed.seq, placed.sender_seq, placed.receiver_seq), (Seq(1), Seq(1), Seq(1)));
    assert_eq!(placed.places, [(user("a"), Seq(1)), (user("b"), Seq(1))]);
    assert!(!placed.repeated);
    assert_eq!(placed.time_ms, NOON);
    let entry = &timeline(&*store, "b").await[0];
    assert_eq!(entry.message.sender, user("a"));
    assert_eq!(entry.message.payload.as_ref(), b"m1");
    assert_eq!(history(&*store, &pair("b", "a")).await, std::slice::from_ref(&entry.message));
}

/// Each append that waits for the one before gets the next place, in every timeline concerned.
pub async fn appends_one_after_another_ascend(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for n in 1..=5 {
        let placed = put(&*store, direct("a", "b", &format!("ab{n}"))).await;
        assert_eq!((placed.seq, placed.sender_seq, placed.receiver_seq), (Seq(n), Seq(2 * n - 1), Seq(2 * n - 1)));
        let placed = put(&*store, grouped("b", "g", &["b", "a", "c"], &format!("g{n}"))).await;
        assert_eq!((placed.seq, placed.sender_seq, placed.receiver_seq), (Seq(n), Seq(2 * n), Seq::ZERO));
        assert_eq!(placed.places, [(user("b"), Seq(2 * n)), (user("a"), Seq(2 * n)), (user("c"), Seq(n))]);
    }
}

/// Appends that one task hands in without waiting keep their order.
pub async fn appends_handed_in_together_keep_their_order(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let names: Vec<String> = (0..50).map(|n| format!("m{n}")).collect();
    let placed = join_all(names.iter().map(|name| store.append(direct("a", "b", name)))).await;
    for (index, placed) in placed.into_iter().enumerate() {
        assert_eq!(placed.unwrap().seq, Seq(index as u64 + 1));
    }
    assert_eq!(ids(&timeline(&*store, "b").await), names);
}

/// Several appends handed in at once: each has its own outcome, at its own index, and those that are
/// refused hold up none of the others. A repeat may stand beside its first try.
pub async fn appends_handed_in_at_once_are_as_many_appends(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, direct("a", "b", "m0")).await;
    let outcomes = store
        .append_all(vec![
            direct("a", "b", "m1"),
            Append { payload: "other".into(), ..direct("a", "b", "m0") },
            direct("b", "a", "m2"),
            Append { recipients: Arc::new([]), ..direct("a", "b", "m3") },
            direct("a", "b", "m1"),
            direct("a", "b", "m4"),
        ])
        .await;
    let places: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().ok().map(|placed| placed.seq)).collect();
    assert_eq!(places, [Some(Seq(2)), None, Some(Seq(3)), None, Some(Seq(2)), Some(Seq(4))]);
    assert_eq!(outcomes[1], Err(AppendError::IdReused));
    assert!(matches!(outcomes[3], Err(AppendError::BadRecipients(_))), "{:?}", outcomes[3]);
    assert!(outcomes[4].as_ref().is_ok_and(|placed| placed.repeated));
    assert_eq!(ids(&timeline(&*store, "b").await), ["m0", "m1", "m2", "m4"]);
    assert!(store.append_all(Vec::new()).await.is_empty());
}

/// Many senders over overlapping recipients: every timeline is dense, and every ack names the
/// place where the message is.
pub async fn concurrent_senders_get_dense_places(factory: &impl Factory) {
    const SENDERS: usize = 12;
    const EACH: usize = 15;
    let (_home, store) = fresh(factory).await;
    let names: Arc<[String]> = (0..SENDERS).map(|n| format!("u{n}")).collect();
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    let sends = (0..SENDERS).map(|sender| {
        let (store, names) = (Arc::clone(&store), Arc::clone(&names));
        tokio::spawn(async move {
            let mut acks = Vec::new();
            for n in 0..EACH {
                let (from, id) = (names[sender].as_str(), format!("m{n}"));
                let append = match n % 3 {
                    0 => direct(from, &names[(sender + n + 1) % SENDERS], &id),
                    1 => grouped(from, "everybody", &names.iter().map(String::as_str).collect::<Vec<_>>(), &id),
                    _ => {
                        let half: Vec<&str> =
                            (0..SENDERS / 2).map(|k| names[(sender + k) % SENDERS].as_str()).collect();
                        grouped(from, &format!("half{}", sender % 2), &half, &id)
                    }
                };
                acks.push((append.clone(), store.append(append).await.unwrap()));
            }
            acks
        })
    });
    let acks: Vec<_> = join_all(sends).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(acks.len(), SENDERS * EACH);

    let mut expected = 0;
    let mut found = 0;
    for (append, placed) in &acks {
        expected += append.recipients.len();
        assert_eq!(placed.places.len(), append.recipients.len());
        let kept = &history(&*store, &append.conversation).await[placed.seq.0 as usize - 1];
        assert_eq!((&kept.sender, &kept.client_msg_id), (&append.sender, &append.client_msg_id));
        for (member, seq) in &placed.places {
            let page = store.sync(member, Seq(seq.0 - 1), 1).await.unwrap();
            assert_eq!(page.entries[0].message, *kept);
        }
    }
    for member in &members {
        // The reader asserts that places are dense.
        found += timeline(&*store, member).await.len();
    }
    assert_eq!(found, expected);
}

/// One append, one place for each of its recipients, and for nobody else.
pub async fn an_append_reaches_every_recipient(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, direct("a", "b", "before")).await;
    let placed = put(&*store, grouped("c", "g", &["a", "c", "d"], "m")).await;
    assert_eq!(placed.sender_seq, Seq(1));
    assert_eq!(placed.receiver_seq, Seq::ZERO);
    assert_eq!(placed.places, [(user("a"), Seq(2)), (user("c"), Seq(1)), (user("d"), Seq(1))]);
    assert_eq!(ids(&timeline(&*store, "a").await), ["before", "m"]);
    assert_eq!(ids(&timeline(&*store, "b").await), ["before"]);
    assert_eq!(ids(&timeline(&*store, "c").await), ["m"]);
    assert_eq!(ids(&timeline(&*store, "d").await), ["m"]);
}

/// A refusal leaves no row and takes no number, for anybody.
pub async fn a_refused_append_changes_nothing(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, direct("a", "b", "m")).await;
    let before = rows(&*store).await;
    let other = Append { payload: "other".into(), ..grouped("a", "g", &["a", "b", "c"], "m") };
    assert_eq!(store.append(other).await, Err(AppendError::IdReused));
    let without_sender = grouped("a", "g", &["b", "c"], "n");
    assert!(matches!(store.append(without_sender).await, Err(AppendError::BadRecipients(_))));
    assert_eq!(rows(&*store).await, before);
    assert_eq!(put(&*store, grouped("a", "g", &["a", "b", "c"], "n")).await.seq, Seq(1));
    assert_eq!(ids(&timeline(&*store, "c").await), ["n"]);
}

/// Callers that go away half-way: each message is in every timeline or in none, and the numbers
/// of the others show no trace of it.
pub async fn a_dropped_append_happens_wholly_or_not_at_all(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for n in 0..40 {
        let append = grouped("a", "g", &["a", "b", "c"], &format!("m{n}"));
        let mut future = Box::pin(store.append(append));
        // One poll hands it in; then the caller is gone.
        let _ = poll_once(&mut future).await;
        drop(future);
    }
    let last = put(&*store, grouped("a", "g", &["a", "b", "c"], "last")).await;
    let kept = timeline(&*store, "a").await;
    assert_eq!(ids(&kept).last(), Some(&"last"));
    assert_eq!(kept.len() as u64, last.seq.0);
    assert_eq!(timeline(&*store, "b").await, kept);
    assert_eq!(timeline(&*store, "c").await, kept);
    assert_eq!(history(&*store, &group("g")).await.len(), kept.len());
}

/// A crash in the middle of traffic: what was acked is there at the place of its ack, and what was
/// not is wholly there or not at all.
pub async fn acked_appends_survive_a_crash<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    let (acks_in, mut acks) = tokio::sync::mpsc::channel(1024);
    let senders: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|sender| {
            let (store, acks_in) = (Arc::clone(&store), acks_in.clone());
            tokio::spawn(async move {
                for n in 0..200 {
                    let append = grouped(sender, "g", &["a", "b", "c"], &format!("m{n}"));
                    let Ok(placed) = store.append(append.clone()).await else { return };
                    acks_in.send((append, placed)).await.unwrap();
                }
            })
        })
        .collect();
    drop(acks_in);
    let mut acked = Vec::new();
    while acked.len() < 60 {
        acked.push(acks.recv().await.unwrap());
    }
    factory.abandon(&home, store).await;
    while let Some(ack) = acks.recv().await {
        acked.push(ack);
    }
    join_all(senders).await;

    let store = factory.open(&home).await;
    let kept = timeline(&*store, "a").await;
    assert_eq!(timeline(&*store, "b").await, kept);
    assert_eq!(timeline(&*store, "c").await, kept);
    assert_eq!(history(&*store, &group("g")).await.len(), kept.len());
    let distinct: BTreeSet<_> =
        kept.iter().map(|entry| (entry.message.sender.clone(), entry.message.client_msg_id.clone())).collect();
    assert_eq!(distinct.len(), kept.len(), "a message is stored twice");
    for (append, placed) in acked {
        let entry = &kept[placed.sender_seq.0 as usize - 1];
        assert_eq!((&entry.message.sender, &entry.message.client_msg_id), (&append.sender, &append.client_msg_id));
        assert_eq!(entry.message.seq, placed.seq);
    }
    let next = put(&*store, grouped("a", "g", &["a", "b", "c"], "next")).await;
    assert_eq!(next.seq.0, kept.len() as u64 + 1);
}

/// Nobody, somebody twice, not the sender, too many: each is refused.
pub async fn bad_recipients_are_refused(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let crowd: Vec<String> = (0..=im_proto::limits::GROUP_MEMBERS_MAX).map(|n| format!("u{n}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    for members in [&[] as &[&str], &["u0", "u1", "u0"], &["u1", "u2"], &crowd] {
        let refused = store.append(grouped("u0", "g", members, "m")).await;
        assert!(matches!(refused, Err(AppendError::BadRecipients(_))), "{} members: {refused:?}", members.len());
    }
    assert_eq!(rows(&*store).await, []);
}

/// As many members as a group may have.
pub async fn the_greatest_group_is_taken(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let crowd: Vec<String> = (0..im_proto::limits::GROUP_MEMBERS_MAX).map(|n| format!("u{n}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    let placed = put(&*store, grouped("u0", "g", &crowd, "m")).await;
    assert_eq!(placed.places.len(), crowd.len());
    assert_eq!(ids(&timeline(&*store, crowd[crowd.len() - 1]).await), ["m"]);
}

/// A user's conversation with itself: one place, which is both the sender's and the receiver's.
pub async fn a_notebook_has_one_place(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, direct("a", "b", "other")).await;
    let placed = put(&*store, direct("a", "a", "note")).await;
    assert_eq!((placed.seq, placed.sender_seq, placed.receiver_seq), (Seq(1), Seq(2), Seq(2)));
    assert_eq!(placed.places, [(user("a"), Seq(2))]);
    assert_eq!(ids(&timeline(&*store, "a").await), ["other", "note"]);
    let again = put(&*store, direct("a", "a", "note")).await;
    assert_eq!((again.seq, again.sender_seq, again.receiver_seq), (Seq(1), Seq(2), Seq(2)));
    assert_eq!(keys(&*store, Table::Conversation, "a\0").await, ["a\0a:a", "a\0a:b"]);
}

/// A pair's first message lists the conversation for both, durably; later ones change nothing.
pub async fn a_pair_gets_its_conversation_rows<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    assert_eq!(keys(&*store, Table::Conversation, "").await, [""; 0]);
    put(&*store, direct("b", "a", "m1")).await;
    put(&*store, direct("a", "b", "m2")).await;
    put(&*store, direct("c", "a", "m3")).await;
    let store = reopen(factory, &home, store).await;
    assert_eq!(keys(&*store, Table::Conversation, "").await, ["a\0a:b", "a\0a:c", "b\0a:b", "c\0a:c"]);
    assert_eq!(value(&*store, Table::Conversation, "a\0a:b").await.as_deref(), Some(""));
}

/// A group lists its members in records of its own; appends write none.
pub async fn a_group_gets_no_conversation_rows(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, grouped("a", "g", &["a", "b"], "m1")).await;
    assert_eq!(keys(&*store, Table::Conversation, "").await, [""; 0]);
}
