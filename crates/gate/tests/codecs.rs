//! Clients of every codec on one gate: what tiers hear and say is binary, whoever is at the other end.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Client, FakeRoute, World, auth, encoded, frame, hello, user};
use im_link::Link;
use im_proto::client::{
    Auth, AuthAck, Command, ContentType, Empty, HandShakeAck, HeartBeatAck, KickReason, Kickout, Message, NewMsg,
    RevSignal, SendAck, SendMsg, SignalKind,
};
use im_proto::link::{Forward, LinkCommand, PushSessions, RelaySessions, SessionPlace};
use im_proto::{ClientMsgId, ConversationId, Epoch, Position, Refusal, RefusalCode as Code, Seq, SessionId, Target};
use proto_codec::{Bytes, BytesMut, Codec, Decode, Describe, Encode, Flags, Frame, Hop, Preamble, RESPONSE_BIT};

/// A client that speaks one codec.
struct Speaker {
    client: Client,
    codec: Codec,
}

fn coded(codec: Codec, message: &(impl Encode + Describe)) -> Bytes {
    let mut out = BytesMut::new();
    codec.encode(message, &mut out);
    out.freeze()
}

impl Speaker {
    async fn dial(world: &World, codec: Codec) -> Self {
        let mut client = world.dial().await;
        client.say(&Preamble { codec, ..Preamble::current(Hop::Client) }.encode()).await;
        Self { client, codec }
    }

    /// A handshake in the speaker's codec that chooses another.
    async fn greet(&mut self, chosen: Codec) {
        let sequence = self.ask(Command::HandShake, &hello(vec![chosen.id()])).await;
        let ack: HandShakeAck = self.answer(Command::HandShake, sequence).await;
        assert_eq!(ack.codec, chosen.id());
        self.codec = chosen;
    }

    /// Logged in as the user of that name, by a binary handshake.
    async fn login(world: &World, codec: Codec, name: &str) -> (Self, SessionId) {
        let mut speaker = Self::dial(world, Codec::Binary).await;
        speaker.greet(codec).await;
        let ack = speaker.auth(&auth(&world.token(name), "first")).await;
        (speaker, ack.session)
    }

    async fn auth(&mut self, auth: &Auth) -> AuthAck {
        let sequence = self.ask(Command::Auth, auth).await;
        self.answer(Command::Auth, sequence).await
    }

    async fn ask(&mut self, command: Command, message: &(impl Encode + Describe)) -> u32 {
        self.client.sequence += 1;
        let bytes = frame(command.number(), self.client.sequence, &coded(self.codec, message));
        self.client.say(&bytes).await;
        self.client.sequence
    }

    fn read<M: Decode>(&self, frame: &Frame) -> M {
        let read = self.codec.decode("test", &frame.body);
        read.unwrap_or_else(|error| panic!("{:?}: {error}: {:?}", self.codec, frame.body))
    }

    async fn answer<M: Decode>(&mut self, command: Command, sequence: u32) -> M {
        let frame = self.client.hear().await;
        assert_eq!((frame.command, frame.sequence), (command.number() | RESPONSE_BIT, sequence));
        assert!(!frame.flags.is_refused(), "refused: {}", self.read::<Refusal>(&frame));
        self.read(&frame)
    }

    async fn refused(&mut self, command: u16, sequence: u32, code: Code) {
        let frame = self.client.hear().await;
        assert_eq!((frame.command, frame.sequence), (command | RESPONSE_BIT, sequence));
        assert!(frame.flags.is_refused());
        assert_eq!(self.read::<Refusal>(&frame).code, code);
    }

    async fn told<M: Decode>(&mut self, command: Command) -> M {
        let frame = self.client.hear().await;
        assert_eq!((Command::from_number(frame.command), frame.sequence), (command, 0));
        self.read(&frame)
    }

    async fn is_well(&mut self) {
        let sequence = self.ask(Command::HeartBeat, &Empty {}).await;
        let _: HeartBeatAck = self.answer(Command::HeartBeat, sequence).await;
    }
}

fn send_msg(name: &str) -> SendMsg {
    SendMsg {
        to: Target::User(user("b")),
        client_msg_id: ClientMsgId::new(name).unwrap(),
        content_type: ContentType::Text,
        payload: Bytes::from_static("吃了吗 \"?\"\n".as_bytes()),
    }
}

fn message() -> Message {
    Message {
        conversation: ConversationId::pair(&user("a"), &user("b")),
        seq: Seq(4),
        sender: user("b"),
        client_msg_id: ClientMsgId::new("m").unwrap(),
        time_ms: u64::MAX,
        content_type: ContentType::Unknown(999),
        payload: Bytes::from_static(&[0xff, 0, 7]),
    }
}

async fn one_route() -> (World, FakeRoute, Link) {
    let world = World::with(|config| config.routes = vec!["r1".into()]).await;
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    let link = route.events.up().await;
    (world, route, link)
}

