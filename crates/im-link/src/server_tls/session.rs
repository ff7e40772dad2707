//! What stands between records and plaintext, without a socket and without buffers.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::ReadBuf;

use super::held::Held;
use super::records::Records;
use super::rustls_session::RustlsSession;

/// A TLS connection.
pub(super) enum Session {
    /// A handshake, and a connection that has to stay with rustls: TLS 1.2, or a configuration that
    /// does not let secrets out.
    Rustls(RustlsSession),
    /// TLS 1.3 after its handshake.
    Records(Records),
}

/// Where a session puts what it makes of incoming bytes.
pub(super) struct Sink<'a, 'b> {
    /// Plaintext goes here as long as there is room; the rest is held.
    pub(super) room: &'a mut ReadBuf<'b>,
    pub(super) held: &'a mut Held,
}

/// What one step made of incoming bytes.
#[derive(Debug)]
pub(super) struct Opened {
    /// So many bytes are done with.
    pub(super) consumed: usize,
    /// There is no further step without more bytes.
    pub(super) starved: bool,
}

impl Sink<'_, '_> {
    pub(super) fn plain(&mut self, bytes: &[u8]) {
        let (now, later) = bytes.split_at(bytes.len().min(self.room.remaining()));
        self.room.put_slice(now);
        if !later.is_empty() {
            self.held.buffers().plain.extend_from_slice(later);
        }
    }
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        RustlsSession::new(config).map(Self::Rustls)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Self::Rustls(session) => session.is_handshaking(),
            Self::Records(_) => false,
        }
    }

    /// The handshake is over: keeps of it what traffic needs.
    pub(super) fn shrink(self) -> io::Result<Self> {
        match self {
            Self::Rustls(session) => session.into_records(),
            Self::Records(_) => Ok(self),
        }
    }

    /// Whether the peer has said that nothing more comes.
    pub(super) fn is_peer_closed(&self) -> bool {
        match self {
            Self::Rustls(session) => session.is_peer_closed(),
            Self::Records(records) => records.is_peer_closed(),
        }
    }

    /// Takes one step through incoming bytes. After an error there is no further step, and an alert
    /// may be among what is held for the peer.
    pub(super) fn open(&mut self, incoming: &mut [u8], sink: &mut Sink<'_, '_>) -> io::Result<Opened> {
        match self {
            Self::Rustls(session) => session.open(incoming, sink).map_err(invalid),
            Self::Records(records) => records.open(incoming, sink).map_err(|error| {
                records.seal_alert_for(&error, sink.held);
                invalid(error)
            }),
        }
    }

    /// Makes records of `plain` in `out`, and tells how long they are. What is held for the peer has
    /// to go before them.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut [u8], held: &mut Held) -> io::Result<usize> {
        match self {
            Self::Rustls(session) => session.seal(plain, out, held),
            Self::Records(records) => Ok(records.seal(plain, out)),
        }
    }

    /// Says that nothing more comes.
    pub(super) fn seal_close(&mut self, out: &mut [u8], held: &mut Held) -> io::Result<usize> {
        match self {
            Self::Rustls(session) => session.seal_close(out, held),
            Self::Records(records) => Ok(records.seal_close(out)),
        }
    }
}

pub(super) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
