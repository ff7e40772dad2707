//! One client connection, from the end of its TLS handshake to its own.
//!
//! Most connections are idle, and there are many, so this future is written by hand: what only some need
//! at some time is on the heap for that time.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use im_auth::Verifier;
use im_link::network::BoxFuture;
use im_link::{BoxIo, FrameIo, Network, link};
use im_proto::client::{Auth, Command, Empty, KickReason, Kickout};
use im_proto::limits::CLIENT_FRAME_LEN_MAX;
use im_proto::{Refusal, RefusalCode};
use im_secure::EphemeralKey;
use im_session::{Action, CloseReason, GateSession, GateSessionConfig};
use proto_codec::{Bytes, Flags, FrameError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::encryption::Encryption;
use crate::keep_alive::KeepAlive;
use crate::limits::{Guest, Limit, Limiter};
use crate::revoked::Revoked;
use crate::sessions::{Client, Sessions};
use crate::upstream::{Upstream, unix_ms};

/// Reads per wake-up, so that one busy client does not keep its thread from the others.
const READS_PER_WAKE: usize = 4;

/// Time for the last words to leave, so that a client that does not read cannot hold on.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What every connection of a gate shares.
pub(crate) struct Shared {
    pub(crate) network: Arc<dyn Network>,
    pub(crate) config: GateSessionConfig,
    pub(crate) encryption: Encryption,
    pub(crate) verifier: ArcSwap<Verifier>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) keep_alive: Arc<KeepAlive>,
    pub(crate) revoked: Arc<Revoked>,
    /// Bytes that may wait for one client.
    pub(crate) outbound_bytes_max: usize,
    /// Requests of one client under way at once; over it the gate stops reading from it.
    pub(crate) in_flight_max: u32,
    /// The gate's end, which ends its connections at once. Those that are logged in do not wait for it:
    /// they are told.
    pub(crate) stop: CancellationToken,
}

/// Serves a connection until it ends.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    io: FrameIo,
    session: GateSession,
    client: Arc<Client>,
    /// Until it has logged in.
    guest: Option<Box<Guest>>,
    /// The time to log in, or the flush timeout once the end has been decided. In between there is none:
    /// `Shared::keep_alive` has this task look.
    alarm: Option<BoxFuture<'static, Alarm>>,
    /// Frames were left alone, because too many requests were under way.
    held_back: bool,
    /// The end has been decided: the last word is on its way.
    ending: bool,
    /// The last word is with the kernel, and nothing comes behind it.
    shut: bool,
    _permit: OwnedSemaphorePermit,
}

/// What a connection waits for that has not logged in, or that ends.
enum Alarm {
    /// Its time is over.
    Time,
    /// The gate's is.
    Stop,
}

fn alarm(stop: &CancellationToken, at: Instant) -> BoxFuture<'static, Alarm> {
    let stop = stop.clone().cancelled_owned();
    Box::pin(async move {
        match timeout_at(at, stop).await {
            Ok(()) => Alarm::Stop,
            Err(_) => Alarm::Time,
        }
    })
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.client.is_stopped() {
            ready!(this.step(cx));
        }
        if !this.ending && !this.client.is_stopped() {
            this.leave();
        }
        Poll::Ready(())
    }
}

