//! TLS without a buffer of its own. A held connection costs what rustls must remember and nothing
//! else: bytes are read into one scratch buffer per thread, and only the beginning of a record whose
//! rest has not come stays with the connection.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::{Context as _, bail};
use bytes::{Buf, BytesMut};
use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::net::TcpStream;

/// Room for the longest record (16 KiB and its envelope), twice, so that a read rarely ends within one.
const SCRATCH_LEN: usize = 36 * 1024;

/// What a record adds to its payload, with room to spare: header, content type, tag.
const RECORD_OVERHEAD: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_LEN].into());
}

pub(super) struct Tls {
    socket: TcpStream,
    session: UnbufferedClientConnection,
    /// The beginning of a record, between two reads.
    partial: Vec<u8>,
    /// Encrypted, and not yet taken by the kernel.
    unsent: BytesMut,
}

/// Where the TLS session stands once it can do no more with what has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    HandShaking,
    Open,
    Closed,
}

impl Tls {
    pub(super) fn new(socket: TcpStream, config: Arc<ClientConfig>, name: ServerName<'static>) -> anyhow::Result<Self> {
        let session = UnbufferedClientConnection::new(config, name).context("begin TLS")?;
        Ok(Self { socket, session, partial: Vec::new(), unsent: BytesMut::new() })
    }

    /// The TLS handshake.
    pub(super) async fn shake_hands(&mut self) -> anyhow::Result<()> {
        let mut plain = BytesMut::new();
        let mut stand = self.work_off(&mut [], 0, &mut plain)?.0;
        loop {
            std::future::poll_fn(|cx| self.poll_flush(cx)).await?;
            match stand {
                Stand::HandShaking => {}
                Stand::Open if plain.is_empty() => return Ok(()),
                Stand::Open => bail!("the server spoke before it was spoken to"),
                Stand::Closed => bail!("the server closed in the middle of the TLS handshake"),
            }
            stand = std::future::poll_fn(|cx| self.poll_work(cx, &mut plain)).await?;
        }
    }

    /// Appends what has arrived to `plain`; `false` at the end of the connection.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, plain: &mut BytesMut) -> Poll<anyhow::Result<bool>> {
        loop {
            let before = plain.len();
            let stand = ready!(self.poll_work(cx, plain))?;
            if stand == Stand::Closed {
                return Poll::Ready(Ok(false));
            }
            if plain.len() > before {
                return Poll::Ready(Ok(true));
            }
        }
    }

    /// Encrypts `plain`; [`poll_flush`](Self::poll_flush) sends it.
    pub(super) fn write(&mut self, plain: &[u8]) -> anyhow::Result<()> {
        let mut pending = std::mem::take(&mut self.partial);
        let UnbufferedStatus { state, .. } = self.session.process_tls_records(&mut pending);
        let ConnectionState::WriteTraffic(mut traffic) = state.context("TLS")? else {
            bail!("the TLS session is not open for writing");
        };
        let start = self.unsent.len();
        self.unsent.resize(start + plain.len() + RECORD_OVERHEAD, 0);
        let written = match traffic.encrypt(plain, &mut self.unsent[start..]) {
            Ok(written) => written,
            Err(EncryptError::InsufficientSize(needed)) => {
                self.unsent.resize(start + needed.required_size, 0);
                traffic.encrypt(plain, &mut self.unsent[start..]).context("encrypt")?
            }
            Err(error) => return Err(error).context("encrypt"),
        };
        self.unsent.truncate(start + written);
        self.partial = pending;
        Ok(())
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

    fn poll_work(&mut self, cx: &mut Context<'_>, plain: &mut BytesMut) -> Poll<anyhow::Result<Stand>> {
        loop {
            ready!(self.socket.poll_read_ready(cx)).context("read")?;
            let worked = SCRATCH.with_borrow_mut(|scratch| {
                let held = self.partial.len();
                scratch[..held].copy_from_slice(&self.partial);
                match self.socket.try_read(&mut scratch[held..]) {
                    Ok(0) => Ok(Some(Stand::Closed)),
                    Ok(read) => {
                        let (stand, used) = self.work_off(scratch, held + read, plain)?;
                        self.partial = scratch[used..held + read].to_vec();
                        anyhow::ensure!(self.partial.len() < SCRATCH_LEN, "a TLS record is too long");
                        Ok(Some(stand))
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                    Err(error) => Err(error).context("read"),
                }
            });
            if let Some(stand) = worked? {
                return Poll::Ready(Ok(stand));
            }
        }
    }

    /// Gives the session the first `filled` bytes of `incoming`. Tells where it stands then, and how many
    /// of them it will not want to see again.
    fn work_off(&mut self, incoming: &mut [u8], filled: usize, plain: &mut BytesMut) -> anyhow::Result<(Stand, usize)> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(&mut incoming[used..filled]);
            let stand = match state.context("TLS")? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.context("TLS")?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    None
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let start = self.unsent.len();
                    let length = match data.encode(&mut []) {
                        Err(EncodeError::InsufficientSize(needed)) => needed.required_size,
                        Ok(_) => 0,
                        Err(error) => return Err(error).context("TLS"),
                    };
                    self.unsent.resize(start + length, 0);
                    if length > 0 {
                        data.encode(&mut self.unsent[start..]).context("TLS")?;
                    }
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    // It stands in `unsent`, which is sent before anything else is awaited.
                    data.done();
                    None
                }
                ConnectionState::BlockedHandshake => Some(Stand::HandShaking),
                ConnectionState::WriteTraffic(_) => Some(Stand::Open),
                ConnectionState::PeerClosed | ConnectionState::Closed => Some(Stand::Closed),
                other => bail!("TLS came to an unexpected state: {other:?}"),
            };
            used += discard;
            if let Some(stand) = stand {
                return Ok((stand, used));
            }
        }
    }
}
