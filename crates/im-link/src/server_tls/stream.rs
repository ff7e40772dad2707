//! A socket with TLS on it.
//!
//! Whoever polls a stream for reading and for writing must be one task, as the owner of a connection
//! is: a failed read tries to send its alert.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::held::Held;
use super::session::{Session, Sink, invalid};
use crate::network::BoxIo;
use crate::scratch::{self, Scratch};

/// Room for what one read takes from the socket, behind what was kept of the read before it.
pub(super) const SCRATCH_LEN: usize = 64 * 1024 + KEPT_LEN_MAX;

/// Bytes kept for want of the rest: one record, or the records of one message of a handshake, of
/// which the largest, a hello, has a few thousand bytes.
const KEPT_LEN_MAX: usize = 32 * 1024;

/// Plaintext taken at once, which bounds what is held for a client that does not read.
const PLAIN_LEN_MAX: usize = 32 * 1024;

thread_local! {
    static SCRATCH: Scratch = const { Scratch::new(None) };
}

/// The server's end of a TLS connection. Idle it owns its socket and its session, and not a byte of
/// traffic.
pub(super) struct ServerStream {
    io: BoxIo,
    session: Session,
    held: Held,
    /// Records were left in `held` because the reader had no room: they come before the socket.
    has_records: bool,
    /// What came was no TLS, or not from the client.
    has_failed: bool,
    /// The client has been told that nothing more comes.
    has_closed: bool,
}

impl ServerStream {
    pub(super) fn new(io: BoxIo, session: Session) -> Self {
        Self { io, session, held: Held::default(), has_records: false, has_failed: false, has_closed: false }
    }

    /// Goes through the handshake.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_records(cx, &mut ReadBuf::new(&mut [])))?;
            if self.session.is_peer_closed() && self.session.is_handshaking() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Behind the handshake: keeps of it what traffic needs.
    pub(super) fn shrink(self) -> io::Result<Self> {
        Ok(Self { session: self.session.shrink()?, ..self })
    }

    #[cfg(test)]
    pub(super) fn into_session(self) -> Session {
        self.session
    }

    #[cfg(test)]
    pub(super) fn held_len(&self) -> usize {
        self.held.len()
    }

    /// Opens records from the socket, or those that were left, into `room`. Ready without any bytes
    /// if the records had none.
    fn poll_records(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        scratch::with(&SCRATCH, SCRATCH_LEN, |scratch| {
            let kept = self.held.incoming().len();
            let mut end = kept;
            if !self.has_records {
                if kept > KEPT_LEN_MAX {
                    return Poll::Ready(Err(invalid("a message of a handshake is too long")));
                }
                let mut fresh = ReadBuf::new(&mut scratch[kept..]);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut fresh))?;
                if fresh.filled().is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                end += fresh.filled().len();
            }
            scratch[..kept].copy_from_slice(&self.held.take_incoming());
            let opened = self.open_records(&mut scratch[..end], room);
            self.held.settle();
            if opened.is_err() {
                self.has_failed = true;
                // The alert goes out if the socket takes it at once.
                let _ = self.poll_send(cx);
            }
            Poll::Ready(opened)
        })
    }

    fn open_records(&mut self, incoming: &mut [u8], room: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut at = 0;
        self.has_records = false;
        loop {
            if room.remaining() == 0 && !self.session.is_handshaking() {
                self.has_records = at < incoming.len();
                break;
            }
            let mut sink = Sink { room, held: &mut self.held };
            let opened = self.session.open(&mut incoming[at..], &mut sink)?;
            at += opened.consumed;
            if self.session.is_peer_closed() {
                // Whatever stands behind the last word is not of this conversation.
                return Ok(());
            }
            if opened.starved {
                break;
            }
        }
        self.held.keep_incoming(&incoming[at..]);
        Ok(())
    }

    /// Hands what waits to the socket. Ready: nothing waits any more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.outgoing().is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, self.held.outgoing()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.held.sent(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends records that have just been made, and keeps what the socket does not take.
    fn send_or_keep(&mut self, cx: &mut Context<'_>, records: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        if self.poll_send(cx)?.is_ready() {
            while sent < records.len() {
                match Pin::new(&mut self.io).poll_write(cx, &records[sent..])? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(len) => sent += len,
                    Poll::Pending => break,
                }
            }
        }
        self.held.keep_outgoing(&records[sent..]);
        Ok(())
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = room.filled().len();
        if room.remaining() == 0 || this.held.take_plain(room) > 0 {
            return Poll::Ready(Ok(()));
        }
        // A socket gives tasks their turn: a client that sends records without data cannot keep this
        // one here.
        while room.filled().len() == before {
            if this.has_failed {
                return Poll::Ready(Err(invalid("the connection has failed before")));
            }
            if this.session.is_peer_closed() {
                break;
            }
            ready!(this.poll_records(cx, room))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.has_closed || this.has_failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(this.poll_send(cx))?;
        let plain = &plain[..plain.len().min(PLAIN_LEN_MAX)];
        scratch::with(&SCRATCH, SCRATCH_LEN, |scratch| {
            let len = this.session.seal(plain, scratch, &mut this.held)?;
            this.send_or_keep(cx, &scratch[..len])
        })?;
        Poll::Ready(Ok(plain.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.has_closed && !this.has_failed {
            this.has_closed = true;
            scratch::with(&SCRATCH, SCRATCH_LEN, |scratch| {
                let len = this.session.seal_close(scratch, &mut this.held)?;
                this.send_or_keep(cx, &scratch[..len])
            })?;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
