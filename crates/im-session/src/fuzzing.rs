//! Bodies of the fuzz targets `handshake` and `client`: both sides of a session, fed with any bytes.
//! The targets under `fuzz/` call them, and so does a test, over kept inputs and changed ones.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use im_proto::client::{Auth, Command, GetMsg, Platform};
use im_proto::limits::{CLIENT_FRAME_LEN_MAX, server_frame_len_max};
use im_proto::{DeviceId, Position, Refusal, RefusalCode, SessionId, UserId};
use im_secure::{ClientHello, EphemeralKey, IdentityKey};
use proto_codec::{Codec, Decode, Deframer, Describe, Encode, Flags, Frame, FrameError, Header, PREAMBLE_LEN};

use crate::client::{ClientConnection, ConnectionEvent, ConnectionLimits, Login};
use crate::{Action, CloseReason, EncryptionPolicy, GateSession, GateSessionConfig};

/// Bytes of a translated body for each byte of the client's, and beside: a field that protocol buffers
/// leave out is its default, written in full.
const TRANSLATED_PER_BYTE_MAX: usize = 4;
const TRANSLATED_BESIDE_MAX: usize = 64;

/// The first byte of `input` says how the gate is set up, the second in which pieces the rest arrives.
/// However it arrives, the session does the same; it answers one frame with one action, and holds no
/// more than one frame.
pub fn gate_session(now: Instant, input: &[u8]) {
    let Some(([settings, piece], stream)) = input.split_first_chunk() else { return };
    let whole = Shell::run(now, *settings, stream.chunks(stream.len().max(1)));
    let pieces = Shell::run(now, *settings, stream.chunks(usize::from(*piece).max(1)));
    assert_eq!(whole, pieces, "the split changed what the session does");
}

/// What a gate does around a session, without a socket.
struct Shell {
    session: GateSession,
    config: GateSessionConfig,
    now: Instant,
    token_is_good: bool,
    actions: Vec<Action>,
}

