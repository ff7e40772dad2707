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
use crate::rows;
use crate::run::{Merge, Run, RunBuilder};
use crate::tree::Tree;
use crate::view::View;

/// The overlay may hold so many times [`Options::overlay_bytes`](crate::Options), so that appends go on
/// while a move is under way. Above it the committer waits, and who asks for more is told *busy*.
const OVERLAY_FACTOR: usize = 2;
/// Runs that are merged into one, and what a look for a missing key costs for each size of run.
const MERGE_RUNS: usize = 8;
/// Runs up to this are of the smallest size; each further size is [`MERGE_RUNS`] times as large.
const SMALL_RUN_BYTES: usize = 16 * 1024;
/// Runs at most; above it the committer waits. Merging leaves fewer than [`MERGE_RUNS`] of each of six
/// sizes; there may be as many again on their way into the tree, and some wait for the merger.
const RUNS_MAX: usize = 128;
/// How often the mover looks whether compaction has caught up.
const OVERDUE_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Durable {
    log: Log,
    tree: Tree,
    overlay: Mutex<Overlay>,
    /// Bytes of the overlay above which it is moved.
    move_bytes: usize,
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
    BeforeTree,
    AfterTree,
    AfterPublish,
}

struct Overlay {
    /// From the oldest to the newest. New ones come at the end, the mover takes from the front, the
    /// merger works between.
    layers: Vec<Layer>,
    bytes: usize,
    /// How many of the oldest are on their way into the tree. The merger leaves them alone.
    moving: usize,
    merging: bool,
    /// Asks for a move before it is due.
    move_now: bool,
    closed: bool,
}

#[derive(Clone)]
struct Layer {
    run: Arc<Run>,
    /// The last record of the log that is in it.
    last: u64,
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
        let layers: Vec<_> = runs.into_iter().map(|(run, last)| Layer { run: Arc::new(run), last }).collect();
        let bytes = layers.iter().map(|layer| layer.run.weight()).sum();
        let view = View::new(newest_first(&layers), tree.view());
        Self {
            log,
            tree,
            overlay: Mutex::new(Overlay { layers, bytes, moving: 0, merging: false, move_now: false, closed: false }),
            move_bytes,
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
        let run = Arc::new(rows.finish());
        let mut overlay = self.overlay.lock();
        overlay.bytes += run.weight();
        overlay.layers.push(Layer { run, last });
        self.publish(&overlay, None);
        if overlay.move_is_due(self.move_bytes) {
            self.movable.notify_one();
        }
        if !overlay.merging && overlay.merge_due().is_some() {
            self.mergeable.notify_one();
        }
        Ok(sync)
    }

    fn wait_for_room(&self) -> Result<(), StoreError> {
        let mut overlay = self.overlay.lock();
        loop {
            if let Some(error) = self.failed.get() {
                return Err(error.clone());
            }
            if overlay.bytes < self.move_bytes.saturating_mul(OVERLAY_FACTOR) && overlay.layers.len() < RUNS_MAX {
                return Ok(());
            }
            self.room.wait(&mut overlay);
        }
    }

    /// Why rows do not get into the tree any more, once they do not; then nothing is committed any more.
    pub(crate) fn failed(&self) -> Arc<OnceLock<StoreError>> {
        Arc::clone(&self.failed)
    }

    pub(crate) fn figures(&self) -> Figures {
        let (log_bytes, log_segments) = self.log.size();
        let (tables, tables_waiting) = self.tree.tables();
        let overlay = self.overlay.lock();
        Figures {
            overlay_bytes: overlay.bytes,
            overlay_runs: overlay.layers.len(),
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
            let mut overlay = self.overlay.lock();
            if overlay.closed {
                return None;
            }
            match overlay.move_is_due(self.move_bytes) {
                true if !overdue => {
                    overlay.move_now = false;
                    overlay.moving = overlay.layers.len();
                    return Some(overlay.layers.clone());
                }
                true => drop(self.movable.wait_for(&mut overlay, OVERDUE_PAUSE)),
                false => self.movable.wait(&mut overlay),
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
        if self.stops_at(Step::BeforeTree) {
            return Ok(false);
        }
        let mut applied = RunBuilder::new(0);
        applied.put(&rows::applied_key(), &newest.last.to_be_bytes());
        let runs: Vec<_> =
            std::iter::once(Arc::new(applied.finish())).chain(newest_first(layers).iter().cloned()).collect();
        self.tree.ingest(Merge::new(&runs))?;
        #[cfg(test)]
        if self.stops_at(Step::AfterTree) {
            return Ok(false);
        }
        {
            let mut overlay = self.overlay.lock();
            overlay.moving = 0;
            let moved = overlay.layers.drain(..layers.len()).map(|layer| layer.run.weight()).sum::<usize>();
            overlay.bytes -= moved;
            self.publish(&overlay, Some(&self.tree));
            self.room.notify_all();
        }
        #[cfg(test)]
        if self.stops_at(Step::AfterPublish) {
            return Ok(false);
        }
        self.log.release(newest.last).map_err(failed)?;
        metrics::counter!("store_moves_total").increment(1);
        metrics::histogram!("store_move_seconds").record(begin.elapsed());
        Ok(true)
    }

    /// The merger thread. Ends when the store is closed.
    pub(crate) fn run_merger(&self) {
        self.guarded(|| {
            loop {
                let layers = {
                    let mut overlay = self.overlay.lock();
                    overlay.merging = false;
                    let begin = loop {
                        if overlay.closed {
                            return Ok(());
                        }
                        match overlay.merge_due() {
                            Some(begin) => break begin,
                            None => self.mergeable.wait(&mut overlay),
                        }
                    };
                    overlay.merging = true;
                    overlay.layers[begin..].to_vec()
                };
                let merged = Run::merge(&newest_first(&layers));
                let mut overlay = self.overlay.lock();
                overlay.replace(&layers, Arc::new(merged));
                self.publish(&overlay, None);
                self.room.notify_all();
            }
        });
    }

    /// Asks the threads to end.
    pub(crate) fn close(&self) {
        self.overlay.lock().closed = true;
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
        self.overlay.lock().move_now = true;
        self.movable.notify_all();
    }

    /// Runs in the overlay.
    #[cfg(test)]
    pub(crate) fn overlay_runs(&self) -> usize {
        self.overlay.lock().layers.len()
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
        self.published.store(Arc::new(View::new(newest_first(&overlay.layers), tree)));
    }

    /// A thread that fails takes the store with it: what it does not do would only pile up.
    fn guarded(&self, body: impl FnOnce() -> Result<(), StoreError>) {
        // A damaged tree may make fjall panic.
        let outcome =
            catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(StoreError::Failed(panic_text(&*panic))));
        if let Err(error) = outcome {
            tracing::error!(%error, "rows cannot be moved from the commit log into the tree");
            self.failed.get_or_init(|| error);
            let _overlay = self.overlay.lock();
            self.room.notify_all();
        }
    }
}

impl Overlay {
    fn move_is_due(&self, move_bytes: usize) -> bool {
        self.moving == 0 && !self.layers.is_empty() && (self.move_now || self.bytes >= move_bytes)
    }

