//! New connections to the server of a plan.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::orders::Plan;
use crate::tls;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

pub(super) struct Dialler {
    connector: TlsConnector,
    address: SocketAddr,
    epoch: Instant,
}

impl Dialler {
    pub(super) fn new(plan: &Plan) -> anyhow::Result<Self> {
        let certificate = CertificateDer::from(BASE64_STANDARD.decode(&plan.certificate)?);
        let connector = TlsConnector::from(tls::client([certificate])?);
        Ok(Self { connector, address: plan.address, epoch: Instant::now() })
    }

    /// When this worker began; what times inside its own messages count from.
    pub(super) fn epoch(&self) -> Instant {
        self.epoch
    }

    /// A connection whose TLS handshake is done.
    pub(super) async fn dial(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let connected = async {
            let socket = TcpStream::connect(self.address).await?;
            socket.set_nodelay(true)?;
            self.connector.connect(tls::server_name(), socket).await
        };
        let connected = timeout(CONNECT_TIME_MAX, connected).await.context("too slow")?;
        connected.with_context(|| format!("connect to {}", self.address))
    }
}
