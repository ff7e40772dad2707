//! What is durable as of one moment: the rows that the tree does not have yet, over the tree.
//!
//! A view never changes and costs a few counters to take, so that everything in an answer is of the
//! same moment, whatever is appended, merged or moved into the tree meanwhile.

use std::ops::{Bound, Deref};
use std::sync::Arc;

use bytes::Bytes;
use im_timeline::StoreError;

use crate::rows::KeyRange;
use crate::run::{self, Run};
use crate::tree::{self, TreeRows, TreeView};

#[derive(Clone)]
pub(crate) struct View {
    /// The newest first.
    runs: Arc<[Arc<Run>]>,
    tree: TreeView,
}

/// A key or a value, in the memory that already holds it.
#[derive(Clone)]
pub(crate) enum Slice {
    Run(Bytes),
    Tree(tree::Slice),
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Run(bytes) => bytes,
            Self::Tree(bytes) => bytes,
        }
    }
}

impl View {
    pub(crate) fn new(runs: Arc<[Arc<Run>]>, tree: TreeView) -> Self {
        Self { runs, tree }
    }

    /// The tree alone, for the next view.
    pub(crate) fn tree(&self) -> &TreeView {
        &self.tree
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        let hash = run::hash(key);
        match self.runs.iter().find_map(|run| run.get(key, hash)) {
            Some(found) => Ok(found.map(Slice::Run)),
            None => Ok(self.tree.get(key)?.map(Slice::Tree)),
        }
    }

    /// Rows of a range, from either end.
    pub(crate) fn range(&self, range: &KeyRange) -> Rows {
        self.between(Bound::Included(&range.start), Bound::Excluded(&range.end))
    }

    pub(crate) fn between(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Rows {
        Rows { tree: self.tree.between(start, end), ..self.recent(start, end) }
    }

    /// Whether the row is there, and too new for the tree.
    pub(crate) fn is_recent(&self, key: &[u8]) -> bool {
        let hash = run::hash(key);
        self.runs.iter().find_map(|run| run.get(key, hash)).flatten().is_some()
    }

    /// Like [`between`](Self::between), of the rows that are too new for the tree alone.
    pub(crate) fn recent(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Rows {
        let mut runs = Vec::new();
        for run in &*self.runs {
            let begin = match start {
                Bound::Included(key) => run.rank(key, false),
                Bound::Excluded(key) => run.rank(key, true),
                Bound::Unbounded => 0,
            };
            let end = match end {
                Bound::Included(key) => run.rank(key, true),
                Bound::Excluded(key) => run.rank(key, false),
                Bound::Unbounded => run.len(),
            };
            if begin < end {
                runs.push(Cursor { run: Arc::clone(run), begin, end });
            }
        }
        Rows { runs, tree: TreeRows::none(), front: None, back: None }
    }
}

/// Keys with their values, in the order of the keys: of each key the newest, deleted ones left out.
pub(crate) struct Rows {
    /// The newest first.
    runs: Vec<Cursor>,
    tree: TreeRows,
    /// Taken from the tree, and not yet due.
    front: Option<Row>,
    back: Option<Row>,
}

type Row = (tree::Slice, tree::Slice);

/// The rows of a run that are left.
struct Cursor {
    run: Arc<Run>,
    begin: usize,
    end: usize,
}

/// From which side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl Cursor {
    fn row(&self, end: End) -> usize {
        if end == End::Front { self.begin } else { self.end - 1 }
    }

    fn key(&self, end: End) -> &[u8] {
        self.run.key(self.row(end))
    }
}

impl Rows {
    fn step(&mut self, end: End) -> Option<Result<(Slice, Slice), StoreError>> {
        loop {
            if let Err(error) = self.look(end) {
                return Some(Err(error));
            }
            let mut best = self.peeked(end).map(|(key, _)| &**key);
            let mut winner = None;
            // From the oldest on, so that of equal keys the newest is left.
            for (index, cursor) in self.runs.iter().enumerate().rev() {
                let key = cursor.key(end);
                let wins = match best {
                    None => true,
                    Some(best) if end == End::Front => key <= best,
                    Some(best) => key >= best,
                };
                if wins {
                    (best, winner) = (Some(key), Some(index));
                }
            }
            let Some(winner) = winner else {
                let (key, value) = self.take_peeked(end)?;
                return Some(Ok((Slice::Tree(key), Slice::Tree(value))));
            };
            let Cursor { run, .. } = &self.runs[winner];
            let row = self.runs[winner].row(end);
            let (key, value) = (run.key_bytes(row), run.value(row));
            self.pass(end, &key);
            if let Some(value) = value {
                return Some(Ok((Slice::Run(key), Slice::Run(value))));
            }
        }
    }

    /// Steps over a key wherever it stands.
    fn pass(&mut self, end: End, key: &[u8]) {
        self.runs.retain_mut(|cursor| {
            if cursor.key(end) == key {
                match end {
                    End::Front => cursor.begin += 1,
                    End::Back => cursor.end -= 1,
                }
            }
            cursor.begin < cursor.end
        });
        if self.peeked(end).is_some_and(|(peeked, _)| **peeked == *key) {
            self.take_peeked(end);
        }
    }

    /// Makes the tree's next row of that side known, if it has one.
    fn look(&mut self, end: End) -> Result<(), StoreError> {
        let (peeked, row) = match end {
            End::Front if self.front.is_none() => (&mut self.front, self.tree.next()),
            End::Back if self.back.is_none() => (&mut self.back, self.tree.next_back()),
            _ => return Ok(()),
        };
        *peeked = row.transpose()?;
        Ok(())
    }

    /// The tree's next row of that side. The last one may have been taken from the other side.
    fn peeked(&self, end: End) -> Option<&Row> {
        match end {
            End::Front => self.front.as_ref().or(self.back.as_ref()),
            End::Back => self.back.as_ref().or(self.front.as_ref()),
        }
    }

    fn take_peeked(&mut self, end: End) -> Option<Row> {
        match end {
            End::Front => self.front.take().or_else(|| self.back.take()),
            End::Back => self.back.take().or_else(|| self.front.take()),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<(Slice, Slice), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::Front)
    }
}

impl DoubleEndedIterator for Rows {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Back)
    }
}
