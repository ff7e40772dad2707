//! How the SDK's clients reach gates here: TLS as every scenario speaks it, from an address of the
//! client's own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use im_client::Dial;
use im_link::network::{BoxFuture, BoxIo};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use crate::tls::server_name;

pub(super) struct CrowdDial {
    connector: TlsConnector,
    source: Option<IpAddr>,
    /// Whether the SDK's first draw, by which it chooses the gate to begin with, names the first.
    begin_at_first: AtomicBool,
}

impl CrowdDial {
    pub(super) fn new(tls: Arc<rustls::ClientConfig>, source: Option<IpAddr>, begin_at_first: bool) -> Self {
        Self { connector: TlsConnector::from(tls), source, begin_at_first: AtomicBool::new(begin_at_first) }
    }
}

impl Dial for CrowdDial {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let address: SocketAddr =
                address.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{error}")))?;
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(source) = self.source.filter(|_| address.ip().is_loopback()) {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(self.connector.connect(server_name(), stream).await?) as BoxIo)
        })
    }

    fn random(&self) -> u64 {
        if self.begin_at_first.swap(false, Relaxed) { 0 } else { rand::random() }
    }
}
