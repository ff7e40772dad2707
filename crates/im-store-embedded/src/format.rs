//! The `FORMAT` file: which format the folder is in, and which life of the store it holds.
//!
//! A few lines that a person can read, closed by a checksum over them. Every later format keeps the
//! first and the last line as they are here, so that an older program can tell "newer" from "damaged".

use std::fs::File;
use std::io::Write;
use std::path::Path;

use im_proto::Epoch;

/// The format that this version writes, and the newest that it reads.
pub(crate) const FORMAT_KNOWN: u32 = 2;
/// The first format with a commit log. One without is changed into one with when it is opened.
const FORMAT_WITH_LOG: u32 = 2;

const FIRST_WORDS: &str = "sim embedded store, format ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) version: u32,
    pub(crate) epoch: Epoch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FormatError {
    Newer(u32),
    Damaged(&'static str),
}

impl Format {
    /// Of a store that this version makes.
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { version: FORMAT_KNOWN, epoch }
    }

    /// Whether the folder has a commit log.
    pub(crate) fn has_log(self) -> bool {
        self.version >= FORMAT_WITH_LOG
    }

    pub(crate) fn encode(self) -> String {
        let body = format!("{FIRST_WORDS}{}\nepoch {}\n", self.version, self.epoch);
        let sum = checksum(body.as_bytes());
        format!("{body}checksum {sum:016x}\n")
    }

    pub(crate) fn decode(text: &[u8]) -> Result<Self, FormatError> {
        let text = std::str::from_utf8(text).map_err(|_| FormatError::Damaged("FORMAT is not a text"))?;
        let at = text.rfind("checksum ").ok_or(FormatError::Damaged("FORMAT has no checksum"))?;
        let (body, last) = text.split_at(at);
        if last != format!("checksum {:016x}\n", checksum(body.as_bytes())) {
            return Err(FormatError::Damaged("FORMAT does not match its checksum"));
        }
        let mut lines = body.lines();
        let version = lines
            .next()
            .and_then(|line| line.strip_prefix(FIRST_WORDS))
            .and_then(|version| version.parse().ok())
            .ok_or(FormatError::Damaged("FORMAT is of something else"))?;
        if version > FORMAT_KNOWN {
            return Err(FormatError::Newer(version));
        }
        let epoch = lines
            .next()
            .and_then(|line| line.strip_prefix("epoch "))
            .and_then(|epoch| epoch.parse().ok())
            .filter(|epoch| *epoch != 0)
            .ok_or(FormatError::Damaged("FORMAT has no epoch"))?;
        Ok(Self { version, epoch: Epoch(epoch) })
    }

    /// Writes it durably into a folder, in place of an older one, whole or not at all.
    pub(crate) fn write(self, dir: &Path) -> std::io::Result<()> {
        let unfinished = dir.join("FORMAT.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(self.encode().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(unfinished, dir.join("FORMAT"))?;
        File::open(dir)?.sync_all()
    }
}

/// FNV-1a. It tells a flipped bit or a cut file; nobody here is an attacker.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const GOLDEN: &str = "sim embedded store, format 2\nepoch 1700000000123\nchecksum e18174ecb528ee5d\n";
    const GOLDEN_1: &str = "sim embedded store, format 1\nepoch 1700000000123\nchecksum db31578a50be37ba\n";

    #[test]
    fn golden_text() {
        let format = Format::new(Epoch(1_700_000_000_123));
        assert_eq!(format.encode(), GOLDEN);
        assert_eq!(Format::decode(GOLDEN.as_bytes()), Ok(format));
        assert!(format.has_log());
    }

    #[test]
    fn the_first_format_is_read_and_has_no_log() {
        let format = Format::decode(GOLDEN_1.as_bytes()).unwrap();
        assert_eq!(format, Format { version: 1, epoch: Epoch(1_700_000_000_123) });
        assert!(!format.has_log());
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_damage() {
        for len in 0..GOLDEN.len() {
            assert!(matches!(Format::decode(&GOLDEN.as_bytes()[..len]), Err(FormatError::Damaged(_))), "cut at {len}");
        }
        for at in 0..GOLDEN.len() {
            for bit in 0..8 {
                let mut bytes = GOLDEN.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                assert!(matches!(Format::decode(&bytes), Err(FormatError::Damaged(_))), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let body = format!("{FIRST_WORDS}3\nsomething else altogether\n");
        let text = format!("{body}checksum {:016x}\n", checksum(body.as_bytes()));
        assert_eq!(Format::decode(text.as_bytes()), Err(FormatError::Newer(3)));
    }
}
