//! Pages of timelines and histories: their limits, their ends, their word about what is left.

use bytes::Bytes;
use im_proto::Seq;
use im_proto::client::{Direction, Message};
use im_proto::limits::{PAGE_BYTES_MAX, PAYLOAD_LEN_MAX};

use super::Factory;
use super::kit::*;
use crate::{Append, ConversationHead, HistoryRange, SyncHead, SyncPage};

/// `limit` rows at most, beginning right behind the position, and a true word about the rest.
pub async fn sync_pages_by_rows(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for n in 1..=7 {
        put(&*store, direct("a", "b", &format!("m{n}"))).await;
    }
    let head = SyncHead { head: Seq(7), floor: Seq::ZERO };
    for (after, limit, expected, has_more) in [
        (0, 3, 1..=3, true),
        (3, 3, 4..=6, true),
        (6, 3, 7..=7, false),
        (0, 7, 1..=7, false),
        (0, 6, 1..=6, true),
        (4, 3, 5..=7, false),
        (2, 100, 3..=7, false),
        (5, 1, 6..=6, true),
    ] {
        let page = store.sync(&user("b"), Seq(after), limit).await.unwrap();
        let places: Vec<u64> = page.entries.iter().map(|entry| entry.seq.0).collect();
        assert_eq!(places, expected.collect::<Vec<_>>(), "after {after}, limit {limit}");
        assert_eq!((page.head, page.has_more), (head, has_more), "after {after}, limit {limit}");
    }
}

fn big(id: &str, len: usize) -> Append {
    Append { payload: Bytes::from(vec![b'x'; len]), ..direct("a", "b", id) }
}

fn assert_cut(messages: &[&Message], has_more: bool) {
    let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();
    assert!(!messages.is_empty(), "a page that has more has at least one row");
    let one = PAYLOAD_LEN_MAX as usize;
    assert!(bytes <= PAGE_BYTES_MAX + one, "a page of {bytes} bytes");
    assert!(!has_more || bytes + one > PAGE_BYTES_MAX, "a page cut at {bytes} bytes");
}

/// A page of great payloads is cut, goes on where it was cut, and never stands still.
pub async fn sync_pages_by_bytes(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let sizes = [PAYLOAD_LEN_MAX as usize, 15_000, 1, PAYLOAD_LEN_MAX as usize - 1, 0];
    for n in 0..60 {
        put(&*store, big(&format!("m{n}"), sizes[n % sizes.len()])).await;
    }
    let (mut after, mut pages) = (Seq::ZERO, 0);
    loop {
        let page = store.sync(&user("b"), after, 1000).await.unwrap();
        assert_cut(&page.entries.iter().map(|entry| &entry.message).collect::<Vec<_>>(), page.has_more);
        assert_eq!(page.entries[0].seq, after.next());
        after = page.entries.last().unwrap().seq;
        pages += 1;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(after, Seq(60));
    assert!(pages > 1, "sixty great payloads came in one page");
}

/// A position from the future is no error and gets nothing.
pub async fn sync_beyond_the_head_is_empty(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, direct("a", "b", "m1")).await;
    let head = SyncHead { head: Seq(1), floor: Seq::ZERO };
    for after in [1, 2, u64::MAX - 1] {
        let page = store.sync(&user("b"), Seq(after), 10).await.unwrap();
        assert_eq!(page, SyncPage { head, ..SyncPage::default() }, "after {after}");
    }
}

/// A user whom nobody has written to has an empty timeline, which is no error.
pub async fn sync_without_messages_is_empty(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, direct("a", "b", "m1")).await;
    for nobody in ["c", "aa", "0"] {
        assert_eq!(store.sync(&user(nobody), Seq::ZERO, 10).await, Ok(SyncPage::default()));
        assert_eq!(store.head(&user(nobody)).await, Ok(SyncHead::default()));
    }
}

/// Forward from a place, backward from a place, backward from the newest.
pub async fn history_pages_both_ways(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for n in 1..=7 {
        put(&*store, direct("a", "b", &format!("m{n}"))).await;
        // Neighbours in the order of ids, which must not leak in.
        put(&*store, direct("a", "bb", &format!("n{n}"))).await;
        put(&*store, grouped("a", "a", &["a"], &format!("o{n}"))).await;
    }
    use Direction::{Backward, Forward};
    let cases: [(u64, Direction, usize, &[u64], bool); 13] = [
        (0, Forward, 3, &[1, 2, 3], true),
        (3, Forward, 4, &[4, 5, 6, 7], false),
        (6, Forward, 9, &[7], false),
        (7, Forward, 9, &[], false),
        (99, Forward, 9, &[], false),
        (0, Backward, 3, &[7, 6, 5], true),
        (5, Backward, 3, &[4, 3, 2], true),
        (4, Backward, 3, &[3, 2, 1], false),
        (2, Backward, 3, &[1], false),
        (1, Backward, 3, &[], false),
        (8, Backward, 2, &[7, 6], true),
        (99, Backward, 9, &[7, 6, 5, 4, 3, 2, 1], false),
        (0, Backward, 7, &[7, 6, 5, 4, 3, 2, 1], false),
    ];
    for (from, direction, limit, expected, has_more) in cases {
        let range = HistoryRange { from: Seq(from), direction, limit };
        let page = store.history(&pair("a", "b"), range).await.unwrap();
        let places: Vec<u64> = page.messages.iter().map(|message| message.seq.0).collect();
        assert_eq!(places, expected, "{range:?}");
        assert_eq!((page.head, page.has_more), (Seq(7), has_more), "{range:?}");
        assert!(page.messages.iter().all(|message| message.conversation == pair("a", "b")));
    }
}

/// Great payloads cut a page of a history in both directions.
pub async fn history_pages_by_bytes(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for n in 0..40 {
        put(&*store, big(&format!("m{n}"), 15_000)).await;
    }
    for direction in [Direction::Forward, Direction::Backward] {
        let (mut from, mut rows, mut pages) = (Seq::ZERO, 0, 0);
        loop {
            let page = store.history(&pair("a", "b"), HistoryRange { from, direction, limit: 1000 }).await.unwrap();
            assert_cut(&page.messages.iter().collect::<Vec<_>>(), page.has_more);
            rows += page.messages.len();
            from = page.messages.last().unwrap().seq;
            pages += 1;
            if !page.has_more {
                break;
            }
        }
        assert_eq!(rows, 40);
        assert!(pages > 1, "{direction:?}: forty great payloads came in one page");
    }
}

/// A conversation that nobody has begun is empty, which is no error.
pub async fn history_without_messages_is_empty(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    put(&*store, direct("a", "b", "m1")).await;
    for direction in [Direction::Forward, Direction::Backward] {
        let range = HistoryRange { from: Seq::ZERO, direction, limit: 10 };
        assert_eq!(store.history(&pair("a", "c"), range).await, Ok(ConversationHead::default()));
        assert_eq!(store.history(&group("a"), range).await, Ok(ConversationHead::default()));
    }
}