    /// Where the newest runs begin that should become one, if any should.
    fn merge_due(&self) -> Option<usize> {
        let free = self.layers[self.moving..].iter().map(|layer| layer.run.weight());
        merge_due(free).map(|begin| self.moving + begin)
    }

    /// Puts one run in the place of those that it was made of; unless they have begun to move meanwhile.
    fn replace(&mut self, old: &[Layer], run: Arc<Run>) {
        let Some((first, last)) = old.first().zip(old.last()) else { return };
        let place = self.layers.iter().position(|layer| Arc::ptr_eq(&layer.run, &first.run));
        let Some(begin) = place.filter(|&place| place >= self.moving) else { return };
        self.bytes += run.weight();
        let gone = self.layers.splice(begin..begin + old.len(), [Layer { run, last: last.last }]);
        self.bytes -= gone.map(|layer| layer.run.weight()).sum::<usize>();
    }
}

/// Of runs from the oldest to the newest, by their bytes: where those begin that should become one.
/// [`MERGE_RUNS`] of one size, with what is newer than they are; and a run counts as no smaller than any
/// that came after it, since it could only be merged together with that one. So of each size there are
/// fewer than [`MERGE_RUNS`], in whatever order they come.
fn merge_due(runs: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator) -> Option<usize> {
    let (mut largest, mut of_largest, mut due) = (0, 0, None);
    for (index, bytes) in runs.enumerate().rev() {
        let size = size_of_run(bytes);
        if size > largest {
            if due.is_some() {
                break;
            }
            (largest, of_largest) = (size, 0);
        }
        of_largest += 1;
        if of_largest >= MERGE_RUNS {
            due = Some(index);
        }
    }
    due
}

/// 0 for the smallest.
fn size_of_run(bytes: usize) -> u32 {
    (bytes / SMALL_RUN_BYTES).checked_ilog(MERGE_RUNS).map_or(0, |size| size + 1)
}

fn newest_first(layers: &[Layer]) -> Arc<[Arc<Run>]> {
    layers.iter().rev().map(|layer| Arc::clone(&layer.run)).collect()
}

fn failed(error: std::io::Error) -> StoreError {
    StoreError::Failed(format!("the commit log: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Plays the merger over groups of those bytes. Returns the most runs that there ever were, and how
    /// often a byte was copied on average.
    fn play(groups: impl Iterator<Item = usize>) -> (usize, f64) {
        let (mut runs, mut most, mut bytes, mut copied) = (Vec::new(), 0, 0, 0);
        for group in groups {
            runs.push(group);
            bytes += group;
            while let Some(begin) = merge_due(runs.iter().copied()) {
                assert!(runs.len() - begin >= MERGE_RUNS, "{begin} of {runs:?}");
                let merged = runs.drain(begin..).sum::<usize>();
                copied += merged;
                runs.push(merged);
            }
            most = most.max(runs.len());
        }
        (most, f64::from(u32::try_from(copied / 1024).unwrap()) / f64::from(u32::try_from(bytes / 1024).unwrap()))
    }

    /// Groups of all sizes in any order leave few runs, so that the committer never waits for a merge
    /// that is not due; and no row is copied often.
    #[test]
    fn runs_stay_few_in_whatever_sizes_they_come() {
        let mut random = 7u64;
        let mut draw = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 33
        };
        for (what, most_allowed, groups) in [
            ("all small", 7 * 5 + 1, vec![400; 100_000]),
            ("all large", 7 * 5 + 1, vec![300_000; 200]),
            ("seldom larger", 7 * 6 + 1, (0..50_000).map(|n| if n % 7 == 6 { 20_000 } else { 400 }).collect()),
            ("any", 7 * 6 + 1, (0..5_000).map(|_| 400usize << (draw() % 11)).collect()),
        ] {
            let (most, copies) = play(groups.into_iter());
            assert!(most <= most_allowed, "{what}: {most} runs");
            assert!(copies < 7.0, "{what}: copied {copies} times");
        }
    }
}
