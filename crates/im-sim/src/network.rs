//! The simulated network in the place of the operating system's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use im_link::network::{BoxFuture, BoxIo, Listener, Network};
use turmoil::net::{TcpListener, TcpStream};

/// Dials and listens from whatever host the calling task runs on.
#[derive(Clone, Copy, Debug)]
pub struct SimNetwork;

impl SimNetwork {
    /// The network of every tier and client of a world.
    pub fn shared() -> Arc<dyn Network> {
        Arc::new(Self)
    }
}

impl Network for SimNetwork {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as BoxIo) })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(SimListener(TcpListener::bind(address).await?)) as Box<dyn Listener>) })
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
