//! The connection against hand-made frames of a gate, on a clock that only moves when told.
#![allow(clippy::unwrap_used)]

use im_proto::client::{GetMsg, KickReason, MsgPage};
use im_proto::{Epoch, RefusalCode, Seq, SessionId, UserId};
use proto_codec::PREAMBLE_LEN;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(30);

type Connection = ClientConnection<&'static str>;

fn login() -> Login {
    Login {
        app_id: "test".into(),
        sdk: "test".into(),
        token: "token".into(),
        device: DeviceId::new("device").unwrap(),
        codec: Codec::Binary,
        platform: Platform::Bot,
    }
}

fn answer(command: Command, sequence: u32, message: &impl Encode) -> Frame {
    frame(command.number() | RESPONSE_BIT, Flags::NONE, sequence, message)
}

fn refusal(command: Command, sequence: u32, code: RefusalCode) -> Frame {
    frame(command.number() | RESPONSE_BIT, Flags::REFUSED, sequence, &Refusal::from(code))
}

fn frame(command: u16, flags: Flags, sequence: u32, message: &impl Encode) -> Frame {
    let mut body = BytesMut::new();
    message.encode(&mut body);
    Frame { command, flags, sequence, body: body.freeze() }
}

fn hello_ack() -> HandShakeAck {
    HandShakeAck {
        signature: Bytes::new(),
        version: 1,
        codec: CodecId::Binary,
        encryption: Encryption::None,
        frame_len_max: 65536,
        key_share: Bytes::new(),
    }
}

fn auth_ack() -> AuthAck {
    AuthAck {
        user: UserId::new("a").unwrap(),
        session: SessionId(1),
        heartbeat_ms: HEARTBEAT.as_millis() as u32,
        keep_alive_ms: 180_000,
        server_time_ms: 0,
    }
}

/// The frames that the connection has written since the last call.
fn written(connection: &mut Connection) -> Vec<(Command, Frame)> {
    let deframer = Deframer::new(65536);
    std::iter::from_fn(|| deframer.next(connection.output()))
        .map(|frame| frame.map(|frame| (Command::from_number(frame.command), frame)).unwrap())
        .collect()
}

fn events(connection: &mut Connection) -> Vec<ConnectionEvent<&'static str>> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}

fn fresh(now: Instant) -> Connection {
    let mut connection = Connection::new(now, login(), ConnectionLimits { patience: PATIENCE, window: 2 });
    let preamble = connection.output().split_to(PREAMBLE_LEN);
    assert_eq!(&preamble[..], Preamble::current(Hop::Client).encode());
    connection
}

fn ready(now: Instant) -> Connection {
    let mut connection = fresh(now);
    let (command, hello) = written(&mut connection).remove(0);
    assert_eq!(command, Command::HandShake);
    connection.on_frame(now, answer(command, hello.sequence, &hello_ack()));
    let (command, auth) = written(&mut connection).remove(0);
    assert_eq!(command, Command::Auth);
    assert_eq!(Codec::Binary.decode::<Auth>("Auth", &auth.body).unwrap().token, "token");
    assert!(!connection.is_ready());
    connection.on_frame(now, answer(command, auth.sequence, &auth_ack()));
    assert_eq!(events(&mut connection), [ConnectionEvent::Ready(auth_ack())]);
    connection
}

/// A connection that offers `offered`, and what it said in its handshake, when the gate chose `chosen`.
fn greeted(now: Instant, offered: Codec, chosen: CodecId) -> (Connection, HandShake) {
    let login = Login { codec: offered, ..login() };
    let mut connection = Connection::new(now, login, ConnectionLimits::default());
    let _ = connection.output().split_to(PREAMBLE_LEN);
    let (command, hello) = written(&mut connection).remove(0);
    let offer = Codec::Binary.decode("HandShake", &hello.body).unwrap();
    let ack = HandShakeAck { codec: chosen, ..hello_ack() };
    connection.on_frame(now, answer(command, hello.sequence, &ack));
    (connection, offer)
}

fn coded(codec: Codec, command: u16, sequence: u32, message: &(impl Encode + proto_codec::Describe)) -> Frame {
    let mut body = BytesMut::new();
    codec.encode(message, &mut body);
    Frame { command, flags: Flags::NONE, sequence, body: body.freeze() }
}

