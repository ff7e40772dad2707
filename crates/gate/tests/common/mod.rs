//! A gate over a network in memory, clients made by hand, and routes that do what the test says.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gate::{Door, Encryption, Gate, GateConfig, GateSessionConfig, Limits, Rate};
use im_auth::{Signer, Verifier, keys};
use im_link::testing::{LinkEvents, MemoryNetwork, Recorder};
use im_link::tls::LinkTls;
use im_link::{FrameIo, Identity, Link, LinkConfig, Network, link};
use im_proto::client::{Auth, AuthAck, Command, Empty, HandShake, HandShakeAck, HeartBeatAck, Platform};
use im_proto::limits::SERVER_FRAME_LEN_MAX;
use im_proto::link::{Forward, LinkCommand, SessionDown, SessionUp, Tier};
use im_proto::{BootId, DeviceId, Refusal, RefusalCode, UserId};
use proto_codec::{Bytes, BytesMut, Codec, CodecId, Decode, Encode, Flags, Frame, Hop, Preamble, RESPONSE_BIT};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Bytes that a stream holds each way, in place of socket buffers.
pub(crate) const PIPE: usize = 64 * 1024;
pub(crate) const OUTBOUND_MAX: usize = 64 * 1024;
pub(crate) const CLIENT_IN_FLIGHT: u32 = 8;
pub(crate) const LINK_IN_FLIGHT: usize = 16;
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

const PATIENCE: Duration = Duration::from_secs(600);

/// Tests ask as quickly as they can; those of the limits set their own.
pub(crate) fn unlimited() -> Limits {
    let off = Rate::OFF;
    Limits { messages_per_connection: off, messages_per_user: off, logins_per_user: off, ..Limits::default() }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(crate) fn encoded(message: &impl Encode) -> BytesMut {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes);
    bytes
}

pub(crate) fn frame(command: u16, sequence: u32, body: &[u8]) -> BytesMut {
    let body = BytesMut::from(body).freeze();
    let mut bytes = BytesMut::new();
    Frame { command, flags: Flags::NONE, sequence, body }.encode(&mut bytes);
    bytes
}

pub(crate) fn preamble() -> BytesMut {
    BytesMut::from(&Preamble::current(Hop::Client).encode()[..])
}

pub(crate) fn decoded<M: Decode>(frame: &Frame) -> M {
    Codec::Binary.decode("test", &frame.body).unwrap()
}

/// A gate, and what is needed to log in there.
pub(crate) struct World {
    pub(crate) network: Arc<dyn Network>,
    pub(crate) gate: Gate,
    pub(crate) signer: Signer,
    /// Where it listens.
    address: String,
    keys: TempDir,
}

impl World {
    /// A gate without routes.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A gate that is configured otherwise.
    pub(crate) async fn with(change: impl FnOnce(&mut GateConfig)) -> Self {
        Self::over(MemoryNetwork::with_pipes(PIPE), change).await
    }

    pub(crate) async fn over(network: Arc<dyn Network>, change: impl FnOnce(&mut GateConfig)) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let signer = keys::load_or_create(keys.path()).unwrap();
        let mut config = GateConfig {
            name: "g1".into(),
            region: "here".into(),
            boot: BootId(7),
            client_listen: "gate".into(),
            door: Door::default(),
            routes: Vec::new(),
            verifier: Verifier::new([signer.public_key().clone()]).unwrap(),
            client_tls: None,
            link_tls: LinkTls::Plain,
            link: LinkConfig::default(),
            session: GateSessionConfig::default(),
            encryption: Encryption::Off,
            connections_max: 100,
            outbound_bytes_max: OUTBOUND_MAX,
            client_in_flight_max: CLIENT_IN_FLIGHT,
            link_in_flight_max: LINK_IN_FLIGHT,
            request_timeout: REQUEST_TIMEOUT,
            limits: unlimited(),
        };
        change(&mut config);
        let address = config.client_listen.clone();
        let gate = Gate::start(config, Arc::clone(&network)).await.unwrap();
        Self { network, gate, signer, address, keys }
    }

    pub(crate) fn token(&self, name: &str) -> String {
        self.token_at(name, SystemTime::now())
    }

    pub(crate) fn token_at(&self, name: &str, at: SystemTime) -> String {
        self.signer.issue(user(name), name, 1, at, Duration::from_secs(600)).token
    }

    /// A connection that has said nothing yet.
    pub(crate) async fn dial(&self) -> Client {
        let io = FrameIo::new(self.network.dial(&self.address).await.unwrap(), SERVER_FRAME_LEN_MAX);
        Client { io, sequence: 0 }
    }

    /// A connection on which the handshake is done.
    pub(crate) async fn greeted(&self) -> Client {
        let mut client = self.dial().await;
        client.greet().await;
        client
    }

    /// A login of a user's first device.
    pub(crate) async fn login(&self, name: &str) -> Client {
        let mut client = self.greeted().await;
        client.login(&self.token(name), "first").await;
        client
    }

    /// A second gate beside this one, on the same network, that believes the same tokens.
    pub(crate) async fn beside(&self, change: impl FnOnce(&mut GateConfig)) -> Self {
        let network = Arc::clone(&self.network);
        let mut second = Self::over(network, |config| {
            config.name = "g2".into();
            config.boot = BootId(8);
            config.client_listen = "gate-2".into();
            config.verifier = Verifier::new([self.signer.public_key().clone()]).unwrap();
            change(config);
        })
        .await;
        second.signer = self.signer.clone();
        second
    }

    /// Waits until the gate holds so many logins.
    pub(crate) async fn sessions(&self, count: usize) {
        let wait = async {
            while self.gate.sessions_len() != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the gate holds another number of logins");
    }
}

