//! The route put together, and started.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use im_link::tls::LinkTls;
use im_link::{Identity, LinkConfig, Network, link};
use im_proto::BootId;
use im_proto::link::Tier;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::directory::Directory;
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
        let traffic = Arc::new(Traffic {
            directory: Directory::new(link::now()),
            services: Services::new(config.link_in_flight_max, config.request_timeout),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let identity = Identity { tier: Tier::Route, name: config.name, boot: config.boot, region: config.region };
        let handler = Arc::clone(&traffic);
        tasks.spawn(link::serve(listener, config.link_tls, identity, config.link, handler, stop.clone()));
        Ok(Self { addr, traffic, stop, tasks })
    }

    /// Where tiers dial.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether an im-service is linked, without which requests are refused.
    pub fn is_ready(&self) -> bool {
        self.traffic.services.len() > 0
    }

    /// Logins registered right now.
    pub fn logins_len(&self) -> usize {
        self.traffic.directory.census().logins
    }

    /// What the route tells over HTTP: `/monitor`, and `/census` with what it holds.
    pub fn http(&self) -> Router {
        let traffic = Arc::clone(&self.traffic);
        let census = move || async move {
            let census = traffic.directory.census();
            axum::Json(serde_json::json!({
                "gates": census.gates,
                "users": census.users,
                "logins": census.logins,
                "im_services": traffic.services.len(),
            }))
        };
        Router::new().route("/monitor", get(|| async { "ok\n" })).route("/census", get(census))
    }

    /// Ends every link and waits for their tasks.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
