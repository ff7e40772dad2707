//! The one committer of a process: all appends that arrived while the last batch was under way go
//! into the next, and one transaction serves them all.
//!
//! A batch is tried until it is written or its patience ends. Where another process was first at one
//! of its timelines, its numbers are read again from MongoDB and it is tried anew; where a send of it
//! was stored by an earlier try, that send gets its old place and the rest goes on without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use im_proto::{ClientMsgId, UserId};
use im_timeline::{Append, AppendError, Placed, StoreError};
use mongodb::bson::doc;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::abandoned;
use crate::db::Db;
use crate::fault::Fault;
use crate::health::Health;
use crate::hints::Hints;
use crate::plan::{self, Plan};
use crate::rows;
use crate::txn::{self, NotWritten};

/// Messages of one batch. More would make the first of them wait for too long.
const BATCH_MAX: usize = 512;
/// Rows of timelines in one batch: a transaction of some ten thousand documents holds the server's
/// cache. A message to the greatest group is below it.
const BATCH_ROWS_MAX: usize = 4096;
/// Payload bytes in one batch, each counted once per row.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Heads remembered, some 100 bytes each. When the memory is full it begins anew.
const HEADS_MAX: usize = 200_000;
/// The first pause after a conflict, and the longest; each is drawn from half of it to the whole. A
/// batch of the other process takes about as long as the longest.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(16);
/// Between two batches, for a while after a conflict: a process that always had its next batch ready
/// would keep the other away from the timelines that they share.
const GIVE_WAY: Duration = Duration::from_millis(4);
const GIVE_WAY_FOR: Duration = Duration::from_secs(1);
/// Between two tries while MongoDB cannot be reached; each has waited for it already.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks for abandoned transactions while batches are beaten.
const ABANDONED_EVERY: Duration = Duration::from_millis(500);

/// An append that waits, and whom to tell.
pub(crate) struct Pending {
    pub(crate) append: Append,
    pub(crate) reply: oneshot::Sender<Result<Placed, AppendError>>,
    /// When it was handed in.
    pub(crate) since: Instant,
}

impl Pending {
    fn answer(self, outcome: Result<Placed, AppendError>) {
        // Whoever asked may have gone; what was handed in happens all the same.
        drop(self.reply.send(outcome));
    }

    fn rows(&self) -> usize {
        self.append.recipients.len() + 1
    }

    fn bytes(&self) -> usize {
        self.rows() * self.append.payload.len()
    }
}

pub(crate) struct Committer {
    pub(crate) db: Arc<Db>,
    pub(crate) hints: Arc<Hints>,
    pub(crate) health: Arc<Health>,
    heads: Mutex<HashMap<String, u64>>,
    /// When a batch was last beaten to its places.
    conflicted: Mutex<Option<Instant>>,
    /// When abandoned transactions were last looked for.
    looked: Mutex<Option<Instant>>,
}

impl Committer {
    pub(crate) fn new(db: Arc<Db>, hints: Arc<Hints>, health: Arc<Health>) -> Self {
        Self { db, hints, health, heads: Mutex::default(), conflicted: Mutex::default(), looked: Mutex::default() }
    }

