//! The commit log: what was acked and is not in the tree yet, and the only thing that an ack waits for.
//!
//! A group of changes is one record, written at the end of the newest segment and synced. Records are
//! numbered from 1 without gaps, over all segments and for the whole life of the folder. The tree
//! remembers the last record that it has ([`crate::rows::applied_key`]); segments below are deleted,
//! the oldest first, so what is there is always the end of the log.
//!
//! ```text
//! DIR/store/log/00000000000000000001.log    named by its first record; zeros behind the last one
//!
//! segment = "SIM LOG\n" epoch:u64 first:u64 checksum:u64 record*        little-endian throughout
//! record  = checksum:u64 number:u64 len:u32 rows[len]                    rows: see `run`
//! ```
//!
//! A record's checksum is over all that follows it, with the epoch as seed, so that a record of another
//! store is none. One record is on its way at a time: what a crash cut short is the last one, was not
//! acked, and is cut off. A broken record with others behind it is damage. Not told apart: damage to the
//! very last record, which looks like one that was cut short.
//!
//! What must not happen: a write after one that failed; a deleted segment that the tree does not have.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use im_proto::Epoch;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::run::{Run, RunBuilder};

/// Bytes of a segment. Small against what waits for the tree, so that the log is hardly longer than
/// that; large against a group, so that making one is rare. A record that is larger has one for itself.
const SEGMENT_BYTES: u64 = if cfg!(test) { 2 * 1024 } else { 32 * 1024 * 1024 };
/// Rows of a record at most; a group is far below. Places in a run are 32 bits.
const RECORD_BYTES_MAX: usize = 1 << 30;

const MAGIC: [u8; 8] = *b"SIM LOG\n";
const SEGMENT_HEADER_LEN: usize = 32;
/// Bytes that a record's buffer leaves free at its front.
pub(crate) const RECORD_HEADER_LEN: usize = 20;
/// How far ahead a later record's number may be, where one is searched behind a broken one: more records
/// do not fit into a segment.
const NUMBERS_AHEAD_MAX: u64 = SEGMENT_BYTES / RECORD_HEADER_LEN as u64;

pub(crate) struct Log {
    dir: PathBuf,
    epoch: Epoch,
    /// The committer's. Held while the disk writes.
    active: Mutex<Active>,
    /// The segments before the active one, the oldest first.
    sealed: Mutex<VecDeque<Sealed>>,
    /// What the disk does next, for tests.
    #[cfg(test)]
    pub(crate) fault: Mutex<Option<Fault>>,
    /// Makes the disk hang, between write and sync, while a test holds it.
    #[cfg(test)]
    pub(crate) hang: Mutex<()>,
    /// Whether a record stands in front of its sync.
    #[cfg(test)]
    pub(crate) hanging: std::sync::atomic::AtomicBool,
}

/// How the disk refuses.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Half of the record is written when there is no more room.
    Full,
    /// All of it is written and the sync fails.
    Sync,
}

/// The segment that is written.
struct Active {
    file: File,
    first: u64,
    /// The number of the next record, and where it begins.
    next: u64,
    at: u64,
}

/// A segment that is complete.
struct Sealed {
    path: PathBuf,
    last: u64,
}

