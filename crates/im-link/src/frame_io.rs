//! Frames over a stream. Reading goes through one scratch buffer per thread, so a connection owns
//! bytes only while part of a frame is missing or part of a write is refused by the socket.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use proto_codec::{Deframer, Frame, FrameError, PREAMBLE_LEN};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::network::BoxIo;
use crate::outbound::Outbound;

/// Bytes taken from a socket at once: several hundred small frames, four TLS records.
const SCRATCH_LEN: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_LEN].into_boxed_slice());
}

/// A stream with its deframer. The invariant: `inbound` holds at most one incomplete frame and what
/// was read behind it, never more than a frame's maximum and one scratch buffer.
pub struct FrameIo {
    io: BoxIo,
    deframer: Deframer,
    inbound: BytesMut,
    writing: BytesMut,
    /// How much of `writing` the socket has taken.
    written: usize,
    /// Buffers up to so many bytes are kept when they are empty.
    keep: usize,
    flushed: bool,
}

/// Why the next frame cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The socket failed.
    #[error(transparent)]
    Io(io::Error),
    /// The peer closed.
    #[error("the peer closed the connection")]
    Closed,
    /// The bytes are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl From<io::Error> for ReadError {
    /// A peer that was killed says no goodbye under TLS; for whoever reads the log it has closed.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }
}

impl FrameIo {
    /// Frames with bodies of at most `frame_len_max` bytes come in.
    pub fn new(io: BoxIo, frame_len_max: u32) -> Self {
        Self {
            io,
            deframer: Deframer::new(frame_len_max),
            inbound: BytesMut::new(),
            writing: BytesMut::new(),
            written: 0,
            keep: 0,
            flushed: true,
        }
    }

    /// Keeps the buffers for what is written, up to so many bytes each. For few connections with much to
    /// say, whose buffers would else grow from nothing with every write.
    pub(crate) fn keep_buffers(&mut self, bytes: usize) {
        self.keep = bytes;
    }

    /// Reads what is there, once. `Ready(0)`: the peer closed.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            self.inbound.extend_from_slice(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
    }

    /// Reads what is there, once, and throws it away. `Ready(0)`: the peer closed.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            Poll::Ready(Ok(buf.filled().len()))
        })
    }

    /// The next whole frame of what has been read.
    pub fn next_frame(&mut self) -> Option<Result<Frame, FrameError>> {
        let next = self.deframer.next(&mut self.inbound);
        if self.inbound.is_empty() {
            self.inbound = BytesMut::new();
        }
        next
    }

    /// The preamble, once its bytes are there.
    pub fn take_preamble(&mut self) -> Option<[u8; PREAMBLE_LEN]> {
        let preamble = *self.inbound.first_chunk()?;
        self.inbound.advance(PREAMBLE_LEN);
        Some(preamble)
    }

    /// Bytes that wait to be written or for the rest of their frame.
    pub fn held(&self) -> usize {
        self.inbound.len() + self.writing.len() - self.written
    }

    /// Writes what `outbound` holds until it is empty or the socket takes no more.
    /// `Ready`: everything is with the kernel.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, outbound: &Outbound) -> Poll<io::Result<()>> {
        loop {
            if self.writing.is_empty() {
                outbound.exchange(&mut self.writing);
            }
            if self.writing.is_empty() {
                break;
            }
            self.flushed = false;
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.writing[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            if self.written == self.writing.len() {
                self.written = 0;
                self.writing.clear();
                if self.writing.capacity() > self.keep {
                    self.writing = BytesMut::new();
                }
            }
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the peer that nothing more comes.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Waits for the next frame. Cancellation-safe: bytes stay in the buffer.
    pub async fn read_frame(&mut self) -> Result<Frame, ReadError> {
        loop {
            if let Some(frame) = self.next_frame() {
                return Ok(frame?);
            }
            self.fill().await?;
        }
    }

    /// Waits for the preamble. Cancellation-safe.
    pub async fn read_preamble(&mut self) -> Result<[u8; PREAMBLE_LEN], ReadError> {
        loop {
            if let Some(preamble) = self.take_preamble() {
                return Ok(preamble);
            }
            self.fill().await?;
        }
    }

    /// Writes bytes and waits until the kernel has them. Not cancellation-safe: a dropped future
    /// may leave half of them written.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let outbound = Outbound::new(usize::MAX);
        // A new buffer is neither full nor closed.
        let _ = outbound.push(|out| out.extend_from_slice(bytes));
        poll_fn(|cx| self.poll_drain(cx, &outbound)).await
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        match poll_fn(|cx| self.poll_fill(cx)).await? {
            0 => Err(ReadError::Closed),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// What one end writes, in pieces that the stream takes, with the other end reading along.
    async fn written(io: &mut FrameIo, peer: &mut tokio::io::DuplexStream, outbound: &Outbound) -> Vec<u8> {
        let mut all = Vec::new();
        let mut some = [0; 300];
        loop {
            let drained = poll_fn(|cx| io.poll_drain(cx, outbound)).now_or_never();
            while let Some(count) = peer.read(&mut some).now_or_never() {
                all.extend_from_slice(&some[..count.unwrap()]);
            }
            if let Some(drained) = drained {
                drained.unwrap();
                return all;
            }
        }
    }

    /// Kept or not, every byte goes out once and in order; and an end that keeps nothing owns nothing
    /// while nothing is said, which is what a million idle connections cost.
    #[tokio::test]
    async fn buffers_are_kept_up_to_their_bound_and_never_mixed() {
        for (keep, kept) in [(0, false), (4096, true), (100, false)] {
            let (near, mut far) = tokio::io::duplex(1000);
            let mut io = FrameIo::new(Box::new(near), 1024);
            io.keep_buffers(keep);
            let outbound = Outbound::new(usize::MAX);
            for round in 0..5u8 {
                let frames: Vec<Vec<u8>> = (0..3u8).map(|n| vec![round * 3 + n; 500]).collect();
                for frame in &frames {
                    outbound.push(|out| out.extend_from_slice(frame)).unwrap();
                }
                assert_eq!(written(&mut io, &mut far, &outbound).await, frames.concat(), "keep {keep}, round {round}");
                assert_eq!(io.held(), 0);
            }
            let mut spare = BytesMut::new();
            outbound.exchange(&mut spare);
            assert_eq!(spare.capacity() + io.writing.capacity() > 0, kept, "keep {keep}");
        }
    }
}