#[tokio::test(start_paused = true)]
async fn a_handshake_in_any_codec_chooses_any() {
    let world = World::new().await;
    for asked_in in Codec::ALL {
        for chosen in Codec::ALL {
            let mut speaker = Speaker::dial(&world, *asked_in).await;
            speaker.greet(*chosen).await;
            let ack = speaker.auth(&auth(&world.token("a"), "first")).await;
            assert_eq!(ack.user, user("a"));
            speaker.is_well().await;
            let sequence = speaker.ask(Command::Logout, &Empty {}).await;
            let _: Empty = speaker.answer(Command::Logout, sequence).await;
            speaker.client.ended().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tiers_hear_binary_and_clients_their_own() {
    let (world, mut route, link) = one_route().await;
    let mut speakers = Vec::new();
    for codec in Codec::ALL {
        let (mut speaker, session) = Speaker::login(&world, *codec, &format!("user-{codec:?}")).await;
        assert_eq!(route.session_up().await.session, session);

        let sent = send_msg(&format!("{codec:?}"));
        let sequence = speaker.ask(Command::SendMsg, &sent).await;
        let (_, link_sequence, forward): (_, _, Forward) = route.forward().await;
        assert_eq!(forward.body, encoded(&sent), "{codec:?}");
        let ack = SendAck {
            conversation: ConversationId::pair(&user("a"), &user("b")),
            seq: Seq(1 << 60),
            position: Position { epoch: Epoch(1), seq: Seq(2) },
            receiver_seq: Seq(0),
            time_ms: 1,
            repeated: true,
        };
        link.answer(LinkCommand::Forward, Flags::NONE, link_sequence, &ack).unwrap();
        assert_eq!(speaker.answer::<SendAck>(Command::SendMsg, sequence).await, ack);

        let sequence = speaker.ask(Command::SendMsg, &sent).await;
        let (_, link_sequence, _) = route.forward().await;
        link.answer(LinkCommand::Forward, Flags::REFUSED, link_sequence, &Refusal::from(Code::NotAMember)).unwrap();
        speaker.refused(Command::SendMsg.number(), sequence, Code::NotAMember).await;
        speakers.push((speaker, session));
    }

    // What one tier says once, each client hears in its codec.
    let targets = speakers.iter().map(|(_, session)| SessionPlace { session: *session, seq: Seq(9) }).collect();
    link.tell(LinkCommand::PushSessions, &PushSessions { epoch: Epoch(1), targets, message: Some(message()) }).unwrap();
    let signal = RevSignal {
        conversation: ConversationId::pair(&user("a"), &user("b")),
        sender: user("b"),
        kind: SignalKind::Typing,
        payload: Bytes::new(),
    };
    let sessions: Vec<_> = speakers.iter().map(|(_, session)| *session).collect();
    let relay =
        |command: Command, body: Bytes| RelaySessions { sessions: sessions.clone(), command: command.number(), body };
    link.tell(LinkCommand::RelaySessions, &relay(Command::RevSignal, encoded(&signal).into())).unwrap();
    let kick = Kickout { reason: KickReason::Revoked, detail: String::new() };
    link.tell(LinkCommand::RelaySessions, &relay(Command::Kickout, encoded(&kick).into())).unwrap();
    for (speaker, _) in &mut speakers {
        let head = Position { epoch: Epoch(1), seq: Seq(9) };
        let notify: NewMsg = speaker.told(Command::NewMsg).await;
        assert_eq!((notify.head, notify.entry), (head, Some(message())), "{:?}", speaker.codec);
        assert_eq!(speaker.told::<RevSignal>(Command::RevSignal).await, signal);
        assert_eq!(speaker.told::<Kickout>(Command::Kickout).await.reason, KickReason::Revoked);
        speaker.client.ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_decode_costs_an_answer_and_no_more() {
    let (world, mut route, _link) = one_route().await;
    for (codec, bodies) in [
        (Codec::Json, [&b"{"[..], br#"{"to":"b"}"#, b"\x01\x01b\x03m-1\x00\x01\x00\x00"]),
        (Codec::Protobuf, [&b"\x0a"[..], b"\x0b", br#"{"to":{"user":"b"}}"#]),
    ] {
        let (mut speaker, _) = Speaker::login(&world, codec, "a").await;
        route.session_up().await;
        for body in bodies {
            speaker.client.say(&frame(Command::SendMsg.number(), 70, body)).await;
            speaker.refused(Command::SendMsg.number(), 70, Code::BadBody).await;
        }
        speaker.client.say(&frame(0x13, 71, b"{")).await;
        speaker.refused(0x13, 71, Code::UnknownCommand).await;
        // And the gate still takes a good one.
        speaker.ask(Command::SendMsg, &send_msg("good")).await;
        assert_eq!(route.forward().await.2.body, encoded(&send_msg("good")));
        drop(speaker);
        route.session_down().await;
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_login_a_bad_body_ends_the_connection_in_its_codec() {
    let world = World::new().await;
    for codec in [Codec::Json, Codec::Protobuf] {
        let mut speaker = Speaker::dial(&world, codec).await;
        speaker.client.say(&frame(Command::HandShake.number(), 1, b"\x0b")).await;
        speaker.refused(Command::HandShake.number(), 1, Code::BadBody).await;
        speaker.client.ended().await;

        let mut speaker = Speaker::dial(&world, codec).await;
        speaker.greet(codec).await;
        speaker.client.say(&frame(Command::Auth.number(), 2, b"\x0b")).await;
        speaker.refused(Command::Auth.number(), 2, Code::BadBody).await;
        speaker.client.ended().await;

        let mut speaker = Speaker::dial(&world, codec).await;
        let offer = im_proto::client::HandShake {
            suites: vec![im_proto::client::Encryption::ChaCha20Poly1305],
            ..hello(vec![codec.id()])
        };
        let sequence = speaker.ask(Command::HandShake, &offer).await;
        speaker.refused(Command::HandShake.number(), sequence, Code::NoEncryption).await;
        speaker.client.ended().await;
    }
}
