//! Real gates, two real routes and a real im-service on one network in memory: what a client sees
//! when a route goes and comes back.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{EPOCH, at, config, send, to, user};
use gate::{Door, Encryption, Gate, GateConfig, GateSessionConfig, Limits};
use im_auth::{Signer, Verifier, keys};
use im_link::testing::MemoryNetwork;
use im_link::tls::LinkTls;
use im_link::{FrameIo, LinkConfig, Network};
use im_proto::client::{
    Auth, AuthAck, Command, GetMsg, HandShake, HandShakeAck, MsgPage, NewMsg, Platform, SendAck, SendMsg,
};
use im_proto::limits::SERVER_FRAME_LEN_MAX;
use im_proto::{BootId, DeviceId, Refusal, RefusalCode as Code, Seq};
use im_service::ImService;
use im_timeline::{Disk, MemoryOptions, MemoryStore};
use proto_codec::{Bytes, BytesMut, Codec, CodecId, Decode, Encode, Flags, Frame, Hop, Preamble};
use route::{LoginPolicy, Peers, Route, RouteConfig};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

struct World {
    network: Arc<dyn Network>,
    gates: Vec<Gate>,
    service: ImService,
    signer: Signer,
    _keys: TempDir,
}

async fn route(network: &Arc<dyn Network>, name: &str) -> Route {
    let config = RouteConfig {
        name: name.into(),
        region: "here".into(),
        boot: BootId(name.len() as u64),
        listen: name.into(),
        link_tls: LinkTls::Plain,
        link: LinkConfig::default(),
        link_in_flight_max: 1000,
        request_timeout: Duration::from_secs(4),
        logins: LoginPolicy::default(),
        peers: Peers::default(),
        lease: None,
    };
    Route::start(config, Arc::clone(network)).await.unwrap()
}

impl World {
    /// Two gates, an im-service whose store takes `fsync` for each commit, and the routes.
    async fn new(fsync: Duration) -> (Self, Route, Route) {
        let network: Arc<dyn Network> = MemoryNetwork::new();
        let routes = || vec!["master".to_owned(), "standby".to_owned()];
        let (master, standby) = (route(&network, "master").await, route(&network, "standby").await);
        let options = MemoryOptions { fsync, ..MemoryOptions::default() };
        let store = Arc::new(MemoryStore::open_with(&Disk::new(EPOCH), options));
        let service = ImService::start(im_service::ImServiceConfig { routes: routes(), ..config() }, store, &network);
        let keys = tempfile::tempdir().unwrap();
        let signer = keys::load_or_create(keys.path()).unwrap();
        let mut gates = Vec::new();
        for n in 1..=2 {
            let config = GateConfig {
                name: format!("g{n}"),
                region: "here".into(),
                boot: BootId(n),
                client_listen: format!("g{n}"),
                door: Door::default(),
                routes: routes(),
                verifier: Verifier::new([signer.public_key().clone()]).unwrap(),
                client_tls: None,
                link_tls: LinkTls::Plain,
                link: LinkConfig::default(),
                session: GateSessionConfig::default(),
                encryption: Encryption::Off,
                connections_max: 100,
                outbound_bytes_max: 64 * 1024,
                client_in_flight_max: 64,
                link_in_flight_max: 1000,
                request_timeout: Duration::from_secs(5),
                limits: Limits::default(),
            };
            gates.push(Gate::start(config, Arc::clone(&network)).await.unwrap());
        }
        let world = Self { network, gates, service, signer, _keys: keys };
        for route in [&master, &standby] {
            world.settled(route, 0).await;
        }
        (world, master, standby)
    }

    /// Waits until all know each other, with so many logins registered.
    async fn settled(&self, route: &Route, logins: usize) {
        let wait = async {
            while !(route.is_ready() && self.gates.iter().all(Gate::is_ready) && route.logins_len() == logins) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), wait).await.expect("the tiers do not find each other");
    }

    async fn login(&self, gate: &str, name: &str, device: &str) -> Client {
        let io = FrameIo::new(self.network.dial(gate).await.unwrap(), SERVER_FRAME_LEN_MAX);
        let mut client = Client { io, sequence: 0, told: VecDeque::new() };
        client.io.write(&Preamble::current(Hop::Client).encode()).await.unwrap();
        let hello = HandShake {
            app_id: "test".into(),
            sdk: "test".into(),
            codecs: vec![CodecId::Binary],
            suites: Vec::new(),
            key_share: Bytes::new(),
        };
        client.call::<HandShakeAck>(Command::HandShake, &hello).await.unwrap();
        let token = self.signer.issue(user(name), name, 1, SystemTime::now(), Duration::from_secs(600)).token;
        let auth = Auth { token, device: DeviceId::new(device).unwrap(), platform: Platform::Bot };
        assert_eq!(client.call::<AuthAck>(Command::Auth, &auth).await.unwrap().user, user(name));
        client
    }
}

struct Client {
    io: FrameIo,
    sequence: u32,
    told: VecDeque<NewMsg>,
}

