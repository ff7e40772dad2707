//! One connection of a client to a gate.
//!
//! ```text
//!              HandShakeAck             AuthAck
//! HandShaking ────────────► LoggingIn ─────────► Ready
//!      │                        │                  │  kick, silence, logout,
//!      └────────────────────────┴──────────────────┴► bad bytes, refusal: Closed(cause)
//! ```
//!
//! Requests carry a tag of the owner's choice, which comes back with the answer, with the deadline,
//! or when the connection ends: no tag is ever lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use im_proto::client::{
    Auth, AuthAck, Command, Empty, Encryption, HandShake, HandShakeAck, HeartBeatAck, Kickout, NewMsg, Platform,
    Redirect, RevReadMsg, RevSignal,
};
use im_proto::limits::SERVER_FRAME_LEN_MAX;
use im_proto::{DeviceId, Position, Refusal};
use proto_codec::{
    Codec, CodecId, Decode, DecodeError, Deframer, Encode, Flags, Frame, FrameError, Hop, Preamble, RESPONSE_BIT,
};

use crate::InFlight;

/// Who logs in, and with what.
#[derive(Clone, Debug)]
pub struct Login {
    /// Which application this is, for the server's log.
    pub app_id: String,
    /// The client library and its version, for the server's log.
    pub sdk: String,
    /// The access token.
    pub token: String,
    /// This installation.
    pub device: DeviceId,
    /// Its kind.
    pub platform: Platform,
}

/// Times and bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How long an answer may take, and silence after a heartbeat may last. Default 10 s.
    pub patience: Duration,
    /// Requests that wait for an answer at most; bounds memory and what a reconnect repeats. Default 64.
    pub window: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { patience: Duration::from_secs(10), window: 64 }
    }
}

/// What happened. `T` is the owner's tag.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectionEvent<T> {
    /// Logged in; requests may go.
    Ready(AuthAck),
    /// A request came to its end.
    Answer(Answer<T>),
    /// The head of the user's timeline, from a heartbeat.
    Head(Position),
    /// The timeline has grown.
    NewMsg(NewMsg),
    /// Somebody has read.
    Read(RevReadMsg),
    /// Somebody tells something.
    Signal(RevSignal),
    /// The gate asks to connect again. The connection goes on until the owner drops it.
    Redirect(Redirect),
    /// The end. Nothing comes after it.
    Closed(CloseCause),
}

