//! One end of the TCP connection between two hops: whatever was put into its [`Outbox`] since the
//! last write goes out in one write, and whatever has arrived is handed on in one piece.

use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::Poll;

use anyhow::bail;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::yield_now;

use super::{LINK_FRAME_LEN, frames};

/// Bytes of one read: as many frames as the kernel's default socket buffer holds.
const READ_LEN: usize = 256 * 1024;

/// Bytes that wait for the next write.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Vec<u8>>,
    writer: AtomicWaker,
}

impl Outbox {
    /// Lets `fill` append whole frames, and wakes the writer if they are the first.
    pub(super) fn append(&self, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.is_empty();
        fill(&mut waiting);
        let wake = was_empty && !waiting.is_empty();
        drop(waiting);
        if wake {
            self.writer.wake();
        }
    }

    /// Swaps what waits into `taken`, which must be empty; waits until there is something.
    async fn take(&self, taken: &mut Vec<u8>) {
        poll_fn(|cx| {
            self.writer.register(cx.waker());
            if self.waiting.lock().is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        // Whoever is ready to run may have more to say: let them, so that one write carries it all.
        yield_now().await;
        mem::swap(taken, &mut self.waiting.lock());
    }
}

/// Writes what comes into `outbox` until the connection ends.
pub(super) async fn write(outbox: Arc<Outbox>, mut half: OwnedWriteHalf) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    loop {
        outbox.take(&mut taken).await;
        half.write_all(&taken).await?;
        taken.clear();
    }
}

/// Reads whole frames.
#[derive(Debug)]
pub(super) struct Reader {
    half: OwnedReadHalf,
    buffer: Box<[u8]>,
    /// `buffer[..handed]` was handed out by the last call, `buffer[handed..filled]` is the beginning
    /// of a frame.
    handed: usize,
    filled: usize,
}

impl Reader {
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        Self { half, buffer: vec![0; READ_LEN].into(), handed: 0, filled: 0 }
    }

    /// The whole frames that have arrived since the last call, at least one; waits for it.
    /// An error when the connection ends: a link has no reason to.
    pub(super) async fn frames(&mut self) -> anyhow::Result<&mut [u8]> {
        self.buffer.copy_within(self.handed..self.filled, 0);
        self.filled -= self.handed;
        self.handed = 0;
        while self.handed == 0 {
            match self.half.read(&mut self.buffer[self.filled..]).await? {
                0 => bail!("the link was closed"),
                read => self.filled += read,
            }
            self.handed = frames::whole_len(&self.buffer[..self.filled], LINK_FRAME_LEN as u32)?;
        }
        Ok(&mut self.buffer[..self.handed])
    }
}