/// A log as it was found.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    /// What the tree does not have: runs, the oldest first, each with its last record.
    pub(crate) runs: Vec<(Run, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Log {
    /// Makes the folder of a new store's log, durably but for the folder's own name.
    pub(crate) fn create(dir: &Path, epoch: Epoch) -> io::Result<()> {
        fs::create_dir(dir)?;
        new_segment(dir, epoch, 1).map(drop)
    }

    /// Reads the log behind record `applied`, cuts off what a crash cut short, and is ready to write.
    pub(crate) fn recover(dir: &Path, epoch: Epoch, applied: u64) -> Result<Recovered, LogError> {
        let mut segments = segments(dir)?;
        let (&oldest, _) = segments.iter().next().ok_or_else(|| damaged(dir, "has no segments"))?;
        if oldest > applied + 1 {
            return Err(damaged(dir, &format!("begins with record {oldest}, the tree ends with {applied}")));
        }
        let (mut runs, mut sealed, mut active) = (Vec::new(), VecDeque::new(), None);
        while let Some((first, path)) = segments.pop_first() {
            if let Some(Active { next, .. }) = active.take()
                && next != first
            {
                return Err(damaged(&path, &format!("follows upon record {}", next - 1)));
            }
            let bytes = fs::read(&path)?;
            let mut builder = RunBuilder::new(0);
            let (next, at) = replay(&path, &bytes, epoch, first, applied, &mut builder)?;
            if !builder.is_empty() {
                runs.push((builder.finish(), next - 1));
            }
            if !segments.is_empty() {
                if !is_zero(&bytes[at..]) {
                    return Err(damaged(&path, &format!("is broken at byte {at}")));
                }
                sealed.push_back(Sealed { path: path.clone(), last: next - 1 });
            }
            let file = File::options().read(true).write(true).open(&path)?;
            active = Some(Active { file, first, next, at: at as u64 });
        }
        let mut active = active.ok_or_else(|| damaged(dir, "has no segments"))?;
        if active.next <= applied {
            return Err(damaged(dir, &format!("ends with record {}, the tree with {applied}", active.next - 1)));
        }
        active.cut()?;
        let log = Self {
            dir: dir.to_owned(),
            epoch,
            active: Mutex::new(active),
            sealed: Mutex::new(sealed),
            #[cfg(test)]
            fault: Mutex::new(None),
            #[cfg(test)]
            hang: Mutex::new(()),
            #[cfg(test)]
            hanging: std::sync::atomic::AtomicBool::new(false),
        };
        log.release(applied)?;
        Ok(Recovered { log, runs })
    }

    /// Writes a record and waits until the disk has it. `record` is its rows behind
    /// [`RECORD_HEADER_LEN`] free bytes. Returns its number and how long the sync took. After an error
    /// nothing may be written any more: what the disk holds is unknown.
    pub(crate) fn append(&self, record: &mut [u8]) -> io::Result<(u64, Duration)> {
        let len = record.len() - RECORD_HEADER_LEN;
        if len > RECORD_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("a record of {len} bytes")));
        }
        let mut active = self.active.lock();
        let end = active.at + record.len() as u64;
        if end > SEGMENT_BYTES && active.at > SEGMENT_HEADER_LEN as u64 {
            self.roll(&mut active)?;
        }
        let number = active.next;
        record[8..16].copy_from_slice(&number.to_le_bytes());
        record[16..20].copy_from_slice(&(len as u32).to_le_bytes());
        let sum = xxh3_64_with_seed(&record[8..], self.epoch.0);
        record[..8].copy_from_slice(&sum.to_le_bytes());
        #[cfg(test)]
        self.refuse(Fault::Full, || active.file.write_all_at(&record[..record.len() / 2], active.at))?;
        active.file.write_all_at(record, active.at)?;
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering;
            self.hanging.store(true, Ordering::Release);
            drop(self.hang.lock());
            self.hanging.store(false, Ordering::Release);
        }
        let begin = Instant::now();
        #[cfg(test)]
        self.refuse(Fault::Sync, || Ok(()))?;
        active.file.sync_data()?;
        active.at += record.len() as u64;
        active.next += 1;
        Ok((number, begin.elapsed()))
    }

    /// Deletes the segments that hold nothing behind record `applied`, which the tree has durably.
    pub(crate) fn release(&self, applied: u64) -> io::Result<()> {
        let mut sealed = self.sealed.lock();
        while sealed.front().is_some_and(|oldest| oldest.last <= applied)
            && let Some(Sealed { path, .. }) = sealed.pop_front()
        {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Gives back what the active segment has reserved; it is reserved again on opening.
    pub(crate) fn trim(&self) -> io::Result<()> {
        let active = self.active.lock();
        active.file.set_len(active.at)
    }

    /// Bytes of the files, and their number.
    pub(crate) fn size(&self) -> (u64, usize) {
        let segments = self.sealed.lock().len() + 1;
        (segments as u64 * SEGMENT_BYTES, segments)
    }

    fn roll(&self, active: &mut Active) -> io::Result<()> {
        let next = new_segment(&self.dir, self.epoch, active.next)?;
        let path = segment_path(&self.dir, active.first);
        self.sealed.lock().push_back(Sealed { path, last: active.next - 1 });
        *active = next;
        Ok(())
    }

    #[cfg(test)]
    fn refuse(&self, asked: Fault, before: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if *self.fault.lock() != Some(asked) {
            return Ok(());
        }
        before()?;
        Err(io::Error::from(if asked == Fault::Full { ErrorKind::StorageFull } else { ErrorKind::Other }))
    }
}

impl Active {
    /// Cuts off what stands behind the last record, and reserves the rest of the segment again.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.at)?;
        // Until this is durable, a longer record that follows could be mixed with the old end.
        self.file.sync_all()?;
        self.file.set_len(SEGMENT_BYTES.max(self.at))
    }
}

