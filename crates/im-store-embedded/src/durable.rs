//! What is durable: the commit log, the rows that only it has, and the tree behind them.
//!
//! ```text
//!  committer ─▶ log, fdatasync ─▶ overlay (runs in memory) ─▶ published view ─▶ readers
//!                                    │   ▲
//!                                    │   └─ merger thread: few large runs out of many small ones
//!                                    └─ mover thread: all of them into the tree, then the log is cut short
//! ```
//!
//! The overlay holds what the log has and the tree has not. It is read with every question, so what is
//! acked is readable at once, long before the tree has it. Moving is one step for the tree: the rows
//! and the number of the last record among them become durable together, so that after a crash the log
//! is replayed from there. A record that is replayed twice changes nothing: rows are whole values.
//!
//! What must not happen: a view with a row that a power loss could take back; a row that is neither in
//! the overlay nor in the tree of a view; a deleted segment that the tree does not have durably.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use im_timeline::StoreError;
use parking_lot::{Condvar, Mutex};

use crate::committer::panic_text;
use crate::log::{Log, RECORD_HEADER_LEN};
use crate::overlay::{Layer, Overlay, newest_first};
use crate::rows;
use crate::run::{Merge, Run, RunBuilder};
use crate::tree::Tree;
use crate::view::View;

/// How often the mover looks whether compaction has caught up.
const OVERDUE_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Durable {
    log: Log,
    tree: Tree,
    work: Mutex<Work>,
    published: ArcSwap<View>,
    /// Enough to move, or the end.
    movable: Condvar,
    /// Enough to merge, or the end.
    mergeable: Condvar,
    /// Less in the overlay than before, or a failure.
    room: Condvar,
    failed: Arc<OnceLock<StoreError>>,
    /// Makes the mover end at one of its steps, for tests.
    #[cfg(test)]
    pub(crate) stop_at: Mutex<Option<Step>>,
    /// Whether it has.
    #[cfg(test)]
    pub(crate) stopped: std::sync::atomic::AtomicBool,
    /// Makes the mover stand still while a test holds it.
    #[cfg(test)]
    pub(crate) hold_mover: Mutex<()>,
}

/// The steps of a move, for tests that stop it there.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The tree's disk refuses.
    Refused,
    BeforeTree,
    AfterTree,
    AfterPublish,
}

/// What the committer, the mover and the merger share.
struct Work {
    overlay: Overlay,
    closed: bool,
}

/// Figures for the metrics.
pub(crate) struct Figures {
    pub(crate) overlay_bytes: usize,
    pub(crate) overlay_runs: usize,
    pub(crate) log_bytes: u64,
    pub(crate) log_segments: usize,
    pub(crate) tables: usize,
    pub(crate) tables_waiting: usize,
}

impl Durable {
    /// `runs` is what the log has and the tree has not, the oldest first.
    pub(crate) fn new(log: Log, tree: Tree, runs: Vec<(Run, u64)>, move_bytes: usize) -> Self {
        let overlay = Overlay::new(runs, move_bytes);
        let view = View::new(overlay.runs(), tree.view());
        Self {
            log,
            tree,
            work: Mutex::new(Work { overlay, closed: false }),
            published: ArcSwap::from_pointee(view),
            movable: Condvar::new(),
            mergeable: Condvar::new(),
            room: Condvar::new(),
            failed: Arc::default(),
            #[cfg(test)]
            stop_at: Mutex::new(None),
            #[cfg(test)]
            stopped: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            hold_mover: Mutex::new(()),
        }
    }

    /// What readers may see now.
    pub(crate) fn view(&self) -> View {
        View::clone(&self.published.load())
    }

    /// A buffer for the next group.
    pub(crate) fn builder() -> RunBuilder {
        RunBuilder::new(RECORD_HEADER_LEN)
    }

    /// Waits until the disk has the rows, then lets readers see them. Waits before that until there is
    /// room for them. Returns how long the sync took. After an error nothing may be committed any more:
    /// what the disk holds is unknown.
    pub(crate) fn commit(&self, mut rows: RunBuilder) -> Result<Duration, StoreError> {
        self.wait_for_room()?;
        let (last, sync) = self.log.append(rows.bytes_mut()).map_err(failed)?;
        let run = rows.finish();
        let mut work = self.work.lock();
        work.overlay.push(run, last);
        self.publish(&work.overlay, None);
        if work.overlay.wants_move() {
            self.movable.notify_one();
        }
        if work.overlay.wants_merge() {
            self.mergeable.notify_one();
        }
        Ok(sync)
    }

    fn wait_for_room(&self) -> Result<(), StoreError> {
        let mut work = self.work.lock();
        loop {
            if let Some(error) = self.failed.get() {
                return Err(error.clone());
            }
            if work.overlay.has_room() {
                return Ok(());
            }
            self.room.wait(&mut work);
        }
    }

    /// Why rows do not get into the tree any more, once they do not; then nothing is committed any more.
    pub(crate) fn failed(&self) -> Arc<OnceLock<StoreError>> {
        Arc::clone(&self.failed)
    }

    pub(crate) fn figures(&self) -> Figures {
        let (log_bytes, log_segments) = self.log.size();
        let (tables, tables_waiting) = self.tree.tables();
        let Work { overlay, .. } = &*self.work.lock();
        Figures {
            overlay_bytes: overlay.bytes(),
            overlay_runs: overlay.len(),
            log_bytes,
            log_segments,
            tables,
            tables_waiting,
        }
    }

