//! Records: accounts, groups, positions. A commit is a transaction that reads what it expects, works the
//! changes out in memory, and writes what is left of them. Whoever changed one of its records meanwhile
//! makes it conflict, and it runs again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use im_timeline::{Change, CommitError, Expect, Record, RecordPage, Table};
use mongodb::ClientSession;
use mongodb::bson::raw::cstr;
use mongodb::bson::{RawArrayBuf, doc, rawdoc};

use crate::db::{Db, RECORDS, ascending, by_key};
use crate::fault::{Fault, write_error};
use crate::rows::{binary, bytes, record_id, record_key};
use crate::txn;

/// The first pause after a conflict, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

pub(crate) async fn record(db: Arc<Db>, table: Table, key: String) -> Result<Option<Bytes>, Fault> {
    let found = db.records.find_one(doc! { "_id": record_id(table, &key) }).await?;
    found.map(|row| bytes(&row, "value")).transpose()
}

pub(crate) async fn records(
    db: Arc<Db>,
    table: Table,
    prefix: String,
    after: String,
    limit: usize,
) -> Result<RecordPage, Fault> {
    // Keys of one prefix stand together, so the first foreign one ends them.
    let begin = if after.as_str() >= prefix.as_str() {
        doc! { "$gt": record_id(table, &after) }
    } else {
        doc! { "$gte": record_id(table, &prefix) }
    };
    let limit = limit.max(1);
    let find = db.records.find(doc! { "_id": begin }).sort(ascending()).hint(by_key());
    let mut rows = find.limit(limit as i64 + 1).await?;
    let mut page = RecordPage::default();
    while let Some(row) = rows.try_next().await? {
        let key = row.get_document("_id")?;
        let (name, text) = (key.get_str("table")?, key.get_str("key")?);
        if name != table.name() || !text.starts_with(&prefix) {
            break;
        }
        if page.records.len() == limit {
            page.has_more = true;
            break;
        }
        page.records.push(Record { key: text.to_owned(), value: bytes(&row, "value")? });
    }
    Ok(page)
}

pub(crate) async fn commit(db: Arc<Db>, changes: Vec<Change>) -> Result<(), CommitError> {
    let until = Instant::now() + db.patience;
    let mut pause = PAUSE_MIN;
    loop {
        let fault = match try_commit(&db, &changes, until).await {
            Ok(outcome) => return outcome,
            Err(fault) => fault,
        };
        if !fault.is_passing() && fault != Fault::Duplicate || Instant::now() >= until {
            return Err(CommitError::Store(fault.into()));
        }
        // A commit whose outcome is not known would find its own values and call them a conflict.
        if matches!(fault, Fault::Unknown(_)) {
            return Err(CommitError::Store(fault.into()));
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn try_commit(db: &Db, changes: &[Change], until: Instant) -> Result<Result<(), CommitError>, Fault> {
    if changes.is_empty() {
        return Ok(Ok(()));
    }
    let mut session = db.client.start_session().await?;
    session.start_transaction().with_options(db.transaction()).await?;
    let worked_out = write(db, changes, &mut session).await;
    match worked_out {
        Ok(Ok(())) => txn::commit(&mut session, until).await.map(Ok),
        other => {
            drop(session.abort_transaction().await);
            other
        }
    }
}

/// A record's name.
type Key = (Table, String);

async fn write(db: &Db, changes: &[Change], session: &mut ClientSession) -> Result<Result<(), CommitError>, Fault> {
    let mut before: BTreeMap<Key, Option<Bytes>> = changes.iter().map(|change| (key_of(change), None)).collect();
    let keys: Vec<_> = before.keys().map(|(table, key)| record_id(*table, key)).collect();
    let mut rows = db.records.find(doc! { "_id": { "$in": keys } }).session(&mut *session).await?;
    while let Some(row) = rows.next(session).await.transpose()? {
        let key = row.get_document("_id")?;
        let key = (crate::rows::table(key.get_str("table")?)?, key.get_str("key")?.to_owned());
        before.insert(key, Some(bytes(&row, "value")?));
    }
    let mut after = before.clone();
    for (index, change) in changes.iter().enumerate() {
        // Every key was put there above.
        let Some(now) = after.get_mut(&key_of(change)) else { continue };
        match change {
            Change::Put { expect, .. } | Change::Delete { expect, .. } if !holds(expect, now.as_ref()) => {
                return Ok(Err(CommitError::Conflict(index)));
            }
            Change::Put { value, .. } => *now = Some(value.clone()),
            Change::Delete { .. } => *now = None,
            Change::Raise { key, to, .. } => {
                let to = to.to_be_bytes();
                // Big-endian numbers of one length compare as their bytes do.
                if now.as_ref().is_some_and(|now| now.len() != to.len()) {
                    return Err(Fault::Damaged(format!("record {key:?} is no number of eight bytes")));
                }
                if now.as_deref().is_none_or(|now| now < to.as_slice()) {
                    *now = Some(Bytes::copy_from_slice(&to));
                }
            }
        }
    }
    let (mut updates, mut deletes) = (RawArrayBuf::new(), RawArrayBuf::new());
    for ((table, key), value) in &after {
        let id = record_key(*table, key);
        match value {
            _ if before.get(&(*table, key.clone())) == Some(value) => {
                // Expected and left alone: written all the same, so that whoever changes it meanwhile
                // conflicts with this.
                if let Some(value) = value {
                    updates.push(rawdoc! { "q": { "_id": id }, "u": { "$set": { "value": binary(value) } } });
                }
            }
            Some(value) => updates.push(rawdoc! {
                "q": { "_id": id },
                "u": { "$set": { "value": binary(value) } },
                "upsert": true,
            }),
            None => deletes.push(rawdoc! { "q": { "_id": id }, "limit": 1 }),
        }
    }
    if !updates.is_empty() {
        txn::update(db, RECORDS, updates, session).await?;
    }
    if !deletes.is_empty() {
        let mut command = rawdoc! { "delete": RECORDS };
        command.append(cstr!("deletes"), &deletes);
        let reply = db.database.run_raw_command(command).session(session).await?;
        if let Some(fault) = write_error(&reply) {
            return Err(fault);
        }
    }
    Ok(Ok(()))
}

fn key_of(change: &Change) -> Key {
    match change {
        Change::Put { table, key, .. } | Change::Delete { table, key, .. } | Change::Raise { table, key, .. } => {
            (*table, key.clone())
        }
    }
}

fn holds(expect: &Expect, now: Option<&Bytes>) -> bool {
    match expect {
        Expect::Any => true,
        Expect::Absent => now.is_none(),
        Expect::Value(value) => now == Some(value),
    }
}
