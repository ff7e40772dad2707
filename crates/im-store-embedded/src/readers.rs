//! A few threads that answer reads, so that a look into the tree never holds up an async worker.
//!
//! Threads of our own and not the runtime's blocking pool: their number is ours, so a burst of cold
//! reads cannot start hundreds of threads, and ending them tells that nobody holds the tree any more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use im_timeline::StoreError;
use tokio::sync::{Semaphore, oneshot};

use crate::committer::panic_text;
use crate::durable::Durable;
use crate::queue::{Cost, Queue};
use crate::view::View;

type Job = Box<dyn FnOnce(&View) + Send>;

pub(crate) struct Readers {
    jobs: Arc<Queue<Job>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn start(
        durable: &Arc<Durable>,
        threads: usize,
        reads_max: usize,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let jobs = Arc::new(Queue::new(reads_max.max(1), usize::MAX));
        let readers = Self { jobs: Arc::clone(&jobs), permits: Arc::new(Semaphore::new(reads_max.max(1))) };
        let mut handles = Vec::new();
        for _ in 0..threads.max(1) {
            let (durable, jobs) = (Arc::clone(durable), Arc::clone(&jobs));
            let handle = std::thread::Builder::new().name("store-reader".to_owned()).spawn(move || {
                while let Some(job) = jobs.pop() {
                    job(&durable.view());
                }
            });
            match handle {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    readers.close();
                    return Err(error);
                }
            }
        }
        Ok((readers, handles))
    }

    /// Answers a question on what is durable now. Waits in line when too many are under way. Dropping
    /// the future lets go of the answer; the work may still be done.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&View) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let job = move |view: &View| {
            // Damage may make fjall panic; the thread must live on for the other reads.
            let outcome = catch_unwind(AssertUnwindSafe(|| question(view)))
                .unwrap_or_else(|panic| Err(StoreError::Damaged(panic_text(&*panic))));
            drop(permit);
            drop(reply.send(outcome));
        };
        self.jobs.push(Box::new(job), Cost { len: 1, bytes: 0 }).map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Refuses reads from now on; those in line are still answered.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.jobs.close();
    }
}
