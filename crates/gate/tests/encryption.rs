//! Encrypted bodies at a gate: who gets them, who is refused, and that what others send to a client
//! reaches it sealed.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::{FakeRoute, World, hello, preamble};
use gate::Encryption;
use im_link::FrameIo;
use im_proto::client::{Command, HandShake, HandShakeAck, NewMsg, Platform};
use im_proto::link::{LinkCommand, PushSessions, SessionPlace};
use im_proto::{DeviceId, Epoch, Position, RefusalCode, Seq};
use im_secure::{ClientHello, EphemeralKey, IdentityKey, Suite};
use im_session::client::{Answer, ClientConnection, CloseCause, ConnectionEvent, ConnectionLimits, Login};
use proto_codec::{Bytes, Codec, CodecId};

fn identity(byte: u8) -> IdentityKey {
    IdentityKey::from_seed(&[byte; 32]).unwrap()
}

async fn world(encryption: Encryption) -> World {
    World::with(|config| config.encryption = encryption).await
}

/// A client as the SDK drives it, with every byte that it wrote and read.
struct Client {
    io: FrameIo,
    core: ClientConnection<&'static str>,
}

impl Client {
    async fn new(world: &World, name: &str, codec: Codec, pinned: Option<u8>) -> Self {
        let login = Login {
            app_id: "test".into(),
            sdk: "test".into(),
            token: world.token(name),
            device: DeviceId::new("first").unwrap(),
            platform: Platform::Bot,
            codec,
        };
        let (now, limits) = (Instant::now(), ConnectionLimits::default());
        let core = match pinned {
            None => ClientConnection::new(now, login, limits),
            Some(byte) => {
                let ephemeral = EphemeralKey::from_bytes(rand::random::<[u8; 32]>());
                ClientConnection::encrypted(now, login, limits, ClientHello::new(ephemeral, identity(byte).public()))
            }
        };
        Self { io: world.dial().await.io, core }
    }

    /// The next thing that happens.
    async fn event(&mut self) -> ConnectionEvent<&'static str> {
        loop {
            if let Some(event) = self.core.poll_event() {
                return event;
            }
            let output = self.core.output().split();
            self.io.write(&output).await.unwrap();
            match self.io.read_frame().await {
                Ok(frame) => self.core.on_frame(Instant::now(), frame),
                Err(_) => self.core.on_lost(),
            }
        }
    }

    async fn ready(&mut self) {
        let event = self.event().await;
        assert!(matches!(event, ConnectionEvent::Ready(_)), "{event:?}");
    }

    async fn closed(&mut self) -> CloseCause {
        match self.event().await {
            ConnectionEvent::Closed(cause) => cause,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_codec_travels_encrypted() {
    for codec in Codec::ALL {
        let world = world(Encryption::Required(identity(9))).await;
        let mut client = Client::new(&world, "ann", *codec, Some(9)).await;
        client.ready().await;
        assert_eq!(client.core.codec(), *codec);
        let ask = im_proto::client::GetMsg { after: Position::default(), limit: 1 };
        client.core.request(Instant::now(), Command::GetMsg, &ask, "pull").unwrap();
        // There is no route: the gate refuses by itself.
        match client.event().await {
            ConnectionEvent::Answer(Answer { tag: "pull", result: Err(error) }) => {
                assert!(error.to_string().contains("Unavailable"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        client.core.logout(Instant::now());
        assert_eq!(client.closed().await, CloseCause::LoggedOut);
    }
}

#[tokio::test]
async fn what_a_route_pushes_reaches_an_encrypted_client() {
    let world = World::with(|config| {
        config.routes = vec!["r1".into()];
        config.encryption = Encryption::Allowed(identity(9));
    })
    .await;
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    let link = route.events.up().await;
    let mut client = Client::new(&world, "ann", Codec::Binary, Some(9)).await;
    client.ready().await;
    let up = route.session_up().await;
    for seq in 1..=3 {
        let targets = vec![SessionPlace { session: up.session, seq: Seq(seq) }];
        let push = PushSessions { epoch: Epoch(1), message: None, targets };
        link.tell(LinkCommand::PushSessions, &push).unwrap();
        match client.event().await {
            ConnectionEvent::NewMsg(NewMsg { head, .. }) => assert_eq!(head.seq, Seq(seq)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn wishes_that_do_not_fit_are_refused_with_their_code() {
    let cases = [
        (Encryption::Off, Some(9), RefusalCode::NoEncryption),
        (Encryption::Required(identity(9)), None, RefusalCode::EncryptionRequired),
    ];
    for (encryption, pinned, code) in cases {
        let world = world(encryption).await;
        let mut client = Client::new(&world, "ann", Codec::Binary, pinned).await;
        match client.closed().await {
            CloseCause::Refused(refusal) => assert_eq!(refusal.code, code),
            other => panic!("{other:?}"),
        }
        assert_eq!(world.gate.sessions_len(), 0);
    }
    let world = world(Encryption::Allowed(identity(9))).await;
    Client::new(&world, "ann", Codec::Binary, None).await.ready().await;
}

#[tokio::test]
async fn a_gate_of_another_identity_gets_no_login() {
    let world = world(Encryption::Allowed(identity(8))).await;
    let mut client = Client::new(&world, "ann", Codec::Binary, Some(9)).await;
    assert!(matches!(client.closed().await, CloseCause::NoEncryption(_)));
    assert_eq!(world.gate.sessions_len(), 0);
}

#[tokio::test]
async fn offers_that_no_key_can_be_agreed_with_are_refused() {
    let world = world(Encryption::Allowed(identity(9))).await;
    let chacha = vec![Suite::ChaCha20Poly1305.wire()];
    let cases = [
        (chacha.clone(), vec![0; 32], RefusalCode::BadKeyShare),
        (chacha, vec![9; 31], RefusalCode::BadKeyShare),
        (vec![im_proto::client::Encryption::Unknown(77)], vec![9; 32], RefusalCode::NoSuite),
    ];
    for (suites, key_share, code) in cases {
        let mut client = world.dial().await;
        client.say(&preamble()).await;
        let hello = HandShake { suites, key_share: Bytes::from(key_share), ..hello(vec![CodecId::Binary]) };
        let sequence = client.ask(Command::HandShake, &hello).await;
        client.refused(Command::HandShake.number(), sequence, code).await;
        client.ended().await;
    }
}

#[tokio::test]
async fn a_login_in_the_clear_after_the_agreement_is_refused() {
    let world = world(Encryption::Allowed(identity(9))).await;
    let mut client = world.dial().await;
    client.say(&preamble()).await;
    let core = ClientHello::new(EphemeralKey::from_bytes([1; 32]), identity(9).public());
    let sequence = client.ask(Command::HandShake, &core.offer(hello(vec![CodecId::Binary]))).await;
    let ack: HandShakeAck = client.answer(Command::HandShake, sequence).await;
    assert_eq!(ack.encryption, Suite::ChaCha20Poly1305.wire());
    client.ask(Command::Auth, &common::auth(&world.token("ann"), "first")).await;
    // The refusal is sealed: this client cannot read more of it than that.
    let refusal = client.hear().await;
    assert!(refusal.flags.is_encrypted() && refusal.flags.is_refused());
    client.ended().await;
    assert_eq!(world.gate.sessions_len(), 0);
}