    /// The mover thread. Ends when the store is closed; what is in the overlay then is in the log.
    pub(crate) fn run_mover(&self) {
        self.guarded(|| {
            while let Some(layers) = self.next_move() {
                if !self.move_into_tree(&layers)? {
                    break;
                }
            }
            Ok(())
        });
    }

    /// Waits until a move is due, and until compaction has caught up. `None` when the store is closed.
    fn next_move(&self) -> Option<Vec<Layer>> {
        loop {
            // Not under the lock: the tree may make this wait for its disk.
            let overdue = self.tree.is_overdue();
            let mut work = self.work.lock();
            if work.closed {
                return None;
            }
            match work.overlay.wants_move() {
                true if !overdue => return Some(work.overlay.begin_move()),
                true => drop(self.movable.wait_for(&mut work, OVERDUE_PAUSE)),
                false => self.movable.wait(&mut work),
            }
        }
    }

    /// Returns whether to go on.
    fn move_into_tree(&self, layers: &[Layer]) -> Result<bool, StoreError> {
        let Some(newest) = layers.last() else { return Ok(true) };
        let begin = std::time::Instant::now();
        #[cfg(test)]
        drop(self.hold_mover.lock());
        #[cfg(test)]
        if self.stops_at(Step::Refused) {
            return Err(StoreError::Failed("a disk fault was asked for".to_owned()));
        }
        #[cfg(test)]
        if self.stops_at(Step::BeforeTree) {
            return Ok(false);
        }
        let mut applied = RunBuilder::new(0);
        applied.put(&rows::applied_key(), &newest.last().to_be_bytes());
        let runs: Vec<_> =
            std::iter::once(Arc::new(applied.finish())).chain(newest_first(layers).iter().cloned()).collect();
        self.tree.ingest(Merge::new(&runs))?;
        #[cfg(test)]
        if self.stops_at(Step::AfterTree) {
            return Ok(false);
        }
        {
            let mut work = self.work.lock();
            work.overlay.end_move();
            self.publish(&work.overlay, Some(&self.tree));
            self.room.notify_all();
        }
        #[cfg(test)]
        if self.stops_at(Step::AfterPublish) {
            return Ok(false);
        }
        self.log.release(newest.last()).map_err(failed)?;
        metrics::counter!("sim_store_moves_total").increment(1);
        metrics::histogram!("sim_store_move_seconds").record(begin.elapsed());
        Ok(true)
    }

    /// The merger thread. Ends when the store is closed.
    pub(crate) fn run_merger(&self) {
        self.guarded(|| {
            while let Some(layers) = self.next_merge() {
                let merged = Run::merge(&newest_first(&layers));
                let mut work = self.work.lock();
                work.overlay.end_merge(&layers, merged);
                self.publish(&work.overlay, None);
                self.room.notify_all();
            }
            Ok(())
        });
    }

    /// Waits until a merge is due. `None` when the store is closed.
    fn next_merge(&self) -> Option<Vec<Layer>> {
        let mut work = self.work.lock();
        loop {
            if work.closed {
                return None;
            }
            if let Some(layers) = work.overlay.begin_merge() {
                return Some(layers);
            }
            self.mergeable.wait(&mut work);
        }
    }

    /// Asks the threads to end.
    pub(crate) fn close(&self) {
        self.work.lock().closed = true;
        self.movable.notify_all();
        self.mergeable.notify_all();
    }

    /// Gives back what the newest segment has reserved. Only after the committer has ended.
    pub(crate) fn trim_log(&self) {
        if self.failed.get().is_some() {
            return;
        }
        if let Err(error) = self.log.trim() {
            tracing::warn!(%error, "the commit log keeps its reserved bytes");
        }
    }

    /// Asks for a move of everything now.
    #[cfg(test)]
    pub(crate) fn move_now(&self) {
        self.work.lock().overlay.move_now();
        self.movable.notify_all();
    }

    /// Runs in the overlay.
    #[cfg(test)]
    pub(crate) fn overlay_runs(&self) -> usize {
        self.work.lock().overlay.len()
    }

    #[cfg(test)]
    fn stops_at(&self, step: Step) -> bool {
        let stops = *self.stop_at.lock() == Some(step);
        self.stopped.store(stops, std::sync::atomic::Ordering::Release);
        stops
    }

    #[cfg(test)]
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Makes what is in the overlay now what readers see; over the tree as it is now, or as it was.
    fn publish(&self, overlay: &Overlay, tree: Option<&Tree>) {
        let tree = tree.map_or_else(|| self.published.load().tree().clone(), Tree::view);
        self.published.store(Arc::new(View::new(overlay.runs(), tree)));
    }

    /// A thread that fails takes the store with it: what it does not do would only pile up.
    fn guarded(&self, body: impl FnOnce() -> Result<(), StoreError>) {
        // A damaged tree may make fjall panic.
        let outcome =
            catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(StoreError::Failed(panic_text(&*panic))));
        if let Err(error) = outcome {
            tracing::error!(%error, "rows cannot be moved from the commit log into the tree");
            self.failed.get_or_init(|| error);
            let _work = self.work.lock();
            self.room.notify_all();
        }
    }
}

fn failed(error: std::io::Error) -> StoreError {
    StoreError::Failed(format!("the commit log: {error}"))
}
