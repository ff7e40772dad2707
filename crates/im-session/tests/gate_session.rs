//! The gate's side of a connection, step by step and under any order of inputs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use im_proto::client::{Auth, Command, Empty, HandShake, KickReason, Platform};
use im_proto::limits::PAYLOAD_LEN_MAX;
use im_proto::{DeviceId, Refusal, RefusalCode, SessionId, UserId};
use im_session::{Action, CloseReason, Dismissal, EncryptionPolicy, GateSession, GateSessionConfig};
use proptest::prelude::*;
use proto_codec::{Bytes, BytesMut, Codec, CodecId, Encode, Flags, Frame, FrameError, Hop, Preamble};

fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn user() -> UserId {
    UserId::new("a").unwrap()
}

fn config() -> GateSessionConfig {
    GateSessionConfig::default()
}

fn frame(command: u16, sequence: u32, message: &impl Encode) -> Frame {
    let mut body = BytesMut::new();
    message.encode(&mut body);
    Frame { command, flags: Flags::NONE, sequence, body: body.freeze() }
}

fn hello(codecs: Vec<CodecId>) -> Frame {
    let hello = HandShake { app_id: "t".into(), sdk: "t".into(), codecs, suites: vec![], key_share: Bytes::new() };
    frame(Command::HandShake.number(), 1, &hello)
}

fn auth() -> Auth {
    Auth { token: "token".into(), device: DeviceId::new("phone").unwrap(), platform: Platform::Bot }
}

fn auth_frame(sequence: u32) -> Frame {
    frame(Command::Auth.number(), sequence, &auth())
}

fn greeted(now: Instant) -> GateSession {
    greeted_in(now, CodecId::Binary)
}

fn greeted_in(now: Instant, codec: CodecId) -> GateSession {
    let mut session = GateSession::new(now, EncryptionPolicy::Off);
    assert!(session.wants_preamble() && !session.wants_frames());
    assert_eq!(session.on_preamble(Preamble::current(Hop::Client).encode()), Action::None);
    assert!(!session.wants_preamble() && session.wants_frames());
    let Action::Welcome(1, ack) = session.on_frame(now, hello(vec![codec])) else { panic!("no welcome") };
    assert_eq!(ack.codec, codec);
    session
}

fn open(now: Instant) -> GateSession {
    open_in(now, CodecId::Binary)
}

fn open_in(now: Instant, codec: CodecId) -> GateSession {
    let mut session = greeted_in(now, codec);
    let mut body = BytesMut::new();
    Codec::from_id(codec).unwrap().encode(&auth(), &mut body);
    let frame = Frame { body: body.freeze(), ..auth_frame(2) };
    assert_eq!(session.on_frame(now, frame), Action::CheckToken(auth()));
    let Action::LoggedIn(2, ack) = session.on_login(now, &config(), user(), SessionId(5), 77) else {
        panic!("not logged in")
    };
    assert_eq!((ack.heartbeat_ms, ack.keep_alive_ms, ack.server_time_ms), (30_000, 180_000, 77));
    session
}

/// It has ended: whatever comes is passed over, and the end is told once.
fn is_over(session: &mut GateSession, now: Instant) {
    assert!(!session.wants_frames() && !session.wants_preamble());
    assert_eq!(session.on_frame(now, auth_frame(9)), Action::None);
    assert_eq!(session.on_timeout(now + s(1000), &config()), Action::None);
    assert_eq!(session.on_dismissal(Dismissal::Kick(KickReason::Revoked)), Action::None);
    assert_eq!(session.on_framing_error(FrameError::BadMagic), Action::None);
    assert_eq!(session.on_login(now, &config(), user(), SessionId(1), 0), Action::None);
    assert_eq!(session.on_login_refused(RefusalCode::BadToken.into()), Action::None);
}

#[test]
fn the_login_has_one_deadline_for_all_its_steps() {
    let start = Instant::now();
    let mut session = GateSession::new(start, EncryptionPolicy::Off);
    assert_eq!(session.deadline(&config()), start + s(10));
    let mut session_later = greeted(start);
    assert_eq!(session_later.on_frame(start + s(9), auth_frame(2)), Action::CheckToken(auth()));
    assert_eq!(session_later.deadline(&config()), start + s(10), "no step moves it");
    for mut session in [session_later, greeted(start)] {
        assert_eq!(session.on_timeout(start + s(10) - Duration::from_nanos(1), &config()), Action::None);
        assert_eq!(session.on_timeout(start + s(10), &config()), Action::Close(CloseReason::LoginTimeout));
        is_over(&mut session, start);
    }
    assert_eq!(session.on_timeout(start + s(11), &config()), Action::Close(CloseReason::LoginTimeout));
}

