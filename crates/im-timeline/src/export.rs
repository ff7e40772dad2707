//! A store as lines of JSON: readable, comparable, and refused when anything of it is missing.
//!
//! ```text
//! {"format":"sim-timelines","version":1,"epoch":7}       the header
//! {"message":{"conversation":"a:b","seq":1,…}}           rows, in the order of Store::dump
//! {"end":{"rows":1,"blake3":"…"}}                        the digest of every line before this one
//! ```
//!
//! Payloads and values are base64. A line ends with a line feed, which the digest covers.

mod line;

use std::io;

use im_proto::Epoch;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{DumpRow, LoadError, Store, StoreError};
use line::{Header, Line, Parsed};

/// The name in the header.
pub const FORMAT: &str = "sim-timelines";
/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;
/// Bytes of one line. A payload takes 22 KiB as base64; the rest is room for records.
pub const LINE_LEN_MAX: u64 = 4 * 1024 * 1024;

/// Rows that travel together between store and file: 200 payloads of 16 KiB are about 3 MiB.
const BATCH_ROWS: usize = 200;

/// What went out or came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The epoch of the store that was exported.
    pub epoch: Epoch,
    /// How many rows.
    pub rows: u64,
}

/// Why an export did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output failed.
    #[error("write the export: {0}")]
    Write(#[from] io::Error),
}

/// Why an import was refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input failed.
    #[error("line {line}: {source}")]
    Read {
        /// Where.
        line: u64,
        /// How.
        source: io::Error,
    },
    /// The first line is no header of this format.
    #[error("line 1: this is not an export of timelines")]
    NotAnExport,
    /// A later version of this program wrote it.
    #[error("line 1: the export has format version {found}, and this program reads up to {known}")]
    NewerVersion {
        /// The export's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A line is over [`LINE_LEN_MAX`].
    #[error("line {line}: it is longer than {LINE_LEN_MAX} bytes")]
    TooLong {
        /// Where.
        line: u64,
    },
    /// A line is no row.
    #[error("line {line}: {why}")]
    BadRow {
        /// Where.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The end is missing.
    #[error("line {line}: the export ends here without its last line; it is truncated")]
    Truncated {
        /// Where the input ended.
        line: u64,
    },
    /// Rows are missing or too many.
    #[error("line {line}: {found} rows came and {said} were promised")]
    WrongCount {
        /// Where.
        line: u64,
        /// What the last line says.
        said: u64,
        /// What came.
        found: u64,
    },
    /// Something was changed.
    #[error("line {line}: the digest does not fit; the export was changed or damaged")]
    WrongDigest {
        /// Where.
        line: u64,
    },
    /// Something follows the last line.
    #[error("line {line}: something follows the end of the export")]
    AfterEnd {
        /// Where.
        line: u64,
    },
    /// The store did not take the rows that end at this line.
    #[error("line {line}: {source}")]
    Load {
        /// Where.
        line: u64,
        /// Why.
        source: LoadError,
    },
}

/// Writes every row of a store. The output is flushed, not synced.
pub async fn export(store: &dyn Store, output: &mut (impl AsyncWrite + Unpin)) -> Result<Summary, ExportError> {
    let epoch = store.epoch();
    let mut digest = blake3::Hasher::new();
    let mut lines = Vec::new();
    push(&mut lines, &Header { format: FORMAT.into(), version: VERSION, epoch: epoch.0 })?;
    let (mut rows, mut after) = (0, None);
    loop {
        let page = store.dump(after, BATCH_ROWS).await?;
        rows += page.rows.len() as u64;
        for row in page.rows {
            push(&mut lines, &Line::from(row))?;
        }
        digest.update(&lines);
        output.write_all(&lines).await?;
        lines.clear();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    push(&mut lines, &Line::End { rows, blake3: digest.finalize().to_hex().to_string() })?;
    output.write_all(&lines).await?;
    output.flush().await?;
    Ok(Summary { epoch, rows })
}

fn push(lines: &mut Vec<u8>, line: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, line)?;
    lines.push(b'\n');
    Ok(())
}

/// Reads an export to its end and believes nothing: whether an [`import`] of it would be refused is
/// known before a store is touched.
pub async fn verify(input: &mut (impl AsyncBufRead + Unpin)) -> Result<Summary, ImportError> {
    let mut lines = Lines::new(input).await?;
    while !lines.batch().await?.is_empty() {}
    Ok(lines.summary())
}

/// Loads an export into an empty store, which keeps its own epoch. What is wrong with the export may
/// show only at its end: after a refusal the store holds a part of it and is to be thrown away. Where
/// the input can be read twice, [`verify`] it first.
pub async fn import(store: &dyn Store, input: &mut (impl AsyncBufRead + Unpin)) -> Result<Summary, ImportError> {
    let mut lines = Lines::new(input).await?;
    // An empty import too is refused by a store that is not empty.
    loop {
        let rows = lines.batch().await?;
        let ended = rows.is_empty();
        let line = lines.line;
        store.load(rows).await.map_err(|source| ImportError::Load { line, source })?;
        if ended {
            return Ok(lines.summary());
        }
    }
}

/// The reader of an export. Holds one line and one batch of rows at a time.
struct Lines<'a, R> {
    input: &'a mut R,
    buffer: Vec<u8>,
    /// The number of the line in the buffer.
    line: u64,
    digest: blake3::Hasher,
    epoch: Epoch,
    rows: u64,
    ended: bool,
}

