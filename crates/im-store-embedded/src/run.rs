//! A run: rows in one buffer, sorted by key, that never change again.
//!
//! The committer makes one per group. The same bytes are the group's record in the commit log and what
//! readers look at until the tree has the rows, so a message is encoded once. Several runs are merged
//! into one when there are many; see [`crate::overlay`].
//!
//! A row in the buffer, little-endian: `key_len:u16 value_len:u32 key value`; a deleted row has
//! [`DELETED`] for its value's length and no value. Golden bytes in [`crate::log`] pin it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use bytes::Bytes;
use im_timeline::StoreError;

use crate::rows::damaged;

/// In place of a value's length: the row is deleted.
const DELETED: u32 = u32::MAX;
/// Bytes before a row's key.
const HEADER_LEN: usize = 6;

/// One for the process, so that a key is hashed once and looked up in any run; random, so that nobody
/// can choose ids that collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A key's hash for [`Run::get`].
pub(crate) fn hash(key: &[u8]) -> u32 {
    HASHER.hash_one(key) as u32
}

/// Where a row begins, and the hash of its key.
#[derive(Clone, Copy)]
struct RowRef {
    at: u32,
    hash: u32,
}

/// The number of a row plus one, or 0; and the hash of its key, so that a look for another key touches
/// nothing else.
#[derive(Clone, Copy, Default)]
struct Slot {
    row: u32,
    hash: u32,
}

/// A row that was found: its value, or `None` if it is deleted.
pub(crate) type Found = Option<Bytes>;

pub(crate) struct Run {
    bytes: Bytes,
    /// By key.
    rows: Vec<RowRef>,
    /// An open hash table over all rows.
    slots: Vec<Slot>,
}

/// Rows on their way into a run. A key may be put several times; the last one counts.
pub(crate) struct RunBuilder {
    bytes: Vec<u8>,
    rows: Vec<RowRef>,
}

impl RunBuilder {
    /// Leaves `prefix_len` bytes at the front of the buffer for the log.
    pub(crate) fn new(prefix_len: usize) -> Self {
        Self { bytes: vec![0; prefix_len], rows: Vec::new() }
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.push(key, Some(value), hash(key));
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.push(key, None, hash(key));
    }

    /// Puts the rows of a log record, in their order.
    pub(crate) fn put_record(&mut self, record: &[u8]) -> Result<(), StoreError> {
        let short = || damaged("a row longer than its record");
        let mut rest = record;
        while !rest.is_empty() {
            let (header, rows) = rest.split_at_checked(HEADER_LEN).ok_or_else(short)?;
            let (key_len, value_len) = lens(header);
            let (key, rows) = rows.split_at_checked(key_len).ok_or_else(short)?;
            let (value, rows) = rows.split_at_checked(value_len.unwrap_or(0)).ok_or_else(short)?;
            self.push(key, value_len.map(|_| value), hash(key));
            rest = rows;
        }
        Ok(())
    }