impl Shell {
    fn run<'a>(now: Instant, settings: u8, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Action> {
        let encryption = match settings & 3 {
            0 => EncryptionPolicy::Off,
            1 => EncryptionPolicy::Required,
            _ => EncryptionPolicy::Allowed,
        };
        let (config, session) = (GateSessionConfig::default(), GateSession::new(now, encryption));
        let token_is_good = settings & 4 == 0;
        let mut shell = Self { session, config, now, token_is_good, actions: Vec::new() };
        let mut buffer = BytesMut::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            shell.take(&mut buffer);
            if shell.is_closed() {
                break;
            }
            assert!(buffer.len() < Header::LEN + CLIENT_FRAME_LEN_MAX as usize, "a whole frame was left lying");
        }
        shell.end();
        shell.actions
    }

    fn take(&mut self, buffer: &mut BytesMut) {
        while !self.is_closed() {
            self.now += Duration::from_millis(1);
            if self.session.wants_preamble() {
                if buffer.len() < PREAMBLE_LEN {
                    return;
                }
                let preamble = buffer.split_to(PREAMBLE_LEN);
                let preamble = preamble[..].try_into().expect("just cut to this length");
                let action = self.session.on_preamble(preamble);
                assert!(matches!(action, Action::None | Action::Close(CloseReason::Framing(_))), "{action:?}");
                self.actions.push(action);
                continue;
            }
            match Deframer::new(CLIENT_FRAME_LEN_MAX).next(buffer) {
                None => return,
                Some(Ok(frame)) => self.frame(frame),
                Some(Err(error)) => {
                    let action = self.session.on_framing_error(error);
                    assert_eq!(action, Action::Close(CloseReason::Framing(error)));
                    self.actions.push(action);
                }
            }
        }
    }

    fn frame(&mut self, frame: Frame) {
        assert!(self.session.wants_frames(), "every step was answered at once");
        let (sent, length) = (frame.sequence, frame.body.len());
        let logged_in = self.actions.iter().any(|action| matches!(action, Action::LoggedIn(..)));
        let action = self.session.on_frame(self.now, frame);
        match &action {
            Action::None => panic!("a frame that was wanted was not answered"),
            Action::AgreeKeys | Action::Welcome(..) | Action::CheckToken(_) => {
                assert!(!logged_in, "{action:?} behind the login");
            }
            Action::LoggedIn(..) => panic!("logged in without a token"),
            Action::HeartBeat(sequence) => assert!(logged_in && *sequence == sent),
            Action::Forward { sequence, command, body } => {
                assert!(logged_in, "{command:?} before the login");
                assert_eq!(*sequence, sent, "{command:?} under another sequence");
                let max = TRANSLATED_PER_BYTE_MAX * length + TRANSLATED_BESIDE_MAX;
                assert!(body.len() <= max, "{command:?}: {} bytes made of {length}", body.len());
            }
            Action::Refuse(sequence, _, refusal) => {
                assert!(logged_in && *sequence == sent);
                self.can_be_said(refusal);
            }
            Action::Close(CloseReason::Protocol(_, _, refusal)) => self.can_be_said(refusal),
            Action::Close(_) => {}
        }
        if let Action::Welcome(_, ack) = &action {
            self.welcomed();
            self.can_be_said(ack);
        }
        let next = match &action {
            Action::AgreeKeys => Some(self.agree()),
            Action::CheckToken(auth) => Some(self.check(auth)),
            _ => None,
        };
        self.actions.push(action);
        self.actions.extend(next);
    }

    fn welcomed(&self) {
        let before = self.actions.iter().filter(|action| matches!(action, Action::Welcome(..)));
        assert_eq!(before.count(), 0, "welcomed twice");
    }

    fn agree(&mut self) -> Action {
        assert!(!self.session.wants_frames(), "takes frames before keys are agreed");
        let identity = IdentityKey::from_seed(&[7; 32]).expect("any 32 bytes are a seed");
        let action = self.session.on_keys(&identity, &EphemeralKey::from_bytes([9; 32]));
        match &action {
            Action::Welcome(_, ack) => {
                self.welcomed();
                self.can_be_said(ack);
                assert!(self.session.take_sealer().is_some(), "welcomed without a key");
            }
            Action::Close(CloseReason::Protocol(_, _, refusal)) => {
                assert_eq!(refusal.code, RefusalCode::BadKeyShare);
            }
            other => panic!("{other:?} instead of an agreement"),
        }
        action
    }

    fn check(&mut self, auth: &Auth) -> Action {
        assert!(!self.session.wants_frames(), "takes frames before the token is checked");
        self.can_be_said(auth);
        if self.token_is_good {
            let user = UserId::new("fuzz").expect("a short word is a user id");
            let action = self.session.on_login(self.now, &self.config, user, SessionId(3), 5);
            let Action::LoggedIn(_, ack) = &action else { panic!("{action:?} instead of a login") };
            self.can_be_said(ack);
            action
        } else {
            let action = self.session.on_login_refused(RefusalCode::BadToken.into());
            assert!(matches!(action, Action::Close(CloseReason::Protocol(..))), "{action:?}");
            action
        }
    }

    /// What goes to the client is what the client will read.
    fn can_be_said<M: Encode + Decode + Describe + PartialEq + std::fmt::Debug>(&self, message: &M) {
        let (codec, mut out) = (self.session.codec(), BytesMut::new());
        codec.encode(message, &mut out);
        assert_eq!(codec.decode::<M>("message", &out.freeze()).as_ref(), Ok(message));
    }

    fn is_closed(&self) -> bool {
        matches!(self.actions.last(), Some(Action::Close(_)))
    }

    /// The stream is over: a session that is closed stays so, and one that is not has a deadline.
    fn end(&mut self) {
        if self.is_closed() {
            let command = Command::HeartBeat.number();
            let frame = Frame { command, flags: Flags::NONE, sequence: 1, body: Bytes::new() };
            assert!(!self.session.wants_frames() && !self.session.wants_preamble());
            assert_eq!(self.session.on_frame(self.now, frame), Action::None);
            assert_eq!(self.session.on_framing_error(FrameError::BadMagic), Action::None);
        }
        let deadline = self.session.deadline(&self.config);
        assert!(deadline <= self.now + self.config.keep_alive.max(self.config.login_timeout));
        let closes = matches!(self.session.on_timeout(deadline, &self.config), Action::Close(_));
        assert_ne!(closes, self.is_closed(), "closes once, and never not");
        let late: Refusal = RefusalCode::BadToken.into();
        assert_eq!(self.session.on_login_refused(late), Action::None, "a late answer to a token");
    }
}

/// Requests that a client makes once it is logged in.
const REQUESTS: usize = 3;
/// Timeouts after which a client whose gate says nothing more has given it up: one for each request, one
/// for the heartbeat, and those that come meanwhile where the gate asked for the shortest heartbeat.
const TIMEOUTS_MAX: usize = REQUESTS + 1 + 10_000 / 100 + 1;

