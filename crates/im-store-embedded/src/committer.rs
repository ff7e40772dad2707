//! The committer: the one thread that writes.
//!
//! It takes everything that arrived while the last group was on its way to the disk, works it out as
//! one [`Group`], commits that as one record, waits for the disk, lets readers see it, and only then
//! answers. So one fsync serves all who wait, and what anybody was told, or could read, is durable.
//!
//! After the first failed commit nobody knows what the disk holds: the store is failed for good,
//! everybody who waits is told so, and only opening it anew finds out.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use im_proto::{Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, DumpRow, LoadError, Placed, StoreError, SweepPolicy, Swept,
};
use tokio::sync::oneshot;

use crate::durable::Durable;
use crate::group::{Group, Numbers, Trimmed};
use crate::queue::{Cost, Queue};

/// Operations in one group at most. Far above what gathers during one fsync; it bounds the time
/// between two fsyncs when a full queue is drained.
const GROUP_LEN_MAX: usize = 2_048;
/// Bytes in one group at most, as [`Op::cost`] counts them.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often the figures are told to the metrics.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// Something to be done in order, and whom to tell.
pub(crate) enum Op {
    /// Some of one caller, who is told when all are done.
    Append(Vec<Append>, Reply<Result<Outcomes, AppendError>>),
    Commit(Vec<Change>, Reply<Result<(), CommitError>>),
    Trim {
        user: UserId,
        through: Seq,
        from: Option<Seq>,
        reply: Reply<Result<Trimmed, StoreError>>,
    },
    Sweep {
        policy: SweepPolicy,
        rows_max: usize,
        reply: Reply<Result<(Swept, usize), StoreError>>,
    },
    Load(Vec<DumpRow>, Reply<Result<(), LoadError>>),
}

type Reply<T> = oneshot::Sender<T>;

/// One for each append, in their order.
type Outcomes = Vec<Result<Placed, AppendError>>;

impl Op {
    /// How many it is, and about the memory that it takes while it waits and the rows that it becomes.
    pub(crate) fn cost(&self) -> Cost {
        const ROW: usize = 128;
        let len = if let Self::Append(appends, _) = self { appends.len() } else { 1 };
        let bytes = match self {
            Self::Append(appends, _) => {
                appends.iter().map(|append| append.payload.len() + ROW * (2 + append.recipients.len())).sum()
            }
            Self::Commit(changes, _) => changes.iter().map(|change| ROW + change_bytes(change)).sum(),
            Self::Trim { .. } | Self::Sweep { .. } => ROW,
            Self::Load(rows, _) => rows.iter().map(|row| ROW + row_bytes(row)).sum(),
        };
        Cost { len, bytes }
    }
}

fn change_bytes(change: &Change) -> usize {
    match change {
        Change::Put { key, value, .. } => key.len() + value.len(),
        Change::Delete { key, .. } | Change::Raise { key, .. } => key.len(),
    }
}

fn row_bytes(row: &DumpRow) -> usize {
    match row {
        DumpRow::Message(message) => message.payload.len(),
        DumpRow::Record { record, .. } => record.key.len() + record.value.len(),
        DumpRow::Entry { .. } | DumpRow::Floor { .. } | DumpRow::Sent { .. } => 0,
    }
}

/// What the committer shares with the store's handle.
pub(crate) struct Inbox {
    pub(crate) queue: Queue<Op>,
    /// Why nothing is stored any more; also set by whoever moves rows into the tree.
    failed: Arc<OnceLock<StoreError>>,
    /// Groups that reached the disk.
    pub(crate) commits: AtomicU64,
}

impl Inbox {
    pub(crate) fn new(queue: Queue<Op>, failed: Arc<OnceLock<StoreError>>) -> Self {
        Self { queue, failed, commits: AtomicU64::new(0) }
    }

    /// Why the store is failed, if it is.
    pub(crate) fn failure(&self) -> Option<&StoreError> {
        self.failed.get()
    }
}

/// An outcome that waits for the disk.
enum Answer {
    Append(Reply<Result<Outcomes, AppendError>>, Outcomes),
    Commit(Reply<Result<(), CommitError>>, Result<(), CommitError>),
    Trim(Reply<Result<Trimmed, StoreError>>, Result<Trimmed, StoreError>),
    Sweep(Reply<Result<(Swept, usize), StoreError>>, Result<(Swept, usize), StoreError>),
    Load(Reply<Result<(), LoadError>>, Result<(), LoadError>),
}

impl Answer {
    /// Whoever asked may have gone; what was handed in happens all the same.
    fn send(self) {
        match self {
            Self::Append(reply, outcomes) => drop(reply.send(Ok(outcomes))),
            Self::Commit(reply, outcome) => drop(reply.send(outcome)),
            Self::Trim(reply, outcome) => drop(reply.send(outcome)),
            Self::Sweep(reply, outcome) => drop(reply.send(outcome)),
            Self::Load(reply, outcome) => drop(reply.send(outcome)),
        }
    }

