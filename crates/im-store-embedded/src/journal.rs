//! A look through fjall's journals before fjall opens them.
//!
//! fjall takes the first thing that it cannot read for the end: right for a batch that a crash cut
//! short, wrong for a flipped byte in the middle, behind which acked messages would silently be cut
//! off and their numbers given again. The committer has one batch on its way at a time, so behind a
//! batch that was cut short there can be no other. Where there is one, the journal is damaged.
//!
//! Not told apart: damage to the very last batch. It looks like one that was cut short.
//!
//! Knows the journal's shape of the pinned version of fjall (little-endian throughout):
//! start `1 count:u32 seqno:u64`, item `2 type:u8 compression:u8 keyspace:u64 key:u16 value:u32
//! stored:u32`, key and stored bytes, end `3 checksum:u64 "FJL" 3`, clear `4 keyspace:u64`.

use std::fs;
use std::io;
use std::path::Path;

/// Ends every complete batch.
const TRAILER: &[u8] = b"FJL\x03";
/// How far ahead a later batch's number may be. fjall also takes numbers for its own work.
const SEQNO_AHEAD_MAX: u64 = 1_000_000;
/// Zeros reserved in advance are cut off in steps of this.
const ZEROS: [u8; 4096] = [0; 4096];

/// Whether every journal of that folder is whole up to a last batch that may be cut short. Returns
/// what is wrong.
pub(crate) fn check(tree: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(tree)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl")
            && let Some(at) = broken_at(&fs::read(&path)?)
        {
            return Ok(Some(format!("{} is broken at byte {at}", path.display())));
        }
    }
    Ok(None)
}

/// Where a journal becomes unreadable although complete batches follow.
fn broken_at(mut journal: &[u8]) -> Option<usize> {
    while let Some(rest) = journal.strip_suffix(&ZEROS) {
        journal = rest;
    }
    let (mut at, mut last) = (0, None);
    while let Some((seqno, len)) = batch(&journal[at..]) {
        // fjall's checksums leave the number out.
        if last.is_some_and(|last| seqno <= last) {
            return Some(at);
        }
        at += len;
        last = Some(seqno);
    }
    let least = last.map_or(0, |last: u64| last + 1);
    let later = (at + 1..journal.len()).filter(|&later| journal[later] == 1).any(|later| {
        batch(&journal[later..]).is_some_and(|(seqno, _)| seqno >= least && seqno - least < SEQNO_AHEAD_MAX)
    });
    later.then_some(at)
}

/// The number and the length of the complete batch at the beginning. Checksums are left to fjall,
/// which refuses a wrong one.
fn batch(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut rest = bytes;
    if take::<1>(&mut rest)? != [1] {
        return None;
    }
    let count = u32::from_le_bytes(take(&mut rest)?);
    let seqno = u64::from_le_bytes(take(&mut rest)?);
    for _ in 0..count {
        match take::<1>(&mut rest)? {
            [2] => {
                let [value_type, compression] = take(&mut rest)?;
                if value_type > 2 || compression > 1 {
                    return None;
                }
                let _keyspace: [u8; 8] = take(&mut rest)?;
                let key_len = u16::from_le_bytes(take(&mut rest)?);
                let _value_len: [u8; 4] = take(&mut rest)?;
                let stored_len = u32::from_le_bytes(take(&mut rest)?);
                rest = rest.get(usize::from(key_len) + stored_len as usize..)?;
            }
            [4] => drop(take::<8>(&mut rest)?),
            _ => return None,
        }
    }
    if take::<1>(&mut rest)? != [3] {
        return None;
    }
    let _checksum: [u8; 8] = take(&mut rest)?;
    (take::<4>(&mut rest)? == TRAILER).then(|| (seqno, bytes.len() - rest.len()))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// As fjall writes it; that it does is shown by the test of real folders with flipped bytes.
    fn one(seqno: u64) -> Vec<u8> {
        let mut out = vec![1, 2, 0, 0, 0];
        out.extend_from_slice(&seqno.to_le_bytes());
        for key in [b"k1", b"k2"] {
            out.extend_from_slice(&[2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 5, 0, 0, 0, 5, 0, 0, 0]);
            out.extend_from_slice(key);
            out.extend_from_slice(b"value");
        }
        out.push(3);
        out.extend_from_slice(&[9; 8]);
        out.extend_from_slice(TRAILER);
        out
    }

    #[test]
    fn whole_and_cut_journals_are_fine() {
        let journal = [one(5), one(6), one(9)].concat();
        for len in 0..=journal.len() {
            let mut journal = journal[..len].to_vec();
            assert_eq!(broken_at(&journal), None, "cut at {len}");
            journal.resize(20_000, 0);
            assert_eq!(broken_at(&journal), None, "cut at {len}, with reserved zeros");
        }
    }

    #[test]
    fn numbers_that_do_not_ascend_are_damage() {
        assert_eq!(broken_at(&[one(5), one(5)].concat()), Some(one(5).len()));
        assert_eq!(broken_at(&[one(5), one(1 << 20), one(7)].concat()), Some(2 * one(5).len()));
    }

    #[test]
    fn a_break_before_complete_batches_is_damage() {
        let len = one(5).len();
        for at in [0, 1, len - 1, len, len + 13, 2 * len - 1] {
            let mut journal = [one(5), one(6), one(9)].concat();
            journal[at] = 0xFF;
            assert_eq!(broken_at(&journal), Some(at / len * len), "byte {at}");
        }
    }
}