    /// Runs until the queue is closed and drained.
    pub(crate) async fn run(self: Arc<Self>, mut queue: mpsc::Receiver<Pending>) {
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(first) => first,
                None => match queue.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            let (mut rows, mut bytes) = (first.rows(), first.bytes());
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX {
                let Ok(pending) = queue.try_recv() else { break };
                rows += pending.rows();
                bytes += pending.bytes();
                if rows > BATCH_ROWS_MAX || bytes > BATCH_BYTES_MAX {
                    next = Some(pending);
                    break;
                }
                batch.push(pending);
            }
            self.batch(batch).await;
            if self.conflicted.lock().is_some_and(|at| at.elapsed() < GIVE_WAY_FOR) {
                tokio::time::sleep(GIVE_WAY).await;
            }
        }
    }

    async fn batch(self: &Arc<Self>, batch: Vec<Pending>) {
        let begun = Instant::now();
        metrics::histogram!("sim_store_batch_appends").record(batch.len() as f64);
        let (firsts, repeats) = fold_repeats(batch);
        Attempt::new(self, firsts).run(repeats).await;
        metrics::histogram!("sim_store_batch_seconds").record(begun.elapsed());
    }

    /// The heads of some timelines: remembered, hinted at, or read. With `read` MongoDB is asked for all.
    async fn heads(&self, timelines: &[String], read: bool, patience: Duration) -> Result<HashMap<String, u64>, Fault> {
        let mut found = HashMap::with_capacity(timelines.len());
        let mut missing: Vec<String> = Vec::new();
        if read {
            missing.extend_from_slice(timelines);
        } else {
            let remembered = self.heads.lock();
            for timeline in timelines {
                match remembered.get(timeline) {
                    Some(head) => drop(found.insert(timeline.clone(), *head)),
                    None => missing.push(timeline.clone()),
                }
            }
        }
        if !missing.is_empty() && !read {
            let hints = self.hints.ask(&missing).await;
            let mut unknown = Vec::new();
            for (timeline, hint) in missing.into_iter().zip(hints) {
                match hint {
                    Some(head) => drop(found.insert(timeline, head)),
                    None => unknown.push(timeline),
                }
            }
            missing = unknown;
        }
        if !missing.is_empty() {
            metrics::counter!("sim_store_heads_read_total").increment(missing.len() as u64);
            let heads = self.db.heads.clone();
            let rows = self.db.run_within(patience, async move {
                let rows: Vec<_> = heads.find(doc! { "_id": { "$in": missing } }).await?.try_collect().await?;
                Ok(rows)
            });
            for row in rows.await? {
                found.insert(row.get_str("_id")?.to_owned(), rows::unsigned(&row, "head")?);
            }
        }
        Ok(found)
    }

    fn remember(&self, plan: &Plan) {
        let heads: Vec<_> = plan.heads.iter().map(|(timeline, (_, head))| (timeline.clone(), *head)).collect();
        let mut remembered = self.heads.lock();
        if remembered.len() + heads.len() > HEADS_MAX {
            remembered.clear();
        }
        remembered.extend(heads.iter().cloned());
        drop(remembered);
        self.hints.tell(heads);
    }

    fn is_time_to_look(&self) -> bool {
        let mut looked = self.looked.lock();
        let is_time = looked.is_none_or(|at| at.elapsed() >= ABANDONED_EVERY);
        if is_time {
            *looked = Some(Instant::now());
        }
        is_time
    }

    fn forget(&self, timelines: &[String]) {
        let mut remembered = self.heads.lock();
        for timeline in timelines {
            remembered.remove(timeline);
        }
    }

    /// Forgets every head: an import has written under them.
    pub(crate) fn forget_all(&self) {
        self.heads.lock().clear();
    }
}

/// The first of each name, and the later ones of the same name beside the index of their first.
fn fold_repeats(batch: Vec<Pending>) -> (Vec<Pending>, Vec<(usize, Pending)>) {
    let mut names: HashMap<(UserId, ClientMsgId), usize> = HashMap::with_capacity(batch.len());
    let (mut firsts, mut repeats): (Vec<Pending>, Vec<(usize, Pending)>) =
        (Vec::with_capacity(batch.len()), Vec::new());
    for pending in batch {
        let name = (pending.append.sender.clone(), pending.append.client_msg_id.clone());
        match names.get(&name) {
            Some(first) => repeats.push((*first, pending)),
            None => {
                names.insert(name, firsts.len());
                firsts.push(pending);
            }
        }
    }
    (firsts, repeats)
}

fn is_same(one: &Append, other: &Append) -> bool {
    one.conversation == other.conversation && one.content_type == other.content_type && one.payload == other.payload
}