impl<'a, R: AsyncBufRead + Unpin> Lines<'a, R> {
    async fn new(input: &'a mut R) -> Result<Self, ImportError> {
        let (buffer, digest) = (Vec::new(), blake3::Hasher::new());
        let mut lines = Self { input, buffer, line: 0, digest, epoch: Epoch(0), rows: 0, ended: false };
        lines.read().await?;
        // A later version may have other fields, but it has these.
        let header: Header = serde_json::from_slice(&lines.buffer).map_err(|_| ImportError::NotAnExport)?;
        if header.format != FORMAT {
            return Err(ImportError::NotAnExport);
        }
        if header.version > VERSION {
            return Err(ImportError::NewerVersion { found: header.version, known: VERSION });
        }
        if !lines.buffer.ends_with(b"\n") {
            return Err(ImportError::Truncated { line: 1 });
        }
        lines.digest.update(&lines.buffer);
        lines.epoch = Epoch(header.epoch);
        Ok(lines)
    }

    fn summary(&self) -> Summary {
        Summary { epoch: self.epoch, rows: self.rows }
    }

    /// Reads the next line into the buffer, its line feed included; empty at the end of the input.
    async fn read(&mut self) -> Result<(), ImportError> {
        self.buffer.clear();
        self.line += 1;
        let line = self.line;
        let mut input = (&mut *self.input).take(LINE_LEN_MAX + 1);
        input.read_until(b'\n', &mut self.buffer).await.map_err(|source| ImportError::Read { line, source })?;
        if self.buffer.len() as u64 > LINE_LEN_MAX {
            return Err(ImportError::TooLong { line });
        }
        Ok(())
    }

    /// The next rows; none once the end has come and was found to fit.
    async fn batch(&mut self) -> Result<Vec<DumpRow>, ImportError> {
        let mut rows = Vec::new();
        while rows.len() < BATCH_ROWS && !self.ended {
            self.read().await?;
            let line = self.line;
            if self.buffer.is_empty() {
                return Err(ImportError::Truncated { line });
            }
            let parsed = serde_json::from_slice::<Line>(&self.buffer).map_err(|error| error.to_string());
            match parsed.and_then(|row| row.parse().map_err(|error| error.to_string())) {
                // The last line of a truncated export is cut somewhere, maybe right before its line feed.
                Ok(Parsed::Row(_)) | Err(_) if !self.buffer.ends_with(b"\n") => {
                    return Err(ImportError::Truncated { line });
                }
                Ok(Parsed::Row(row)) => {
                    self.digest.update(&self.buffer);
                    self.rows += 1;
                    rows.push(row);
                }
                Ok(Parsed::End { rows, blake3 }) => self.end(rows, &blake3).await?,
                Err(why) => return Err(ImportError::BadRow { line, why }),
            }
        }
        Ok(rows)
    }

    async fn end(&mut self, said: u64, blake3: &str) -> Result<(), ImportError> {
        let (line, found) = (self.line, self.rows);
        if said != found {
            return Err(ImportError::WrongCount { line, said, found });
        }
        if self.digest.finalize().to_hex().as_str() != blake3 {
            return Err(ImportError::WrongDigest { line });
        }
        self.read().await?;
        if !self.buffer.is_empty() {
            return Err(ImportError::AfterEnd { line: self.line });
        }
        self.line = line;
        self.ended = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
