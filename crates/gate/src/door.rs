//! Where clients come in: which sockets listen, and what is spoken on them.

use std::io;
use std::net::SocketAddr;

use im_link::network::Sockets;
use im_link::{Listener, Network};

use crate::proxy::IpRange;
use crate::websocket::Origins;

/// Where clients come in, beside the address itself.
#[derive(Clone, Debug)]
pub struct Door {
    /// Listening sockets on the clients' address, an accepting task each.
    pub sockets: Sockets,
    /// Peers that say first, by the PROXY protocol, for whom they dial.
    pub proxy_from: Vec<IpRange>,
    /// Where WebSocket is spoken, if anywhere.
    pub websocket: Option<WebSocketDoor>,
}

/// Where WebSocket is spoken.
#[derive(Clone, Debug)]
pub struct WebSocketDoor {
    /// `host:port`.
    pub listen: String,
    /// Pages of which sites may connect.
    pub origins: Origins,
}

impl Default for Door {
    /// One socket, no balancer, no WebSocket.
    fn default() -> Self {
        Self { sockets: Sockets::ONE, proxy_from: Vec::new(), websocket: None }
    }
}

/// Listening sockets that share an address.
pub(crate) struct Listening {
    pub(crate) sockets: Vec<Box<dyn Listener>>,
    pub(crate) address: SocketAddr,
}

impl Listening {
    pub(crate) async fn bind(network: &dyn Network, address: &str, sockets: Sockets) -> io::Result<Self> {
        let sockets = network.listen_with(address, sockets).await?;
        let first = sockets.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let address = first.local_addr()?;
        Ok(Self { sockets, address })
    }
}