impl Client {
    async fn ask(&mut self, command: Command, message: &impl Encode) {
        self.sequence += 1;
        let mut bytes = BytesMut::new();
        Frame::encode_message(command.number(), Flags::NONE, self.sequence, message, &mut bytes);
        self.io.write(&bytes).await.unwrap();
    }

    async fn frame(&mut self) -> Frame {
        timeout(Duration::from_secs(60), self.io.read_frame()).await.expect("a frame was to come").unwrap()
    }

    /// The answer to the last request. What is told meanwhile is kept.
    async fn answered<A: Decode>(&mut self) -> Result<A, Code> {
        loop {
            let frame = self.frame().await;
            if !frame.is_response() {
                self.told.push_back(Codec::Binary.decode("NewMsg", &frame.body).unwrap());
                continue;
            }
            assert_eq!(frame.sequence, self.sequence);
            return if frame.flags.is_refused() {
                Err(Codec::Binary.decode::<Refusal>("Refusal", &frame.body).unwrap().code)
            } else {
                Ok(Codec::Binary.decode("answer", &frame.body).unwrap())
            };
        }
    }

    async fn call<A: Decode>(&mut self, command: Command, message: &impl Encode) -> Result<A, Code> {
        self.ask(command, message).await;
        self.answered().await
    }

    async fn send(&mut self, send: &SendMsg) -> Result<SendAck, Code> {
        self.call(Command::SendMsg, send).await
    }

    async fn told(&mut self) -> NewMsg {
        if let Some(told) = self.told.pop_front() {
            return told;
        }
        let frame = self.frame().await;
        assert_eq!((frame.command, frame.sequence), (Command::NewMsg.number(), 0));
        Codec::Binary.decode("NewMsg", &frame.body).unwrap()
    }

    async fn payloads(&mut self) -> Vec<String> {
        let page: MsgPage = self.call(Command::GetMsg, &GetMsg { after: at(0), limit: 200 }).await.unwrap();
        page.entries.iter().map(|entry| String::from_utf8_lossy(&entry.message.payload).into_owned()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_reaches_every_login_but_the_one_that_sent_it() {
    let (world, master, _standby) = World::new(Duration::from_millis(2)).await;
    let mut sender = world.login("g1", "a", "phone").await;
    let mut others = [
        world.login("g1", "a", "desk").await,
        world.login("g1", "b", "phone").await,
        world.login("g2", "b", "desk").await,
    ];
    let mut stranger = world.login("g2", "c", "phone").await;
    world.settled(&master, 5).await;
    let ack = sender.send(&send(to("b"), "1", "hello")).await.unwrap();
    for other in &mut others {
        let told = other.told().await;
        assert_eq!(told.head, at(1));
        let message = told.entry.unwrap();
        assert_eq!((message.seq, &message.payload[..]), (ack.seq, &b"hello"[..]));
    }
    // An answer that comes behind shows that nothing else was told before it.
    assert_eq!(sender.payloads().await, ["hello"]);
    assert!(stranger.payloads().await.is_empty());
    assert!(sender.told.is_empty() && stranger.told.is_empty());
}

#[tokio::test(start_paused = true)]
async fn requests_go_over_the_standby_while_the_master_is_away() {
    let (world, master, standby) = World::new(Duration::from_millis(500)).await;
    let (mut a, mut b) = (world.login("g1", "a", "phone").await, world.login("g2", "b", "phone").await);
    for route in [&master, &standby] {
        world.settled(route, 2).await;
    }
    a.send(&send(to("b"), "1", "over the master")).await.unwrap();
    assert_eq!(b.told().await.head, at(1));
    // Under way while the master goes: told so, and safe to send again.
    a.ask(Command::SendMsg, &send(to("b"), "2", "in flight")).await;
    sleep(Duration::from_millis(100)).await;
    master.stop().await;
    assert_eq!(a.answered::<SendAck>().await, Err(Code::Unavailable));
    assert!(world.gates.iter().all(Gate::is_ready), "the standby is there");
    let again = a.send(&send(to("b"), "2", "in flight")).await.unwrap();
    assert_eq!((again.seq, again.receiver_seq), (Seq(2), Seq(2)));
    assert!(again.repeated, "the first try had arrived; its answer had no way back");
    let third = a.send(&send(to("b"), "3", "over the standby")).await.unwrap();
    assert_eq!(third.receiver_seq, Seq(3));
    while b.told().await.head != at(3) {}
    // A login that comes now is known to the master as soon as that is back.
    let mut c = world.login("g2", "c", "phone").await;
    let master = route(&world.network, "master").await;
    world.settled(&master, 3).await;
    standby.stop().await;
    a.send(&send(to("c"), "4", "over the master again")).await.unwrap();
    assert_eq!(c.told().await.head, at(1));
    assert_eq!(b.payloads().await, ["over the master", "in flight", "over the standby"]);
    assert!(world.service.is_ready());
}
