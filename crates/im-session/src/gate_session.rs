//! The gate's side of one client connection.
//!
//! ```text
//!            preamble          HandShake            Auth, token good
//! Preamble ───────────► Hello ───────────► Login ───────────────────► Open
//!     │                   │                  │                          │ Logout, kick, silence,
//!     └───────────────────┴──────────────────┴──────────────────────────┴► bad bytes: Close
//! ```
//!
//! Until `Open` the whole way has one deadline, so that a peer that sends a byte a second gains
//! nothing; from `Open` on the deadline is the keep-alive after the last frame. One frame gives
//! one [`Action`]; the shell carries it out before it hands in the next frame.

use std::time::{Duration, Instant};

use im_proto::client::{Auth, AuthAck, Command, Encryption, HandShake, HandShakeAck, KickReason};
use im_proto::limits::CLIENT_FRAME_LEN_MAX;
use im_proto::{DeviceId, Refusal, RefusalCode, SessionId, UserId};
use proto_codec::{Bytes, Codec, Frame, FrameError, Hop, PREAMBLE_LEN, PROTOCOL_VERSION, Preamble};

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
    /// When the current step's time began: accept, or the last frame once logged in.
    since: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Hello,
    Login,
    /// The token is being checked; the sequence of its request.
    Checking(u32),
    Open,
    Closed,
}

/// What the shell has to do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Nothing.
    None,
    /// Answer a handshake.
    Welcome(u32, HandShakeAck),
    /// Check the token, then call [`GateSession::on_login`] or [`GateSession::on_login_refused`].
    CheckToken(Auth),
    /// Answer the login and tell the routes.
    LoggedIn(u32, AuthAck),
    /// Answer with the head of the user's timeline.
    HeartBeat(u32),
    /// Send it towards an im-service. The body is in the session's codec.
    Forward {
        /// The client's sequence, to be repeated in the answer.
        sequence: u32,
        /// Its command.
        command: Command,
        /// Its body.
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
}

impl GateSession {
    /// A connection that was accepted at `now`.
    pub fn new(now: Instant) -> Self {
        Self { state: State::Preamble, codec: Codec::Binary, since: now }
    }

    /// The codec that the handshake chose.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether the first bytes are still to come.
    pub fn wants_preamble(&self) -> bool {
        self.state == State::Preamble
    }

    /// Whether frames are taken: not while a token is being checked, and not after the end.
    pub fn wants_frames(&self) -> bool {
        matches!(self.state, State::Hello | State::Login | State::Open)
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
            Ok(_) => {
                self.state = State::Hello;
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
        let command = Command::from_number(frame.command);
        match (&self.state, command) {
            (State::Hello, Command::HandShake) => self.on_handshake(&frame),
            (State::Login, Command::Auth) => self.on_auth(&frame),
            (State::Open, _) => {
                self.since = now;
                self.on_request(frame, command)
            }
            (State::Hello | State::Login, _) => self.refuse_and_close(&frame, RefusalCode::NotLoggedIn.into()),
            (State::Preamble | State::Checking(_) | State::Closed, _) => Action::None,
        }
    }

    fn on_handshake(&mut self, frame: &Frame) -> Action {
        // The handshake chooses the codec, so it cannot be written in one that it has not chosen yet.
        let handshake: HandShake = match Codec::Binary.decode("HandShake", &frame.body) {
            Ok(handshake) => handshake,
            Err(error) => return self.refuse_and_close(frame, bad_body(&error)),
        };
        let Some(codec) = handshake.codecs.iter().find_map(|id| Codec::from_id(*id)) else {
            return self.refuse_and_close(frame, RefusalCode::NoCodec.into());
        };
        self.codec = codec;
        self.state = State::Login;
        Action::Welcome(
            frame.sequence,
            HandShakeAck {
                signature: Bytes::new(),
                version: PROTOCOL_VERSION,
                codec: codec.id(),
                encryption: Encryption::None,
                frame_len_max: CLIENT_FRAME_LEN_MAX,
                key_share: Bytes::new(),
            },
        )
    }

    fn on_auth(&mut self, frame: &Frame) -> Action {
        match self.codec.decode("Auth", &frame.body) {
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
    pub fn on_kick(&mut self, reason: KickReason) -> Action {
        self.close(CloseReason::Kicked(reason))
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

fn bad_body(error: &proto_codec::DecodeError) -> Refusal {
    Refusal::new(RefusalCode::BadBody, error.to_string())
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
