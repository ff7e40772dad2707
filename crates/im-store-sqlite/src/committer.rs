//! The one thread that writes: all that arrived while the last transaction was synced goes into the
//! next, and answers are given when that one is durable.

use std::fs::File;

use im_proto::{Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, DumpRow, LoadError, Placed, StoreError, SweepPolicy, Swept,
};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::fault::Fault;
use crate::write::{self, SweepCursor};

/// Requests of one transaction. More would make the first of them wait for too long.
const GROUP_MAX: usize = 512;

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What the store hands in.
pub(crate) enum Request {
    Append(Append, Reply<Placed, AppendError>),
    Commit(Vec<Change>, Reply<(), CommitError>),
    Trim(UserId, Seq, Reply<Seq, StoreError>),
    Sweep(SweepPolicy, Reply<Swept, StoreError>),
    Load(Vec<DumpRow>, Reply<(), LoadError>),
    Close,
}

/// Tells one caller how it went, once the group is durable or undone.
type Answer = Box<dyn FnOnce(Result<(), StoreError>)>;

fn answer<T: 'static, E: From<StoreError> + 'static>(reply: Reply<T, E>, outcome: Option<Result<T, E>>) -> Answer {
    Box::new(move |group| {
        let outcome = match (group, outcome) {
            (Ok(()), Some(outcome)) => outcome,
            // A step without an outcome fails its group, so this is not reached.
            (Ok(()), None) => Err(StoreError::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        // A caller that has gone away is no reason to stop.
        drop(reply.send(outcome));
    })
}

pub(crate) struct Committer {
    connection: Connection,
    /// Held until the connection is closed, so that nobody opens the folder before.
    _lock: File,
    queue: mpsc::Receiver<Request>,
    progress: Progress,
}

/// What the committer remembers between groups; a group that is undone undoes it too.
#[derive(Clone, Default)]
struct Progress {
    sweep: SweepCursor,
    /// Rows of an import have come into a store that was empty, and nothing else since.
    loading: bool,
}

impl Committer {
    pub(crate) fn new(connection: Connection, queue: mpsc::Receiver<Request>, lock: File) -> Self {
        Self { connection, _lock: lock, queue, progress: Progress::default() }
    }

    /// Runs until the store is closed or dropped. Fields are dropped in their order: the connection
    /// first, then the lock, and last the queue, whose end tells the closer.
    pub(crate) fn run(mut self) {
        let mut open = true;
        while open {
            let Some(first) = self.queue.blocking_recv() else { return };
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(request) = next {
                if matches!(request, Request::Close) {
                    open = false;
                    break;
                }
                group.push(request);
                next = if group.len() < GROUP_MAX { self.queue.try_recv().ok() } else { None };
            }
            if !group.is_empty() {
                self.commit(group);
            }
        }
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let mut group = Group { transaction: begun.map_err(Fault::from), progress: self.progress.clone() };
        // After a fault the rest of the group is not tried, but answered all the same.
        let answers: Vec<Answer> = requests.into_iter().filter_map(|request| group.apply(request)).collect();
        let Group { transaction, progress } = group;
        let outcome = match transaction.and_then(|transaction| Ok(transaction.commit()?)) {
            Ok(()) => {
                self.progress = progress;
                Ok(())
            }
            Err(fault) => {
                tracing::error!(%fault, "a commit group failed");
                Err(StoreError::from(fault))
            }
        };
        for answer in answers {
            answer(outcome.clone());
        }
    }
}

/// One transaction, until something fails; what failed then stands in its place, and the
/// transaction, being dropped, is rolled back.
struct Group<'a> {
    transaction: Result<Transaction<'a>, Fault>,
    progress: Progress,
}

impl Group<'_> {
    fn apply(&mut self, request: Request) -> Option<Answer> {
        Some(match request {
            Request::Append(append, reply) => {
                let outcome = self.step(|tx, progress| {
                    let placed = write::append(tx, &append)?;
                    progress.loading &= !placed.as_ref().is_ok_and(|placed| !placed.repeated);
                    Ok(placed)
                });
                answer(reply, outcome)
            }
            Request::Commit(changes, reply) => {
                let outcome = self.step(|tx, progress| {
                    // Dropped without a commit, a savepoint is rolled back.
                    let savepoint = tx.savepoint()?;
                    let committed = write::commit(&savepoint, &changes)?;
                    if committed.is_ok() {
                        savepoint.commit()?;
                        progress.loading &= changes.is_empty();
                    }
                    Ok(committed)
                });
                answer(reply, outcome)
            }
            Request::Trim(user, through, reply) => {
                let outcome = self.step(|tx, progress| {
                    progress.loading = false;
                    write::trim(tx, &user, through).map(Ok)
                });
                answer(reply, outcome)
            }
            Request::Sweep(policy, reply) => {
                let outcome = self.step(|tx, progress| {
                    let swept = write::sweep(tx, policy, &mut progress.sweep)?;
                    progress.loading &= swept.entries + swept.sent == 0;
                    Ok(Ok(swept))
                });
                answer(reply, outcome)
            }
            Request::Load(rows, reply) => {
                let outcome = self.step(|tx, progress| {
                    if !progress.loading && !write::is_empty(tx)? {
                        return Ok(Err(LoadError::NotEmpty));
                    }
                    progress.loading = true;
                    rows.iter().try_for_each(|row| write::load(tx, row)).map(Ok)
                });
                answer(reply, outcome)
            }
            // It ended the group before this one came here.
            Request::Close => return None,
        })
    }

    fn step<T, E>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>, &mut Progress) -> Result<Result<T, E>, Fault>,
    ) -> Option<Result<T, E>> {
        let transaction = self.transaction.as_mut().ok()?;
        match work(transaction, &mut self.progress) {
            Ok(outcome) => Some(outcome),
            Err(fault) => {
                self.transaction = Err(fault);
                None
            }
        }
    }
}
