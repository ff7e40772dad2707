//! A route over a network in memory, and tiers that dial it and do what the test says.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;
use std::time::Duration;

use im_link::testing::{LinkEvents, MemoryNetwork, Recorder};
use im_link::tls::LinkTls;
use im_link::{Identity, Link, LinkConfig, Network, link};
use im_proto::client::{Command, Platform};
use im_proto::link::{Forward, LinkCommand, SessionDown, SessionKey, SessionUp, Tier};
use im_proto::{BootId, DeviceId, Refusal, RefusalCode, SessionId, UserId};
use im_session::user_hash;
use proto_codec::{Bytes, BytesMut, Codec, Decode, Encode, Frame, RESPONSE_BIT};
use route::{LoginPolicy, Peers, Route, RouteConfig};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(crate) const WINDOW: usize = 8;
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(crate) fn encoded(message: &impl Encode) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes);
    bytes.freeze()
}

pub(crate) fn decoded<M: Decode>(frame: &Frame) -> M {
    Codec::Binary.decode("test", &frame.body).unwrap()
}

/// The route `r1` of the region `here`.
pub(crate) struct World {
    network: Arc<MemoryNetwork>,
    pub(crate) route: Route,
}

impl World {
    pub(crate) async fn new() -> Self {
        let network = MemoryNetwork::new();
        let config = RouteConfig {
            name: "r1".into(),
            region: "here".into(),
            boot: BootId(100),
            listen: "r1".into(),
            link_tls: LinkTls::Plain,
            link: LinkConfig::default(),
            link_in_flight_max: WINDOW,
            request_timeout: REQUEST_TIMEOUT,
            logins: LoginPolicy::default(),
            peers: Peers::default(),
            lease: None,
        };
        let route = Route::start(config, Arc::clone(&network) as Arc<dyn Network>).await.unwrap();
        Self { network, route }
    }

    /// One that dials the route, and has a link. The same name is the same run of it.
    pub(crate) async fn tier(&self, tier: Tier, region: &str, name: &str) -> Fake {
        let (handler, mut events) = Recorder::new();
        let stop = CancellationToken::new();
        let boot = BootId(user_hash(&user(name)));
        let identity = Identity { tier, name: name.into(), boot, region: region.into() };
        let network = Arc::clone(&self.network) as Arc<dyn Network>;
        let config = LinkConfig::default();
        tokio::spawn(link::maintain(network, "r1".into(), LinkTls::Plain, identity, config, handler, stop.clone()));
        let link = events.up().await;
        Fake { boot, link, events, stop }
    }

    pub(crate) async fn gate(&self, number: u64) -> Fake {
        self.tier(Tier::Gate, "here", &format!("g{number}")).await
    }

    pub(crate) async fn service(&self, name: &str) -> Fake {
        let service = self.tier(Tier::ImService, "here", name).await;
        while !self.route.is_ready() {
            sleep(Duration::from_millis(1)).await;
        }
        service
    }
}

/// A tier that dialled the route.
pub(crate) struct Fake {
    boot: BootId,
    pub(crate) link: Link,
    pub(crate) events: LinkEvents,
    pub(crate) stop: CancellationToken,
}

impl Fake {
    pub(crate) fn login(&self, name: &str, session: u64, device: &str, since_ms: u64) {
        let up = SessionUp {
            user: user(name),
            session: SessionId(session),
            device: DeviceId::new(device).unwrap(),
            platform: Platform::Bot,
            since_ms,
        };
        self.link.tell(LinkCommand::SessionUp, &up).unwrap();
    }

    pub(crate) fn logoff(&self, name: &str, session: u64) {
        let down = SessionDown { user: user(name), session: SessionId(session) };
        self.link.tell(LinkCommand::SessionDown, &down).unwrap();
    }

    pub(crate) fn key(&self, session: u64) -> SessionKey {
        SessionKey { boot: self.boot, session: SessionId(session) }
    }

    pub(crate) fn forward(&self, name: &str, session: u64, sequence: u32, command: Command, message: &impl Encode) {
        let forward = Forward {
            user: user(name),
            device: DeviceId::new("phone").unwrap(),
            session: self.key(session),
            command: command.number(),
            body: encoded(message),
        };
        self.link.request(LinkCommand::Forward, sequence, &forward).unwrap();
    }

    /// What the next frame tells.
    pub(crate) async fn heard<M: Decode>(&mut self, command: LinkCommand) -> M {
        let (_, frame) = self.events.frame().await;
        assert_eq!((LinkCommand::from_number(frame.command), frame.sequence), (command, 0));
        decoded(&frame)
    }

    /// The next frame, which must answer this request.
    pub(crate) async fn answered(&mut self, sequence: u32) -> Frame {
        let (_, frame) = self.events.frame().await;
        assert_eq!((frame.command, frame.sequence), (LinkCommand::Forward.number() | RESPONSE_BIT, sequence));
        frame
    }

    pub(crate) async fn refused(&mut self, sequence: u32, code: RefusalCode) {
        let frame = self.answered(sequence).await;
        assert!(frame.flags.is_refused());
        assert_eq!(decoded::<Refusal>(&frame).code, code);
    }

    /// Nothing has come, and nothing does for a second.
    pub(crate) async fn hears_nothing(&mut self) {
        sleep(Duration::from_secs(1)).await;
        if let Some(event) = self.events.now() {
            panic!("nothing was to come, but {event:?}");
        }
    }
}