/// A route that is nothing but its listener: what comes in goes to the test.
pub(crate) struct FakeRoute {
    pub(crate) events: LinkEvents,
    pub(crate) stop: CancellationToken,
    /// When it listened last; a test that stops it waits for this.
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl FakeRoute {
    pub(crate) async fn listen(network: &Arc<dyn Network>, address: &str) -> Self {
        let listener = network.listen(address).await.unwrap();
        let (handler, events) = Recorder::new();
        let stop = CancellationToken::new();
        let identity = Identity { tier: Tier::Route, name: address.into(), boot: BootId(1), region: "here".into() };
        let serve = link::serve(listener, LinkTls::Plain, identity, LinkConfig::default(), handler, stop.clone());
        Self { events, stop, task: tokio::spawn(serve) }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// The next frame, decoded.
    pub(crate) async fn heard<M: Decode>(&mut self, command: LinkCommand) -> (Link, u32, M) {
        let (link, frame) = self.events.frame().await;
        assert_eq!(LinkCommand::from_number(frame.command), command);
        (link, frame.sequence, decoded(&frame))
    }

    pub(crate) async fn session_up(&mut self) -> SessionUp {
        self.heard(LinkCommand::SessionUp).await.2
    }

    pub(crate) async fn session_down(&mut self) -> SessionDown {
        self.heard(LinkCommand::SessionDown).await.2
    }

    pub(crate) async fn forward(&mut self) -> (Link, u32, Forward) {
        self.heard(LinkCommand::Forward).await
    }
}

/// A client made by hand.
pub(crate) struct Client {
    pub(crate) io: FrameIo,
    pub(crate) sequence: u32,
}

impl Client {
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.io.write(bytes).await.unwrap();
    }

    /// Sends a request and gives its sequence.
    pub(crate) async fn ask(&mut self, command: Command, message: &impl Encode) -> u32 {
        self.sequence += 1;
        let bytes = frame(command.number(), self.sequence, &encoded(message));
        self.say(&bytes).await;
        self.sequence
    }

    /// The next frame.
    pub(crate) async fn hear(&mut self) -> Frame {
        timeout(PATIENCE, self.io.read_frame()).await.expect("a frame was to come").unwrap()
    }

    /// The next frame, which must answer this request.
    pub(crate) async fn answer<M: Decode>(&mut self, command: Command, sequence: u32) -> M {
        let frame = self.hear().await;
        assert_eq!((frame.command, frame.sequence), (command.number() | RESPONSE_BIT, sequence));
        assert!(!frame.flags.is_refused(), "refused: {}", decoded::<Refusal>(&frame));
        decoded(&frame)
    }

    /// The next frame, which must be this refusal.
    pub(crate) async fn refused(&mut self, command: u16, sequence: u32, code: RefusalCode) {
        let frame = self.hear().await;
        assert_eq!((frame.command, frame.sequence), (command | RESPONSE_BIT, sequence));
        assert!(frame.flags.is_refused());
        assert_eq!(decoded::<Refusal>(&frame).code, code);
    }

    /// The next frame, which must be one that the server sends by itself.
    pub(crate) async fn told<M: Decode>(&mut self, command: Command) -> M {
        let frame = self.hear().await;
        assert_eq!((Command::from_number(frame.command), frame.sequence), (command, 0));
        decoded(&frame)
    }

    /// Nothing more comes: the gate has closed.
    pub(crate) async fn ended(&mut self) {
        let next = timeout(PATIENCE, self.io.read_frame()).await.expect("the gate was to close");
        assert!(next.is_err(), "a frame came behind the last word: {next:?}");
    }

    pub(crate) async fn greet(&mut self) -> HandShakeAck {
        self.say(&preamble()).await;
        let sequence = self.ask(Command::HandShake, &hello(vec![CodecId::Binary])).await;
        self.answer(Command::HandShake, sequence).await
    }

    pub(crate) async fn login(&mut self, token: &str, device: &str) -> AuthAck {
        let sequence = self.ask(Command::Auth, &auth(token, device)).await;
        self.answer(Command::Auth, sequence).await
    }

    /// Shows that the connection is in order, without any route.
    pub(crate) async fn is_well(&mut self) {
        let sequence = self.ask(Command::HeartBeat, &Empty {}).await;
        let ack: HeartBeatAck = self.answer(Command::HeartBeat, sequence).await;
        assert_eq!(ack.head, None, "no route tells a head");
    }
}

pub(crate) fn hello(codecs: Vec<CodecId>) -> HandShake {
    HandShake { app_id: "test".into(), sdk: "test".into(), codecs, suites: Vec::new(), key_share: Bytes::new() }
}

pub(crate) fn auth(token: &str, device: &str) -> Auth {
    Auth { token: token.into(), device: DeviceId::new(device).unwrap(), platform: Platform::Bot }
}
