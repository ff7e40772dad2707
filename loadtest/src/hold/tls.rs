//! A socket with TLS on it that owns no buffer while it is idle: bytes are read into one scratch buffer
//! per thread, and only the beginning of a record whose rest has not come stays with the connection.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::Context as _;
use bytes::{Buf, BytesMut};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::handshake::shake_hands;
use super::records::{Opened, RECORD_LEN_MAX, Records};

/// Twice the longest record, so that a read rarely ends within one, and always has room.
const SCRATCH_LEN: usize = 2 * RECORD_LEN_MAX;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_LEN].into());
}

pub(super) struct Tls {
    socket: TcpStream,
    records: Records,
    /// The beginning of a record, between two reads.
    partial: Vec<u8>,
    /// Encrypted, and not yet taken by the kernel.
    unsent: BytesMut,
}

/// What a read brought.
enum Read {
    /// Nothing is there.
    Blocked,
    Some,
    End,
}

impl Tls {
    /// The TLS handshake.
    pub(super) async fn connect(
        mut socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> anyhow::Result<Self> {
        // Its future is large, and lives for milliseconds.
        let (records, partial) = Box::pin(shake_hands(&mut socket, config, name)).await?;
        Ok(Self { socket, records, partial, unsent: BytesMut::new() })
    }

    /// Appends what has arrived to `plain`; `false` at the end of the connection.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, plain: &mut BytesMut) -> Poll<anyhow::Result<bool>> {
        loop {
            ready!(self.socket.poll_read_ready(cx)).context("read")?;
            let before = plain.len();
            match SCRATCH.with_borrow_mut(|scratch| self.read(scratch, plain))? {
                Read::End => return Poll::Ready(Ok(false)),
                Read::Some if plain.len() > before => return Poll::Ready(Ok(true)),
                Read::Some | Read::Blocked => {}
            }
        }
    }

    fn read(&mut self, scratch: &mut [u8], plain: &mut BytesMut) -> anyhow::Result<Read> {
        let held = self.partial.len();
        scratch[..held].copy_from_slice(&self.partial);
        let filled = match self.socket.try_read(&mut scratch[held..]) {
            Ok(0) => return Ok(Read::End),
            Ok(read) => held + read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Blocked),
            Err(error) => return Err(error).context("read"),
        };
        let mut used = 0;
        while let Some((length, opened)) = self.records.open(&mut scratch[used..filled])? {
            match opened {
                Opened::Data(data) => plain.extend_from_slice(data),
                Opened::Nothing => {}
                Opened::Close => return Ok(Read::End),
            }
            used += length;
        }
        self.partial = scratch[used..filled].to_vec();
        Ok(Read::Some)
    }

    /// Encrypts `plain`; [`poll_flush`](Self::poll_flush) sends it.
    pub(super) fn write(&mut self, plain: &[u8]) {
        self.records.seal(plain, &mut self.unsent);
    }

    /// Ready when the kernel has all of it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<()>> {
        while !self.unsent.is_empty() {
            ready!(self.socket.poll_write_ready(cx)).context("write")?;
            match self.socket.try_write(&self.unsent) {
                Ok(0) => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero)).context("write")),
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error).context("write")),
            }
        }
        // An idle connection keeps no buffer.
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}
