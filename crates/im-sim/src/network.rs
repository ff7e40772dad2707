//! What surrounds a process in a world: turmoil's network, the simulated time of day, and chance that
//! is the seed's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use im_link::network::{BoxFuture, BoxIo, Listener, Network};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use turmoil::net::{TcpListener, TcpStream};

/// When every world begins: 2026-01-01, 0:00 UTC.
pub const BEGIN: Duration = Duration::from_secs(1_767_225_600);

/// Dials and listens from whatever host the calling task runs on.
#[derive(Clone, Debug)]
pub struct SimNetwork {
    chance: Arc<Mutex<StdRng>>,
    /// By how much the host's clock is ahead.
    ahead: Duration,
}

impl SimNetwork {
    /// One for a whole world.
    pub fn new(seed: u64) -> Self {
        Self { chance: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))), ahead: Duration::ZERO }
    }

    /// The same on a host whose clock is ahead of the others'.
    #[must_use]
    pub fn ahead(&self, by: Duration) -> Self {
        Self { ahead: by, ..self.clone() }
    }

    /// As the tiers take it.
    pub fn shared(&self) -> Arc<dyn Network> {
        Arc::new(self.clone())
    }
}

impl Network for SimNetwork {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as BoxIo) })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(SimListener(TcpListener::bind(address).await?)) as Box<dyn Listener>) })
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + turmoil::since_epoch().unwrap_or(BEGIN) + self.ahead
    }

    fn random(&self) -> u64 {
        self.chance.lock().random()
    }
}

struct SimListener(TcpListener);

impl Listener for SimListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.0.accept().await?;
            Ok((Box::new(stream) as BoxIo, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