/// Makes a segment, durably. Whole or not at all: a name with `.log` is given when everything is in it.
fn new_segment(dir: &Path, epoch: Epoch, first: u64) -> io::Result<Active> {
    let unfinished = dir.join("segment.new");
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&unfinished)?;
    file.set_len(SEGMENT_BYTES)?;
    file.write_all_at(&segment_header(epoch, first), 0)?;
    file.sync_all()?;
    fs::rename(unfinished, segment_path(dir, first))?;
    File::open(dir)?.sync_all()?;
    Ok(Active { file, first, next: first, at: SEGMENT_HEADER_LEN as u64 })
}

fn segment_header(epoch: Epoch, first: u64) -> [u8; SEGMENT_HEADER_LEN] {
    let mut header = [0; SEGMENT_HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&epoch.0.to_le_bytes());
    header[16..24].copy_from_slice(&first.to_le_bytes());
    let sum = xxh3_64_with_seed(&header[..24], 0);
    header[24..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// Twenty digits hold every number, and names sort as numbers do.
fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// The segments of a folder by their first record.
fn segments(dir: &Path) -> Result<BTreeMap<u64, PathBuf>, LogError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(damaged(dir, "is missing")),
        entries => entries?,
    };
    let mut segments = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let first = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            segments.insert(first.ok_or_else(|| damaged(&path, "is no segment"))?, path);
        }
    }
    Ok(segments)
}

/// Puts the rows of a segment's records behind `applied`. Returns the number of the record that would
/// come next, and where the last one ends.
fn replay(
    path: &Path,
    bytes: &[u8],
    epoch: Epoch,
    first: u64,
    applied: u64,
    builder: &mut RunBuilder,
) -> Result<(u64, usize), LogError> {
    if bytes.get(..SEGMENT_HEADER_LEN) != Some(&segment_header(epoch, first)) {
        return Err(damaged(path, "does not begin as the segment that its name says"));
    }
    let (mut next, mut at) = (first, SEGMENT_HEADER_LEN);
    while let Some((number, rows)) = record(&bytes[at..], epoch, next..=next) {
        if number > applied {
            builder.put_record(rows).map_err(|error| damaged(path, &error.to_string()))?;
        }
        next += 1;
        at += RECORD_HEADER_LEN + rows.len();
    }
    let used = bytes.len() - trailing_zeros(bytes);
    let later = (at + 1..used)
        .any(|later| record(&bytes[later..], epoch, next..=next.saturating_add(NUMBERS_AHEAD_MAX)).is_some());
    if later {
        return Err(damaged(path, &format!("is broken at byte {at}")));
    }
    Ok((next, at))
}

/// The number and the rows of the whole record at the beginning, if there is one with such a number.
fn record(bytes: &[u8], epoch: Epoch, numbers: RangeInclusive<u64>) -> Option<(u64, &[u8])> {
    let (&sum, rest) = bytes.split_first_chunk()?;
    let (&number, rest) = rest.split_first_chunk()?;
    let number = u64::from_le_bytes(number);
    // First what costs least: most bytes that are looked at are no record.
    if !numbers.contains(&number) {
        return None;
    }
    let (&len, rest) = rest.split_first_chunk()?;
    let rows = rest.get(..u32::from_le_bytes(len) as usize)?;
    let whole = &bytes[8..RECORD_HEADER_LEN + rows.len()];
    (xxh3_64_with_seed(whole, epoch.0) == u64::from_le_bytes(sum)).then_some((number, rows))
}

/// How many reserved bytes stand at the end, in steps of a page.
fn trailing_zeros(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut rest = bytes;
    while let Some(before) = rest.strip_suffix(&ZEROS) {
        rest = before;
    }
    bytes.len() - rest.len()
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes[..bytes.len() - trailing_zeros(bytes)].iter().all(|&byte| byte == 0)
}

fn damaged(path: &Path, what: &str) -> LogError {
    LogError::Damaged(format!("{} {what}", path.display()))
}
