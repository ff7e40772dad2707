//! How a client reaches a gate: TCP with TLS; something else in tests and simulations.

use std::io;
use std::path::Path;
use std::sync::Arc;

use im_link::network::{BoxFuture, BoxIo, Network, Tcp};
use im_link::tls::{TlsError, client_config};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

/// Opens streams to gates.
pub trait Dial: Send + Sync + 'static {
    /// A stream to `host:port`, ready for the first byte of the protocol. Dropping the future gives
    /// up the attempt.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>>;

    /// A number that is uniform over all of `u64`, for jitter and for the gate to begin with. A
    /// simulation gives its own, so that a run repeats.
    fn random(&self) -> u64 {
        rand::random()
    }
}

/// TLS over TCP, the certificate checked against given roots and the address's host.
#[derive(Clone)]
pub struct TlsDial {
    network: Arc<dyn Network>,
    connector: TlsConnector,
}

impl TlsDial {
    /// Trusts the authorities in a PEM file.
    pub fn new(roots: &Path) -> Result<Self, TlsError> {
        Self::over(Tcp::shared(), roots)
    }

    /// The same over another network.
    pub fn over(network: Arc<dyn Network>, roots: &Path) -> Result<Self, TlsError> {
        Ok(Self { network, connector: TlsConnector::from(Arc::new(client_config(roots, None)?)) })
    }
}

impl Dial for TlsDial {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let name = ServerName::try_from(host(address).to_owned())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is not host:port")))?;
            let stream = self.network.dial(address).await?;
            Ok(Box::new(self.connector.connect(name, stream).await?) as BoxIo)
        })
    }
}

/// No TLS: for simulated networks, and for a gate behind a tunnel on the same machine.
#[derive(Clone)]
pub struct PlainDial {
    network: Arc<dyn Network>,
}

impl PlainDial {
    /// Dials over that network.
    pub fn over(network: Arc<dyn Network>) -> Self {
        Self { network }
    }
}

impl Dial for PlainDial {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        self.network.dial(address)
    }

    fn random(&self) -> u64 {
        self.network.random()
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_host_of_an_address() {
        assert_eq!(host("gate.example:8910"), "gate.example");
        assert_eq!(host("127.0.0.1:8910"), "127.0.0.1");
        assert_eq!(host("[::1]:8910"), "::1");
    }
}