/// A batch on its way.
struct Attempt<'a> {
    committer: &'a Arc<Committer>,
    pendings: Vec<Pending>,
    /// What became of each; `None` while it is on its way.
    outcomes: Vec<Option<Result<Placed, AppendError>>>,
}

impl<'a> Attempt<'a> {
    fn new(committer: &'a Arc<Committer>, pendings: Vec<Pending>) -> Self {
        let outcomes = pendings.iter().map(|_| None).collect();
        Self { committer, pendings, outcomes }
    }

    fn open(&self) -> Vec<usize> {
        (0..self.pendings.len()).filter(|index| self.outcomes[*index].is_none()).collect()
    }

    /// Tries until all is settled, then answers: the repeats within the batch too.
    async fn run(mut self, repeats: Vec<(usize, Pending)>) {
        let health = Arc::clone(&self.committer.health);
        let oldest = self.pendings.iter().map(|pending| pending.since).min().unwrap_or_else(Instant::now);
        // Enough for a try even when the batch before took all of its time.
        let patience = self.committer.db.patience;
        let until = (oldest + patience).max(Instant::now() + patience / 2);
        let (mut pause, mut read) = (PAUSE_MIN, false);
        loop {
            let open = self.open();
            if open.is_empty() {
                break;
            }
            let fault = match self.attempt(&open, read, until).await {
                Ok(()) => {
                    health.well();
                    continue;
                }
                Err(NotWritten::Repeated) => match self.find_repeats(&open, until).await {
                    // Its transaction is on its way and cannot be read yet.
                    Ok(0) => Fault::Conflict,
                    Ok(_) => continue,
                    Err(fault) => fault,
                },
                Err(NotWritten::Stale) => {
                    metrics::counter!("sim_store_batches_stale_total").increment(1);
                    Fault::Conflict
                }
                Err(NotWritten::Fault(fault)) => fault,
            };
            if fault == Fault::Conflict {
                *self.committer.conflicted.lock() = Some(Instant::now());
                metrics::counter!("sim_store_batches_conflicted_total").increment(1);
            } else {
                tracing::warn!(%fault, "a batch was not written");
                health.unwell(&fault);
            }
            read = true;
            // Somebody who died may be in the way. The first who is beaten looks at once, even if it was
            // started a moment ago: what is in the way may be old.
            if fault == Fault::Conflict && self.committer.is_time_to_look() {
                self.end_abandoned().await;
            }
            if !fault.is_passing() || Instant::now() >= until {
                let error = AppendError::Store(StoreError::from(fault));
                for index in self.open() {
                    self.outcomes[index] = Some(Err(error.clone()));
                }
                break;
            }
            let wait = if fault == Fault::Conflict { pause } else { UNREACHABLE_PAUSE };
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..=1.0))).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.answer(repeats);
    }

    async fn end_abandoned(&self) {
        let db = Arc::clone(&self.committer.db);
        let ended = self.committer.db.run(async move { abandoned::end(&db).await });
        if let Err(fault) = ended.await {
            tracing::warn!(%fault, "abandoned transactions cannot be looked for; the server ends them in time");
        }
    }

    fn answer(self, repeats: Vec<(usize, Pending)>) {
        for (first, repeat) in repeats {
            let outcome = match &self.outcomes[first] {
                _ if !is_same(&self.pendings[first].append, &repeat.append) => Err(AppendError::IdReused),
                Some(Ok(placed)) => Ok(Placed { places: Vec::new(), repeated: true, ..placed.clone() }),
                Some(Err(error)) => Err(error.clone()),
                None => Err(StoreError::Closed.into()),
            };
            repeat.answer(outcome);
        }
        for (pending, outcome) in self.pendings.into_iter().zip(self.outcomes) {
            pending.answer(outcome.unwrap_or_else(|| Err(StoreError::Closed.into())));
        }
    }

    /// One transaction for all that is open.
    async fn attempt(&mut self, open: &[usize], read: bool, until: Instant) -> Result<(), NotWritten> {
        let mut timelines: Vec<String> =
            open.iter().flat_map(|index| plan::timelines(&self.pendings[*index].append)).collect();
        timelines.sort_unstable();
        timelines.dedup();
        let heads = self.committer.heads(&timelines, read, self.left(until)).await?;
        let plan = Arc::new(Plan::new(open.iter().map(|index| &self.pendings[*index].append), &heads)?);
        let outcome = self.write(Arc::clone(&plan), until).await;
        match outcome {
            Ok(()) => {
                self.committer.remember(&plan);
                for (index, placed) in open.iter().zip(&plan.placed) {
                    self.outcomes[*index] = Some(Ok(placed.clone()));
                }
                metrics::counter!("sim_store_appends_total").increment(open.len() as u64);
                Ok(())
            }
            Err(why) => {
                self.committer.forget(&timelines);
                Err(why)
            }
        }
    }

    /// How long the next step may take. A try that has begun gets some time even at the end of all
    /// patience, or it would be given up before the server could answer.
    fn left(&self, until: Instant) -> Duration {
        until.saturating_duration_since(Instant::now()).max(self.committer.db.patience / 4)
    }

    /// In a task of its own, so that a server that does not answer holds up nobody for longer than
    /// `until`; what it did is then found out like after any other unknown outcome.
    async fn write(&self, plan: Arc<Plan>, until: Instant) -> Result<(), NotWritten> {
        let db = Arc::clone(&self.committer.db);
        let patience = self.left(until);
        let Ok(place) = Arc::clone(&db.transactions).try_acquire_owned() else {
            return Err(Fault::Unreachable("earlier transactions have not ended".into()).into());
        };
        let task = tokio::spawn(async move {
            let _place = place;
            txn::write(&db, &plan, until).await
        });
        match tokio::time::timeout(patience, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(Fault::Unknown(format!("a transaction ended: {panic}")).into()),
            Err(_) => Err(Fault::Unknown(format!("no answer within {patience:?}")).into()),
        }
    }

    /// Settles those that an earlier try has stored: the sender's, or our own when we did not hear how it
    /// went. Returns how many.
    async fn find_repeats(&mut self, open: &[usize], until: Instant) -> Result<usize, Fault> {
        let keys: HashMap<String, usize> =
            open.iter().map(|index| (rows::sent_key(&self.pendings[*index].append), *index)).collect();
        let wanted: Vec<String> = keys.keys().cloned().collect();
        let (sent, history) = (self.committer.db.sent.clone(), self.committer.db.history.clone());
        let found = self.committer.db.run_within(self.left(until), async move {
            let rows: Vec<_> = sent.find(doc! { "_id": { "$in": wanted } }).await?.try_collect().await?;
            let mut found = Vec::with_capacity(rows.len());
            for row in rows {
                let first = rows::row_id(row.get_str("conversation")?, rows::bound(rows::unsigned(&row, "seq")?));
                let first = history.find_one(doc! { "_id": first }).await?;
                let first = first.ok_or_else(|| Fault::Damaged("a sent message has no history".into()))?;
                found.push((row, rows::decode_message(first.get_document("message")?)?));
            }
            Ok(found)
        });
        let found = found.await?;
        let count = found.len();
        for (row, first) in found {
            let Some(index) = keys.get(row.get_str("_id")?) else { continue };
            let append = &self.pendings[*index].append;
            let same = first.conversation == append.conversation
                && first.content_type == append.content_type
                && first.payload == append.payload;
            let placed = Placed {
                seq: rows::seq(&row, "seq")?,
                sender_seq: rows::seq(&row, "sender_seq")?,
                receiver_seq: rows::seq(&row, "receiver_seq")?,
                time_ms: rows::time(&row, "time")?,
                places: Vec::new(),
                repeated: true,
            };
            self.outcomes[*index] = Some(if same { Ok(placed) } else { Err(AppendError::IdReused) });
        }
        Ok(count)
    }
}
