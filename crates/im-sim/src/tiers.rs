//! The tiers as software of simulated hosts, with times short enough that a world of some twenty
//! simulated seconds sees many of their deadlines.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use gate::{Door, Encryption, Gate, GateConfig, Limits};
use im_auth::{Signer, Verifier, keys};
use im_link::tls::LinkTls;
use im_link::{LinkConfig, Network};
use im_proto::BootId;
use im_proto::UserId;
use im_secure::IdentityKey;
use im_service::{ImService, ImServiceConfig, Retention, ServiceConfig};
use im_session::GateSessionConfig;
use im_timeline::{Disk, MemoryOptions, MemoryStore, Store};
use route::{LoginPolicy, PeerRoute, Peers, Route, RouteConfig};

use crate::broken::Planted;
use crate::log::{Event, EventLog};
use crate::network::{BEGIN, SimNetwork};
use crate::plan::{FAR_GATE, FAR_ROUTES, GATES, Plan, ROUTES, Scenario};
use crate::shared_store::{SharedStore, StoreSlot};

const REGION: &str = "sim";
const FAR_REGION: &str = "far";
const CLIENT_PORT: u16 = 8910;
const ROUTE_PORT: u16 = 8920;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// A window small enough to be full at times would only make refusals; bursts here are small.
const IN_FLIGHT_MAX: usize = 1024;

/// One key for the whole process: making one costs more than many simulated seconds.
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    keys::load_or_create(folder.path()).expect("the folder is new and writable")
});

/// Who the gates prove to be to clients that encrypt.
pub(crate) fn identity() -> IdentityKey {
    IdentityKey::from_seed(&[7; 32]).expect("any 32 bytes are a seed")
}

/// A token that outlasts every world.
pub(crate) fn token(user: &UserId) -> String {
    let day = Duration::from_secs(24 * 60 * 60);
    SIGNER.issue(user.clone(), user.as_str(), 0, SystemTime::UNIX_EPOCH + BEGIN, day).token
}

/// Where clients find the gates.
pub(crate) fn gate_addresses() -> Vec<String> {
    GATES.iter().map(|gate| format!("{gate}:{CLIENT_PORT}")).collect()
}

/// What the tiers of one world have in common.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) log: EventLog,
    pub(crate) disk: Disk,
    pub(crate) slot: StoreSlot,
    memory: MemoryOptions,
    retention: Retention,
    scenario: Scenario,
    planted: Planted,
    pub(crate) network: SimNetwork,
    clocks: [Duration; GATES.len()],
}

impl Cluster {
    pub(crate) fn new(plan: &Plan, log: EventLog, disk: Disk) -> Self {
        Self {
            log,
            disk,
            slot: StoreSlot::default(),
            memory: MemoryOptions { fsync: plan.fsync, ..MemoryOptions::default() },
            retention: Retention { trim_when_fetched: plan.trim, ..Retention::default() },
            scenario: plan.scenario,
            planted: plan.planted,
            network: SimNetwork::new(!plan.seed),
            clocks: plan.clocks,
        }
    }

    pub(crate) fn scenario(&self) -> Scenario {
        self.scenario
    }

    fn is_far(&self, host: &str) -> bool {
        self.scenario == Scenario::TwoRegions && (host == FAR_GATE || FAR_ROUTES.contains(&host))
    }

    fn region_of(&self, host: &str) -> &'static str {
        if self.is_far(host) { FAR_REGION } else { REGION }
    }

    fn routes_of(&self, gate: &str) -> Vec<String> {
        addresses(if self.is_far(gate) { &FAR_ROUTES } else { &ROUTES })
    }

    /// The routes that a route dials: the far ones dial the near ones.
    fn peers_of(&self, route: &str) -> Vec<PeerRoute> {
        let dialled: &[&str] = if self.is_far(route) { &ROUTES } else { &[] };
        addresses(dialled).into_iter().map(|address| PeerRoute { region: REGION.into(), address }).collect()
    }

    fn boot(&self) -> BootId {
        BootId(self.network.random())
    }

    pub(crate) async fn gate(self, name: &'static str) -> turmoil::Result {
        self.log.note(Event::Started(name.into()));
        let config = GateConfig {
            name: name.into(),
            region: self.region_of(name).into(),
            boot: self.boot(),
            client_listen: format!("0.0.0.0:{CLIENT_PORT}"),
            door: Door::default(),
            routes: self.routes_of(name),
            verifier: Verifier::new([SIGNER.public_key().clone()])?,
            client_tls: None,
            link_tls: LinkTls::Plain,
            link: link_config(),
            session: GateSessionConfig {
                login_timeout: Duration::from_secs(3),
                keep_alive: Duration::from_secs(5),
                heartbeat: Duration::from_secs(1),
            },
            encryption: Encryption::Allowed(identity()),
            connections_max: 100,
            outbound_bytes_max: 1024 * 1024,
            client_in_flight_max: 64,
            link_in_flight_max: IN_FLIGHT_MAX,
            request_timeout: REQUEST_TIMEOUT,
            limits: Limits::default(),
        };
        let clock = GATES.iter().zip(self.clocks).find(|(gate, _)| **gate == name).map_or(Duration::ZERO, |(_, by)| by);
        let _gate = Gate::start(config, self.network.ahead(clock).shared()).await?;
        std::future::pending().await
    }

    pub(crate) async fn route(self, name: &'static str) -> turmoil::Result {
        self.log.note(Event::Started(name.into()));
        let config = RouteConfig {
            name: name.into(),
            region: self.region_of(name).into(),
            boot: self.boot(),
            listen: format!("0.0.0.0:{ROUTE_PORT}"),
            link_tls: LinkTls::Plain,
            link: link_config(),
            link_in_flight_max: IN_FLIGHT_MAX,
            request_timeout: REQUEST_TIMEOUT,
            logins: LoginPolicy::default(),
            peers: Peers { routes: self.peers_of(name), tls: LinkTls::Plain },
            lease: None,
        };
        let _route = Route::start(config, self.network.shared()).await?;
        std::future::pending().await
    }

    pub(crate) async fn service(self, name: &'static str) -> turmoil::Result {
        self.log.note(Event::Started(name.into()));
        if self.scenario != Scenario::TwoServices {
            self.open_store().await;
        }
        let store = Arc::new(SharedStore::new(self.slot.clone()));
        let config = ImServiceConfig {
            name: name.into(),
            region: REGION.into(),
            boot: self.boot(),
            routes: addresses(&ROUTES),
            link_tls: LinkTls::Plain,
            link: link_config(),
            service: ServiceConfig { known_users_only: false },
            retention: self.retention,
        };
        let _service = ImService::start(config, store, &self.network.shared());
        std::future::pending().await
    }

    /// The host of a store that several im-services share, as a database would be.
    pub(crate) async fn store(self) -> turmoil::Result {
        self.log.note(Event::Started(crate::plan::STORE.into()));
        self.open_store().await;
        std::future::pending().await
    }

    /// Opens the disk on the host that is running: with the host everything dies that was not synced.
    async fn open_store(&self) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::open_with(&self.disk, self.memory));
        let store = self.planted.spoil(store, &self.disk).await;
        self.slot.put(store);
    }
}

fn addresses(routes: &[&str]) -> Vec<String> {
    routes.iter().map(|route| format!("{route}:{ROUTE_PORT}")).collect()
}

fn link_config() -> LinkConfig {
    LinkConfig {
        connect_timeout: Duration::from_secs(1),
        backoff: (Duration::from_millis(50), Duration::from_secs(1)),
        ..LinkConfig::default()
    }
}
