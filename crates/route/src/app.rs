//! The route put together, and started.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use im_link::tls::LinkTls;
use im_link::{Handler, Identity, Link, LinkConfig, LinkEnd, Network, link};
use im_proto::BootId;
use im_proto::link::Tier;
use im_runtime::Operators;
use im_session::{LoginPolicy, Role};
use proto_codec::Frame;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::directory::Directory;
use crate::http;
use crate::lease::{Lease, LeaseConfig};
use crate::roles::Roles;
use crate::services::Services;
use crate::traffic::Traffic;

/// What a route needs to know.
pub struct RouteConfig {
    /// Its name, unique among the routes of its region.
    pub name: String,
    /// Its region.
    pub region: String,
    /// This run of it, drawn at random.
    pub boot: BootId,
    /// Where tiers dial, `host:port`.
    pub listen: String,
    /// TLS towards tiers.
    pub link_tls: LinkTls,
    /// Times and bounds of links.
    pub link: LinkConfig,
    /// Requests under way at once on one im-service's link, at most 65,536.
    pub link_in_flight_max: usize,
    /// How long a request may take before its gate is told so.
    pub request_timeout: Duration,
    /// Which logins of one user stay side by side.
    pub logins: LoginPolicy,
    /// Routes of other regions.
    pub peers: Peers,
    /// The lease that names the master, where one is wanted.
    pub lease: Option<LeaseConfig>,
}

/// Routes of other regions that this one dials.
pub struct Peers {
    /// Each of them.
    pub routes: Vec<PeerRoute>,
    /// TLS towards them.
    pub tls: LinkTls,
}

/// A route of another region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRoute {
    /// Its region; one that says otherwise is let go.
    pub region: String,
    /// Where it listens, `host:port`.
    pub address: String,
}

impl Default for Peers {
    /// None.
    fn default() -> Self {
        Self { routes: Vec::new(), tls: LinkTls::Plain }
    }
}

/// A route that runs.
pub struct Route {
    addr: SocketAddr,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Route {
    /// Binds the listener and serves in the background.
    pub async fn start(config: RouteConfig, network: Arc<dyn Network>) -> io::Result<Self> {
        let listener = network.listen(&config.listen).await?;
        let addr = listener.local_addr()?;
        let lease = config.lease.map(|lease| Arc::new(Lease::new(lease, &config.region, &config.name, config.boot.0)));
        let traffic = Arc::new(Traffic {
            name: config.name.clone(),
            region: config.region.clone(),
            roles: Arc::new(Roles::new(config.name.clone())),
            lease,
            directory: Directory::new(link::now(), config.logins),
            services: Services::new(config.link_in_flight_max, config.request_timeout),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        if let Some(lease) = &traffic.lease {
            tasks.spawn(Arc::clone(lease).keep(Arc::clone(&traffic.roles), stop.clone()));
        }
        let identity = Identity { tier: Tier::Route, name: config.name, boot: config.boot, region: config.region };
        for PeerRoute { region, address } in config.peers.routes {
            tasks.spawn(link::maintain(
                Arc::clone(&network),
                address,
                config.peers.tls.clone(),
                identity.clone(),
                config.link,
                Arc::new(Dialled { traffic: Arc::clone(&traffic), region }),
                stop.clone(),
            ));
        }
        let handler = Arc::clone(&traffic);
        tasks.spawn(link::serve(listener, config.link_tls, identity, config.link, handler, stop.clone()));
        Ok(Self { addr, traffic, stop, tasks })
    }

    /// Where tiers dial.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether an im-service can be reached, be it in another region; without one requests are refused.
    pub fn is_ready(&self) -> bool {
        self.traffic.services.serving().anywhere
    }

    /// Whether this route is its region's master, as far as it knows.
    pub fn is_master(&self) -> bool {
        self.traffic.roles.standing().role == Role::Master
    }

    /// Makes this route its region's master.
    pub fn take_role(&self) {
        self.traffic.roles.take();
    }

    /// Whether this route has the lease for certain; never without one.
    pub fn holds_lease(&self) -> bool {
        self.traffic.lease.as_ref().is_some_and(|lease| lease.view().is_ours)
    }

    /// Why the Redis of the lease could not be asked at the last look.
    pub fn lease_trouble(&self) -> Option<String> {
        self.traffic.lease.as_ref()?.view().trouble
    }

    /// Logins registered right now.
    pub fn logins_len(&self) -> usize {
        self.traffic.directory.census().logins
    }

    /// What the route tells over HTTP, and what an operator may change there.
    pub fn http(&self, operators: &Operators) -> Router {
        http::router(Arc::clone(&self.traffic), operators)
    }

    /// Ends every link and waits for their tasks.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What a link gets that this route dialled: the traffic, if it is who it was to be.
struct Dialled {
    traffic: Arc<Traffic>,
    region: String,
}

impl Handler for Dialled {
    fn on_up(&self, link: &Link) {
        let region = &link.peer().region;
        if *region == self.region {
            return self.traffic.on_up(link);
        }
        warn!(link = %link.id(), peer = link.peer().name, region, expected = self.region, "a route of another region than configured was let go");
        link.close();
    }

    fn on_frame(&self, link: &Link, frame: Frame) {
        self.traffic.on_frame(link, frame);
    }

    fn on_tick(&self, link: &Link, now: Instant) {
        self.traffic.on_tick(link, now);
    }

    fn on_down(&self, link: &Link, end: &LinkEnd) {
        self.traffic.on_down(link, end);
    }
}
