//! One transaction for a batch: idempotency rows, heads, histories, timelines; all of it or nothing.
//!
//! What may fail comes first, so that a batch that was beaten to its places ends before it has
//! written much: a repeated send at its idempotency row, a number that others have taken at its head.

use std::time::{Duration, Instant};

use mongodb::ClientSession;
use mongodb::bson::raw::cstr;
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};

use crate::db::{Db, HEADS, RECORDS, Rows};
use crate::fault::{Fault, write_error};
use crate::plan::Plan;
use crate::rows::unsigned;

/// Between two tries of a commit whose outcome is not known.
const COMMIT_PAUSE: Duration = Duration::from_millis(50);

/// Heads of one batch at most come in one answer: a hundred bytes each.
const HEADS_BATCH: u32 = 10_000;

/// Bytes of documents in one command. A document of the wire ends at 16 MiB, the server's bound.
const COMMAND_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a batch was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotWritten {
    /// A send of it was stored before, by another try.
    Repeated,
    /// A head is not what it was taken for.
    Stale,
    /// Anything else.
    Fault(Fault),
}

impl From<Fault> for NotWritten {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Writes a plan. On an error nothing of it is there, unless the error is [`Fault::Unknown`].
pub(crate) async fn write(db: &Db, plan: &Plan, until: Instant) -> Result<(), NotWritten> {
    let mut session = db.client.start_session().await.map_err(Fault::from)?;
    session.start_transaction().with_options(db.transaction()).await.map_err(Fault::from)?;
    let written = write_body(db, plan, &mut session).await;
    if let Err(why) = written {
        // Its locks go with it. Where the server cannot be told it finds out by itself.
        drop(session.abort_transaction().await);
        return Err(why);
    }
    Ok(commit(&mut session, until).await?)
}

async fn write_body(db: &Db, plan: &Plan, session: &mut ClientSession) -> Result<(), NotWritten> {
    insert(&db.sent, &plan.sent, session).await.map_err(|fault| match fault {
        Fault::Duplicate => NotWritten::Repeated,
        fault => fault.into(),
    })?;
    let stale = |fault| match fault {
        Fault::Duplicate => NotWritten::Stale,
        fault => NotWritten::Fault(fault),
    };
    raise_heads(db, plan, session).await?;
    insert(&db.history, &plan.history, session).await.map_err(stale)?;
    insert(&db.sync, &plan.sync, session).await.map_err(stale)?;
    if !plan.conversations.is_empty() {
        let mut updates = RawArrayBuf::new();
        for key in &plan.conversations {
            let value = crate::rows::binary(&[]);
            let change = rawdoc! { "$set": { "value": value } };
            updates.push(rawdoc! { "q": { "_id": key.clone() }, "u": change, "upsert": true });
        }
        update(db, RECORDS, updates, session).await?;
    }
    Ok(())
}

/// Moves each head on, if it stands where the plan found it. They are looked at in one query first: what
/// changes behind it is a conflict, and an update by the key alone costs the server half of one with a
/// condition.
async fn raise_heads(db: &Db, plan: &Plan, session: &mut ClientSession) -> Result<(), NotWritten> {
    check_heads(db, plan, session).await?;
    let mut updates = RawArrayBuf::new();
    for (timeline, (before, after)) in &plan.heads {
        // Below 2^63, or the plan would have been refused.
        let (before, after) = (*before, *after as i64);
        updates.push(rawdoc! {
            "q": { "_id": timeline.as_str() },
            "u": { "$set": { "head": after } },
            // A timeline's first head. One that somebody else makes meanwhile is noticed.
            "upsert": before == 0,
        });
    }
    let moved = match update(db, HEADS, updates, session).await {
        Err(Fault::Duplicate) => return Err(NotWritten::Stale),
        outcome => outcome?,
    };
    if moved == plan.heads.len() { Ok(()) } else { Err(NotWritten::Stale) }
}

async fn check_heads(db: &Db, plan: &Plan, session: &mut ClientSession) -> Result<(), NotWritten> {
    let names: Vec<&str> = plan.heads.keys().map(String::as_str).collect();
    let find = db.heads.find(doc! { "_id": { "$in": names } }).batch_size(HEADS_BATCH);
    let mut rows = find.session(&mut *session).await.map_err(Fault::from)?;
    let mut found = 0;
    while let Some(row) = rows.next(session).await.transpose().map_err(Fault::from)? {
        let name = row.get_str("_id").map_err(Fault::from)?;
        let before = plan.heads.get(name).map_or(0, |(before, _)| *before);
        if before != unsigned(&row, "head")? {
            return Err(NotWritten::Stale);
        }
        found += usize::from(before > 0);
    }
    // Those without a document are empty.
    let expected = plan.heads.values().filter(|(before, _)| *before > 0).count();
    if found == expected { Ok(()) } else { Err(NotWritten::Stale) }
}

/// Runs update statements and tells how many documents they found or made.
pub(crate) async fn update(
    db: &Db,
    collection: &str,
    updates: RawArrayBuf,
    session: &mut ClientSession,
) -> Result<usize, Fault> {
    let mut command = rawdoc! { "update": collection };
    command.append(cstr!("updates"), &updates);
    let reply = db.database.run_raw_command(command).session(session).await?;
    if let Some(fault) = write_error(&reply) {
        return Err(fault);
    }
    let count = reply.get_i32("n").map_err(|_| Fault::Damaged("an update's reply has no count".into()))?;
    usize::try_from(count).map_err(|_| Fault::Damaged("an update's reply has a negative count".into()))
}

async fn insert(rows: &Rows, documents: &[RawDocumentBuf], session: &mut ClientSession) -> Result<(), Fault> {
    for part in parts(documents) {
        rows.insert_many(part.iter().map(AsRef::<RawDocument>::as_ref).map(ToOwned::to_owned))
            .session(&mut *session)
            .await?;
    }
    Ok(())
}

/// Runs of documents, each within a command's bound.
fn parts(documents: &[RawDocumentBuf]) -> impl Iterator<Item = &[RawDocumentBuf]> {
    let mut rest = documents;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|document| {
            bytes += document.as_bytes().len();
            bytes <= COMMAND_BYTES_MAX
        });
        // One document is far below the bound.
        let (part, behind) = rest.split_at(fitting.count().max(1));
        rest = behind;
        Some(part)
    })
}

/// Commits, and asks again while the outcome is not known.
pub(crate) async fn commit(session: &mut ClientSession, until: Instant) -> Result<(), Fault> {
    loop {
        match session.commit_transaction().await.map_err(Fault::from) {
            Err(Fault::Unknown(_)) if Instant::now() < until => tokio::time::sleep(COMMIT_PAUSE).await,
            // A commit that went out and whose answer did not come may have happened.
            Err(Fault::Unreachable(why)) => return Err(Fault::Unknown(why)),
            outcome => return outcome,
        }
    }
}
