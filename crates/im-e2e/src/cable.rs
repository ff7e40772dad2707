//! A cable between two processes that can be cut: a proxy on the loopback address.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A way to an address. Cut, it says nothing to anybody: bytes are neither passed on nor refused, and
/// whoever dials gets a connection on which nothing comes.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Cable {
    /// Lays it.
    pub async fn lay(to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (is_cut, cut) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, to, cut.clone()));
            }
        });
        Ok(Self { address, is_cut, task })
    }

    /// Where to dial instead.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// From now on everything that is dialled passes. What was cut stays lost: the ends of those
    /// connections are told.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries one connection. Errors are its end, and the far side of the cable is gone with it.
async fn carry(mut near: TcpStream, to: SocketAddr, mut cut: watch::Receiver<bool>) {
    if cut.wait_for(|is_cut| !is_cut).await.is_err() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(to).await else { return };
    let was_cut = tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => return,
        cut = cut.wait_for(|is_cut| *is_cut) => cut.is_ok(),
    };
    // Both ends stay open and hear nothing more, until the way is open again.
    if was_cut {
        let _ = cut.wait_for(|is_cut| !is_cut).await;
    }
}
