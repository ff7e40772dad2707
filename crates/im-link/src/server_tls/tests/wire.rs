//! A pipe that gives and takes as little at once as its script says, and now and then nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

#[derive(Debug)]
pub(super) struct Wire {
    pipe: DuplexStream,
    script: Vec<u8>,
    step: usize,
    /// It gave and took nothing the last time, and does not do so twice.
    stalled: bool,
}

impl Wire {
    pub(super) fn straight(pipe: DuplexStream) -> Self {
        Self::new(pipe, vec![u8::MAX])
    }

    pub(super) fn new(pipe: DuplexStream, script: Vec<u8>) -> Self {
        Self { pipe, script, step: 0, stalled: false }
    }

    /// How much goes through at once; `None`: try again.
    fn next(&mut self, cx: &Context<'_>) -> Option<usize> {
        let word = usize::from(self.script[self.step % self.script.len()]);
        self.step += 1;
        self.stalled = word.is_multiple_of(4) && !self.stalled;
        if self.stalled {
            cx.waker().wake_by_ref();
            return None;
        }
        Some(1 + word * word)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(len) = self.next(cx) else { return Poll::Pending };
        let mut part = vec![0; len.min(room.remaining())];
        let mut part = ReadBuf::new(&mut part);
        let read = Pin::new(&mut self.pipe).poll_read(cx, &mut part);
        room.put_slice(part.filled());
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(len) = self.next(cx) else { return Poll::Pending };
        Pin::new(&mut self.pipe).poll_write(cx, &bytes[..len.min(bytes.len())])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
