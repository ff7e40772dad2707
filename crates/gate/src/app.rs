//! The gate put together, and started.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use im_auth::Verifier;
use im_link::tls::LinkTls;
use im_link::{BoxIo, Identity, LinkConfig, Listener, Network, link};
use im_proto::BootId;
use im_proto::link::Tier;
use im_session::GateSessionConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::connection::{self, Shared};
use crate::encryption::Encryption;
use crate::http;
use crate::sessions::Sessions;
use crate::upstream::Upstream;

/// Wait after a failed accept, which mostly means that the process has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
            tls: config.client_tls.map(TlsAcceptor::from),
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

/// The accepting loop.
struct Accept {
    listener: Box<dyn Listener>,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Accept {
    async fn run(self) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => match Arc::clone(&self.permits).try_acquire_owned() {
                    Ok(permit) => self.spawn(stream, address, permit),
                    Err(_) => {
                        metrics::counter!("sim_gate_connections_refused_total").increment(1);
                        debug!(%address, "a connection was refused: too many");
                    }
                },
                Err(error) => {
                    warn!(%error, "cannot accept a client");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn(&self, stream: BoxIo, address: SocketAddr, permit: OwnedSemaphorePermit) {
        let (tls, shared, stop) = (self.tls.clone(), Arc::clone(&self.shared), self.stop.clone());
        self.tasks.spawn(async move {
            let serve = async {
                let accepted = link::now();
                // The handshake's future is large and lives for milliseconds: boxed, so that the
                // task which stays does not keep its room.
                let io = Box::pin(secure(stream, tls, address, shared.config.login_timeout)).await;
                if let Some(io) = io {
                    connection::run(&shared, io, address, accepted).await;
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = serve => {}
            }
            drop(permit);
        });
    }
}

async fn secure(stream: BoxIo, tls: Option<TlsAcceptor>, address: SocketAddr, patience: Duration) -> Option<BoxIo> {
    let Some(tls) = tls else { return Some(stream) };
    match timeout(patience, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            info!(%address, %error, "TLS handshake failed");
            metrics::counter!("sim_gate_tls_failures_total").increment(1);
            None
        }
        Err(_) => {
            info!(%address, "TLS handshake took too long");
            None
        }
    }
}
