//! One request and one answer at a time, for what comes before and after a run: logging in, and
//! pulling a timeline.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use im_proto::client::{Auth, AuthAck, Command, GetMsg, HandShake, HandShakeAck, MsgPage, Platform};
use im_proto::limits::{PAGE_ROWS_MAX, SERVER_FRAME_LEN_MAX};
use im_proto::{DeviceId, Position, Refusal};
use proto_codec::{Codec, Decode, Deframer, Encode, Flags, Frame, Hop, Preamble, RESPONSE_BIT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::orders::Account;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
const DEVICE: &str = "loadtest";

pub(super) struct Session {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
    sequence: u32,
}

impl Session {
    /// Logs in on a fresh connection.
    pub(super) async fn login(mut stream: TlsStream<TcpStream>, account: &Account) -> anyhow::Result<Self> {
        stream.write_all(&Preamble::current(Hop::Client).encode()).await?;
        let mut session = Self::resume(stream, BytesMut::new(), 0);
        let hello = HandShake {
            app_id: "sim-loadtest".to_owned(),
            sdk: env!("CARGO_PKG_VERSION").to_owned(),
            codecs: vec![Codec::Binary.id()],
            suites: Vec::new(),
            key_share: Bytes::new(),
        };
        let _: HandShakeAck = session.call(Command::HandShake, &hello).await?;
        let auth = Auth { token: account.token.clone(), device: DeviceId::new(DEVICE)?, platform: Platform::Bot };
        let ack: AuthAck = session.call(Command::Auth, &auth).await?;
        ensure!(ack.user.as_str() == account.user, "the token of {} logs in {}", account.user, ack.user);
        Ok(session)
    }

    /// Goes on with a connection that is logged in.
    pub(super) fn resume(stream: TlsStream<TcpStream>, unread: BytesMut, sequence: u32) -> Self {
        Self { stream, buffer: unread, sequence }
    }

    /// The connection, for a run.
    pub(super) fn into_stream(self) -> anyhow::Result<TlsStream<TcpStream>> {
        ensure!(self.buffer.is_empty(), "the server said something after the login that nobody asked for");
        Ok(self.stream)
    }

    /// The whole timeline of the user, in the order in which the server gives it, to `each`.
    pub(super) async fn pull(&mut self, mut each: impl FnMut(im_proto::client::Entry)) -> anyhow::Result<()> {
        let mut after = Position::default();
        loop {
            let page: MsgPage =
                self.call(Command::GetMsg, &GetMsg { after, limit: PAGE_ROWS_MAX as u16 }).await.context("pull")?;
            if let Some(last) = page.entries.last() {
                after = Position { epoch: page.head.epoch, seq: last.seq };
            }
            ensure!(!page.entries.is_empty() || !page.has_more, "an empty page says that there is more");
            page.entries.into_iter().for_each(&mut each);
            if !page.has_more {
                return Ok(());
            }
        }
    }

    /// Asks, and waits for the answer; what arrives unasked meanwhile is passed over.
    async fn call<A: Decode>(&mut self, command: Command, request: &impl Encode) -> anyhow::Result<A> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut out = BytesMut::new();
        Frame::encode_message(command.number(), Flags::NONE, self.sequence, request, &mut out);
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        timeout(ANSWER_TIME_MAX, self.answer(command)).await.with_context(|| format!("no answer to {command:?}"))?
    }

    async fn answer<A: Decode>(&mut self, command: Command) -> anyhow::Result<A> {
        let deframer = Deframer::new(SERVER_FRAME_LEN_MAX);
        loop {
            while let Some(frame) = deframer.next(&mut self.buffer) {
                let frame = frame?;
                if frame.command != command.number() | RESPONSE_BIT || frame.sequence != self.sequence {
                    continue;
                }
                if frame.flags.is_refused() {
                    let refusal: Refusal = Codec::Binary.decode("Refusal", &frame.body)?;
                    bail!("{command:?} was refused: {refusal}");
                }
                return Ok(Codec::Binary.decode("answer", &frame.body)?);
            }
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
        }
    }
}
