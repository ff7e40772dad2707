//! The gate's side of one client connection.
//!
//! ```text
//!            preamble          HandShake            Auth, token good
//! Preamble ───────────► Hello ───────────► Login ───────────────────► Open
//!     │                   │ (Agreeing)       │ (Checking)               │
//!     │                   │                  │                          │ Logout, kick, silence,
//!     └───────────────────┴──────────────────┴──────────────────────────┴► bad bytes: Close
//! ```
//!
//! Until `Open` the whole way has one deadline, so that a peer that sends a byte a second gains
//! nothing; from `Open` on the deadline is the keep-alive after the last frame. One frame gives
//! one [`Action`]; the shell carries it out before it hands in the next frame.
//!
//! Where bodies are encrypted, frames are opened here; sealing is the shell's, with the
//! [`Sealer`] that [`take_sealer`](GateSession::take_sealer) has for it after the answers to handshake
//! and login: the answer itself still goes out as before.

use std::time::{Duration, Instant};

use im_proto::client::{Auth, AuthAck, Command, Encryption, HandShake, HandShakeAck, KickReason};
use im_proto::commands::client_body;
use im_proto::limits::CLIENT_FRAME_LEN_MAX;
use im_proto::{DeviceId, Refusal, RefusalCode, SessionId, UserId};
use im_secure::{Agreed, EphemeralKey, IdentityKey, Keys, OfferError, OpenError, Opener, Sealer, ServerHello};
use proto_codec::{Bytes, Codec, DecodeError, Frame, FrameError, Hop, PREAMBLE_LEN, PROTOCOL_VERSION, Preamble};

/// Times of a client connection.
#[derive(Clone, Copy, Debug)]
pub struct GateSessionConfig {
    /// From accept to a completed login. Default 10 s.
    pub login_timeout: Duration,
    /// Silence after which a logged-in connection is closed. Default 180 s.
    pub keep_alive: Duration,
    /// Between heartbeats that the client is asked to keep. Default 30 s.
    pub heartbeat: Duration,
}

/// Whether a gate encrypts bodies inside TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncryptionPolicy {
    /// Never: a client that asks for it is refused.
    #[default]
    Off,
    /// With the clients that ask for it.
    Allowed,
    /// Always: a client that does not ask for it is refused.
    Required,
}

impl Default for GateSessionConfig {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { login_timeout: s(10), keep_alive: s(180), heartbeat: s(30) }
    }
}

/// One client connection, without its socket.
#[derive(Debug)]
pub struct GateSession {
    state: State,
    codec: Codec,
    policy: EncryptionPolicy,
    /// On the heap, because most connections have none.
    encrypted: Option<Box<Encrypted>>,
    /// When the current step's time began: accept, or the last frame once logged in.
    since: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Preamble,
    /// The first bytes, because keys depend on all that was said.
    Hello([u8; PREAMBLE_LEN]),
    /// The shell is drawing a key.
    Agreeing,
    Login,
    /// The token is being checked; the sequence of its request.
    Checking(u32),
    Open,
    Closed,
}

/// What an encrypted connection has beside its state.
#[derive(Debug)]
struct Encrypted {
    stage: Stage,
    /// For the shell, until it takes it.
    sealer: Option<Sealer>,
}

#[derive(Debug)]
enum Stage {
    /// The client's offer, until the shell has drawn a key.
    Offered(ServerHello),
    /// Agreed, and not logged in yet.
    Login(Agreed, Opener),
    /// Logged in.
    Open(Opener),
    /// No keys could be agreed.
    Failed,
}

/// What the shell has to do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Nothing.
    None,
    /// Draw an ephemeral key, then call [`GateSession::on_keys`].
    AgreeKeys,
    /// Answer a handshake.
    Welcome(u32, HandShakeAck),
    /// Check the token, then call [`GateSession::on_login`] or [`GateSession::on_login_refused`].
    CheckToken(Auth),
    /// Answer the login and tell the routes.
    LoggedIn(u32, AuthAck),
    /// Answer with the head of the user's timeline.
    HeartBeat(u32),
    /// Send it towards an im-service.
    Forward {
        /// The client's sequence, to be repeated in the answer.
        sequence: u32,
        /// Its command.
        command: Command,
        /// Its body, in the binary codec whatever the session's is.
        body: Bytes,
    },
    /// Answer with a refusal and go on.
    Refuse(u32, u16, Refusal),
    /// Say the last word, flush, close.
    Close(CloseReason),
}

