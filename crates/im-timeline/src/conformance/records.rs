//! Records: expectations, atomicity, numbers that only rise, pages in byte order.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;

use super::Factory;
use super::kit::*;
use crate::{Change, CommitError, Expect, Record, RecordPage, Store, Table};

const TABLE: Table = Table::Service;

/// Every change, over a record that is absent, equal and different, with every expectation.
pub async fn records_expect_what_they_say(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let conflict = Err(CommitError::Conflict(0));
    // What is there before, what is expected, whether it holds.
    let cases = [
        (None, Expect::Any, true),
        (None, Expect::Absent, true),
        (None, is("old"), false),
        (None, is(""), false),
        (Some("old"), Expect::Any, true),
        (Some("old"), Expect::Absent, false),
        (Some("old"), is("old"), true),
        (Some("old"), is("ol"), false),
        (Some("old"), is("other"), false),
        (Some(""), Expect::Absent, false),
        (Some(""), is(""), true),
    ];
    for (index, (before, expect, holds)) in cases.into_iter().enumerate() {
        let (put_key, delete_key) = (format!("put{index}"), format!("delete{index}"));
        if let Some(before) = before {
            let first = [&put_key, &delete_key].map(|key| put_record(TABLE, key, before, Expect::Absent));
            store.commit(first.into()).await.unwrap();
        }
        let outcome = store.commit(vec![put_record(TABLE, &put_key, "new", expect.clone())]).await;
        assert_eq!(outcome, if holds { Ok(()) } else { conflict.clone() }, "put over {before:?} with {expect:?}");
        let expected = if holds { Some("new") } else { before };
        assert_eq!(value(&*store, TABLE, &put_key).await.as_deref(), expected);

        let outcome = store.commit(vec![delete_record(TABLE, &delete_key, expect.clone())]).await;
        assert_eq!(outcome, if holds { Ok(()) } else { conflict.clone() }, "delete of {before:?} with {expect:?}");
        let expected = if holds { None } else { before };
        assert_eq!(value(&*store, TABLE, &delete_key).await.as_deref(), expected);
    }
    assert_eq!(value(&*store, Table::Account, "put0").await, None, "tables are apart");
}

/// A conflict anywhere undoes all, and its index is told.
pub async fn records_change_together_or_not_at_all(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    store.commit(vec![put_record(TABLE, "there", "1", Expect::Any)]).await.unwrap();
    let before = rows(&*store).await;
    let outcome = store
        .commit(vec![
            put_record(TABLE, "new", "1", Expect::Absent),
            Change::Raise { table: Table::Read, key: "number".into(), to: 5 },
            delete_record(TABLE, "there", is("1")),
            put_record(Table::Account, "there", "2", is("1")),
        ])
        .await;
    assert_eq!(outcome, Err(CommitError::Conflict(3)));
    assert_eq!(rows(&*store).await, before);

    store
        .commit(vec![
            put_record(TABLE, "new", "1", Expect::Absent),
            Change::Raise { table: Table::Read, key: "number".into(), to: 5 },
            delete_record(TABLE, "there", is("1")),
        ])
        .await
        .unwrap();
    assert_eq!(keys(&*store, TABLE, "").await, ["new"]);
    assert_eq!(number(&*store, "number").await, Some(5));
    assert_eq!(store.commit(Vec::new()).await, Ok(()));
}

/// Changes of one commit happen in their order.
pub async fn changes_see_the_ones_before(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    store
        .commit(vec![
            put_record(TABLE, "k", "1", Expect::Absent),
            put_record(TABLE, "k", "2", is("1")),
            put_record(TABLE, "gone", "1", Expect::Absent),
            delete_record(TABLE, "gone", is("1")),
            Change::Raise { table: Table::Read, key: "n".into(), to: 5 },
            Change::Raise { table: Table::Read, key: "n".into(), to: 3 },
        ])
        .await
        .unwrap();
    assert_eq!(value(&*store, TABLE, "k").await.as_deref(), Some("2"));
    assert_eq!(value(&*store, TABLE, "gone").await, None);
    assert_eq!(number(&*store, "n").await, Some(5));
    let outcome = store
        .commit(vec![put_record(TABLE, "fresh", "1", Expect::Absent), put_record(TABLE, "fresh", "2", Expect::Absent)])
        .await;
    assert_eq!(outcome, Err(CommitError::Conflict(1)));
    assert_eq!(value(&*store, TABLE, "fresh").await, None);
}

async fn number(store: &dyn Store, key: &str) -> Option<u64> {
    let value = store.record(Table::Read, key).await.unwrap()?;
    Some(u64::from_be_bytes(value.as_ref().try_into().unwrap()))
}

async fn raise(store: &dyn Store, to: u64) {
    store.commit(vec![Change::Raise { table: Table::Read, key: "n".into(), to }]).await.unwrap();
}

/// A number only rises, compared as a number and not as bytes of another length.
pub async fn raise_never_lowers<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    for (to, expected) in [(0, 0), (7, 7), (3, 7), (7, 7), (256, 256), (255, 256), (u64::MAX, u64::MAX), (1, u64::MAX)]
    {
        raise(&*store, to).await;
        assert_eq!(number(&*store, "n").await, Some(expected), "raised to {to}");
    }
    let store = reopen(factory, &home, store).await;
    assert_eq!(number(&*store, "n").await, Some(u64::MAX));
}

