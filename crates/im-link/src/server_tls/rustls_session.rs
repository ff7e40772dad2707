//! The connection as rustls keeps it: for the handshake, and for TLS 1.2.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use rustls::ServerConfig;
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{AppDataRecord, ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};
use tokio::io::ReadBuf;

use super::held::Held;
use super::keys::Keys;
use super::records::Records;
use super::secrets::{self, TrafficSecrets};
use super::session::{Opened, Session, Sink, invalid};

pub(super) struct RustlsSession {
    connection: Box<UnbufferedServerConnection>,
    /// What its key log was told, if that is ours.
    secrets: TrafficSecrets,
    peer_closed: bool,
    /// Incoming bytes that a handshake was given and has not done with.
    given: usize,
}

const HEADER_LEN: usize = 5;

/// What stands behind a header, in TLS 1.2, which allows more than its successor.
const RECORD_LEN_MAX: usize = (1 << 14) + 2048;

/// What rustls keeps to change keys with; here only for tests to compare with.
type Kernel = KernelConnection<ServerConnectionData>;

impl RustlsSession {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let connection = Box::new(UnbufferedServerConnection::new(config)?);
        Ok(Self { connection, secrets: TrafficSecrets::default(), peer_closed: false, given: 0 })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the peer has said that nothing more comes.
    pub(super) fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Behind the handshake: what traffic needs, without the rest, if it can be had.
    pub(super) fn into_records(self) -> io::Result<Session> {
        let peer_closed = self.peer_closed;
        match self.into_keys()? {
            Ok((read, write, _)) => Ok(Session::Records(Records::new(read, write, peer_closed))),
            Err(session) => Ok(Session::Rustls(session)),
        }
    }

    /// The keys of both directions, the client's first.
    pub(super) fn into_keys(mut self) -> io::Result<Result<(Keys, Keys, Kernel), Self>> {
        let (Some(client), Some(server)) = (self.secrets.client.take(), self.secrets.server.take()) else {
            return Ok(Err(self));
        };
        let (keys, kernel) = self.connection.dangerous_into_kernel_connection().map_err(invalid)?;
        let read = Keys::new(keys.rx.0, &keys.rx.1, client);
        let write = Keys::new(keys.tx.0, &keys.tx.1, server);
        let (read, write) = read.zip(write).ok_or_else(|| invalid("a suite that nobody offered"))?;
        Ok(Ok((read, write, kernel)))
    }

    /// Takes one step through incoming bytes. After an error there is no further step, and an alert
    /// may be among what is held for the peer.
    pub(super) fn open(&mut self, incoming: &mut [u8], sink: &mut Sink<'_, '_>) -> Result<Opened, rustls::Error> {
        if self.is_handshaking() {
            return self.open_handshake(incoming, sink);
        }
        let (consumed, end) = self.step(incoming, sink, |_| ())?;
        Ok(Opened { consumed, starved: end.is_some() })
    }

    /// A handshake is given one record after the other: what stands behind its last one is not for
    /// rustls, which would go on with it and change keys that are ours to change.
    fn open_handshake(&mut self, incoming: &mut [u8], sink: &mut Sink<'_, '_>) -> Result<Opened, rustls::Error> {
        loop {
            let (consumed, end) = self.step(&mut incoming[..self.given], sink, |_| ())?;
            self.given -= consumed;
            if !self.is_handshaking() {
                self.encode_all(&mut incoming[consumed..][..self.given], sink.held);
            }
            if consumed > 0 || end.is_none() || !self.is_handshaking() {
                return Ok(Opened { consumed, starved: false });
            }
            match first_record_len(&incoming[self.given..]) {
                Some(len) => self.given += len,
                None => return Ok(Opened { consumed, starved: true }),
            }
        }
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
        // Whatever the key log was told just now is of this connection.
        let TrafficSecrets { client, server } = secrets::take();
        self.secrets.client = client.or_else(|| self.secrets.client.take());
        self.secrets.server = server.or_else(|| self.secrets.server.take());
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
                // The alert that explains it.
                self.encode_all(&mut incoming[discard..], sink.held);
                return Err(error);
            }
        }
        Ok((discard, None))
    }

    /// Puts what rustls has to say where it will be sent from, without a look at incoming bytes.
    fn encode_all(&mut self, incoming: &mut [u8], held: &mut Held) {
        // With something to say, rustls says that first.
        while self.connection.wants_write() {
            let state = self.connection.process_tls_records(incoming).state;
            let Ok(ConnectionState::EncodeTlsData(data)) = state else { return };
            if encode(data, &mut held.buffers().outgoing).is_err() {
                return;
            }
        }
    }
}

/// How many bytes the first record has, if all of them are there. What is no record is given away
/// whole, to be refused.
fn first_record_len(incoming: &[u8]) -> Option<usize> {
    let &[content_type, _, _, high, low, ..] = incoming else { return None };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if !(20..=23).contains(&content_type) || len > RECORD_LEN_MAX {
        return Some(incoming.len());
    }
    (HEADER_LEN + len <= incoming.len()).then_some(HEADER_LEN + len)
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
