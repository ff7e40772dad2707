//! One held client: the im-session core over TLS without buffers. It logs in, keeps heartbeats, and
//! answers the question whether its server still answers.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use bytes::BytesMut;
use im_proto::DeviceId;
use im_proto::client::{Command, Empty, Platform};
use im_session::client::{
    Answer, ClientConnection, CloseCause, ConnectionEvent, ConnectionLimits, Login, RequestError,
};
use proto_codec::{Codec, Deframer};
use tokio::net::TcpSocket;
use tokio::time::{Sleep, sleep_until, timeout};

use super::board::{Asked, Board};
use super::tls::Tls;

/// For the TCP handshake and the TLS handshake; the login has the core's own patience.
const DIAL_TIME_MAX: Duration = Duration::from_secs(30);
/// How long an answer may take; a machine that logs in thousands at once keeps the last one waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the clients of a worker have in common.
pub(super) struct Common {
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) device: DeviceId,
}

/// The question whose answer a request waits for; there is one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    number: u32,
    asked_at: Instant,
}

/// A client that is logged in.
pub(super) struct Client {
    tls: Tls,
    core: ClientConnection<Question>,
    /// Bytes of a frame that is not whole yet; no memory while there are none.
    inbound: BytesMut,
    timer: Pin<Box<Sleep>>,
    index: u32,
    /// The last question that was put to the server.
    question: u32,
}

/// What one look at a connection brought.
enum Step {
    Ready,
    Answered(Question, Asked),
    Ended(CloseCause),
}

impl Client {
    /// Dials from `source` where one is given, and logs in.
    pub(super) async fn login(
        common: &Common,
        gate: SocketAddr,
        source: Option<IpAddr>,
        token: String,
        index: u32,
    ) -> anyhow::Result<Self> {
        let tls = timeout(DIAL_TIME_MAX, dial(common, gate, source)).await.context("the gate is too slow")??;
        let login = Login {
            app_id: "sim-loadtest".to_owned(),
            sdk: env!("CARGO_PKG_VERSION").to_owned(),
            token,
            device: common.device.clone(),
            platform: Platform::Bot,
            codec: Codec::Binary,
        };
        // A heartbeat and a question are all that such a client has under way.
        let limits = ConnectionLimits { patience: PATIENCE, window: 2 };
        let now = Instant::now();
        let core = ClientConnection::new(now, login, limits);
        let timer = Box::pin(sleep_until((now + PATIENCE).into()));
        let mut client = Self { tls, core, inbound: BytesMut::new(), timer, index, question: 0 };
        match poll_fn(|cx| client.poll_step(cx)).await? {
            Step::Ready => Ok(client),
            Step::Ended(cause) => Err(anyhow!(cause).context("log in")),
            Step::Answered(..) => bail!("an answer to a question that was not put"),
        }
    }

    /// Holds the connection until it ends, and tells why it did.
    pub(super) async fn hold(mut self: Box<Self>, board: &Board) -> String {
        let ended = poll_fn(|cx| self.poll_hold(cx, board)).await;
        match ended {
            Ok(cause) => cause.to_string(),
            Err(error) => format!("{error:#}"),
        }
    }

    fn poll_hold(&mut self, cx: &mut Context<'_>, board: &Board) -> Poll<anyhow::Result<CloseCause>> {
        board.waker(self.index).register(cx.waker());
        let question = board.question();
        if question != self.question && self.core.has_room() {
            self.question = question;
            let now = Instant::now();
            // The window has room, as was just seen.
            let _ = self.core.request(now, Command::HeartBeat, &Empty {}, Question { number: question, asked_at: now });
        }
        loop {
            match std::task::ready!(self.poll_step(cx))? {
                Step::Ready => {}
                Step::Answered(question, asked) => board.on_answer(question.number, question.asked_at, asked),
                Step::Ended(cause) => return Poll::Ready(Ok(cause)),
            }
        }
    }

    /// Reads, writes and keeps time until something is to be told.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<Step>> {
        loop {
            while let Some(event) = self.core.poll_event() {
                if let Some(step) = step(event) {
                    return Poll::Ready(Ok(step));
                }
            }
            self.send(cx)?;
            if self.poll_timer(cx).is_ready() {
                self.core.on_timeout(Instant::now());
                continue;
            }
            match self.tls.poll_read(cx, &mut self.inbound)? {
                Poll::Ready(true) => self.take_frames(),
                Poll::Ready(false) => self.core.on_lost(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take_frames(&mut self) {
        let deframer: Deframer = ClientConnection::<Question>::deframer(Codec::Binary);
        let now = Instant::now();
        while let Some(frame) = deframer.next(&mut self.inbound) {
            match frame {
                Ok(frame) => self.core.on_frame(now, frame),
                Err(error) => self.core.on_framing_error(error),
            }
        }
        if self.inbound.is_empty() {
            self.inbound = BytesMut::new();
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let output = self.core.output();
        if !output.is_empty() {
            let plain = std::mem::take(output);
            self.tls.write(&plain);
        }
        // What the socket does not take now wakes this task when it does.
        match self.tls.poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Ready when the core wants to know the time.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.core.next_timeout() else { return Poll::Pending };
        if self.timer.deadline() != due.into() {
            self.timer.as_mut().reset(due.into());
        }
        self.timer.as_mut().poll(cx)
    }
}

async fn dial(common: &Common, gate: SocketAddr, source: Option<IpAddr>) -> anyhow::Result<Tls> {
    let socket = if gate.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.context("open a socket")?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0)).with_context(|| format!("take a port of {source}"))?;
    }
    let socket = socket.connect(gate).await.with_context(|| format!("connect to {gate}"))?;
    socket.set_nodelay(true)?;
    Tls::connect(socket, Arc::clone(&common.tls), crate::tls::server_name()).await.context("the TLS handshake")
}

fn step(event: ConnectionEvent<Question>) -> Option<Step> {
    match event {
        ConnectionEvent::Ready(_) => Some(Step::Ready),
        ConnectionEvent::Answer(Answer { tag, result }) => match result {
            Ok(_) => Some(Step::Answered(tag, Asked::Answered)),
            Err(RequestError::Refused(_)) => Some(Step::Answered(tag, Asked::Refused)),
            // Silence and loss are what is left when all answers are counted.
            Err(RequestError::TimedOut | RequestError::Lost) => None,
        },
        ConnectionEvent::Closed(cause) => Some(Step::Ended(cause)),
        // Nobody writes to these users, and a redirect is followed by those who would lose something.
        ConnectionEvent::Head(_)
        | ConnectionEvent::NewMsg(_)
        | ConnectionEvent::Read(_)
        | ConnectionEvent::Signal(_)
        | ConnectionEvent::Redirect(_) => None,
    }
}