/// The end of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What the owner gave with the request.
    pub tag: T,
    /// The answer's body, in this connection's codec.
    pub result: Result<Bytes, RequestError>,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing came in time; the request may or may not have happened.
    #[error("no answer in time")]
    TimedOut,
    /// The connection ended first; the request may or may not have happened.
    #[error("the connection was lost")]
    Lost,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseCause {
    /// The owner logged out.
    #[error("logged out")]
    LoggedOut,
    /// The gate refused handshake, login or the connection as a whole.
    #[error("{0}")]
    Refused(Refusal),
    /// The gate ended the login.
    #[error("kicked out: {:?} {}", .0.reason, .0.detail)]
    Kicked(Kickout),
    /// A heartbeat or the login got no answer.
    #[error("the server is silent")]
    Silent,
    /// The bytes are not frames.
    #[error("the server breaks the framing: {0}")]
    Framing(#[from] FrameError),
    /// A body does not decode.
    #[error("the server sends a body that does not decode: {0}")]
    Body(#[from] DecodeError),
    /// A frame that does not belong here.
    #[error("the server breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The peer closed, or the network failed.
    #[error("the connection was lost")]
    Lost,
}

/// All requests that the window allows are in flight; the tag comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests are in flight")]
pub struct WindowFull<T>(pub T);

/// The connection. See the module for its states.
#[derive(Debug)]
pub struct ClientConnection<T> {
    state: State,
    limits: ConnectionLimits,
    codec: Codec,
    /// Bytes for the server. Bounded: a request has a place in the window, a heartbeat waits for the
    /// answer of the one before.
    output: BytesMut,
    /// Events of the last input, until the owner has drained them.
    events: VecDeque<ConnectionEvent<T>>,
    in_flight: InFlight<Waiting<T>>,
    /// Whether the end was told.
    ended: bool,
}

#[derive(Debug)]
enum State {
    HandShaking { login: Login, deadline: Instant },
    LoggingIn { deadline: Instant },
    Ready(Ready),
    Closed,
}

#[derive(Debug)]
struct Ready {
    heartbeat: Duration,
    heartbeat_due: Instant,
    /// Whether the last heartbeat still waits for its answer.
    heartbeat_open: bool,
}

#[derive(Debug)]
enum Waiting<T> {
    HeartBeat,
    Logout,
    Request(T),
}

/// The step before the login has its own sequence numbers; nothing else is in flight then.
const STEP_SEQUENCE: u32 = 1;

/// Heartbeats that a server asks for are kept within these, so that a broken one causes neither a
/// flood nor a silence.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(600);

impl<T> ClientConnection<T> {
    /// A connection that was dialled just now: says hello.
    pub fn new(now: Instant, login: Login, limits: ConnectionLimits) -> Self {
        let mut output = BytesMut::new();
        output.extend_from_slice(&Preamble::current(Hop::Client).encode());
        let hello = HandShake {
            app_id: login.app_id.clone(),
            sdk: login.sdk.clone(),
            codecs: vec![CodecId::Binary],
            suites: Vec::new(),
            key_share: Bytes::new(),
        };
        Frame::encode_message(Command::HandShake.number(), Flags::NONE, STEP_SEQUENCE, &hello, &mut output);
        Self {
            state: State::HandShaking { login, deadline: now + limits.patience },
            limits,
            codec: Codec::Binary,
            output,
            events: VecDeque::new(),
            // Two places beyond the window: a heartbeat and a logout always find room.
            in_flight: InFlight::new(limits.window + 2, limits.patience),
            ended: false,
        }
    }

    /// What cuts the server's bytes into frames.
    pub fn deframer() -> Deframer {
        Deframer::new(SERVER_FRAME_LEN_MAX)
    }

    /// Whether requests may go.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// Whether [`request`](Self::request) has room.
    pub fn has_room(&self) -> bool {
        self.is_ready() && self.in_flight.len() < self.limits.window
    }

    /// The codec of the bodies in [`Answer`]s.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Asks the server for something. The tag comes back in exactly one [`Answer`].
    pub fn request(&mut self, now: Instant, command: Command, body: &impl Encode, tag: T) -> Result<(), WindowFull<T>> {
        if !self.has_room() {
            return Err(WindowFull(tag));
        }
        match self.in_flight.insert(now, Waiting::Request(tag)) {
            Ok(sequence) => {
                Frame::encode_message(command.number(), Flags::NONE, sequence, body, &mut self.output);
                Ok(())
            }
            Err(Waiting::Request(tag)) => Err(WindowFull(tag)),
            Err(Waiting::HeartBeat | Waiting::Logout) => unreachable!("what comes back is what went in"),
        }
    }

    /// Says goodbye. The gate answers, then the connection ends with [`CloseCause::LoggedOut`].
    pub fn logout(&mut self, now: Instant) {
        if !self.is_ready() {
            self.close(CloseCause::LoggedOut);
        } else if let Ok(sequence) = self.in_flight.insert(now, Waiting::Logout) {
            Frame::encode_message(Command::Logout.number(), Flags::NONE, sequence, &Empty {}, &mut self.output);
        }
    }

    /// A frame came in.
    pub fn on_frame(&mut self, now: Instant, frame: Frame) {
        let step = match std::mem::replace(&mut self.state, State::Closed) {
            State::HandShaking { login, .. } => self.on_hello(now, login, &frame),
            State::LoggingIn { .. } => self.on_login(now, &frame),
            State::Ready(ready) => self.on_ready(ready, frame),
            State::Closed => return,
        };
        match step {
            Ok(state) => self.state = state,
            Err(cause) => self.close(cause),
        }
    }

    /// The bytes stopped being frames.
    pub fn on_framing_error(&mut self, error: FrameError) {
        self.close(CloseCause::Framing(error));
    }

    /// The peer closed, or reading or writing failed.
    pub fn on_lost(&mut self) {
        self.close(CloseCause::Lost);
    }

    /// The time that [`next_timeout`](Self::next_timeout) named may have come.
    pub fn on_timeout(&mut self, now: Instant) {
        while let Some(waiting) = self.in_flight.expire(now) {
            match waiting {
                // The peer has had the whole patience: whatever else it may send, it is not well.
                Waiting::HeartBeat => return self.close(CloseCause::Silent),
                Waiting::Logout => return self.close(CloseCause::LoggedOut),
                Waiting::Request(tag) => {
                    self.events.push_back(ConnectionEvent::Answer(Answer { tag, result: Err(RequestError::TimedOut) }));
                }
            }
        }
        match &mut self.state {
            State::HandShaking { deadline, .. } | State::LoggingIn { deadline } if *deadline <= now => {
                self.close(CloseCause::Silent);
            }
            State::Ready(ready) if ready.heartbeat_due <= now => {
                ready.heartbeat_due = now + ready.heartbeat;
                if !ready.heartbeat_open
                    && let Ok(sequence) = self.in_flight.insert(now, Waiting::HeartBeat)
                {
                    ready.heartbeat_open = true;
                    Frame::encode_message(
                        Command::HeartBeat.number(),
                        Flags::NONE,
                        sequence,
                        &Empty {},
                        &mut self.output,
                    );
                }
            }
            _ => {}
        }
    }

    /// When [`on_timeout`](Self::on_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::HandShaking { deadline, .. } | State::LoggingIn { deadline } => Some(*deadline),
            State::Ready(ready) => {
                Some(self.in_flight.deadline().map_or(ready.heartbeat_due, |at| at.min(ready.heartbeat_due)))
            }
            State::Closed => None,
        }
    }

    /// The bytes to send; the shell takes them from the front.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// What happened since the last input.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ConnectionEvent<T>> {
        self.events.pop_front()
    }

    fn on_hello(&mut self, now: Instant, login: Login, frame: &Frame) -> Result<State, CloseCause> {
        let ack: HandShakeAck = self.step_answer(Command::HandShake, "HandShakeAck", frame)?;
        self.codec = Codec::from_id(ack.codec).ok_or(CloseCause::Protocol("it chose a codec that was not offered"))?;
        if ack.encryption != Encryption::None {
            return Err(CloseCause::Protocol("it chose an encryption that was not offered"));
        }
        let auth = Auth { token: login.token, device: login.device, platform: login.platform };
        Frame::encode_message(Command::Auth.number(), Flags::NONE, STEP_SEQUENCE + 1, &auth, &mut self.output);
        Ok(State::LoggingIn { deadline: now + self.limits.patience })
    }

    fn on_login(&mut self, now: Instant, frame: &Frame) -> Result<State, CloseCause> {
        if let Some(cause) = self.farewell(frame)? {
            return Err(cause);
        }
        let ack: AuthAck = self.step_answer(Command::Auth, "AuthAck", frame)?;
        let heartbeat = Duration::from_millis(ack.heartbeat_ms.into()).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX);
        self.events.push_back(ConnectionEvent::Ready(ack));
        Ok(State::Ready(Ready { heartbeat, heartbeat_due: now + heartbeat, heartbeat_open: false }))
    }

    fn on_ready(&mut self, mut ready: Ready, frame: Frame) -> Result<State, CloseCause> {
        if frame.is_response() {
            if frame.sequence == 0 && frame.flags.is_refused() {
                // Sequence 0 answers nothing in particular: the gate refuses the connection.
                return Err(CloseCause::Refused(self.decode("Refusal", &frame)?));
            }
            match self.in_flight.take(frame.sequence) {
                Some(Waiting::Request(tag)) => {
                    let result = if frame.flags.is_refused() {
                        Err(RequestError::Refused(self.decode("Refusal", &frame)?))
                    } else {
                        Ok(frame.body)
                    };
                    self.events.push_back(ConnectionEvent::Answer(Answer { tag, result }));
                }
                Some(Waiting::HeartBeat) => {
                    ready.heartbeat_open = false;
                    // A refused heartbeat is still a sign of life; it only brings no head.
                    if !frame.flags.is_refused() {
                        let ack: HeartBeatAck = self.decode("HeartBeatAck", &frame)?;
                        self.events.extend(ack.head.map(ConnectionEvent::Head));
                    }
                }
                Some(Waiting::Logout) => return Err(CloseCause::LoggedOut),
                // Late: its deadline has passed, and its owner was told.
                None => {}
            }
            return Ok(State::Ready(ready));
        }
        if let Some(cause) = self.farewell(&frame)? {
            return Err(cause);
        }
        let event = match Command::from_number(frame.command) {
            Command::NewMsg => ConnectionEvent::NewMsg(self.decode("NewMsg", &frame)?),
            Command::RevReadMsg => ConnectionEvent::Read(self.decode("RevReadMsg", &frame)?),
            Command::RevSignal => ConnectionEvent::Signal(self.decode("RevSignal", &frame)?),
            Command::Redirect => ConnectionEvent::Redirect(self.decode("Redirect", &frame)?),
            // A newer server may tell more than this version understands.
            _ => return Ok(State::Ready(ready)),
        };
        self.events.push_back(event);
        Ok(State::Ready(ready))
    }

    /// The cause, when the frame is the gate's goodbye.
    fn farewell(&self, frame: &Frame) -> Result<Option<CloseCause>, CloseCause> {
        if Command::from_number(frame.command) != Command::Kickout {
            return Ok(None);
        }
        Ok(Some(CloseCause::Kicked(self.decode("Kickout", frame)?)))
    }

    fn step_answer<M: Decode>(&self, command: Command, what: &'static str, frame: &Frame) -> Result<M, CloseCause> {
        if frame.is_response() && frame.flags.is_refused() {
            return Err(CloseCause::Refused(self.decode("Refusal", frame)?));
        }
        if frame.command != command.number() | RESPONSE_BIT {
            return Err(CloseCause::Protocol("a frame before the login was answered"));
        }
        self.decode(what, frame)
    }

    fn decode<M: Decode>(&self, what: &'static str, frame: &Frame) -> Result<M, CloseCause> {
        Ok(self.codec.decode(what, &frame.body)?)
    }

    fn close(&mut self, cause: CloseCause) {
        self.state = State::Closed;
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        for waiting in self.in_flight.drain() {
            if let Waiting::Request(tag) = waiting {
                self.events.push_back(ConnectionEvent::Answer(Answer { tag, result: Err(RequestError::Lost) }));
            }
        }
        self.events.push_back(ConnectionEvent::Closed(cause));
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