    fn push(&mut self, key: &[u8], value: Option<&[u8]>, hash: u32) {
        // Over four GiB the places of rows would wrap; the log refuses the run long before.
        self.rows.push(RowRef { at: self.bytes.len() as u32, hash });
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&value.map_or(DELETED, |value| value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The buffer as it stands, the prefix included.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(crate) fn finish(self) -> Run {
        Run::sorted(self.bytes.into(), self.rows)
    }
}

impl Run {
    /// Of rows in the order in which they were put.
    fn sorted(bytes: Bytes, mut rows: Vec<RowRef>) -> Self {
        // Of rows with one key the last one put is the last, and that one is kept.
        rows.sort_unstable_by(|a, b| key_at(&bytes, a.at).cmp(key_at(&bytes, b.at)).then(a.at.cmp(&b.at)));
        let mut kept = 0;
        for next in 0..rows.len() {
            let row = rows[next];
            let again = rows
                .get(next + 1)
                .is_some_and(|after| after.hash == row.hash && key_at(&bytes, after.at) == key_at(&bytes, row.at));
            if !again {
                rows[kept] = row;
                kept += 1;
            }
        }
        rows.truncate(kept);
        Self::of(bytes, rows)
    }

    /// One run of several, the newest first.
    pub(crate) fn merge(runs: &[Arc<Self>]) -> Self {
        let mut merged = RunBuilder {
            bytes: Vec::with_capacity(runs.iter().map(|run| run.bytes.len()).sum()),
            rows: Vec::with_capacity(runs.iter().map(|run| run.len()).sum()),
        };
        for (row, hash) in Merge::new(runs).hashed() {
            merged.push(row.0, row.1, hash);
        }
        Self::of(merged.bytes.into(), merged.rows)
    }

    /// Of rows that are sorted.
    fn of(bytes: Bytes, rows: Vec<RowRef>) -> Self {
        // A third to two thirds of the slots are free, so that looks are short.
        let mask = (rows.len() * 3 / 2 + 1).next_power_of_two() - 1;
        let mut slots = vec![Slot::default(); mask + 1];
        for (row, &RowRef { hash, .. }) in rows.iter().enumerate() {
            let mut slot = hash as usize & mask;
            while slots[slot].row != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = Slot { row: row as u32 + 1, hash };
        }
        Self { bytes, rows, slots }
    }

    /// What this run says about a key; `None` when it says nothing. `hash` is [`hash`] of the key.
    pub(crate) fn get(&self, key: &[u8], hash: u32) -> Option<Found> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let Slot { row, hash: other } = self.slots[slot];
            let row = row.checked_sub(1)? as usize;
            if other == hash && self.key(row) == key {
                return Some(self.value(row));
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// About the memory that it takes.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.rows) + size_of_val(&*self.slots)
    }

    /// The number of rows whose key is smaller, or not greater if `through`.
    pub(crate) fn rank(&self, key: &[u8], through: bool) -> usize {
        self.rows.partition_point(|row| {
            let other = key_at(&self.bytes, row.at);
            other < key || (through && other == key)
        })
    }

    pub(crate) fn key(&self, row: usize) -> &[u8] {
        key_at(&self.bytes, self.rows[row].at)
    }

    pub(crate) fn key_bytes(&self, row: usize) -> Bytes {
        self.bytes.slice_ref(self.key(row))
    }

    pub(crate) fn value(&self, row: usize) -> Found {
        self.value_slice(row).map(|value| self.bytes.slice_ref(value))
    }

    fn value_slice(&self, row: usize) -> Option<&[u8]> {
        let at = self.rows[row].at as usize;
        let (key_len, value_len) = lens(&self.bytes[at..]);
        let begin = at + HEADER_LEN + key_len;
        value_len.map(|len| &self.bytes[begin..begin + len])
    }
}

/// A key with its value, or without one if it is deleted.
pub(crate) type RowSlices<'a> = (&'a [u8], Option<&'a [u8]>);

/// The rows of several runs in the order of their keys, of each key the newest.
pub(crate) struct Merge<'a> {
    heads: BinaryHeap<Head<'a>>,
    last: Option<&'a [u8]>,
}

/// Where a merge stands in one run. The greatest one is the next row of the merge.
struct Head<'a> {
    key: &'a [u8],
    /// 0 for the newest run.
    age: usize,
    run: &'a Run,
    row: usize,
}

impl<'a> Merge<'a> {
    /// Of runs from the newest to the oldest.
    pub(crate) fn new(runs: &'a [Arc<Run>]) -> Self {
        let heads = runs
            .iter()
            .enumerate()
            .filter(|(_, run)| run.len() > 0)
            .map(|(age, run)| Head { key: run.key(0), age, run, row: 0 })
            .collect();
        Self { heads, last: None }
    }

    fn next_hashed(&mut self) -> Option<(RowSlices<'a>, u32)> {
        loop {
            let mut head = self.heads.peek_mut()?;
            let Head { key, run, row, .. } = *head;
            if row + 1 < run.len() {
                head.row += 1;
                head.key = run.key(row + 1);
            } else {
                PeekMut::pop(head);
            }
            if self.last != Some(key) {
                self.last = Some(key);
                return Some(((key, run.value_slice(row)), run.rows[row].hash));
            }
        }
    }

    fn hashed(mut self) -> impl Iterator<Item = (RowSlices<'a>, u32)> {
        std::iter::from_fn(move || self.next_hashed())
    }
}

