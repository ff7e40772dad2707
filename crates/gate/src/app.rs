//! The gate put together, and started.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use im_auth::Verifier;
use im_link::tls::LinkTls;
use im_link::{Identity, LinkConfig, Network, link};
use im_proto::BootId;
use im_proto::link::Tier;
use im_session::GateSessionConfig;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::Accept;
use crate::connection::Shared;
use crate::encryption::Encryption;
use crate::http;
use crate::sessions::Sessions;
use crate::upstream::Upstream;

/// What a gate needs to know.
pub struct GateConfig {
    /// Its name, unique among gates.
    pub name: String,
    /// Its region.
    pub region: String,
    /// This run of it, drawn at random.
    pub boot: BootId,
    /// Where clients connect, `host:port`.
    pub client_listen: String,
    /// The routes of the region, `host:port`, master first.
    pub routes: Vec<String>,
    /// Checks access tokens.
    pub verifier: Verifier,
    /// TLS towards clients; `None` only in simulations.
    pub client_tls: Option<Arc<rustls::ServerConfig>>,
    /// TLS towards routes.
    pub link_tls: LinkTls,
    /// Times and bounds of links.
    pub link: LinkConfig,
    /// Times of client connections.
    pub session: GateSessionConfig,
    /// Whether bodies are encrypted inside TLS.
    pub encryption: Encryption,
    /// Connections held at once.
    pub connections_max: usize,
    /// Bytes that may wait for one client.
    pub outbound_bytes_max: usize,
    /// Requests of one client under way at once.
    pub client_in_flight_max: u32,
    /// Requests under way at once on one route's link, at most 65,536.
    pub link_in_flight_max: usize,
    /// How long a request may take before its client is told to try again.
    pub request_timeout: Duration,
}

/// A gate that runs.
pub struct Gate {
    client_addr: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Gate {
    /// Binds the client listener, dials the routes, and serves in the background.
    pub async fn start(config: GateConfig, network: Arc<dyn Network>) -> io::Result<Self> {
        let listener = network.listen(&config.client_listen).await?;
        let client_addr = listener.local_addr()?;
        let sessions = Arc::new(Sessions::new(config.boot));
        let upstream = Arc::new(Upstream::new(
            Arc::clone(&sessions),
            config.routes.len(),
            config.link_in_flight_max,
            config.request_timeout,
        ));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let identity = Identity { tier: Tier::Gate, name: config.name, boot: config.boot, region: config.region };
        for (index, address) in config.routes.into_iter().enumerate() {
            tasks.spawn(link::maintain(
                Arc::clone(&network),
                address,
                config.link_tls.clone(),
                identity.clone(),
                config.link,
                upstream.handler(index),
                stop.clone(),
            ));
        }
        let shared = Arc::new(Shared {
            network,
            config: config.session,
            encryption: config.encryption,
            verifier: config.verifier,
            sessions,
            upstream,
            outbound_bytes_max: config.outbound_bytes_max,
            in_flight_max: config.client_in_flight_max,
        });
        let accept = Accept {
            listener,
            tls: config.client_tls,
            shared: Arc::clone(&shared),
            permits: Arc::new(Semaphore::new(config.connections_max)),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(accept.run());
        Ok(Self { client_addr, shared, stop, tasks })
    }

    /// Where clients connect.
    pub fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Whether a route can be reached, without which clients can log in and no more.
    pub fn is_ready(&self) -> bool {
        self.shared.upstream.is_up()
    }

    /// Logins held right now.
    pub fn sessions_len(&self) -> usize {
        self.shared.sessions.len()
    }

    /// What the gate tells over HTTP.
    pub fn http(&self) -> Router {
        http::router(Arc::clone(&self.shared.sessions))
    }

    /// Ends every connection and link, and waits for their tasks.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
