//! Telling a process to end, and waiting until it has.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

/// How long a drain may take where nobody has said otherwise; the default of `drain_deadline`.
const PATIENCE: Duration = Duration::from_secs(25);

/// The stop of one process: a token to tell, a tracker to wait. Clones share both.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    /// From the first word to the end.
    patience: Duration,
    /// When the first word was said.
    begun_at: Arc<OnceLock<Instant>>,
    /// The task that must not have ended and did.
    failed: Arc<OnceLock<&'static str>>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// Every task has finished.
    Drained,
    /// The deadline passed with this many tasks unfinished.
    DeadlinePassed { left: usize },
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::with_patience(PATIENCE)
    }
}

impl Shutdown {
    /// A stop that may take 25 s.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A stop that may take that long. Whoever drains divides what [`Self::time_left`] gives.
    #[must_use]
    pub fn with_patience(patience: Duration) -> Self {
        Self {
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
            patience,
            begun_at: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// Tells everybody to finish. Later calls change nothing.
    pub fn begin(&self) {
        // Before the word is out, so that whoever hears it knows how long there is.
        self.begun_at.get_or_init(Instant::now);
        self.token.cancel();
    }

    /// How much of the patience is left; all of it before the shutdown has begun.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        let spent = self.begun_at.get().map_or(Duration::ZERO, Instant::elapsed);
        self.patience.saturating_sub(spent)
    }

    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the shutdown has begun. Cancellation-safe.
    pub fn begun(&self) -> WaitForCancellationFutureOwned {
        self.token.clone().cancelled_owned()
    }

    /// A token that is cancelled with this one, for parts that can also be stopped alone.
    #[must_use]
    pub fn child_token(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// The tracker, for tasks started by code that knows only tokio-util.
    #[must_use]
    pub fn tracker(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Starts a task that [`Self::drain`] waits for.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tasks.spawn(task)
    }

    /// As [`Self::spawn`], for a task without which the process is of no use. When it ends or
    /// panics before the shutdown has begun, its name is logged, the shutdown begins, and the
    /// process ends with a failure.
    pub fn spawn_vital<T: Send + 'static>(
        &self,
        name: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let watch = Vital { name, shutdown: self.clone() };
        self.tasks.spawn(async move {
            let _watch = watch;
            task.await
        })
    }

    /// The vital task that ended too early, if one did.
    #[must_use]
    pub fn failed(&self) -> Option<&'static str> {
        self.failed.get().copied()
    }

    /// Begins the shutdown if nobody has, and waits for the tasks, but not longer than `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Ending {
        self.begin();
        self.tasks.close();
        match timeout(deadline, self.tasks.wait()).await {
            Ok(()) => {
                tracing::info!("drained");
                Ending::Drained
            }
            Err(_) => {
                let left = self.tasks.len();
                tracing::warn!(left, ?deadline, "drain deadline passed, tasks are left");
                Ending::DeadlinePassed { left }
            }
        }
    }
}

/// Notices the end of a vital task, panics included: both drop it.
struct Vital {
    name: &'static str,
    shutdown: Shutdown,
}

impl Drop for Vital {
    fn drop(&mut self) {
        if !self.shutdown.is_begun() {
            tracing::error!(task = self.name, "a task that must not end has ended");
            let _ = self.shutdown.failed.set(self.name);
            self.shutdown.begin();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::{Ending, Shutdown};

    const DEADLINE: Duration = Duration::from_secs(25);

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_the_slowest_task_and_no_longer() {
        let shutdown = Shutdown::new();
        for seconds in [3, 7] {
            let begun = shutdown.begun();
            shutdown.spawn(async move {
                begun.await;
                sleep(Duration::from_secs(seconds)).await;
            });
        }
        let start = Instant::now();
        assert_eq!(shutdown.drain(DEADLINE).await, Ending::Drained);
        assert_eq!(start.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_gives_up_at_its_deadline_and_counts_what_is_left() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::ready(()));
        shutdown.spawn(std::future::pending::<()>());
        shutdown.spawn(std::future::pending::<()>());
        let start = Instant::now();
        assert_eq!(shutdown.drain(DEADLINE).await, Ending::DeadlinePassed { left: 2 });
        assert_eq!(start.elapsed(), DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_is_left_runs_from_the_first_word() {
        let shutdown = Shutdown::with_patience(DEADLINE);
        sleep(DEADLINE).await;
        assert_eq!(shutdown.time_left(), DEADLINE);
        shutdown.begin();
        sleep(Duration::from_secs(10)).await;
        shutdown.begin();
        assert_eq!(shutdown.time_left(), DEADLINE - Duration::from_secs(10));
        sleep(DEADLINE).await;
        assert_eq!(shutdown.time_left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_drain_ends_at_once() {
        let start = Instant::now();
        assert_eq!(Shutdown::new().drain(DEADLINE).await, Ending::Drained);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_vital_task_that_ends_or_panics_takes_the_process_down() {
        let ends = Shutdown::new();
        ends.spawn_vital("listener", std::future::ready(())).await.unwrap();
        assert!(ends.is_begun());
        assert_eq!(ends.failed(), Some("listener"));

        let panics = Shutdown::new();
        panics.spawn_vital("committer", async { panic!("on purpose") }).await.unwrap_err();
        assert_eq!(panics.failed(), Some("committer"));
    }

    #[tokio::test]
    async fn a_vital_task_may_end_once_the_shutdown_has_begun() {
        let shutdown = Shutdown::new();
        shutdown.spawn_vital("listener", shutdown.begun());
        assert_eq!(shutdown.drain(DEADLINE).await, Ending::Drained);
        assert_eq!(shutdown.failed(), None);
    }
}
