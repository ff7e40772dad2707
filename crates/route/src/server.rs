//! The route as a process: its settings, and the route with its admin listener around it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use im_link::tls::{CertFiles, LinkTls};
use im_link::{LinkConfig, Network};
use im_proto::BootId;
use im_runtime::settings::{Invalid, Secret, SettingValue};
use im_runtime::{Condition, Context, Operators, admin, setting_choice, settings};
use im_session::{Devices, LoginPolicy};
use tokio::net::TcpListener;
use tokio::time::interval;

use crate::app::{PeerRoute, Peers, Route, RouteConfig};
use crate::lease::{LeaseConfig, LeaseServer};

settings! {
    /// The route: the rendezvous of a region.
    pub struct RouteSettings("route") {
        /// Its name, unique among the routes of its region.
        pub name: String = "route-1",
        /// Its region.
        pub region: String = "local",
        /// Where gates and im-services dial, with mutual TLS.
        pub listen: SocketAddr = "0.0.0.0:8920",
        /// Routes of other regions to link with, each as "region=host:port"; all of each region, so that its
        /// standby is known as well. A pair of routes needs one link: whichever of the two dials.
        pub peers: Vec<PeerSetting> = "",
        /// Where it answers over HTTP: /monitor, /census, /healthz, /readyz, /metrics, and for operators alone
        /// /status, /lease and PUT /master.
        pub http_listen: SocketAddr = "127.0.0.1:8921",
        /// What operators show, as "Authorization: Bearer …", to be let in from other machines. Without one they
        /// are let in from this machine alone.
        pub operator_token: Secret = "",
        /// A Redis in which a lease names the master, for operators and for duties that one machine is to do:
        /// redis://user:password@host:port/number or redis+sentinel://host:port,host:port/master-name. The same in
        /// all routes of a region. Messages never hang on it, and without it no Redis is needed.
        pub lease_redis: Secret = "",
        /// How long the lease lasts when its holder is dead.
        pub lease_time: Duration = "10s" in Duration::from_secs(1)..=Duration::from_secs(300),
        /// Certificate shown to tiers, for the name "sim-route", PEM.
        pub link_cert: PathBuf = "keys/route.pem",
        /// Its private key, PEM.
        pub link_key: PathBuf = "keys/route.key.pem",
        /// Authority of the cluster: only tiers with a certificate of it are let in. PEM.
        pub link_ca: PathBuf = "keys/dev-ca.pem",
        /// Links held at once.
        pub links_max: usize = "1024" in 1..=65_536,
        /// Requests under way at once to one im-service.
        pub link_in_flight_max: usize = "65536" in 1..=65_536,
        /// How long a request may take before its gate is told so; under the gate's own request_timeout.
        pub request_timeout: Duration = "4500ms" in Duration::from_millis(100)..=Duration::from_secs(120),
        /// On which devices one user may be logged in at the same time: all; one-per-kind (of bot, desktop,
        /// mobile and web); one. A later login ends those that may not stay beside it, at whatever gate of the
        /// region. All routes of a region need the same.
        pub devices: DevicesSetting = "all",
        /// Logins of one user at the same time; one more ends the eldest. All routes of a region need the same.
        pub logins_per_user_max: usize = "100" in 1..=10_000,
    }
}

setting_choice! {
    /// On which devices one user may be logged in at the same time.
    pub enum DevicesSetting {
        /// On any number.
        All = "all",
        /// On one of each kind.
        OnePerKind = "one-per-kind",
        /// On one.
        One = "one",
    }
}

/// A route of another region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSetting(PeerRoute);

impl SettingValue for PeerSetting {
    const KIND: &'static str = "a route of another region such as eu=10.0.0.1:8920";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        match text.split_once('=') {
            Some((region, address)) if !region.is_empty() && address.contains(':') => {
                Ok(Self(PeerRoute { region: region.to_owned(), address: address.to_owned() }))
            }
            _ => Err(Invalid::text(text, Self::KIND)),
        }
    }

    fn to_toml(&self) -> String {
        format!("{}={}", self.0.region, self.0.address).to_toml()
    }
}

/// Between two looks at whether the route is ready.
const READY_EVERY: Duration = Duration::from_millis(100);

