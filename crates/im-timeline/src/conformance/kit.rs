//! What the cases are written with: short names for messages, and readers that check the rules of a
//! page while they read.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use im_proto::client::{ContentType, Direction, Entry, Message};
use im_proto::{ClientMsgId, ConversationId, GroupId, Seq, UserId};

use super::Factory;
use crate::{Append, Change, DumpRow, Expect, HistoryRange, Placed, Store, Table};

/// The time of messages that have no reason for another.
pub(super) const NOON: u64 = 1_700_000_000_000;

pub(super) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(super) fn users(names: &[&str]) -> Arc<[UserId]> {
    names.iter().map(|name| user(name)).collect()
}

pub(super) fn pair(a: &str, b: &str) -> ConversationId {
    ConversationId::pair(&user(a), &user(b))
}

pub(super) fn group(name: &str) -> ConversationId {
    ConversationId::group(&GroupId::new(name).unwrap())
}

/// A message of one user to another, or to itself. Its payload is its id.
pub(super) fn direct(from: &str, to: &str, id: &str) -> Append {
    let recipients = if from == to { users(&[from]) } else { users(&[from, to]) };
    Append {
        conversation: pair(from, to),
        sender: user(from),
        client_msg_id: ClientMsgId::new(id).unwrap(),
        time_ms: NOON,
        content_type: ContentType::Text,
        payload: Bytes::copy_from_slice(id.as_bytes()),
        recipients,
    }
}

/// A message to a group.
pub(super) fn grouped(from: &str, to: &str, members: &[&str], id: &str) -> Append {
    Append { conversation: group(to), recipients: users(members), ..direct(from, from, id) }
}

/// Polls a future a single time: for the stores, whose futures hand their request in when they are
/// polled first, this starts the work without waiting for it.
pub(super) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

/// A new home and the store in it.
pub(super) async fn fresh<F: Factory>(factory: &F) -> (F::Home, Arc<dyn Store>) {
    let home = factory.home().await;
    let store = factory.open(&home).await;
    (home, store)
}

/// Closes cleanly and opens again.
pub(super) async fn reopen<F: Factory>(factory: &F, home: &F::Home, store: Arc<dyn Store>) -> Arc<dyn Store> {
    store.close().await;
    drop(store);
    factory.open(home).await
}

pub(super) async fn put(store: &dyn Store, append: Append) -> Placed {
    store.append(append).await.unwrap()
}

/// A user's whole timeline, in pages of three, each checked against the rules.
pub(super) async fn timeline(store: &dyn Store, name: &str) -> Vec<Entry> {
    timeline_behind(store, name, Seq::ZERO).await
}

pub(super) async fn timeline_behind(store: &dyn Store, name: &str, after: Seq) -> Vec<Entry> {
    let mut after = after;
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let page = store.sync(&user(name), after, 3).await.unwrap();
        for entry in page.entries {
            assert_eq!(entry.seq, after.max(page.head.floor).next(), "{name}: a place is missing");
            assert!(entry.seq <= page.head.head, "{name}: an entry stands behind the head of its own page");
            after = entry.seq;
            entries.push(entry);
        }
        if !page.has_more {
            assert!(after.max(page.head.floor) >= page.head.head, "{name}: the last page ends before the head");
            return entries;
        }
        assert!(after < page.head.head, "{name}: there is more behind the head");
    }
}

/// A whole history, read in pages both ways, which must agree.
pub(super) async fn history(store: &dyn Store, conversation: &ConversationId) -> Vec<Message> {
    let forward = history_towards(store, conversation, Direction::Forward).await;
    let mut backward = history_towards(store, conversation, Direction::Backward).await;
    backward.reverse();
    assert_eq!(forward, backward, "{conversation}: the two directions differ");
    for (index, message) in forward.iter().enumerate() {
        assert_eq!(message.seq, Seq(index as u64 + 1), "{conversation}: a place is missing");
    }
    forward
}

async fn history_towards(store: &dyn Store, conversation: &ConversationId, direction: Direction) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let from = messages.last().map_or(Seq::ZERO, |message| message.seq);
        let page = store.history(conversation, HistoryRange { from, direction, limit: 3 }).await.unwrap();
        let was_empty = page.messages.is_empty();
        messages.extend(page.messages);
        if !page.has_more {
            assert_eq!(messages.iter().map(|message| message.seq).max().unwrap_or_default(), page.head);
            return messages;
        }
        assert!(!was_empty, "{conversation}: an empty page promises more");
    }
}

/// What a timeline says, without its numbers.
pub(super) fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.message.client_msg_id.as_str()).collect()
}

/// Every row of a store, sorted.
pub(super) async fn rows(store: &dyn Store) -> Vec<DumpRow> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = store.dump(after, 5).await.unwrap();
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            rows.sort_by_cached_key(|row| format!("{row:?}"));
            return rows;
        }
    }
}

pub(super) fn put_record(table: Table, key: &str, value: &str, expect: Expect) -> Change {
    Change::Put { table, key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), expect }
}

pub(super) fn delete_record(table: Table, key: &str, expect: Expect) -> Change {
    Change::Delete { table, key: key.into(), expect }
}

pub(super) fn is(value: &str) -> Expect {
    Expect::Value(Bytes::copy_from_slice(value.as_bytes()))
}

pub(super) async fn value(store: &dyn Store, table: Table, key: &str) -> Option<String> {
    store.record(table, key).await.unwrap().map(|value| String::from_utf8(value.to_vec()).unwrap())
}

pub(super) async fn keys(store: &dyn Store, table: Table, prefix: &str) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let after = keys.last().cloned().unwrap_or_default();
        let page = store.records(table, prefix, &after, 2).await.unwrap();
        assert!(page.records.len() <= 2);
        keys.extend(page.records.into_iter().map(|record| record.key));
        if !page.has_more {
            return keys;
        }
    }
}