impl<'a> Iterator for Merge<'a> {
    type Item = RowSlices<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_hashed().map(|(row, _)| row)
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(self.key).then(other.age.cmp(&self.age))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

/// The lengths in a row's header; a deleted row has none for its value.
fn lens(header: &[u8]) -> (usize, Option<usize>) {
    let key_len = u16::from_le_bytes([header[0], header[1]]);
    let value_len = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
    (usize::from(key_len), (value_len != DELETED).then_some(value_len as usize))
}

fn key_at(bytes: &[u8], at: u32) -> &[u8] {
    let row = &bytes[at as usize..];
    let key_len = usize::from(u16::from_le_bytes([row[0], row[1]]));
    &row[HEADER_LEN..HEADER_LEN + key_len]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn run(rows: &[(&str, Option<&str>)]) -> Arc<Run> {
        let mut builder = RunBuilder::new(7);
        for (key, value) in rows {
            match value {
                Some(value) => builder.put(key.as_bytes(), value.as_bytes()),
                None => builder.delete(key.as_bytes()),
            }
        }
        let mut decoded = RunBuilder::new(0);
        decoded.put_record(&builder.bytes_mut()[7..]).unwrap();
        let run = builder.finish();
        assert_eq!(rows_of(&run), rows_of(&decoded.finish()), "a record gives the run that it was");
        Arc::new(run)
    }

    fn rows_of(run: &Run) -> Vec<(Bytes, Found)> {
        (0..run.len()).map(|row| (run.key_bytes(row), run.value(row))).collect()
    }

    fn get(run: &Run, key: &str) -> Option<Found> {
        run.get(key.as_bytes(), hash(key.as_bytes()))
    }

    #[test]
    fn rows_are_sorted_and_found_and_the_last_of_a_key_counts() {
        let run = run(&[("b", Some("1")), ("a", Some("2")), ("b", None), ("c", Some("")), ("a", Some("3"))]);
        assert_eq!(rows_of(&run), [("a".into(), Some("3".into())), ("b".into(), None), ("c".into(), Some("".into()))]);
        assert_eq!(get(&run, "a"), Some(Some("3".into())));
        assert_eq!(get(&run, "b"), Some(None));
        assert_eq!(get(&run, "d"), None);
        assert_eq!((run.rank(b"b", false), run.rank(b"b", true), run.rank(b"bb", true)), (1, 2, 2));
    }

    #[test]
    fn a_merge_keeps_the_newest_of_each_key() {
        let old = run(&[("a", Some("old")), ("b", Some("old")), ("d", Some("old"))]);
        let middle = run(&[("b", Some("middle")), ("c", Some("middle"))]);
        let new = run(&[("b", None), ("d", Some("new"))]);
        let merged = Run::merge(&[new, middle, old]);
        let expected = [
            ("a".into(), Some("old".into())),
            ("b".into(), None),
            ("c".into(), Some("middle".into())),
            ("d".into(), Some("new".into())),
        ];
        assert_eq!(rows_of(&merged), expected);
        assert_eq!(get(&merged, "d"), Some(Some("new".into())));
    }

    #[test]
    fn many_rows_are_all_found() {
        let mut builder = RunBuilder::new(0);
        for number in 0..5_000u32 {
            builder.put(&number.wrapping_mul(0x9E37_79B9).to_be_bytes(), &number.to_be_bytes());
        }
        let run = builder.finish();
        assert_eq!(run.len(), 5_000);
        for number in 0..5_000u32 {
            let key = number.wrapping_mul(0x9E37_79B9).to_be_bytes();
            assert_eq!(run.get(&key, hash(&key)), Some(Some(Bytes::copy_from_slice(&number.to_be_bytes()))));
        }
        assert!((1..run.len()).all(|row| run.key(row - 1) < run.key(row)));
    }

    #[test]
    fn a_row_that_is_cut_is_damage() {
        let mut builder = RunBuilder::new(0);
        builder.put(b"key", b"value");
        let bytes = builder.bytes_mut();
        for len in 1..bytes.len() {
            let cut = RunBuilder::new(0).put_record(&bytes[..len]);
            assert!(matches!(cut, Err(StoreError::Damaged(_))), "cut at {len}");
        }
    }
}