/// Whatever the order in which they arrive.
pub async fn concurrent_raises_keep_the_maximum(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    join_all((0..60u64).map(|n| {
        let store = Arc::clone(&store);
        // 37 and 61 are coprime, so this is every number from 0 to 60 but one, mixed.
        async move { raise(&*store, n * 37 % 61).await }
    }))
    .await;
    assert_eq!(number(&*store, "n").await, (0..60).map(|n| n * 37 % 61).max());
}

/// Many expect the same value at once: one changes it, the others are told.
pub async fn concurrent_compare_and_set_has_one_winner(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    for (key, expect) in [("new", Expect::Absent), ("old", is("0"))] {
        store.commit(vec![put_record(TABLE, "old", "0", Expect::Any)]).await.unwrap();
        let tries: Vec<String> = (1..=16).map(|n| n.to_string()).collect();
        let outcomes =
            join_all(tries.iter().map(|n| store.commit(vec![put_record(TABLE, key, n, expect.clone())]))).await;
        let winners: Vec<_> = tries.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).collect();
        assert_eq!(winners.len(), 1, "{key}: {outcomes:?}");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(CommitError::Conflict(0)))));
        assert_eq!(value(&*store, TABLE, key).await.as_ref(), Some(winners[0].0));
    }
}

/// Pages hold the prefix's rows in the order of their bytes, and say whether there are more.
pub async fn records_page_in_byte_order(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    let all = ["b", "a\0z", "a\0a", "ab", "a", "B", "a\0m", "ä", "a\0ä"];
    for (index, key) in all.iter().enumerate() {
        store.commit(vec![put_record(TABLE, key, &index.to_string(), Expect::Absent)]).await.unwrap();
    }
    store.commit(vec![put_record(Table::Member, "a\0other", "", Expect::Absent)]).await.unwrap();
    assert_eq!(keys(&*store, TABLE, "").await, ["B", "a", "a\0a", "a\0m", "a\0z", "a\0ä", "ab", "b", "ä"]);
    assert_eq!(keys(&*store, TABLE, "a\0").await, ["a\0a", "a\0m", "a\0z", "a\0ä"]);
    assert_eq!(keys(&*store, TABLE, "c").await, [""; 0]);

    for (prefix, after, limit, expected, has_more) in [
        ("a\0", "", 2, &["a\0a", "a\0m"] as &[&str], true),
        ("a\0", "a\0m", 2, &["a\0z", "a\0ä"], false),
        ("a\0", "a\0b", 9, &["a\0m", "a\0z", "a\0ä"], false),
        ("a\0", "a\0ä", 9, &[], false),
        ("a\0", "zzz", 9, &[], false),
        ("a\0", "a\0", 1, &["a\0a"], true),
        ("a", "", 1, &["a"], true),
        ("a", "a", 9, &["a\0a", "a\0m", "a\0z", "a\0ä", "ab"], false),
    ] {
        let RecordPage { records, has_more: more } = store.records(TABLE, prefix, after, limit).await.unwrap();
        let found: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
        assert_eq!((found.as_slice(), more), (expected, has_more), "prefix {prefix:?} after {after:?} limit {limit}");
    }
    let page = store.records(TABLE, "ab", "", 9).await.unwrap();
    assert_eq!(page.records, [Record { key: "ab".into(), value: Bytes::from_static(b"3") }]);
}

/// NUL, the last character of Unicode, a key of 512 bytes; and values of any bytes.
pub async fn records_with_odd_keys<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    let long = "ü".repeat(256);
    let all = ["\0", "\0\0", "a\0", "a\0\0b", "\u{10ffff}", "%_*[a]'\"\\", "中文\0🦀", long.as_str()];
    for key in all {
        let value = Bytes::from([&[0, 255, 128], key.as_bytes()].concat());
        let change = Change::Put { table: TABLE, key: key.into(), value, expect: Expect::Absent };
        store.commit(vec![change]).await.unwrap();
    }
    let store = reopen(factory, &home, store).await;
    for key in all {
        let value = store.record(TABLE, key).await.unwrap().unwrap();
        assert_eq!(value, [&[0, 255, 128], key.as_bytes()].concat(), "{key:?}");
        assert!(keys(&*store, TABLE, key).await.contains(&key.to_owned()), "{key:?} under itself");
    }
    let mut sorted = all.map(str::to_owned);
    sorted.sort();
    assert_eq!(keys(&*store, TABLE, "").await, sorted);
    assert_eq!(keys(&*store, TABLE, "%").await, ["%_*[a]'\"\\"], "a prefix is no pattern");
    store.commit(all.iter().map(|key| delete_record(TABLE, key, Expect::Any)).collect()).await.unwrap();
    assert_eq!(keys(&*store, TABLE, "").await, [""; 0]);
}

/// What was committed is durable, deletions too.
pub async fn records_survive_reopening<F: Factory>(factory: &F) {
    let (home, store) = fresh(factory).await;
    for table in Table::ALL {
        store.commit(vec![put_record(table, "kept", "1", Expect::Absent)]).await.unwrap();
        store.commit(vec![put_record(table, "gone", "1", Expect::Absent)]).await.unwrap();
    }
    store.commit(Table::ALL.map(|table| delete_record(table, "gone", is("1"))).into()).await.unwrap();
    factory.abandon(&home, store).await;
    let store = factory.open(&home).await;
    for table in Table::ALL {
        assert_eq!(keys(&*store, table, "").await, ["kept"], "{table:?}");
    }
}
