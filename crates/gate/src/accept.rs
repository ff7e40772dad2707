//! The front door: from a listener's sockets to connections that are served. In order: whom a balancer
//! speaks for, TLS, WebSocket where the listener speaks it; all of it within the time to log in.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use im_link::network::BoxFuture;
use im_link::server_tls::Acceptor;
use im_link::{BoxIo, Listener, link};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::connection::{Connection, Shared};
use crate::limits::Limit;
use crate::proxy::{self, Balancers};
use crate::websocket::{self, Origins};

/// Wait after a failed accept, which mostly means that the process has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The accepting loop of one listening socket. Clones share everything but the socket.
#[derive(Clone)]
pub(crate) struct Accept {
    pub(crate) tls: Option<Acceptor>,
    /// Peers that say first for whom they dial.
    pub(crate) balancers: Arc<Balancers>,
    /// Where the listener speaks WebSocket: pages of which sites may.
    pub(crate) websocket: Option<Arc<Origins>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) permits: Arc<Semaphore>,
    /// Cancelled before `Shared::stop` when the gate drains.
    pub(crate) stop_accepting: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Accept {
    /// Accepts until it is told to stop doing so. The socket closes with it.
    pub(crate) async fn run(self, listener: Box<dyn Listener>) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop_accepting.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match Arc::clone(&self.permits).try_acquire_owned() {
                    Ok(permit) => self.spawn(stream, peer, permit),
                    Err(_) => {
                        Limit::Connections.count();
                        debug!(%peer, "a connection was refused: too many");
                    }
                },
                Err(error) => {
                    warn!(%error, "cannot accept a client");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn(&self, stream: BoxIo, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let admission = self.clone().admit(stream, peer, link::now(), permit);
        let stop = self.shared.stop.clone();
        let admission = Box::pin(async move { stop.run_until_cancelled_owned(admission).await.flatten() });
        self.tasks.spawn(Visit::Door(admission));
    }

    /// The connection on which the client protocol is spoken, if it comes to that.
    async fn admit(
        self,
        mut stream: BoxIo,
        peer: SocketAddr,
        accepted: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Option<Connection> {
        let deadline = accepted + self.shared.config.login_timeout;
        let left = || deadline.saturating_duration_since(link::now());
        let address = if self.balancers.include(peer) { introduced(&mut stream, peer, left()).await? } else { peer };
        let guest = self.shared.limiter.admit(address.ip());
        let guest =
            guest.inspect_err(|limit| debug!(%address, limit = limit.name(), "a connection was refused")).ok()?;
        let io = secure(stream, self.tls, address, left()).await?;
        let io = match self.websocket {
            None => io,
            Some(origins) => upgrade(io, &origins, address, left()).await?,
        };
        Some(Connection::new(self.shared, io, address, accepted, guest, permit))
    }
}

/// What one task does. The handshakes' future is large and lives for milliseconds: boxed, so that the task
/// which stays does not keep its room.
enum Visit {
    Door(BoxFuture<'static, Option<Connection>>),
    Inside(Connection),
}

impl Future for Visit {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self {
                Self::Door(admission) => match ready!(admission.as_mut().poll(cx)) {
                    None => return Poll::Ready(()),
                    Some(connection) => *self = Self::Inside(connection),
                },
                Self::Inside(connection) => return Pin::new(connection).poll(cx),
            }
        }
    }
}

/// Whom a balancer speaks for; itself where it does not say.
async fn introduced(stream: &mut BoxIo, peer: SocketAddr, patience: Duration) -> Option<SocketAddr> {
    match timeout(patience, proxy::read_header(stream)).await {
        Ok(Ok(client)) => return Some(client.unwrap_or(peer)),
        Ok(Err(error)) => info!(%peer, %error, "a balancer did not say for whom it dials"),
        Err(_) => info!(%peer, "a balancer took too long to say for whom it dials"),
    }
    metrics::counter!("sim_gate_proxy_failures_total").increment(1);
    None
}

async fn upgrade(io: BoxIo, origins: &Origins, address: SocketAddr, patience: Duration) -> Option<BoxIo> {
    match timeout(patience, websocket::accept(io, origins)).await {
        Ok(Ok(messages)) => return Some(Box::new(messages)),
        Ok(Err(error)) => info!(%address, %error, "WebSocket handshake failed"),
        Err(_) => info!(%address, "WebSocket handshake took too long"),
    }
    metrics::counter!("sim_gate_websocket_failures_total").increment(1);
    None
}

async fn secure(stream: BoxIo, tls: Option<Acceptor>, address: SocketAddr, patience: Duration) -> Option<BoxIo> {
    let Some(tls) = tls else { return Some(stream) };
    match timeout(patience, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            info!(%address, %error, "TLS handshake failed");
            metrics::counter!("sim_gate_tls_failures_total").increment(1);
            None
        }
        Err(_) => {
            Limit::LoginTime.count();
            info!(%address, "TLS handshake took too long");
            None
        }
    }
}