/// Why a connection ends, and what the client is told before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It asked to: answer this sequence.
    Logout(u32),
    /// Bytes that are no frames of this protocol. The stream has no next frame, so the refusal goes
    /// out unasked, with sequence 0, as an answer to the step that was under way.
    Framing(FrameError),
    /// A frame that does not belong at this step: command and sequence to answer.
    Protocol(u16, u32, Refusal),
    /// A login that did not come, or did not succeed in time.
    LoginTimeout,
    /// Silence.
    Idle,
    /// Told by the server.
    Kicked(KickReason),
    /// The gate is going away.
    Draining,
}

/// The server's own wish to end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dismissal {
    /// The login is over.
    Kick(KickReason),
    /// The gate is going away; the login may go on elsewhere.
    Drain,
    /// The client goes on asking although it is refused again and again.
    Flood,
}

impl GateSession {
    /// A connection that was accepted at `now`.
    pub fn new(now: Instant, policy: EncryptionPolicy) -> Self {
        Self { state: State::Preamble, codec: Codec::Binary, policy, encrypted: None, since: now }
    }

    /// The codec of what goes out: the handshake's own, then the one that it chose.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether the first bytes are still to come.
    pub fn wants_preamble(&self) -> bool {
        self.state == State::Preamble
    }

    /// Whether frames are taken: not while a token is being checked, and not after the end.
    pub fn wants_frames(&self) -> bool {
        matches!(self.state, State::Hello(_) | State::Login | State::Open)
    }

    /// When [`on_timeout`](Self::on_timeout) has to be called. Moves with every frame; a shell may
    /// let a timer run out and look again instead of resetting it each time.
    pub fn deadline(&self, config: &GateSessionConfig) -> Instant {
        let patience = if self.state == State::Open { config.keep_alive } else { config.login_timeout };
        self.since + patience
    }

    /// The deadline may have passed.
    pub fn on_timeout(&mut self, now: Instant, config: &GateSessionConfig) -> Action {
        if self.state == State::Closed || now < self.deadline(config) {
            return Action::None;
        }
        let reason = if self.state == State::Open { CloseReason::Idle } else { CloseReason::LoginTimeout };
        self.close(reason)
    }

    /// The first bytes.
    pub fn on_preamble(&mut self, bytes: [u8; PREAMBLE_LEN]) -> Action {
        match Preamble::decode(bytes, Hop::Client) {
            Ok(preamble) => {
                self.codec = preamble.codec;
                self.state = State::Hello(bytes);
                Action::None
            }
            Err(error) => self.on_framing_error(error),
        }
    }

    /// The bytes are no frames: nothing after them can be trusted.
    pub fn on_framing_error(&mut self, error: FrameError) -> Action {
        self.close(CloseReason::Framing(error))
    }

    /// A frame came in.
    pub fn on_frame(&mut self, now: Instant, frame: Frame) -> Action {
        let frame = match self.open(frame) {
            Ok(frame) => frame,
            // Nothing of it can be trusted, so the refusal names neither its command nor its sequence.
            Err(error) => {
                let refusal = Refusal::new(RefusalCode::NotAuthentic, error.to_string());
                return self.close(CloseReason::Protocol(0, 0, refusal));
            }
        };
        if self.state == State::Open {
            self.since = now;
        }
        let frame = match self.translated(frame) {
            Ok(frame) => frame,
            Err(refused) => return refused,
        };
        let command = Command::from_number(frame.command);
        match (&self.state, command) {
            (State::Hello(preamble), Command::HandShake) => self.on_handshake(*preamble, &frame),
            (State::Login, Command::Auth) => self.on_auth(&frame),
            (State::Open, _) => self.on_request(frame, command),
            (State::Hello(_) | State::Login, _) => self.refuse_and_close(&frame, RefusalCode::NotLoggedIn.into()),
            (State::Preamble | State::Agreeing | State::Checking(_) | State::Closed, _) => Action::None,
        }
    }

    /// The plain frame. From the agreement on every frame is encrypted, before it none.
    fn open(&mut self, frame: Frame) -> Result<Frame, OpenError> {
        match self.encrypted.as_deref_mut().map(|encrypted| &mut encrypted.stage) {
            Some(Stage::Login(_, opener) | Stage::Open(opener)) => opener.open(frame),
            _ if frame.flags.is_encrypted() => Err(OpenError::NotAgreed),
            _ => Ok(frame),
        }
    }

