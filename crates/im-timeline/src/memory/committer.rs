//! The one task that writes: takes all that has arrived, applies it to the live image, waits for
//! the simulated fsync, brings the durable image up to it, and only then answers.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::image::{Image, SweepCursor, Write};
use super::{Disk, SyncFault};
use crate::{Append, AppendError, Change, CommitError, DumpRow, LoadError, Placed, StoreError, SweepPolicy, Swept};
use im_proto::{Seq, UserId};

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What the store hands in.
pub(super) enum Request {
    Append(Append, Reply<Placed, AppendError>),
    Commit(Vec<Change>, Reply<(), CommitError>),
    Trim(UserId, Seq, Reply<Seq, StoreError>),
    Sweep(SweepPolicy, Reply<Swept, StoreError>),
    Load(Vec<DumpRow>, Reply<(), LoadError>),
    Close,
}

/// Tells one caller how it went, once the group is durable (`Ok`) or lost.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

fn answer<T, E>(reply: Reply<T, E>, outcome: Result<T, E>) -> Answer
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    // A caller that has gone away is no reason to stop.
    Box::new(move |group| drop(reply.send(group.map_err(E::from).and(outcome))))
}

pub(super) struct Committer {
    disk: Disk,
    generation: u64,
    fsync: Duration,
    queue: mpsc::Receiver<Request>,
    live: Image,
    journal: Vec<Write>,
    sweep: SweepCursor,
    /// Rows of an import have come into a store that was empty, and nothing else since.
    loading: bool,
}

impl Committer {
    pub(super) fn new(disk: Disk, generation: u64, fsync: Duration, queue: mpsc::Receiver<Request>) -> Self {
        let live = disk.state.lock().image.clone();
        Self {
            disk,
            generation,
            fsync,
            queue,
            live,
            journal: Vec::new(),
            sweep: SweepCursor::default(),
            loading: false,
        }
    }

    /// Runs until the store is closed or dropped.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let mut answers = Vec::new();
            let mut open = self.apply(first, &mut answers);
            // At most what the queue's bound admits; what comes during the fsync waits for the next.
            while open {
                let Ok(request) = self.queue.try_recv() else { break };
                open = self.apply(request, &mut answers);
            }
            let outcome = self.sync().await;
            for answer in answers {
                answer(outcome.clone());
            }
            if !open {
                return;
            }
        }
    }

    /// Whether the store stays open.
    fn apply(&mut self, request: Request, answers: &mut Vec<Answer>) -> bool {
        answers.push(match request {
            Request::Append(append, reply) => {
                let planned = self.live.append(&append);
                answer(reply, planned.map(|(placed, writes)| self.write(writes, placed)))
            }
            Request::Commit(changes, reply) => {
                let planned = self.live.commit(&changes);
                answer(reply, planned.map(|writes| self.write(writes, ())))
            }
            Request::Trim(user, through, reply) => {
                let (floor, writes) = self.live.trim(&user, through);
                answer(reply, Ok(self.write(writes, floor)))
            }
            Request::Sweep(policy, reply) => {
                let (swept, writes) = self.live.sweep(policy, &mut self.sweep);
                answer(reply, Ok(self.write(writes, swept)))
            }
            Request::Load(rows, reply) => {
                let outcome = if self.loading || self.live.is_empty() {
                    self.write(rows.into_iter().map(Write::Put).collect(), ());
                    self.loading = true;
                    Ok(())
                } else {
                    Err(LoadError::NotEmpty)
                };
                answer(reply, outcome)
            }
            Request::Close => return false,
        });
        true
    }

    fn write<T>(&mut self, writes: Vec<Write>, outcome: T) -> T {
        self.loading &= writes.is_empty();
        for write in &writes {
            self.live.apply(write);
        }
        self.journal.extend(writes);
        outcome
    }

    async fn sync(&mut self) -> Result<(), StoreError> {
        // Refusals and repeats of what is durable already need no disk.
        if self.journal.is_empty() {
            return Ok(());
        }
        if self.fsync.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(self.fsync).await;
        }
        let mut disk = self.disk.state.lock();
        if disk.generation != self.generation {
            return Err(StoreError::Closed);
        }
        disk.syncs += 1;
        let fault = disk.fault.take();
        if fault != Some(SyncFault::Lost) {
            for write in self.journal.drain(..) {
                disk.image.apply(&write);
            }
        }
        if fault.is_none() {
            return Ok(());
        }
        self.journal.clear();
        self.live = disk.image.clone();
        Err(StoreError::Failed("the simulated disk refused an fsync".into()))
    }
}
