//! A client that does what a test says and nothing by itself: no heartbeats, no reading, no patience.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use im_link::tls;
use im_link::{BoxIo, FrameIo};
use im_proto::client::{Auth, AuthAck, Command, HandShake, HandShakeAck, Platform};
use im_proto::limits::SERVER_FRAME_LEN_MAX;
use im_proto::{DeviceId, Refusal};
use proto_codec::{Bytes, BytesMut, Codec, CodecId, Decode, Encode, Flags, Frame, Hop, Preamble, RESPONSE_BIT};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::PATIENCE;

/// Bytes that the kernel may hold for a client that does not read; it takes some more for itself.
const RECEIVE_BUFFER: u32 = 8 * 1024;

/// Dials one gate.
#[derive(Clone, Debug)]
pub struct BareDial {
    tls: Arc<ClientConfig>,
    gate: SocketAddr,
}

/// A client on a connection of its own.
pub struct Bare {
    /// The connection.
    pub io: FrameIo,
    sequence: u32,
}

impl BareDial {
    /// Trusts that authority.
    pub fn new(ca: &Path, gate: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { tls: Arc::new(tls::client_config(ca, None)?), gate })
    }

    /// A stream inside TLS, with little room for what is not read.
    pub async fn stream(&self) -> anyhow::Result<BoxIo> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let stream = socket.connect(self.gate).await?;
        let name = ServerName::from(self.gate.ip());
        Ok(Box::new(TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?))
    }

    /// A client that has logged in.
    pub async fn login(&self, token: &str, device: &str) -> anyhow::Result<Bare> {
        let mut client = Bare { io: FrameIo::new(self.stream().await?, SERVER_FRAME_LEN_MAX), sequence: 0 };
        client.io.write(&Preamble::current(Hop::Client).encode()).await?;
        let hello = HandShake {
            app_id: String::new(),
            sdk: "bare".into(),
            codecs: vec![CodecId::Binary],
            suites: Vec::new(),
            key_share: Bytes::new(),
        };
        client.call::<HandShakeAck>(Command::HandShake, &hello).await?;
        let auth = Auth { token: token.into(), device: DeviceId::new(device)?, platform: Platform::Bot };
        client.call::<AuthAck>(Command::Auth, &auth).await?;
        Ok(client)
    }
}

impl Bare {
    /// Sends a request and gives its sequence.
    pub async fn ask(&mut self, command: Command, message: &impl Encode) -> anyhow::Result<u32> {
        self.sequence += 1;
        let mut body = BytesMut::new();
        message.encode(&mut body);
        let frame =
            Frame { command: command.number(), flags: Flags::NONE, sequence: self.sequence, body: body.freeze() };
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.io.write(&bytes).await?;
        Ok(self.sequence)
    }

    /// The next frame.
    pub async fn hear(&mut self) -> anyhow::Result<Frame> {
        Ok(timeout(PATIENCE, self.io.read_frame()).await.context("a frame was to come")??)
    }

    /// Asks, and waits for the answer; a refusal is an error.
    pub async fn call<M: Decode>(&mut self, command: Command, message: &impl Encode) -> anyhow::Result<M> {
        let sequence = self.ask(command, message).await?;
        loop {
            let frame = self.hear().await?;
            if frame.flags.is_refused() {
                bail!(decoded::<Refusal>(&frame)?);
            }
            if frame.command == command.number() | RESPONSE_BIT {
                ensure!(frame.sequence == sequence, "an answer to {} in place of {sequence}", frame.sequence);
                return decoded(&frame);
            }
        }
    }

    /// The last frame before the gate closes.
    pub async fn last_word(&mut self) -> anyhow::Result<Option<Frame>> {
        let reading = async {
            let mut last = None;
            while let Ok(frame) = self.io.read_frame().await {
                last = Some(frame);
            }
            last
        };
        timeout(PATIENCE, reading).await.context("the gate was to close")
    }
}

/// What a frame says.
pub fn decoded<M: Decode>(frame: &Frame) -> anyhow::Result<M> {
    Ok(Codec::Binary.decode("body", &frame.body)?)
}