    /// The frame with its body in the binary codec, the only one from here on.
    fn translated(&mut self, frame: Frame) -> Result<Frame, Action> {
        if self.codec == Codec::Binary {
            return Ok(frame);
        }
        // A command without a schema is refused by its number alone.
        let Some(ty) = client_body(frame.command, frame.flags) else { return Ok(frame) };
        match self.codec.decode_binary(ty.name().unwrap_or("body"), &ty, &frame.body) {
            Ok(body) => Ok(Frame { body, ..frame }),
            Err(error) if self.state == State::Open => {
                Err(Action::Refuse(frame.sequence, frame.command, bad_request(&error)))
            }
            Err(error) => Err(self.refuse_and_close(&frame, bad_body(&error))),
        }
    }

    fn on_handshake(&mut self, preamble: [u8; PREAMBLE_LEN], frame: &Frame) -> Action {
        let handshake: HandShake = match Codec::Binary.decode("HandShake", &frame.body) {
            Ok(handshake) => handshake,
            Err(error) => return self.refuse_and_close(frame, bad_body(&error)),
        };
        let Some(codec) = handshake.codecs.iter().find_map(|id| Codec::from_id(*id)) else {
            return self.refuse_and_close(frame, RefusalCode::NoCodec.into());
        };
        let asked_in = std::mem::replace(&mut self.codec, codec);
        if asked_in != Codec::Binary && !handshake.suites.is_empty() {
            // What is signed are the bytes of the binary form.
            self.codec = asked_in;
            let refusal = Refusal::new(RefusalCode::NoEncryption, "encryption is agreed in a binary handshake");
            return self.refuse_and_close(frame, refusal);
        }
        match (self.policy, handshake.suites.is_empty()) {
            (EncryptionPolicy::Off | EncryptionPolicy::Allowed, true) => {
                self.state = State::Login;
                Action::Welcome(frame.sequence, self.ack())
            }
            (EncryptionPolicy::Required, true) => self.refuse_and_close(frame, RefusalCode::EncryptionRequired.into()),
            (EncryptionPolicy::Off, false) => self.refuse_and_close(frame, RefusalCode::NoEncryption.into()),
            (EncryptionPolicy::Allowed | EncryptionPolicy::Required, false) => {
                match ServerHello::new(&preamble, frame, &handshake) {
                    Ok(hello) => {
                        self.state = State::Agreeing;
                        self.encrypted = Some(Box::new(Encrypted { stage: Stage::Offered(hello), sealer: None }));
                        Action::AgreeKeys
                    }
                    Err(error) => self.refuse_and_close(frame, bad_offer(error)),
                }
            }
        }
    }

    fn ack(&self) -> HandShakeAck {
        HandShakeAck {
            signature: Bytes::new(),
            version: PROTOCOL_VERSION,
            codec: self.codec.id(),
            encryption: Encryption::None,
            frame_len_max: CLIENT_FRAME_LEN_MAX,
            key_share: Bytes::new(),
        }
    }

    /// The gate's identity, and a key drawn for this connection.
    pub fn on_keys(&mut self, identity: &IdentityKey, ephemeral: &EphemeralKey) -> Action {
        if self.state != State::Agreeing {
            return Action::None;
        }
        let ack = self.ack();
        let Some(encrypted) = self.encrypted.as_deref_mut() else { return Action::None };
        let Stage::Offered(hello) = std::mem::replace(&mut encrypted.stage, Stage::Failed) else {
            return Action::None;
        };
        let sequence = hello.sequence();
        match hello.answer(identity, ephemeral, ack) {
            Ok((ack, agreed)) => {
                let Keys { sealer, opener } = agreed.handshake_keys();
                *encrypted = Encrypted { stage: Stage::Login(agreed, opener), sealer: Some(sealer) };
                self.state = State::Login;
                Action::Welcome(sequence, ack)
            }
            Err(error) => {
                let refusal = bad_offer(error);
                self.close(CloseReason::Protocol(Command::HandShake.number(), sequence, refusal))
            }
        }
    }

    /// What seals every frame behind the answer that was just given; after [`Action::Welcome`] and
    /// [`Action::LoggedIn`] of an encrypted connection.
    pub fn take_sealer(&mut self) -> Option<Sealer> {
        self.encrypted.as_deref_mut()?.sealer.take()
    }

