//! Dump and load: every row out, every row in, and a new epoch.

use std::collections::BTreeSet;

use bytes::Bytes;
use im_proto::{Epoch, Seq};

use super::Factory;
use super::kit::*;
use crate::{Append, Change, DumpRow, Expect, LoadError, Store, SyncHead, Table};

/// A store with something of everything: pairs, a group, a notebook, trims up to the middle and up
/// to the head, bytes that are no text, records of every table.
async fn furnish(store: &dyn Store) {
    for n in 1..=6 {
        put(store, direct("a", "b", &format!("m{n}"))).await;
        put(store, grouped("c", "g", &["a", "c", "d"], &format!("m{n}"))).await;
    }
    put(store, Append { payload: Bytes::from_static(&[0, 255, 128]), ..direct("a", "a", "note") }).await;
    put(store, Append { payload: Bytes::new(), time_ms: 0, ..direct("b", "a", "empty") }).await;
    store.trim(&user("b"), Seq(3)).await.unwrap();
    store.trim(&user("d"), Seq(6)).await.unwrap();
    for table in Table::ALL {
        store.commit(vec![put_record(table, "k\0中", "v", Expect::Absent)]).await.unwrap();
    }
    let number = Change::Raise { table: Table::Read, key: "a\0a:b".into(), to: u64::MAX };
    store.commit(vec![number]).await.unwrap();
}

async fn assert_same_reads(one: &dyn Store, other: &dyn Store) {
    assert_eq!(rows(one).await, rows(other).await);
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(one.head(&user(name)).await, other.head(&user(name)).await, "{name}");
        assert_eq!(timeline(one, name).await, timeline(other, name).await, "{name}");
    }
    for conversation in [pair("a", "b"), pair("a", "a"), group("g"), group("none")] {
        assert_eq!(history(one, &conversation).await, history(other, &conversation).await);
    }
    for table in Table::ALL {
        assert_eq!(one.records(table, "", "", 99).await, other.records(table, "", "", 99).await, "{table:?}");
    }
}

/// Row by row into an empty store: every read is the same, numbers go on, repeats are recognised,
/// and the epoch is another, over reopening too.
pub async fn a_dump_loads_into_an_empty_store<F: Factory>(factory: &F) {
    let (_home, source) = fresh(factory).await;
    furnish(&*source).await;
    let (home, target) = fresh(factory).await;
    for row in rows(&*source).await {
        target.load(vec![row]).await.unwrap();
    }
    assert_same_reads(&*source, &*target).await;
    let target = reopen(factory, &home, target).await;
    assert_same_reads(&*source, &*target).await;
    assert_ne!(target.epoch(), source.epoch());
    assert_ne!(target.epoch(), Epoch(0));

    assert_eq!(target.head(&user("d")).await, Ok(SyncHead { head: Seq(6), floor: Seq(6) }));
    let placed = put(&*target, grouped("d", "g", &["a", "c", "d"], "next")).await;
    assert_eq!((placed.seq, placed.sender_seq), (Seq(7), Seq(7)));
    let again = put(&*target, direct("a", "b", "m2")).await;
    assert_eq!((again.seq, again.repeated), (Seq(2), true));
}

/// An import takes rows in any order: floors after entries, references before what they refer to.
pub async fn a_load_in_any_order_is_the_same(factory: &impl Factory) {
    let (_home, source) = fresh(factory).await;
    furnish(&*source).await;
    let mut backwards = rows(&*source).await;
    backwards.reverse();
    let (_home, target) = fresh(factory).await;
    for some in backwards.chunks(7) {
        target.load(some.to_vec()).await.unwrap();
    }
    assert_same_reads(&*source, &*target).await;
}

/// Rows from before the dump are in it exactly once, whatever is written meanwhile.
pub async fn a_dump_while_appending_has_every_older_row(factory: &impl Factory) {
    let (_home, store) = fresh(factory).await;
    furnish(&*store).await;
    let name = |row: &DumpRow| format!("{row:?}");
    let before: BTreeSet<String> = rows(&*store).await.iter().map(name).collect();
    let (mut dumped, mut after) = (Vec::new(), None);
    for n in 0.. {
        let page = store.dump(after, 2).await.unwrap();
        assert!(page.rows.len() <= 2);
        dumped.extend(page.rows.iter().map(name));
        after = page.next;
        if after.is_none() {
            break;
        }
        if n < 20 {
            // Before and behind wherever the dump may be.
            put(&*store, direct("a", "b", &format!("x{n}"))).await;
            put(&*store, grouped("zz", "0", &["zz", "00"], &format!("x{n}"))).await;
        }
    }
    let distinct: BTreeSet<String> = dumped.iter().cloned().collect();
    assert_eq!(distinct.len(), dumped.len(), "a row was dumped twice");
    let missing: Vec<_> = before.difference(&distinct).collect();
    assert!(missing.is_empty(), "not in the dump: {missing:?}");
}

/// A store that has any row of its own takes no import, and an import ends with the first write.
pub async fn a_load_into_a_used_store_is_refused<F: Factory>(factory: &F) {
    let (_home, source) = fresh(factory).await;
    furnish(&*source).await;
    let all = rows(&*source).await;

    let (home, target) = fresh(factory).await;
    put(&*target, direct("x", "y", "own")).await;
    let before = rows(&*target).await;
    assert_eq!(target.load(all.clone()).await, Err(LoadError::NotEmpty));
    assert_eq!(rows(&*target).await, before);
    let target = reopen(factory, &home, target).await;
    assert_eq!(target.load(all.clone()).await, Err(LoadError::NotEmpty));

    let (_home, target) = fresh(factory).await;
    target.commit(vec![put_record(Table::Service, "k", "v", Expect::Any)]).await.unwrap();
    assert_eq!(target.load(all.clone()).await, Err(LoadError::NotEmpty));

    let (_home, target) = fresh(factory).await;
    target.load(all[..3].to_vec()).await.unwrap();
    target.load(all[3..6].to_vec()).await.unwrap();
    put(&*target, direct("x", "y", "own")).await;
    assert_eq!(target.load(all[6..].to_vec()).await, Err(LoadError::NotEmpty));
}