/// The first byte of `input` says which client this is and how its connection ends, the second in which
/// pieces the gate's bytes arrive, which are the rest. However they arrive, the client does the same;
/// every request comes back once, and nothing comes behind the end.
pub fn client_connection(now: Instant, input: &[u8]) {
    let Some(([settings, piece], stream)) = input.split_first_chunk() else { return };
    let whole = Owner::run(now, *settings, stream.chunks(stream.len().max(1)));
    let pieces = Owner::run(now, *settings, stream.chunks(usize::from(*piece).max(1)));
    assert_eq!(whole, pieces, "the split changed what the client does");
}

/// What a program does around its connection, without a socket.
struct Owner {
    connection: ClientConnection<usize>,
    now: Instant,
    events: Vec<ConnectionEvent<usize>>,
    requests: usize,
    logs_out: bool,
    sent: BytesMut,
}

impl Owner {
    fn run<'a>(
        now: Instant,
        settings: u8,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> (Vec<ConnectionEvent<usize>>, BytesMut) {
        let codec = Codec::ALL[usize::from(settings & 3) % Codec::ALL.len()];
        let login = Login {
            app_id: "fuzz".into(),
            sdk: "fuzz".into(),
            token: "token".into(),
            device: DeviceId::new("d").expect("a letter is an id"),
            platform: Platform::Bot,
            codec,
        };
        let limits = ConnectionLimits { window: REQUESTS, ..ConnectionLimits::default() };
        let connection = if settings & 4 == 0 {
            ClientConnection::new(now, login, limits)
        } else {
            let identity = IdentityKey::from_seed(&[7; 32]).expect("any 32 bytes are a seed");
            let hello = ClientHello::new(EphemeralKey::from_bytes([8; 32]), identity.public());
            ClientConnection::encrypted(now, login, limits, hello)
        };
        let logs_out = settings & 16 != 0;
        let mut owner = Self { connection, now, events: Vec::new(), requests: 0, logs_out, sent: BytesMut::new() };
        let mut buffer = BytesMut::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while !owner.is_closed()
                && let Some(next) = ClientConnection::<usize>::deframer(codec).next(&mut buffer)
            {
                owner.now += Duration::from_millis(1);
                match next {
                    Ok(frame) => owner.connection.on_frame(owner.now, frame),
                    Err(error) => owner.connection.on_framing_error(error),
                }
                owner.drain();
            }
            assert!(owner.is_closed() || buffer.len() < Header::LEN + server_frame_len_max(codec) as usize);
        }
        owner.end(settings & 8 != 0);
        (owner.events, owner.sent)
    }

    fn drain(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            assert!(!self.is_closed(), "{event:?} behind the end");
            if let ConnectionEvent::Ready(_) = &event {
                assert_eq!(self.requests, 0, "ready twice");
                self.request();
            }
            if matches!(&event, ConnectionEvent::Answer(_)) && std::mem::take(&mut self.logs_out) {
                self.connection.logout(self.now);
            }
            self.events.push(event);
        }
        self.sent.unsplit(self.connection.output().split());
        assert_eq!(self.connection.next_timeout().is_none(), self.is_closed(), "waits for ever, or behind the end");
    }

    fn request(&mut self) {
        let body = GetMsg { after: Position::default(), limit: 20 };
        while self.connection.has_room() {
            let taken = self.connection.request(self.now, Command::GetMsg, &body, self.requests);
            assert_eq!(taken, Ok(()), "there was room");
            self.requests += 1;
        }
        assert_eq!(self.requests, REQUESTS);
        assert!(self.connection.request(self.now, Command::GetMsg, &body, 99).is_err(), "over the window");
    }

    fn is_closed(&self) -> bool {
        matches!(self.events.last(), Some(ConnectionEvent::Closed(_)))
    }

    /// The gate says nothing more, or its connection is lost. Every request has come back then.
    fn end(&mut self, by_silence: bool) {
        if by_silence {
            for _ in 0..TIMEOUTS_MAX {
                let Some(next) = self.connection.next_timeout() else { break };
                self.now = self.now.max(next);
                self.connection.on_timeout(self.now);
                self.drain();
            }
            assert!(self.is_closed(), "goes on without a gate");
        }
        self.connection.on_lost();
        self.drain();
        assert!(self.is_closed());
        let mut back: Vec<usize> = Vec::new();
        for event in &self.events {
            if let ConnectionEvent::Answer(answer) = event {
                back.push(answer.tag);
            }
        }
        back.sort_unstable();
        assert_eq!(back, (0..self.requests).collect::<Vec<_>>(), "a request did not come back, or twice");
    }
}