#[test]
fn the_chosen_codec_is_that_of_every_frame_behind_the_handshake() {
    let now = Instant::now();
    for codec in [Codec::Json, Codec::Protobuf] {
        let (mut connection, offer) = greeted(now, codec, codec.id());
        assert_eq!(offer.codecs, [codec.id(), CodecId::Binary]);
        let (_, auth) = written(&mut connection).remove(0);
        assert_eq!(codec.decode::<Auth>("Auth", &auth.body).unwrap().token, "token");
        connection.on_frame(now, coded(codec, Command::Auth.number() | RESPONSE_BIT, auth.sequence, &auth_ack()));
        assert_eq!(events(&mut connection), [ConnectionEvent::Ready(auth_ack())]);

        let asked = GetMsg { after: Position { epoch: Epoch(1), seq: Seq(2) }, limit: 3 };
        connection.request(now, Command::GetMsg, &asked, "pull").unwrap();
        let (command, request) = written(&mut connection).remove(0);
        assert_eq!(codec.decode("GetMsg", &request.body), Ok(asked));
        let page = MsgPage { head: Position::default(), floor: Seq(7), entries: vec![], has_more: true };
        connection.on_frame(now, coded(codec, command.number() | RESPONSE_BIT, request.sequence, &page));
        let [ConnectionEvent::Answer(Answer { tag: "pull", result: Ok(body) })] = &events(&mut connection)[..] else {
            panic!("the request has no answer");
        };
        assert_eq!(Codec::Binary.decode("MsgPage", body), Ok(page), "the owner knows one codec alone");

        connection.on_frame(now, Frame { body: Bytes::from_static(b"?"), ..coded(codec, 0x06, 0, &Empty {}) });
        let [ConnectionEvent::Closed(CloseCause::Body(_))] = &events(&mut connection)[..] else {
            panic!("a body that does not decode ends the connection");
        };
    }
}

#[test]
fn a_gate_without_the_codec_is_spoken_to_in_binary() {
    let (mut connection, _) = greeted(Instant::now(), Codec::Json, CodecId::Binary);
    let (_, auth) = written(&mut connection).remove(0);
    assert_eq!(Codec::Binary.decode::<Auth>("Auth", &auth.body).unwrap().token, "token");
    for chosen in [CodecId::Protobuf, CodecId::Unknown(9)] {
        let (mut connection, _) = greeted(Instant::now(), Codec::Json, chosen);
        let cause = CloseCause::Protocol("it chose a codec that was not offered");
        assert_eq!(events(&mut connection), [ConnectionEvent::Closed(cause)]);
    }
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let now = Instant::now();
    let mut connection = ready(now);
    connection.request(now, Command::GetMsg, &Empty {}, "first").unwrap();
    connection.request(now, Command::SendMsg, &Empty {}, "second").unwrap();
    assert_eq!(connection.request(now, Command::ReadMsg, &Empty {}, "third"), Err(WindowFull("third")));
    let requests = written(&mut connection);
    let page = MsgPage { head: Position::default(), floor: Seq::ZERO, entries: vec![], has_more: false };
    connection.on_frame(now, refusal(Command::SendMsg, requests[1].1.sequence, RefusalCode::Busy));
    let first = answer(Command::GetMsg, requests[0].1.sequence, &page);
    connection.on_frame(now, first.clone());
    connection.on_frame(now, first.clone());
    assert_eq!(
        events(&mut connection),
        [
            ConnectionEvent::Answer(Answer {
                tag: "second",
                result: Err(RequestError::Refused(RefusalCode::Busy.into()))
            }),
            ConnectionEvent::Answer(Answer { tag: "first", result: Ok(first.body) }),
        ],
        "an answer that comes twice counts once"
    );
}

#[test]
fn a_request_without_an_answer_times_out_and_its_late_answer_says_nothing() {
    let now = Instant::now();
    let mut connection = ready(now);
    connection.request(now, Command::GetMsg, &Empty {}, "pull").unwrap();
    let (_, request) = written(&mut connection).remove(0);
    assert_eq!(connection.next_timeout(), Some(now + PATIENCE));
    connection.on_timeout(now + PATIENCE);
    let timed_out = ConnectionEvent::Answer(Answer { tag: "pull", result: Err(RequestError::TimedOut) });
    assert_eq!(events(&mut connection), [timed_out]);
    connection.on_frame(now + PATIENCE, answer(Command::GetMsg, request.sequence, &Empty {}));
    assert_eq!(events(&mut connection), []);
    assert!(connection.is_ready());
}