#[test]
fn every_frame_of_an_open_session_moves_the_keep_alive() {
    let start = Instant::now();
    let mut session = open(start);
    assert_eq!(session.deadline(&config()), start + s(180));
    for (at, command) in [(50, Command::HeartBeat), (100, Command::SendMsg), (150, Command::Unknown(99))] {
        let _ = session.on_frame(start + s(at), frame(command.number(), 3, &Empty {}));
        assert_eq!(session.deadline(&config()), start + s(at + 180));
    }
    assert_eq!(session.on_timeout(start + s(329), &config()), Action::None);
    assert_eq!(session.on_timeout(start + s(330), &config()), Action::Close(CloseReason::Idle));
    is_over(&mut session, start);
}

#[test]
fn nothing_is_taken_while_a_token_is_checked() {
    let now = Instant::now();
    let mut session = greeted(now);
    assert_eq!(session.on_frame(now, auth_frame(2)), Action::CheckToken(auth()));
    assert!(!session.wants_frames());
    assert_eq!(session.on_frame(now, auth_frame(3)), Action::None);
    let refusal = Refusal::from(RefusalCode::BadToken);
    let close = CloseReason::Protocol(Command::Auth.number(), 2, refusal.clone());
    assert_eq!(session.on_login_refused(refusal), Action::Close(close));
    is_over(&mut session, now);
}

#[test]
fn each_command_has_its_place() {
    let now = Instant::now();
    for command in Command::KNOWN.iter().copied().chain([Command::Unknown(0), Command::Unknown(0x85)]) {
        let number = command.number();
        let not_yet = Action::Close(CloseReason::Protocol(number, 7, RefusalCode::NotLoggedIn.into()));
        if command != Command::HandShake {
            let mut session = GateSession::new(now, EncryptionPolicy::Off);
            let _ = session.on_preamble(Preamble::current(Hop::Client).encode());
            assert_eq!(session.on_frame(now, frame(number, 7, &Empty {})), not_yet, "{command:?} first");
            is_over(&mut session, now);
        }
        if command != Command::Auth {
            let mut session = greeted(now);
            assert_eq!(session.on_frame(now, frame(number, 7, &Empty {})), not_yet, "{command:?} before the login");
            is_over(&mut session, now);
        }
        let mut session = open(now);
        let frame = frame(number, 7, &Empty {});
        let expected = match command {
            Command::HeartBeat => Action::HeartBeat(7),
            Command::Logout => Action::Close(CloseReason::Logout(7)),
            Command::HandShake | Command::Auth => Action::Refuse(7, number, RefusalCode::OutOfOrder.into()),
            // Those that only a server says, and those that nobody knows.
            Command::NewMsg
            | Command::RevReadMsg
            | Command::Kickout
            | Command::Redirect
            | Command::RevSignal
            | Command::Unknown(_) => Action::Refuse(7, number, RefusalCode::UnknownCommand.into()),
            _ => Action::Forward { sequence: 7, command, body: frame.body.clone() },
        };
        assert_eq!(session.on_frame(now, frame), expected, "{command:?} after the login");
        assert_eq!(session.wants_frames(), command != Command::Logout);
    }
}

#[test]
fn bodies_of_the_first_steps_must_decode() {
    let now = Instant::now();
    let steps = [(true, hello(vec![CodecId::Binary])), (false, auth_frame(2))];
    for (first, whole) in steps {
        for end in 0..whole.body.len() {
            let mut session = if first { GateSession::new(now, EncryptionPolicy::Off) } else { greeted(now) };
            if first {
                let _ = session.on_preamble(Preamble::current(Hop::Client).encode());
            }
            let cut = Frame { body: whole.body.slice(..end), ..whole.clone() };
            let Action::Close(CloseReason::Protocol(command, sequence, refusal)) = session.on_frame(now, cut) else {
                panic!("{end} bytes were taken")
            };
            assert_eq!((command, sequence, refusal.code), (whole.command, whole.sequence, RefusalCode::BadBody));
            is_over(&mut session, now);
        }
    }
    let mut session = GateSession::new(now, EncryptionPolicy::Off);
    let _ = session.on_preamble(Preamble::current(Hop::Client).encode());
    let refused = session.on_frame(now, hello(vec![CodecId::Unknown(200)]));
    assert_eq!(refused, Action::Close(CloseReason::Protocol(1, 1, RefusalCode::NoCodec.into())));
}