    fn on_auth(&mut self, frame: &Frame) -> Action {
        match Codec::Binary.decode("Auth", &frame.body) {
            Ok(auth) => {
                self.state = State::Checking(frame.sequence);
                Action::CheckToken(auth)
            }
            Err(error) => self.refuse_and_close(frame, bad_body(&error)),
        }
    }

    /// The token is good.
    pub fn on_login(
        &mut self,
        now: Instant,
        config: &GateSessionConfig,
        user: UserId,
        session: SessionId,
        server_time_ms: u64,
    ) -> Action {
        let State::Checking(sequence) = self.state else { return Action::None };
        self.state = State::Open;
        self.since = now;
        if let Some(encrypted) = self.encrypted.as_deref_mut()
            && let Stage::Login(agreed, _) = std::mem::replace(&mut encrypted.stage, Stage::Failed)
        {
            let Keys { sealer, opener } = agreed.session_keys(session, &user);
            *encrypted = Encrypted { stage: Stage::Open(opener), sealer: Some(sealer) };
        }
        Action::LoggedIn(
            sequence,
            AuthAck {
                user,
                session,
                heartbeat_ms: millis(config.heartbeat),
                keep_alive_ms: millis(config.keep_alive),
                server_time_ms,
            },
        )
    }

    /// The token is not good: one try per connection, so that guessing costs a TLS handshake each.
    pub fn on_login_refused(&mut self, refusal: Refusal) -> Action {
        let State::Checking(sequence) = self.state else { return Action::None };
        self.close(CloseReason::Protocol(Command::Auth.number(), sequence, refusal))
    }

    fn on_request(&mut self, frame: Frame, command: Command) -> Action {
        let Frame { sequence, body, .. } = frame;
        match command {
            Command::HeartBeat => Action::HeartBeat(sequence),
            Command::Logout => self.close(CloseReason::Logout(sequence)),
            Command::SendMsg
            | Command::GetMsg
            | Command::ReadMsg
            | Command::GetHistory
            | Command::Signal
            | Command::ListConversations
            | Command::CreateGroup
            | Command::ChangeMembers
            | Command::ListGroups => Action::Forward { sequence, command, body },
            Command::HandShake | Command::Auth => {
                Action::Refuse(sequence, command.number(), RefusalCode::OutOfOrder.into())
            }
            // A newer client may know more: it is told, and goes on.
            Command::NewMsg
            | Command::RevReadMsg
            | Command::Kickout
            | Command::Redirect
            | Command::RevSignal
            | Command::Unknown(_) => Action::Refuse(sequence, command.number(), RefusalCode::UnknownCommand.into()),
        }
    }

    /// The server ends this connection.
    pub fn on_dismissal(&mut self, dismissal: Dismissal) -> Action {
        self.close(match dismissal {
            Dismissal::Kick(reason) => CloseReason::Kicked(reason),
            Dismissal::Drain => CloseReason::Draining,
            Dismissal::Flood => CloseReason::Protocol(0, 0, RefusalCode::RateLimited.into()),
        })
    }

    fn refuse_and_close(&mut self, frame: &Frame, refusal: Refusal) -> Action {
        self.close(CloseReason::Protocol(frame.command, frame.sequence, refusal))
    }

    fn close(&mut self, reason: CloseReason) -> Action {
        if self.state == State::Closed {
            return Action::None;
        }
        self.state = State::Closed;
        Action::Close(reason)
    }
}

/// Who is at the other end of a logged-in connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user that the token named.
    pub user: UserId,
    /// The device that the login named.
    pub device: DeviceId,
}

fn bad_offer(error: OfferError) -> Refusal {
    match error {
        OfferError::NoSuite => RefusalCode::NoSuite.into(),
        OfferError::BadKeyShare(_) => RefusalCode::BadKeyShare.into(),
    }
}

fn bad_body(error: &DecodeError) -> Refusal {
    Refusal::new(RefusalCode::BadBody, error.to_string())
}

/// What an im-service says of the same fault in a binary body, which it decodes itself.
fn bad_request(error: &DecodeError) -> Refusal {
    let code = match error {
        DecodeError::TooLong { .. } => RefusalCode::TooLarge,
        _ => RefusalCode::BadBody,
    };
    Refusal::new(code, error.to_string())
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
