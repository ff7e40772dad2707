//! What stands between records and plaintext: the connection that rustls keeps.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{AppDataRecord, ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};
use tokio::io::ReadBuf;

use super::held::Held;

/// A TLS connection without a socket and without buffers.
pub(super) struct Session {
    connection: Box<UnbufferedServerConnection>,
    peer_closed: bool,
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
    fn plain(&mut self, bytes: &[u8]) {
        let (now, later) = bytes.split_at(bytes.len().min(self.room.remaining()));
        self.room.put_slice(now);
        if !later.is_empty() {
            self.held.buffers().plain.extend_from_slice(later);
        }
    }
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let connection = Box::new(UnbufferedServerConnection::new(config)?);
        Ok(Self { connection, peer_closed: false })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the peer has said that nothing more comes.
    pub(super) fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Takes one step through incoming bytes. After an error there is no further step, and an alert
    /// may be among what is held for the peer.
    pub(super) fn open(&mut self, incoming: &mut [u8], sink: &mut Sink<'_, '_>) -> Result<Opened, rustls::Error> {
        let (consumed, starved) = self.step(incoming, sink, |_| ())?;
        Ok(Opened { consumed, starved: starved.is_some() })
    }

    /// Makes records of `plain` in `out`, and tells how long they are. What is held for the peer has
    /// to go before them.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut [u8], held: &mut Held) -> io::Result<usize> {
        self.with_traffic(held, |traffic| traffic.encrypt(plain, out).map_err(io::Error::other))
    }

    /// Says that nothing more comes.
    pub(super) fn seal_close(&mut self, out: &mut [u8], held: &mut Held) -> io::Result<usize> {
        self.with_traffic(held, |traffic| traffic.queue_close_notify(out).map_err(io::Error::other))
    }

    fn with_traffic(
        &mut self,
        held: &mut Held,
        mut act: impl FnMut(&mut WriteTraffic<'_, ServerConnectionData>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        // The way to writing leads past what came in before.
        let mut incoming = held.take_incoming();
        let mut nowhere = ReadBuf::new(&mut []);
        let result = loop {
            let mut sink = Sink { room: &mut nowhere, held };
            match self.step(&mut incoming, &mut sink, |mut traffic| act(&mut traffic)) {
                Ok((consumed, None)) => incoming.advance(consumed),
                Ok((_, Some(acted))) => break acted.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into())),
                Err(error) => break Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        };
        held.keep_incoming(&incoming);
        held.settle();
        result
    }

    /// One step: how many bytes are done with, and, when there is no further one without more bytes,
    /// what `act` made of the permission to write, if there is one.
    fn step<R>(
        &mut self,
        incoming: &mut [u8],
        sink: &mut Sink<'_, '_>,
        act: impl FnOnce(WriteTraffic<'_, ServerConnectionData>) -> R,
    ) -> Result<(usize, Option<Option<R>>), rustls::Error> {
        let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(incoming);
        match state {
            Ok(ConnectionState::ReadTraffic(mut records)) => {
                while let Some(record) = records.next_record() {
                    let AppDataRecord { discard: also, payload, .. } = record?;
                    discard += also;
                    sink.plain(payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut sink.held.buffers().outgoing)?,
            // What was encoded is held, and nothing that comes behind it overtakes it.
            Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
            Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
            Ok(ConnectionState::WriteTraffic(traffic)) => return Ok((discard, Some(Some(act(traffic))))),
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => return Ok((discard, Some(None))),
            Ok(other) => return Err(rustls::Error::General(format!("{other:?} was not asked for"))),
            Err(error) => {
                self.last_words(&mut incoming[discard..], sink.held);
                return Err(error);
            }
        }
        Ok((discard, None))
    }

    /// Puts the alert that explains an error where it will be sent from.
    fn last_words(&mut self, incoming: &mut [u8], held: &mut Held) {
        // With something to write, rustls does not look at the bytes again.
        while self.connection.wants_write() {
            let state = self.connection.process_tls_records(incoming).state;
            let Ok(ConnectionState::EncodeTlsData(data)) = state else { return };
            if encode(data, &mut held.buffers().outgoing).is_err() {
                return;
            }
        }
    }
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut BytesMut) -> Result<(), rustls::Error> {
    // Asked with no room at all, it tells how much it needs.
    if let Err(EncodeError::InsufficientSize(error)) = data.encode(&mut []) {
        let at = out.len();
        out.resize(at + error.required_size, 0);
        data.encode(&mut out[at..]).map_err(|error| rustls::Error::General(error.to_string()))?;
    }
    Ok(())
}