impl RouteSettings {
    fn config(&self) -> anyhow::Result<RouteConfig> {
        let link = CertFiles { cert: self.link_cert.clone(), key: self.link_key.clone() };
        Ok(RouteConfig {
            name: self.name.clone(),
            region: self.region.clone(),
            boot: BootId(rand::random()),
            listen: self.listen.to_string(),
            link_tls: LinkTls::accept_from(&link, &self.link_ca).context("load the link certificate")?,
            link: LinkConfig { links_max: self.links_max, ..LinkConfig::default() },
            link_in_flight_max: self.link_in_flight_max,
            request_timeout: self.request_timeout,
            logins: LoginPolicy { devices: self.devices.into(), logins_max: self.logins_per_user_max },
            peers: self.peers(&link)?,
            lease: self.lease()?,
        })
    }
}

impl RouteSettings {
    fn peers(&self, link: &CertFiles) -> anyhow::Result<Peers> {
        let routes: Vec<_> = self.peers.iter().map(|PeerSetting(peer)| peer.clone()).collect();
        if let Some(own) = routes.iter().find(|peer| peer.region == self.region) {
            bail!("peers are routes of other regions, and {} is of this one, {}", own.address, own.region);
        }
        if routes.is_empty() {
            return Ok(Peers::default());
        }
        Ok(Peers { routes, tls: LinkTls::dial(link, &self.link_ca).context("load the link certificate")? })
    }

    fn lease(&self) -> anyhow::Result<Option<LeaseConfig>> {
        if !self.lease_redis.is_set() {
            return Ok(None);
        }
        let redis = LeaseServer::parse(self.lease_redis.expose()).context("lease_redis")?;
        Ok(Some(LeaseConfig { redis, time: self.lease_time }))
    }
}

impl From<DevicesSetting> for Devices {
    fn from(setting: DevicesSetting) -> Self {
        match setting {
            DevicesSetting::All => Self::All,
            DevicesSetting::OnePerKind => Self::OnePerKind,
            DevicesSetting::One => Self::One,
        }
    }
}

/// A route with its admin listener.
pub struct RouteServer {
    route: Arc<Route>,
    http_addr: SocketAddr,
}

impl RouteServer {
    /// Loads what the settings name, binds, and serves in the background until the shutdown.
    pub async fn start(settings: &RouteSettings, network: Arc<dyn Network>, context: &Context) -> anyhow::Result<Self> {
        let config = settings.config()?;
        let operators = Operators::new(settings.operator_token.clone());
        let listener = TcpListener::bind(settings.http_listen)
            .await
            .with_context(|| format!("bind http_listen {}", settings.http_listen))?;
        let http_addr = listener.local_addr()?;
        let route = Route::start(config, network).await.with_context(|| format!("bind listen {}", settings.listen))?;
        let route = Arc::new(route);
        let Context { shutdown, readiness, metrics, .. } = context;
        let http = route.http(&operators);
        // Before anybody can ask: a route that nobody has looked at yet is not ready.
        let im_service = readiness.condition("route: im-service");
        let lease = readiness.condition("route: lease");
        shutdown.spawn_vital(
            "route admin listener",
            admin::serve(listener, readiness.clone(), metrics.clone(), http, shutdown.begun()),
        );
        shutdown.spawn(watch(Arc::clone(&route), im_service, lease, shutdown.begun()));
        tracing::info!(tiers = %route.addr(), http = %http_addr, "the route listens");
        Ok(Self { route, http_addr })
    }

    /// Where tiers dial.
    pub fn addr(&self) -> SocketAddr {
        self.route.addr()
    }

    /// Where it answers over HTTP.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Ends every link.
    pub async fn stop(&self) {
        self.route.stop().await;
    }
}

/// Runs a route until the shutdown: what `sim-route` does.
pub async fn serve(settings: RouteSettings, context: Context) -> anyhow::Result<()> {
    let server = RouteServer::start(&settings, im_link::Tcp::shared(), &context).await?;
    context.shutdown.begun().await;
    server.stop().await;
    Ok(())
}

/// Keeps readiness and gauges up to date until the shutdown.
async fn watch(route: Arc<Route>, im_service: Condition, lease: Condition, begun: impl Future<Output = ()>) {
    let mut ticks = interval(READY_EVERY);
    let looking = async {
        loop {
            ticks.tick().await;
            if route.is_ready() {
                im_service.ready();
            } else {
                im_service.not_ready("no im-service can be reached");
            }
            match route.lease_trouble() {
                Some(why) => lease.degraded(why),
                None => lease.ready(),
            }
            metrics::gauge!("sim_route_is_master").set(f64::from(u8::from(route.is_master())));
            metrics::gauge!("sim_route_holds_lease").set(f64::from(u8::from(route.holds_lease())));
            metrics::gauge!("sim_route_logins").set(route.logins_len() as f64);
        }
    };
    tokio::select! {
        biased;
        () = begun => {}
        () = looking => {}
    }
}
