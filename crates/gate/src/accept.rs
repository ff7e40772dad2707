//! The accepting loop: from a listener's sockets to connections that are served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_link::{BoxIo, Listener, link, server_tls};
use rustls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::connection::{self, Shared};

/// Wait after a failed accept, which mostly means that the process has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The accepting loop.
pub(crate) struct Accept {
    pub(crate) listener: Box<dyn Listener>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Accept {
    /// Accepts until the stop.
    pub(crate) async fn run(self) {
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

async fn secure(
    stream: BoxIo,
    tls: Option<Arc<ServerConfig>>,
    address: SocketAddr,
    patience: Duration,
) -> Option<BoxIo> {
    let Some(tls) = tls else { return Some(stream) };
    match timeout(patience, server_tls::accept(stream, tls)).await {
        Ok(Ok(stream)) => Some(stream),
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
