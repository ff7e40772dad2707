//! Forgetting: trims, and sweeps of what has become old.
//!
//! The floor is raised first and the rows go afterwards. Readers begin behind the floor, so rows that
//! a process left when it died are not seen, and the next sweep finds them by their age.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use im_proto::{Seq, UserId};
use im_timeline::{SweepPolicy, Swept};
use mongodb::bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::options::ReturnDocument;

use crate::db::{Db, ascending, by_key, rows_between};
use crate::fault::Fault;
use crate::plan::user_head;
use crate::read::head_of;
use crate::rows::{bound, parse, time, unsigned};

pub(crate) async fn trim(db: Arc<Db>, user: UserId, through: Seq) -> Result<Seq, Fault> {
    let now = db.head(&user_head(&user), None).await?;
    let wanted = through.min(now.head);
    if wanted <= now.floor {
        return Ok(now.floor);
    }
    let floor = raise_floor(&db, &user, wanted).await?;
    remove_rows(&db, &user, floor).await?;
    Ok(floor)
}

/// Raises the floor and returns what it is now. Heads only rise, so a floor that was below one stays so.
async fn raise_floor(db: &Db, user: &UserId, to: Seq) -> Result<Seq, Fault> {
    let update = doc! { "$max": { "floor": bound(to.0) } };
    let raised = db.heads.find_one_and_update(doc! { "_id": user_head(user) }, update);
    let raised = raised.return_document(ReturnDocument::After).await?;
    let raised = raised.ok_or_else(|| Fault::Damaged(format!("the head of {user} is gone")))?;
    Ok(head_of(&raised)?.floor)
}

async fn remove_rows(db: &Db, user: &UserId, through: Seq) -> Result<u64, Fault> {
    let removed = db.sync.delete_many(rows_between(user.as_str(), 0, bound(through.0))).await?;
    Ok(removed.deleted_count)
}

/// Where a sweep goes on. Kept in memory: after reopening it starts at the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SweepCursor {
    /// Old rows, in the order of their age, that stand behind a young one and so have to stay.
    blocked: u64,
    /// Users' timelines are done.
    entries_done: bool,
}

pub(crate) async fn sweep(
    db: Arc<Db>,
    policy: SweepPolicy,
    mut cursor: SweepCursor,
) -> Result<(Swept, SweepCursor), Fault> {
    let mut swept = Swept::default();
    let mut budget = policy.rows_max.max(1);
    while !cursor.entries_done && budget > 0 {
        sweep_entries(&db, policy.entries_before_ms, &mut cursor, &mut budget, &mut swept).await?;
    }
    if cursor.entries_done && budget > 0 {
        let old = doc! { "time": { "$lt": before(policy.sent_before_ms) } };
        let found = db.sent.find(old).sort(doc! { "time": 1 }).projection(doc! { "_id": 1 });
        let rows: Vec<RawDocumentBuf> = found.limit(budget as i64).await?.try_collect().await?;
        let keys = rows.iter().map(|row| row.get_str("_id")).collect::<Result<Vec<_>, _>>()?;
        if !keys.is_empty() {
            swept.sent += db.sent.delete_many(doc! { "_id": { "$in": keys } }).await?.deleted_count;
        }
        swept.done = rows.len() < budget;
        if swept.done {
            cursor = SweepCursor::default();
        }
    }
    Ok((swept, cursor))
}

/// Dates before 1970 do not occur; a bound of 0 means none.
fn before(ms: u64) -> DateTime {
    DateTime::from_millis(bound(ms))
}

/// Looks at some of the oldest rows and lets their timelines' beginnings go.
async fn sweep_entries(
    db: &Db,
    before_ms: u64,
    cursor: &mut SweepCursor,
    budget: &mut usize,
    swept: &mut Swept,
) -> Result<(), Fault> {
    let old = doc! { "message.time": { "$lt": before(before_ms) } };
    let wanted = *budget;
    let found = db.sync.find(old).sort(doc! { "message.time": 1 }).projection(doc! { "id": 1, "seq": 1 });
    let rows: Vec<RawDocumentBuf> = found
        .skip(cursor.blocked)
        .limit(wanted as i64)
        .batch_size(wanted.min(1000) as u32 + 1)
        .await?
        .try_collect()
        .await?;
    // Up to where each timeline was forgotten.
    let mut forgotten: HashMap<String, u64> = HashMap::new();
    for row in &rows {
        let (id, place) = (row.get_str("id")?, unsigned(row, "seq")?);
        let through = match forgotten.get(id) {
            Some(through) => *through,
            None if *budget == 0 => return Ok(()),
            None => {
                let (run, through) = old_run(db, id, before_ms, *budget).await?;
                if run > 0 {
                    let user: UserId = parse(id)?;
                    raise_floor(db, &user, Seq(through)).await?;
                    swept.entries += remove_rows(db, &user, Seq(through)).await?;
                }
                let is_cut = run == *budget;
                *budget -= run.max(1).min(*budget);
                if is_cut {
                    // More of this timeline may be old: it comes again with the next step.
                    return Ok(());
                }
                forgotten.insert(id.to_owned(), through);
                through
            }
        };
        if place > through {
            cursor.blocked += 1;
        }
    }
    cursor.entries_done = rows.len() < wanted;
    Ok(())
}

/// How many rows at the beginning of a timeline, at most `limit`, are old, and the last one's place.
async fn old_run(db: &Db, id: &str, before_ms: u64, limit: usize) -> Result<(usize, u64), Fault> {
    let wanted: Document = doc! { "seq": 1, "message.time": 1 };
    let found = db.sync.find(rows_between(id, 0, i64::MAX)).sort(ascending()).hint(by_key()).projection(wanted);
    let rows: Vec<RawDocumentBuf> = found.limit(limit as i64).await?.try_collect().await?;
    let (mut run, mut through) = (0, 0);
    for row in &rows {
        if time(row.get_document("message")?, "time")? >= before_ms {
            break;
        }
        run += 1;
        through = unsigned(row, "seq")?;
    }
    Ok((run, through))
}