    fn fail(self, error: &StoreError) {
        match self {
            Self::Append(reply, _) => drop(reply.send(Err(error.clone().into()))),
            Self::Commit(reply, _) => drop(reply.send(Err(error.clone().into()))),
            Self::Trim(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::Sweep(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::Load(reply, _) => drop(reply.send(Err(error.clone().into()))),
        }
    }
}

fn fail_op(op: Op, error: &StoreError) {
    match op {
        Op::Append(_, reply) => drop(reply.send(Err(error.clone().into()))),
        Op::Commit(_, reply) => drop(reply.send(Err(error.clone().into()))),
        Op::Trim { reply, .. } => drop(reply.send(Err(error.clone()))),
        Op::Sweep { reply, .. } => drop(reply.send(Err(error.clone()))),
        Op::Load(_, reply) => drop(reply.send(Err(error.clone().into()))),
    }
}

pub(crate) struct Committer {
    durable: Arc<Durable>,
    inbox: Arc<Inbox>,
    numbers: Numbers,
    answers: Vec<Answer>,
    figures_told: Instant,
}

impl Committer {
    pub(crate) fn new(durable: Arc<Durable>, inbox: Arc<Inbox>, heads_max: usize) -> Self {
        let numbers = Numbers::new(heads_max);
        Self { durable, inbox, numbers, answers: Vec::new(), figures_told: Instant::now() }
    }

    /// Runs until the queue is closed and drained, or the store has failed.
    pub(crate) fn run(mut self) {
        let mut drained = Vec::new();
        let mut ops = VecDeque::new();
        while self.inbox.queue.take(&mut drained, GROUP_LEN_MAX, GROUP_BYTES_MAX) {
            ops.extend(drained.drain(..));
            while !ops.is_empty() {
                // A damaged tree may make fjall panic; that must reach those who wait as an error.
                let outcome = catch_unwind(AssertUnwindSafe(|| self.group(&mut ops)))
                    .unwrap_or_else(|panic| Err(StoreError::Failed(panic_text(&*panic))));
                if let Err(error) = outcome {
                    self.fail(error, ops);
                    return;
                }
            }
            self.tell_figures();
        }
    }

    /// One record: all of `ops`, or up to an import, which goes alone.
    fn group(&mut self, ops: &mut VecDeque<Op>) -> Result<(), StoreError> {
        let begin = Instant::now();
        let mut group = Group::new(self.durable.view(), Durable::builder(), &mut self.numbers);
        let mut appended = 0;
        while let Some(op) = ops.pop_front() {
            let answer = match op {
                Op::Append(appends, reply) => {
                    appended += appends.len();
                    Answer::Append(reply, appends.iter().map(|append| group.append(append)).collect())
                }
                Op::Commit(changes, reply) => Answer::Commit(reply, group.commit(&changes)),
                Op::Trim { user, through, from, reply } => Answer::Trim(reply, group.trim(&user, through, from)),
                Op::Sweep { policy, rows_max, reply } => Answer::Sweep(reply, group.sweep(&policy, rows_max)),
                Op::Load(rows, reply) if self.answers.is_empty() => Answer::Load(reply, group.load(&rows)),
                load @ Op::Load(..) => {
                    ops.push_front(load);
                    break;
                }
            };
            let alone = matches!(answer, Answer::Load(..));
            self.answers.push(answer);
            if alone {
                break;
            }
        }
        let rows = group.into_rows();
        if !rows.is_empty() {
            let rows_len = rows.len();
            let sync = self.durable.commit(rows)?;
            self.inbox.commits.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("sim_store_commits_total").increment(1);
            metrics::counter!("sim_store_appends_total").increment(appended as u64);
            metrics::histogram!("sim_store_group_appends").record(appended as f64);
            metrics::histogram!("sim_store_group_rows").record(rows_len as f64);
            metrics::histogram!("sim_store_fsync_seconds").record(sync);
            metrics::histogram!("sim_store_group_seconds").record(begin.elapsed());
        }
        for answer in self.answers.drain(..) {
            answer.send();
        }
        self.numbers.shrink();
        Ok(())
    }

    fn fail(mut self, error: StoreError, mut ops: VecDeque<Op>) {
        tracing::error!(%error, "the store has failed; nothing is stored any more until it is opened again");
        metrics::gauge!("sim_store_failed").set(1.0);
        let error = self.inbox.failed.get_or_init(|| error).clone();
        self.inbox.queue.close();
        for answer in self.answers.drain(..) {
            answer.fail(&error);
        }
        let mut rest = Vec::new();
        loop {
            for op in ops.drain(..).chain(rest.drain(..)) {
                fail_op(op, &error);
            }
            if !self.inbox.queue.take(&mut rest, GROUP_LEN_MAX, GROUP_BYTES_MAX) {
                return;
            }
        }
    }

    fn tell_figures(&mut self) {
        if self.figures_told.elapsed() < FIGURES_EVERY {
            return;
        }
        self.figures_told = Instant::now();
        let depth = self.inbox.queue.depth();
        let figures = self.durable.figures();
        metrics::gauge!("sim_store_queue_len").set(depth.len as f64);
        metrics::gauge!("sim_store_queue_bytes").set(depth.bytes as f64);
        metrics::gauge!("sim_store_log_bytes").set(figures.log_bytes as f64);
        metrics::gauge!("sim_store_log_segments").set(figures.log_segments as f64);
        metrics::gauge!("sim_store_overlay_bytes").set(figures.overlay_bytes as f64);
        metrics::gauge!("sim_store_overlay_runs").set(figures.overlay_runs as f64);
        metrics::gauge!("sim_store_tables").set(figures.tables as f64);
        metrics::gauge!("sim_store_tables_waiting").set(figures.tables_waiting as f64);
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the tree panicked: {}", text.unwrap_or("no reason given"))
}