/// In the codecs that a gate decodes itself the faults have the names that an im-service gives them in
/// the binary one.
#[test]
fn a_request_with_a_field_over_its_maximum_is_too_large_in_every_codec() {
    let now = Instant::now();
    let long = "x".repeat(PAYLOAD_LEN_MAX as usize + 1);
    let json = format!(r#"{{"to":{{"user":"b"}},"client_msg_id":"m","content_type":1,"payload":"{long}"}}"#);
    let mut protobuf = b"\x0a\x03\x0a\x01b\x12\x01m\x18\x01\x22\x81\x80\x01".to_vec();
    protobuf.extend_from_slice(long.as_bytes());
    for (codec, body) in [(CodecId::Json, json.into_bytes()), (CodecId::Protobuf, protobuf)] {
        for (left_out, code) in [(0, RefusalCode::TooLarge), (2, RefusalCode::BadBody)] {
            let mut session = open_in(now, codec);
            let body = Bytes::copy_from_slice(&body[..body.len() - left_out]);
            let send = Frame { command: Command::SendMsg.number(), flags: Flags::NONE, sequence: 7, body };
            let Action::Refuse(7, command, refusal) = session.on_frame(now, send) else { panic!("it was taken") };
            assert_eq!((command, refusal.code), (Command::SendMsg.number(), code), "{codec:?}: {refusal:?}");
        }
    }
}

#[test]
fn a_kick_ends_any_step() {
    let now = Instant::now();
    for mut session in [GateSession::new(now, EncryptionPolicy::Off), greeted(now), open(now)] {
        let kicked = Action::Close(CloseReason::Kicked(KickReason::LoggedInElsewhere));
        assert_eq!(session.on_dismissal(Dismissal::Kick(KickReason::LoggedInElsewhere)), kicked);
        is_over(&mut session, now);
    }
    let mut session = GateSession::new(now, EncryptionPolicy::Off);
    let closed = Action::Close(CloseReason::Framing(FrameError::BadMagic));
    assert_eq!(session.on_preamble(*b"GET / HT"), closed);
    is_over(&mut session, now);
}

#[derive(Clone, Debug)]
enum Input {
    Preamble(bool),
    Hello,
    Auth,
    Frame(u16),
    Login(bool),
    Kick,
    Pass(u64),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => any::<bool>().prop_map(Input::Preamble),
        3 => Just(Input::Hello),
        3 => Just(Input::Auth),
        4 => (0u16..0x15).prop_map(Input::Frame),
        3 => prop::bool::weighted(0.9).prop_map(Input::Login),
        1 => Just(Input::Kick),
        2 => (0u64..40).prop_map(Input::Pass),
    ]
}

proptest! {
    /// Whatever comes in whatever order: nothing is passed on without a good token, the end comes
    /// once, and nothing comes behind it.
    #[test]
    fn no_order_of_inputs_gets_around_the_login(inputs in prop::collection::vec(input(), 1..60)) {
        let mut now = Instant::now();
        let mut session = GateSession::new(now, EncryptionPolicy::Off);
        let (mut logged_in, mut closed) = (false, false);
        for input in inputs {
            let action = match input {
                Input::Preamble(good) => {
                    if !session.wants_preamble() { continue }
                    let mut bytes = Preamble::current(Hop::Client).encode();
                    bytes[5] += u8::from(!good);
                    session.on_preamble(bytes)
                }
                Input::Hello => session.on_frame(now, hello(vec![CodecId::Binary])),
                Input::Auth => session.on_frame(now, auth_frame(2)),
                Input::Frame(command) => session.on_frame(now, frame(command, 3, &Empty {})),
                Input::Login(true) => session.on_login(now, &config(), user(), SessionId(1), 0),
                Input::Login(false) => session.on_login_refused(RefusalCode::BadToken.into()),
                Input::Kick => session.on_dismissal(Dismissal::Kick(KickReason::Revoked)),
                Input::Pass(seconds) => {
                    now += s(seconds);
                    session.on_timeout(now, &config())
                }
            };
            prop_assert!(!closed || action == Action::None, "{action:?} behind the end");
            match action {
                Action::LoggedIn(..) => {
                    prop_assert!(!logged_in);
                    logged_in = true;
                }
                Action::Forward { .. } | Action::HeartBeat(_) | Action::Refuse(..) => prop_assert!(logged_in),
                Action::Close(_) => closed = true,
                Action::AgreeKeys => prop_assert!(false, "nobody offered keys"),
                Action::None | Action::Welcome(..) | Action::CheckToken(_) => {}
            }
            prop_assert!(!closed || !session.wants_frames());
        }
        let _ = session.on_timeout(now + s(181), &config());
        prop_assert!(!session.wants_frames() && !session.wants_preamble(), "the clock ends every session");
    }
}
