//! One connection of a client to a gate.
//!
//! ```text
//!              HandShakeAck             AuthAck
//! HandShaking ────────────► LoggingIn ─────────► Ready
//!      │                        │                  │  kick, silence, logout,
//!      └────────────────────────┴──────────────────┴► bad bytes, refusal: Closed(cause)
//! ```
//!
//! A connection of [`encrypted`](ClientConnection::encrypted) makes sure in its first step that it speaks
//! to the gate it means to, and says no word of the login before.
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
use im_proto::commands::client_body;
use im_proto::limits::server_frame_len_max;
use im_proto::{DeviceId, Position, Refusal};
use im_secure::{Agreed, ClientHello, ClientWaiting, HelloError, Keys, OpenError, Opener, Sealer};
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
    /// The codec that is offered before the binary one, which every gate speaks.
    pub codec: Codec,
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
    /// The answer's body, in the binary codec whatever the connection's is.
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
    /// Bodies were to be encrypted, and the gate is not the one that was meant, or not able to.
    #[error("no encryption: {0}")]
    NoEncryption(#[from] HelloError),
    /// A frame that the gate did not seal for this place.
    #[error("somebody changes what the server sends: {0}")]
    NotAuthentic(#[from] OpenError),
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
    /// Opens what comes in, once keys are agreed.
    opener: Option<Opener>,
    output: Output,
    /// Events of the last input, until the owner has drained them.
    events: VecDeque<ConnectionEvent<T>>,
    in_flight: InFlight<Waiting<T>>,
    /// Whether the end was told.
    ended: bool,
}

/// What goes out.
#[derive(Debug)]
struct Output {
    /// Bounded: a request has a place in the window, a heartbeat waits for the answer of the one before.
    bytes: BytesMut,
    /// The codec of what is put in.
    codec: Codec,
    /// Seals it, once keys are agreed.
    sealer: Option<Sealer>,
}

impl Output {
    fn put(&mut self, command: Command, sequence: u32, body: &impl Encode) {
        let start = self.bytes.len();
        match client_body(command.number(), Flags::NONE) {
            Some(ty) if self.codec != Codec::Binary => {
                let mut binary = BytesMut::new();
                body.encode(&mut binary);
                let coded = self.codec.encode_binary("request", &ty, &binary.freeze());
                let body = coded.expect("the body is the one of its command");
                Frame { command: command.number(), flags: Flags::NONE, sequence, body }.encode(&mut self.bytes);
            }
            _ => Frame::encode_message(command.number(), Flags::NONE, sequence, body, &mut self.bytes),
        }
        if let Some(sealer) = &mut self.sealer {
            sealer.seal(&mut self.bytes, start);
        }
    }
}

#[derive(Debug)]
enum State {
    /// `encryption` is there where the connection has to be encrypted.
    HandShaking {
        login: Login,
        deadline: Instant,
        encryption: Option<Box<ClientWaiting>>,
    },
    LoggingIn {
        deadline: Instant,
        agreed: Option<Box<Agreed>>,
    },
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
        Self::start(now, login, limits, None)
    }

    /// The same with encrypted bodies, or none at all.
    pub fn encrypted(now: Instant, login: Login, limits: ConnectionLimits, encryption: ClientHello) -> Self {
        Self::start(now, login, limits, Some(encryption))
    }

    fn start(now: Instant, login: Login, limits: ConnectionLimits, encryption: Option<ClientHello>) -> Self {
        let preamble = Preamble::current(Hop::Client).encode();
        let mut output = Output { bytes: BytesMut::from(&preamble[..]), codec: Codec::Binary, sealer: None };
        let mut hello = HandShake {
            app_id: login.app_id.clone(),
            sdk: login.sdk.clone(),
            codecs: if login.codec == Codec::Binary {
                vec![CodecId::Binary]
            } else {
                vec![login.codec.id(), CodecId::Binary]
            },
            suites: Vec::new(),
            key_share: Bytes::new(),
        };
        if let Some(encryption) = &encryption {
            hello = encryption.offer(hello);
        }
        output.put(Command::HandShake, STEP_SEQUENCE, &hello);
        let encryption = encryption.map(|encryption| Box::new(encryption.sent(&output.bytes)));
        Self {
            state: State::HandShaking { login, deadline: now + limits.patience, encryption },
            limits,
            opener: None,
            output,
            events: VecDeque::new(),
            // Two places beyond the window: a heartbeat and a logout always find room.
            in_flight: InFlight::new(limits.window + 2, limits.patience),
            ended: false,
        }
    }

    /// What cuts the server's bytes into frames, on a connection that was offered this codec.
    pub fn deframer(codec: Codec) -> Deframer {
        Deframer::new(server_frame_len_max(codec))
    }

    /// Whether requests may go.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// Whether [`request`](Self::request) has room.
    pub fn has_room(&self) -> bool {
        self.is_ready() && self.in_flight.len() < self.limits.window
    }

    /// Whether no answer is due.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The codec that the handshake chose.
    pub fn codec(&self) -> Codec {
        self.output.codec
    }

    /// Asks the server for something. The tag comes back in exactly one [`Answer`]. The body has to be
    /// the command's own: a codec that is not binary goes by the command's schema.
    pub fn request(&mut self, now: Instant, command: Command, body: &impl Encode, tag: T) -> Result<(), WindowFull<T>> {
        if !self.has_room() {
            return Err(WindowFull(tag));
        }
        match self.in_flight.insert(now, Waiting::Request(tag)) {
            Ok(sequence) => {
                self.output.put(command, sequence, body);
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
            self.output.put(Command::Logout, sequence, &Empty {});
        }
    }

    /// A frame came in.
    pub fn on_frame(&mut self, now: Instant, frame: Frame) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        if matches!(state, State::Closed) {
            return;
        }
        match self.step(now, state, frame) {
            Ok(state) => self.state = state,
            Err(cause) => self.close(cause),
        }
    }

    fn step(&mut self, now: Instant, state: State, frame: Frame) -> Result<State, CloseCause> {
        let frame = self.open(frame)?;
        let frame = self.translated(frame)?;
        match state {
            State::HandShaking { login, encryption, .. } => self.on_hello(now, login, encryption, &frame),
            State::LoggingIn { agreed, .. } => self.on_login(now, agreed, &frame),
            State::Ready(ready) => self.on_ready(ready, frame),
            State::Closed => Ok(State::Closed),
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
            State::HandShaking { deadline, .. } | State::LoggingIn { deadline, .. } if *deadline <= now => {
                self.close(CloseCause::Silent);
            }
            State::Ready(ready) if ready.heartbeat_due <= now => {
                ready.heartbeat_due = now + ready.heartbeat;
                if !ready.heartbeat_open
                    && let Ok(sequence) = self.in_flight.insert(now, Waiting::HeartBeat)
                {
                    ready.heartbeat_open = true;
                    self.output.put(Command::HeartBeat, sequence, &Empty {});
                }
            }
            _ => {}
        }
    }

    /// When [`on_timeout`](Self::on_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::HandShaking { deadline, .. } | State::LoggingIn { deadline, .. } => Some(*deadline),
            State::Ready(ready) => {
                Some(self.in_flight.deadline().map_or(ready.heartbeat_due, |at| at.min(ready.heartbeat_due)))
            }
            State::Closed => None,
        }
    }

    /// The bytes to send; the shell takes them from the front.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output.bytes
    }

    /// What happened since the last input.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ConnectionEvent<T>> {
        self.events.pop_front()
    }

    /// The plain frame. From the agreement on every frame is encrypted, before it none.
    fn open(&mut self, frame: Frame) -> Result<Frame, OpenError> {
        match &mut self.opener {
            Some(opener) => opener.open(frame),
            None if frame.flags.is_encrypted() => Err(OpenError::NotAgreed),
            None => Ok(frame),
        }
    }

    /// The frame with its body in the binary codec, the only one from here on.
    fn translated(&self, frame: Frame) -> Result<Frame, CloseCause> {
        match client_body(frame.command, frame.flags) {
            Some(ty) if self.codec() != Codec::Binary => {
                let body = self.codec().decode_binary(ty.name().unwrap_or("body"), &ty, &frame.body)?;
                Ok(Frame { body, ..frame })
            }
            _ => Ok(frame),
        }
    }

    /// Takes up other keys: what is sent and received from here on is theirs.
    fn switch(&mut self, keys: Keys) {
        self.opener = Some(keys.opener);
        self.output.sealer = Some(keys.sealer);
    }

    fn on_hello(
        &mut self,
        now: Instant,
        login: Login,
        encryption: Option<Box<ClientWaiting>>,
        frame: &Frame,
    ) -> Result<State, CloseCause> {
        let ack: HandShakeAck = self.step_answer(Command::HandShake, "HandShakeAck", frame)?;
        let agreed = match encryption {
            Some(waiting) => Some(Box::new(waiting.finish(frame)?)),
            None if ack.encryption != Encryption::None => {
                return Err(CloseCause::Protocol("it chose an encryption that was not offered"));
            }
            None => None,
        };
        if let Some(agreed) = &agreed {
            self.switch(agreed.handshake_keys());
        }
        let chosen = Codec::from_id(ack.codec).filter(|codec| [login.codec, Codec::Binary].contains(codec));
        self.output.codec = chosen.ok_or(CloseCause::Protocol("it chose a codec that was not offered"))?;
        let auth = Auth { token: login.token, device: login.device, platform: login.platform };
        self.output.put(Command::Auth, STEP_SEQUENCE + 1, &auth);
        Ok(State::LoggingIn { deadline: now + self.limits.patience, agreed })
    }

    fn on_login(&mut self, now: Instant, agreed: Option<Box<Agreed>>, frame: &Frame) -> Result<State, CloseCause> {
        if let Some(cause) = self.farewell(frame)? {
            return Err(cause);
        }
        let ack: AuthAck = self.step_answer(Command::Auth, "AuthAck", frame)?;
        if let Some(agreed) = agreed {
            self.switch(agreed.session_keys(ack.session, &ack.user));
        }
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
                    let refusal = frame.flags.is_refused().then(|| self.decode("Refusal", &frame)).transpose();
                    let (result, end) = match refusal {
                        Ok(None) => (Ok(frame.body), None),
                        Ok(Some(refusal)) => (Err(RequestError::Refused(refusal)), None),
                        // It ends the connection, but its tag must not be lost with it.
                        Err(cause) => (Err(RequestError::Lost), Some(cause)),
                    };
                    self.events.push_back(ConnectionEvent::Answer(Answer { tag, result }));
                    if let Some(cause) = end {
                        return Err(cause);
                    }
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
        Ok(Codec::Binary.decode(what, &frame.body)?)
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
