//! The overlay: the rows that the commit log has and the tree has not, as runs in the order of the log.
//!
//! New runs come at the end, the mover takes all that there are into the tree, the merger makes one of
//! several that the mover has not taken. Which of them become one, and when it is time to move, is decided here;
//! who does it, and what is shown to readers, in [`crate::durable`].
//!
//! What must not happen: two runs out of order, since of one key the newer run counts.

use std::sync::Arc;

use crate::run::Run;

/// The overlay may hold so many times [`Options::overlay_bytes`](crate::Options), so that appends go on
/// while a move is under way. Above it the committer waits, and who asks for more is told *busy*.
const BYTES_FACTOR: usize = 2;
/// Runs that are merged into one, and what a look for a missing key costs for each size of run.
const MERGE_RUNS: usize = 8;
/// Runs up to this are of the smallest size; each further size is [`MERGE_RUNS`] times as large.
const SMALL_RUN_BYTES: usize = 16 * 1024;
/// Runs at most; above it the committer waits. Merging leaves fewer than [`MERGE_RUNS`] of each of six
/// sizes; there may be as many again on their way into the tree, and some wait for the merger.
const RUNS_MAX: usize = 128;

pub(crate) struct Overlay {
    /// From the oldest to the newest.
    layers: Vec<Layer>,
    bytes: usize,
    /// Bytes above which it is moved.
    move_bytes: usize,
    /// How many of the oldest are on their way into the tree. The merger leaves them alone.
    moving: usize,
    merging: bool,
    /// Asks for a move before it is due.
    move_now: bool,
}

#[derive(Clone)]
pub(crate) struct Layer {
    run: Arc<Run>,
    /// The last record of the log that is in it.
    last: u64,
}

impl Overlay {
    /// Of runs with their last records, the oldest first.
    pub(crate) fn new(runs: Vec<(Run, u64)>, move_bytes: usize) -> Self {
        let mut overlay = Self { layers: Vec::new(), bytes: 0, move_bytes, moving: 0, merging: false, move_now: false };
        for (run, last) in runs {
            overlay.push(run, last);
        }
        overlay
    }

    /// Takes the rows of the log up to that record, the newest now.
    pub(crate) fn push(&mut self, run: Run, last: u64) {
        self.bytes += run.weight();
        self.layers.push(Layer { run: Arc::new(run), last });
    }

    pub(crate) fn has_room(&self) -> bool {
        self.bytes < self.move_bytes.saturating_mul(BYTES_FACTOR) && self.layers.len() < RUNS_MAX
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Runs.
    pub(crate) fn len(&self) -> usize {
        self.layers.len()
    }

    /// For a view: the newest first.
    pub(crate) fn runs(&self) -> Arc<[Arc<Run>]> {
        newest_first(&self.layers)
    }

    pub(crate) fn wants_move(&self) -> bool {
        self.moving == 0 && !self.layers.is_empty() && (self.move_now || self.bytes >= self.move_bytes)
    }

    /// All that there is. Stays where it is until [`end_move`](Self::end_move).
    pub(crate) fn begin_move(&mut self) -> Vec<Layer> {
        self.move_now = false;
        self.moving = self.layers.len();
        self.layers.clone()
    }

    /// The tree has what was to be moved.
    pub(crate) fn end_move(&mut self) {
        let moved = self.layers.drain(..self.moving).map(|layer| layer.run.weight()).sum::<usize>();
        self.bytes -= moved;
        self.moving = 0;
    }

    /// Moves as soon as there is anything.
    #[cfg(test)]
    pub(crate) fn move_now(&mut self) {
        self.move_now = true;
    }

    pub(crate) fn wants_merge(&self) -> bool {
        !self.merging && self.merge_due().is_some()
    }

    /// Those that should become one, if any should.
    pub(crate) fn begin_merge(&mut self) -> Option<Vec<Layer>> {
        let begin = self.merge_due()?;
        self.merging = true;
        Some(self.layers[begin..].to_vec())
    }

    /// Puts one run in the place of those that it was made of; unless they have begun to move meanwhile.
    pub(crate) fn end_merge(&mut self, old: &[Layer], run: Run) {
        self.merging = false;
        let Some((first, last)) = old.first().zip(old.last()) else { return };
        let place = self.layers.iter().position(|layer| Arc::ptr_eq(&layer.run, &first.run));
        let Some(begin) = place.filter(|&place| place >= self.moving) else { return };
        self.bytes += run.weight();
        let merged = Layer { run: Arc::new(run), last: last.last };
        let gone = self.layers.splice(begin..begin + old.len(), [merged]);
        self.bytes -= gone.map(|layer| layer.run.weight()).sum::<usize>();
    }

    fn merge_due(&self) -> Option<usize> {
        let free = self.layers[self.moving..].iter().map(|layer| layer.run.weight());
        merge_due(free).map(|begin| self.moving + begin)
    }
}

impl Layer {
    pub(crate) fn last(&self) -> u64 {
        self.last
    }
}

pub(crate) fn newest_first(layers: &[Layer]) -> Arc<[Arc<Run>]> {
    layers.iter().rev().map(|layer| Arc::clone(&layer.run)).collect()
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
