//! Every read that a store has, asked of two of them. Payloads are small, so pages are cut by rows
//! alone and have to be equal as they are.

use im_proto::Seq;
use im_proto::client::Direction;

use super::{Difference, ops, same};
use crate::check::check;
use crate::{DumpRow, HistoryRange, Store, Table};

pub(super) async fn compare_heads(done: usize, one: &dyn Store, other: &dyn Store) -> Result<(), Difference> {
    for user in (0..ops::USERS).map(ops::user) {
        same(done, format!("the head of {user}"), one.head(&user).await, other.head(&user).await)?;
    }
    Ok(())
}

pub(super) async fn compare_all(done: usize, one: &dyn Store, other: &dyn Store) -> Result<(), Difference> {
    compare_timelines(done, one, other).await?;
    compare_histories(done, one, other).await?;
    compare_records(done, one, other).await?;
    same(done, "the dump", rows(one).await, rows(other).await)?;
    same(done, "the check", check(one).await, check(other).await)?;
    let findings = check(one).await.unwrap().findings;
    same(done, "the findings of the check", findings, Vec::new())
}

async fn compare_timelines(done: usize, one: &dyn Store, other: &dyn Store) -> Result<(), Difference> {
    for user in (0..ops::USERS).map(ops::user) {
        let head = one.head(&user).await.unwrap().head.0;
        for after in 0..=head + 1 {
            for limit in [1, 3, 1000] {
                let (a, b) = (one.sync(&user, Seq(after), limit).await, other.sync(&user, Seq(after), limit).await);
                same(done, format!("the timeline of {user} after {after}, limit {limit}"), a, b)?;
            }
        }
    }
    Ok(())
}

async fn compare_histories(done: usize, one: &dyn Store, other: &dyn Store) -> Result<(), Difference> {
    let users: Vec<_> = (0..ops::USERS).map(ops::user).collect();
    let pairs = users.iter().flat_map(|a| users.iter().map(move |b| im_proto::ConversationId::pair(a, b)));
    for conversation in pairs.chain((0..ops::GROUPS).map(ops::group)) {
        let newest = HistoryRange { from: Seq::ZERO, direction: Direction::Backward, limit: 1 };
        let head = one.history(&conversation, newest).await.unwrap().head.0;
        for from in 0..=head + 1 {
            for direction in [Direction::Forward, Direction::Backward] {
                for limit in [1, 3, 1000] {
                    let range = HistoryRange { from: Seq(from), direction, limit };
                    let (a, b) = (one.history(&conversation, range).await, other.history(&conversation, range).await);
                    same(done, format!("the history of {conversation}, {range:?}"), a, b)?;
                }
            }
        }
    }
    Ok(())
}

async fn compare_records(done: usize, one: &dyn Store, other: &dyn Store) -> Result<(), Difference> {
    for table in Table::ALL {
        let all = one.records(table, "", "", 1000).await.unwrap().records;
        for key in all.iter().map(|record| record.key.as_str()).chain(["", "k", "k\0", "absent"]) {
            let (a, b) = (one.record(table, key).await, other.record(table, key).await);
            same(done, format!("record {key:?} of {table:?}"), a, b)?;
            for (prefix, after, limit) in [("", key, 2), (key, "", 1), (key, key, 1000)] {
                let (a, b) =
                    (one.records(table, prefix, after, limit).await, other.records(table, prefix, after, limit).await);
                same(done, format!("records of {table:?}, prefix {prefix:?} after {after:?} limit {limit}"), a, b)?;
            }
        }
        let (a, b) = (one.records(table, "", "", 1000).await, other.records(table, "", "", 1000).await);
        same(done, format!("all records of {table:?}"), a, b)?;
    }
    Ok(())
}

async fn rows(store: &dyn Store) -> Vec<DumpRow> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = store.dump(after, 16).await.unwrap();
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            // The order of kinds and of users is a backend's own.
            rows.sort_by_cached_key(|row| format!("{row:?}"));
            return rows;
        }
    }
}
