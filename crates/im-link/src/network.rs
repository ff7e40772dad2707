//! What surrounds a process: streams, the time of day, and chance. Tiers and clients have them from
//! [`Network`], so that a simulation can put its own under the very same code, and repeat a run.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

/// A stream of bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A stream whose type nobody needs to know. The indirection costs a few nanoseconds per system call.
pub type BoxIo = Box<dyn Io>;

/// Connections that the kernel has set up and nobody has accepted yet, per listening socket. After an
/// outage thousands dial in the same second, and one for whom there is no room tries again a second later,
/// then two. The kernel takes the lesser of this and `net.core.somaxconn`, which is 4096 too.
const BACKLOG: u32 = 4096;

/// How many sockets listen on one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// So many, among which the kernel spreads what comes in; each has a queue of its own.
    pub count: usize,
    /// Whether other processes of the same user may listen there too, and get their share.
    pub shared: bool,
}

impl Sockets {
    /// One, and nobody else's.
    pub const ONE: Self = Self { count: 1, shared: false };
}

/// A future that borrows what it was made from.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Dials and listens.
pub trait Network: Send + Sync + 'static {
    /// Connects to `host:port`. Dropping the future gives up the attempt.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>>;

    /// Listens on `host:port`.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Listens on `host:port` with as many sockets as asked for; at least one. A network that knows no
    /// such thing has one socket do it all.
    fn listen_with<'a>(&'a self, address: &'a str, _: Sockets) -> BoxFuture<'a, io::Result<Vec<Box<dyn Listener>>>> {
        Box::pin(async move { Ok(vec![self.listen(address).await?]) })
    }

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
            let mut listeners = bind(address, Sockets::ONE).await?;
            Ok(Box::new(listeners.remove(0)) as Box<dyn Listener>)
        })
    }

    fn listen_with<'a>(
        &'a self,
        address: &'a str,
        sockets: Sockets,
    ) -> BoxFuture<'a, io::Result<Vec<Box<dyn Listener>>>> {
        Box::pin(async move {
            let listeners = bind(address, sockets).await?;
            Ok(listeners.into_iter().map(|listener| Box::new(listener) as Box<dyn Listener>).collect())
        })
    }
}

/// Listens on the first address of the name that can be had.
async fn bind(address: &str, sockets: Sockets) -> io::Result<Vec<TcpListener>> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any address");
    for address in lookup_host(address).await? {
        match bind_at(address, sockets) {
            Ok(listeners) => return Ok(listeners),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn bind_at(mut address: SocketAddr, Sockets { count, shared }: Sockets) -> io::Result<Vec<TcpListener>> {
    let reuse_port = shared || count > 1;
    if reuse_port && !shared {
        // With the option set the kernel would let a second process in without a word.
        socket(address, false)?;
    }
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let listener = socket(address, reuse_port)?.listen(BACKLOG)?;
        // Where port 0 was asked for, the others join the first.
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn socket(address: SocketAddr, reuse_port: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the last run that linger in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    Ok(socket)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ADDRESS: &str = "127.0.0.1:0";

    async fn listen(address: &str, count: usize, shared: bool) -> io::Result<Vec<Box<dyn Listener>>> {
        Tcp.listen_with(address, Sockets { count, shared }).await
    }

    /// Dials until every listener has accepted somebody.
    async fn everybody_accepts(listeners: Vec<Box<dyn Listener>>) {
        let address = listeners[0].local_addr().unwrap().to_string();
        let accepting = listeners.iter().map(|listener| async { listener.accept().await.unwrap() });
        let accepted = futures_util::future::join_all(accepting);
        tokio::pin!(accepted);
        loop {
            tokio::select! {
                biased;
                _ = &mut accepted => return,
                dialled = Tcp.dial(&address) => drop(dialled.unwrap()),
            }
        }
    }

    #[tokio::test]
    async fn several_sockets_on_one_address_all_get_connections() {
        let listeners = listen(ADDRESS, 4, false).await.unwrap();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert_eq!(addresses, [addresses[0]; 4]);
        everybody_accepts(listeners).await;
    }

    #[tokio::test]
    async fn an_address_is_shared_only_by_those_who_mean_to() {
        for count in [1, 4] {
            let mine = listen(ADDRESS, count, false).await.unwrap();
            let address = mine[0].local_addr().unwrap().to_string();
            for (count, shared) in [(1, false), (4, false), (1, true)] {
                if shared && mine.len() > 1 {
                    // The kernel knows one option for both: several sockets, and who means to share gets in.
                    continue;
                }
                let error = listen(&address, count, shared).await.err();
                assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::AddrInUse), "{count} {shared}");
            }
        }
        let mut ours = listen(ADDRESS, 1, true).await.unwrap();
        let address = ours[0].local_addr().unwrap().to_string();
        ours.extend(listen(&address, 1, true).await.unwrap());
        everybody_accepts(ours).await;
    }
}