impl Connection {
    /// The time to log in runs from `accepted`, TLS included.
    pub(crate) fn new(
        shared: Arc<Shared>,
        io: BoxIo,
        address: SocketAddr,
        accepted: std::time::Instant,
        guest: Guest,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let session = GateSession::new(accepted, shared.encryption.policy());
        Self {
            io: FrameIo::new(io, CLIENT_FRAME_LEN_MAX),
            client: Arc::new(Client::new(address, shared.outbound_bytes_max)),
            guest: Some(Box::new(guest)),
            alarm: Some(alarm(&shared.stop, session.deadline(&shared.config).into())),
            session,
            shared,
            held_back: false,
            ending: false,
            shut: false,
            _permit: permit,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.outbound.register(cx.waker());
        if let Some(dismissal) = self.client.dismissed() {
            let action = self.session.on_dismissal(dismissal);
            self.act(action);
        }
        if !self.ending && self.read(cx).is_break() {
            return Poll::Ready(());
        }
        if self.watch(cx).is_break() {
            return Poll::Ready(());
        }
        match self.io.poll_drain(cx, &self.client.outbound) {
            Poll::Ready(Err(error)) => {
                debug!(address = %self.client.address, %error, "cannot write to a client");
                Poll::Ready(())
            }
            Poll::Ready(Ok(())) if self.ending => self.linger(cx),
            Poll::Ready(Ok(())) => {
                // An answer that came since the look at the requests under way, behind frames that
                // waited already, woke nobody, and has just been taken along.
                if self.held_back && !self.is_saturated() {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            // Room in the socket wakes this task again, and then it looks again.
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads and works off frames. While too many requests are under way nothing is read: their
    /// answers wake this task, and TCP holds the client back meanwhile.
    fn read(&mut self, cx: &mut Context<'_>) -> ControlFlow<()> {
        use ControlFlow::{Break, Continue};
        self.held_back = false;
        self.hand_over();
        for _ in 0..READS_PER_WAKE {
            if self.ending || self.held_back {
                return Continue(());
            }
            match self.io.poll_fill(cx) {
                Poll::Pending => return Continue(()),
                Poll::Ready(Ok(0)) => return Break(()),
                Poll::Ready(Ok(_)) => self.hand_over(),
                Poll::Ready(Err(error)) => {
                    debug!(address = %self.client.address, %error, "cannot read from a client");
                    return Break(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Continue(())
    }

    /// Waits for the client to close, up to the flush timeout. A kernel resets a connection that is
    /// closed with bytes unread, and the reset overtakes the last word.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shut {
            self.shut = ready!(self.io.poll_shutdown(cx)).is_ok();
            if !self.shut {
                return Poll::Ready(());
            }
        }
        for _ in 0..READS_PER_WAKE {
            match ready!(self.io.poll_discard(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_saturated(&self) -> bool {
        self.client.in_flight.load(Ordering::Relaxed) >= self.shared.in_flight_max
    }

    fn hand_over(&mut self) {
        if self.session.wants_preamble() {
            let Some(preamble) = self.io.take_preamble() else { return };
            let action = self.session.on_preamble(preamble);
            self.client.speak(self.session.codec());
            self.act(action);
        }
        while self.session.wants_frames() {
            self.held_back = self.is_saturated();
            if self.held_back {
                return;
            }
            let action = match self.io.next_frame() {
                None => return,
                Some(Ok(frame)) => self.session.on_frame(link::now(), frame),
                Some(Err(error)) => self.session.on_framing_error(error),
            };
            self.act(self.shared.limiter.pass(&self.client, action));
        }
    }

    fn watch(&mut self, cx: &mut Context<'_>) -> ControlFlow<()> {
        if self.client.is_told_to_look() {
            self.on_time();
        }
        while let Some(alarm) = &mut self.alarm {
            match alarm.as_mut().poll(cx) {
                Poll::Pending => break,
                Poll::Ready(Alarm::Stop) => {
                    self.client.stop();
                    return ControlFlow::Break(());
                }
                Poll::Ready(Alarm::Time) if self.ending => {
                    debug!(address = %self.client.address, "a client did not take its last frames");
                    return ControlFlow::Break(());
                }
                Poll::Ready(Alarm::Time) => self.on_time(),
            }
        }
        ControlFlow::Continue(())
    }

    /// The deadline may have passed, unless frames have moved it since it was set.
    fn on_time(&mut self) {
        let action = self.session.on_timeout(link::now(), &self.shared.config);
        self.act(action);
        if !self.ending {
            self.set_deadline();
        }
    }

    fn set_deadline(&mut self) {
        let deadline = self.session.deadline(&self.shared.config);
        self.alarm = match self.client.login() {
            None => Some(alarm(&self.shared.stop, deadline.into())),
            Some(login) => {
                self.shared.keep_alive.enter(login.key.session, deadline);
                None
            }
        };
    }

    fn act(&mut self, action: Action) {
        let client = &self.client;
        match action {
            Action::None => {}
            Action::AgreeKeys => {
                let action = self.agree_keys();
                self.act(action);
            }
            Action::Welcome(sequence, welcome) => {
                // The answer is still in the codec of the question.
                client.answer(Command::HandShake, sequence, &welcome);
                client.speak(self.session.codec());
                client.seal(self.session.take_sealer());
            }
            Action::CheckToken(auth) => {
                let action = self.check_token(auth);
                self.act(action);
            }
            Action::LoggedIn(sequence, ack) => {
                self.guest = None;
                client.answer_login(sequence, &ack, self.session.take_sealer());
                self.set_deadline();
                // Whoever stops the gate tells those that it finds, and has not found this one if it came first.
                if self.shared.stop.is_cancelled() {
                    self.client.stop();
                }
            }
            Action::HeartBeat(sequence) => self.forward(sequence, Command::HeartBeat, Bytes::from_static(&[0])),
            Action::Forward { sequence, command, body } => self.forward(sequence, command, body),
            Action::Refuse(sequence, command, refusal) => client.refuse(command, sequence, &refusal),
            Action::Close(reason) => self.end(&reason),
        }
    }

    fn agree_keys(&mut self) -> Action {
        let identity = self.shared.encryption.identity();
        let identity = identity.expect("a session asks for keys only where its policy came with an identity");
        let ephemeral = EphemeralKey::from_bytes(rand::random::<[u8; 32]>());
        self.session.on_keys(identity, &ephemeral)
    }

    fn check_token(&mut self, auth: Auth) -> Action {
        let Auth { token, device, platform } = auth;
        let now = self.shared.network.wall_clock();
        match self.shared.verifier.load().verify(&token, now) {
            Ok(claims) => {
                if let Some(refusal) = self.shared.revoked.refusal(&claims) {
                    info!(address = %self.client.address, user = %claims.user, %refusal, "a login was refused");
                    metrics::counter!("sim_gate_logins_refused_total").increment(1);
                    return self.session.on_login_refused(refusal);
                }
                if let Err(refusal) = self.shared.limiter.login(&claims.user) {
                    return self.session.on_login_refused(refusal);
                }
                let since_ms = unix_ms(now);
                let login = self.shared.sessions.enter(&self.client, claims, device, platform, since_ms);
                // What was taken back between the look above and now has not found this login yet.
                self.shared.revoked.end(&self.client);
                info!(address = %self.client.address, user = %login.user, device = %login.device,
                    session = %login.key.session, "logged in");
                metrics::counter!("sim_gate_logins_total").increment(1);
                self.shared.upstream.announce(login);
                let (user, session) = (login.user.clone(), login.key.session);
                self.session.on_login(link::now(), &self.shared.config, user, session, since_ms)
            }
            Err(error) => {
                info!(address = %self.client.address, %error, "a login was refused");
                metrics::counter!("sim_gate_logins_refused_total").increment(1);
                self.session.on_login_refused(self.shared.limiter.login_failed(self.client.address.ip(), error))
            }
        }
    }

    fn forward(&self, sequence: u32, command: Command, body: Bytes) {
        // Only a logged-in session gives requests.
        if let Some(login) = self.client.login() {
            self.shared.upstream.forward(link::now(), &self.client, login, sequence, command, body);
        }
    }

    /// Says the last word and lets the client take it.
    fn end(&mut self, reason: &CloseReason) {
        let client = &self.client;
        match reason {
            CloseReason::Logout(sequence) => client.answer(Command::Logout, *sequence, &Empty {}),
            CloseReason::Framing(error) => client.refuse(0, 0, &framing_refusal(*error)),
            CloseReason::Protocol(command, sequence, refusal) => client.refuse(*command, *sequence, refusal),
            CloseReason::LoginTimeout => client.refuse(0, 0, &RefusalCode::TooSlow.into()),
            CloseReason::Idle => self.say_kickout(KickReason::Idle),
            CloseReason::Kicked(reason) => self.say_kickout(*reason),
            CloseReason::Draining => client.refuse(0, 0, &RefusalCode::Draining.into()),
        }
        match reason {
            CloseReason::Logout(_) | CloseReason::Idle => debug!(address = %self.client.address, ?reason, "closing"),
            _ => info!(address = %self.client.address, ?reason, "closing"),
        }
        if let Some(limit) = Limit::behind(reason) {
            limit.count();
        }
        metrics::counter!("sim_gate_closes_total", "reason" => close_label(reason)).increment(1);
        self.leave();
        self.ending = true;
        self.alarm = Some(alarm(&self.shared.stop, Instant::now() + FLUSH_TIMEOUT));
    }

    fn say_kickout(&self, reason: KickReason) {
        let kickout = Kickout { reason, detail: kick_sentence(reason).into() };
        // A client that takes nothing does not hear this either.
        let _ = self.client.push_message(Command::Kickout.number(), Flags::NONE, 0, &kickout);
    }

    /// Takes nothing more for the client, and tells the routes that it is gone.
    fn leave(&self) {
        self.client.outbound.close();
        if let Some(login) = self.client.login() {
            self.shared.sessions.leave(login.key.session);
            self.shared.upstream.denounce(login);
            debug!(address = %self.client.address, user = %login.user, session = %login.key.session, "logged off");
        }
    }
}

fn framing_refusal(error: FrameError) -> Refusal {
    let code = match error {
        FrameError::BadMagic => RefusalCode::BadMagic,
        FrameError::BadVersion { .. } => RefusalCode::BadVersion,
        FrameError::TooLong { .. } => RefusalCode::FrameTooLong,
        FrameError::BadCodec { .. } => RefusalCode::NoCodec,
        FrameError::BadHop { .. } | FrameError::BadReserved | FrameError::UnknownFlags { .. } => RefusalCode::BadFrame,
    };
    Refusal::new(code, error.to_string())
}

const fn close_label(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::Logout(_) => "logout",
        CloseReason::Framing(_) => "framing",
        CloseReason::Protocol(..) => "protocol",
        CloseReason::LoginTimeout => "login_timeout",
        CloseReason::Idle => "idle",
        CloseReason::Kicked(_) => "kicked",
        CloseReason::Draining => "draining",
    }
}

const fn kick_sentence(reason: KickReason) -> &'static str {
    match reason {
        KickReason::LoggedInElsewhere => "a later login of this account took the place of this one",
        KickReason::Forbidden => "this account may not log in",
        KickReason::Revoked => "the login was taken back",
        KickReason::SlowConsumer => "the connection did not take what was sent to it",
        KickReason::Idle => "nothing was heard for too long",
        KickReason::Unknown(_) => "the server ended the connection",
    }
}