#[test]
fn heartbeats_bring_the_head_and_notice_silence() {
    let start = Instant::now();
    let mut connection = ready(start);
    let due = start + HEARTBEAT;
    assert_eq!(connection.next_timeout(), Some(due));
    connection.on_timeout(due);
    let (command, beat) = written(&mut connection).remove(0);
    assert_eq!(command, Command::HeartBeat);
    let head = Position { epoch: Epoch(1), seq: Seq(9) };
    connection.on_frame(due, answer(command, beat.sequence, &HeartBeatAck { head: Some(head), server_time_ms: 0 }));
    assert_eq!(events(&mut connection), [ConnectionEvent::Head(head)]);

    connection.on_timeout(due + HEARTBEAT);
    assert_eq!(written(&mut connection).len(), 1);
    connection.request(due + HEARTBEAT, Command::GetMsg, &Empty {}, "pull").unwrap();
    connection.on_timeout(due + HEARTBEAT + PATIENCE);
    let lost = ConnectionEvent::Answer(Answer { tag: "pull", result: Err(RequestError::Lost) });
    assert_eq!(events(&mut connection), [lost, ConnectionEvent::Closed(CloseCause::Silent)]);
    assert_eq!(connection.next_timeout(), None);
}

#[test]
fn heartbeats_go_even_when_the_window_is_full() {
    let start = Instant::now();
    let mut connection = ready(start);
    let later = start + HEARTBEAT - Duration::from_secs(1);
    connection.request(later, Command::GetMsg, &Empty {}, "one").unwrap();
    connection.request(later, Command::GetMsg, &Empty {}, "two").unwrap();
    written(&mut connection);
    connection.on_timeout(start + HEARTBEAT);
    assert_eq!(written(&mut connection)[0].0, Command::HeartBeat);
}

#[test]
fn a_gate_that_never_answers_the_hello_is_given_up() {
    let now = Instant::now();
    let mut connection = fresh(now);
    assert_eq!(connection.next_timeout(), Some(now + PATIENCE));
    connection.on_timeout(now + PATIENCE);
    assert_eq!(events(&mut connection), [ConnectionEvent::Closed(CloseCause::Silent)]);
}

#[test]
fn a_refused_login_names_the_refusal() {
    let now = Instant::now();
    let mut connection = fresh(now);
    connection.on_frame(now, answer(Command::HandShake, 1, &hello_ack()));
    connection.on_frame(now, refusal(Command::Auth, 2, RefusalCode::ExpiredToken));
    let cause = CloseCause::Refused(RefusalCode::ExpiredToken.into());
    assert_eq!(events(&mut connection), [ConnectionEvent::Closed(cause)]);
}

#[test]
fn a_kick_ends_the_connection_and_gives_every_tag_back() {
    let now = Instant::now();
    let mut connection = ready(now);
    connection.request(now, Command::SendMsg, &Empty {}, "message").unwrap();
    let kick = Kickout { reason: KickReason::LoggedInElsewhere, detail: String::new() };
    connection.on_frame(now, frame(Command::Kickout.number(), Flags::NONE, 0, &kick));
    let lost = ConnectionEvent::Answer(Answer { tag: "message", result: Err(RequestError::Lost) });
    assert_eq!(events(&mut connection), [lost, ConnectionEvent::Closed(CloseCause::Kicked(kick))]);
    connection.on_lost();
    assert_eq!(events(&mut connection), [], "the end is told once");
}

#[test]
fn a_redirect_and_unknown_pushes_leave_the_connection_as_it_is() {
    let now = Instant::now();
    let mut connection = ready(now);
    let redirect = Redirect { gates: vec![], after_ms: 5 };
    connection.on_frame(now, frame(Command::Redirect.number(), Flags::NONE, 0, &redirect));
    connection.on_frame(now, frame(0x7f, Flags::NONE, 0, &Empty {}));
    assert_eq!(events(&mut connection), [ConnectionEvent::Redirect(redirect)]);
    assert!(connection.is_ready());
}

#[test]
fn logout_waits_for_its_answer() {
    let now = Instant::now();
    let mut connection = ready(now);
    connection.logout(now);
    let (command, request) = written(&mut connection).remove(0);
    assert_eq!(command, Command::Logout);
    connection.on_frame(now, answer(command, request.sequence, &Empty {}));
    assert_eq!(events(&mut connection), [ConnectionEvent::Closed(CloseCause::LoggedOut)]);
}

#[test]
fn bodies_that_lie_and_steps_out_of_order_close() {
    let now = Instant::now();
    let mut connection = ready(now);
    let lie =
        Frame { body: Bytes::from_static(&[0xff; 3]), ..frame(Command::NewMsg.number(), Flags::NONE, 0, &Empty {}) };
    connection.on_frame(now, lie);
    assert!(matches!(events(&mut connection)[..], [ConnectionEvent::Closed(CloseCause::Body(_))]));

    let mut connection = fresh(now);
    connection.on_frame(now, answer(Command::Auth, 1, &auth_ack()));
    assert!(matches!(events(&mut connection)[..], [ConnectionEvent::Closed(CloseCause::Protocol(_))]));
}
