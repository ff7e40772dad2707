//! The gate put together, and started.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use im_auth::Verifier;
use im_link::server_tls::Acceptor;
use im_link::tls::LinkTls;
use im_link::{Identity, LinkConfig, Network, link};
use im_proto::BootId;
use im_proto::link::Tier;
use im_runtime::Operators;
use im_session::GateSessionConfig;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::Accept;
use crate::connection::Shared;
use crate::door::{Door, Listening};
use crate::drain::{self, DrainConfig};
use crate::encryption::Encryption;
use crate::http;
use crate::keep_alive::KeepAlive;
use crate::limits::{Limiter, Limits};
use crate::proxy::Balancers;
use crate::revoked::Revoked;
use crate::sessions::{Client, Queues, Sessions};
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
    /// Where else, and who comes there.
    pub door: Door,
    /// The routes of the region, `host:port`, master first.
    pub routes: Vec<String>,
    /// Checks access tokens.
    pub verifier: Verifier,
    /// TLS towards clients; `None` only in simulations.
    pub client_tls: Option<Acceptor>,
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
    /// What a client may cost.
    pub limits: Limits,
}

/// A gate that runs.
pub struct Gate {
    client_addr: SocketAddr,
    websocket_addr: Option<SocketAddr>,
    shared: Arc<Shared>,
    stop_accepting: CancellationToken,
    tasks: TaskTracker,
    /// One task per client connection.
    connections: TaskTracker,
}

impl Gate {
    /// Binds the client listener, dials the routes, and serves in the background.
    pub async fn start(config: GateConfig, network: Arc<dyn Network>) -> io::Result<Self> {
        let Door { sockets, proxy_from, websocket } = config.door;
        let clients = Listening::bind(&*network, &config.client_listen, sockets).await?;
        let websocket = match websocket {
            None => None,
            Some(door) => Some((Listening::bind(&*network, &door.listen, sockets).await?, Arc::new(door.origins))),
        };
        let client_addr = clients.address;
        let websocket_addr = websocket.as_ref().map(|(listening, _)| listening.address);
        let sessions = Arc::new(Sessions::new(config.boot));
        let revoked = Arc::new(Revoked::default());
        let upstream = Arc::new(Upstream::new(
            Arc::clone(&sessions),
            Arc::clone(&revoked),
            config.routes.len(),
            config.link_in_flight_max,
            config.request_timeout,
        ));
        let (stop, tasks, connections) = (CancellationToken::new(), TaskTracker::new(), TaskTracker::new());
        let stop_accepting = stop.child_token();
        let ending = Arc::clone(&revoked).end_logins(Arc::clone(&sessions));
        tasks.spawn(stop.clone().run_until_cancelled_owned(ending));
        let keep_alive = Arc::new(KeepAlive::new(config.session.keep_alive));
        let turning = Arc::clone(&keep_alive).turn(Arc::clone(&sessions));
        tasks.spawn(stop.clone().run_until_cancelled_owned(turning));
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
            verifier: ArcSwap::from_pointee(config.verifier),
            sessions,
            upstream,
            limiter: Arc::new(Limiter::new(config.limits)),
            revoked,
            keep_alive: Arc::clone(&keep_alive),
            outbound_bytes_max: config.outbound_bytes_max,
            in_flight_max: config.client_in_flight_max,
            stop,
        });
        let accept = Accept {
            tls: config.client_tls,
            balancers: Arc::new(Balancers::new(proxy_from)),
            websocket: None,
            shared: Arc::clone(&shared),
            permits: Arc::new(Semaphore::new(config.connections_max)),
            stop_accepting: stop_accepting.clone(),
            tasks: connections.clone(),
        };
        for listener in clients.sockets {
            tasks.spawn(accept.clone().run(listener));
        }
        if let Some((listening, origins)) = websocket {
            for listener in listening.sockets {
                tasks.spawn(Accept { websocket: Some(Arc::clone(&origins)), ..accept.clone() }.run(listener));
            }
        }
        Ok(Self { client_addr, websocket_addr, shared, stop_accepting, tasks, connections })
    }

    /// Where clients connect.
    pub fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Where browsers connect, if anywhere.
    pub fn websocket_addr(&self) -> Option<SocketAddr> {
        self.websocket_addr
    }

    /// Whether a route can be reached, without which clients can log in and no more.
    pub fn is_ready(&self) -> bool {
        self.shared.upstream.is_up()
    }

    /// Logins held right now.
    pub fn sessions_len(&self) -> usize {
        self.shared.sessions.len()
    }

    /// From now on these keys and limits hold; limits also for those who are connected.
    pub fn reload(&self, verifier: Verifier, limits: Limits) {
        self.shared.verifier.store(Arc::new(verifier));
        self.shared.limiter.reload(limits);
    }

    /// What the gate tells over HTTP.
    pub fn http(&self, operators: &Operators) -> Router {
        http::router(Arc::clone(&self.shared), operators)
    }

    /// Connections right now, logged in or not.
    pub fn connections_len(&self) -> usize {
        self.connections.len()
    }

    /// Connections that have not logged in.
    pub fn guests_len(&self) -> usize {
        self.shared.limiter.guests()
    }

    /// Logs a line with what is going on.
    pub fn tell_diagnostics(&self) {
        let Queues { bytes, bytes_of_one, in_flight } = self.shared.sessions.queues();
        tracing::info!(
            connections = self.connections_len(),
            unauthenticated = self.guests_len(),
            sessions = self.sessions_len(),
            queued_bytes = bytes,
            queued_bytes_of_one = bytes_of_one,
            in_flight,
            route_up = self.is_ready(),
            limits = ?self.shared.limiter.limits(),
            "diagnostics: gate"
        );
    }

    /// Accepts nobody any more, lets the clients go elsewhere with the answers that are due to them, and
    /// stops; all of it within `time_left`.
    pub async fn drain(&self, config: &DrainConfig, time_left: Duration) {
        self.stop_accepting.cancel();
        drain::run(&self.shared.sessions, &self.connections, config, time_left).await;
        self.stop().await;
    }

    /// Ends every connection and link, and waits for their tasks.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.sessions.for_each(Client::stop);
        self.tasks.close();
        self.connections.close();
        self.tasks.wait().await;
        self.connections.wait().await;
    }
}
