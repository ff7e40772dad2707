//! What surrounds a process: streams, the time of day, and chance. Tiers and clients have them from
//! [`Network`], so that a simulation can put its own under the very same code, and repeat a run.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A stream of bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A stream whose type nobody needs to know. The indirection costs a few nanoseconds per system call.
pub type BoxIo = Box<dyn Io>;

/// A future that borrows what it was made from.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Dials and listens.
pub trait Network: Send + Sync + 'static {
    /// Connects to `host:port`. Dropping the future gives up the attempt.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>>;

    /// Listens on `host:port`.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// The time of day. For people, tokens, and telling an older login from a newer one; never for
    /// the order of messages.
    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    /// A number that is uniform over all of `u64`. For jitter and spreading, never for secrets.
    fn random(&self) -> u64 {
        rand::random()
    }
}

/// Accepts streams.
pub trait Listener: Send + Sync + 'static {
    /// The next stream. Cancellation-safe: a dropped future loses no stream.
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>>;

    /// Where it listens; tells the port when port 0 was asked for.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The operating system's TCP, without Nagle's delay: writes are coalesced here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Tcp {
    /// The usual network of a process.
    pub fn shared() -> Arc<dyn Network> {
        Arc::new(Self)
    }
}

impl Network for Tcp {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxIo)
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }
}

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = Self::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as BoxIo, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}
