//! All three tiers in one process, over real loopback sockets with real TLS, on a folder that holds
//! keys, certificates and the store.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use gate::server::{GateServer, GateSettings};
use im_link::Tcp;
use im_link::certs::ClusterCerts;
use im_link::tls::CertFiles;
use im_runtime::Context;
use im_service::server::{ImServiceServer, ImServiceSettings};
use route::server::{RouteServer, RouteSettings};
use tokio::time::{Instant, sleep};

/// Which ports the tiers listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// The documented ones.
    Default,
    /// Whatever is free.
    Free,
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct TiersConfig {
    /// The folder; made where it is missing.
    pub(crate) data: PathBuf,
    /// Where to listen.
    pub(crate) ports: Ports,
    /// Whether messages go only to users who have an account.
    pub(crate) known_users_only: bool,
    /// Who can reach it.
    pub(crate) reach: Reach,
}

/// From where clients, accounts and timelines can be reached. Routes and what operators ask for stay on
/// loopback.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// The address that they are served on.
    pub(crate) address: IpAddr,
    /// Whether something in front of accounts and timelines ends TLS; needed where `address` is not loopback.
    pub(crate) http_behind_tls: bool,
    /// Further names that the certificate is made for, at the first start.
    pub(crate) hosts: Vec<String>,
}

impl Default for Reach {
    /// This machine alone.
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), http_behind_tls: false, hosts: Vec::new() }
    }
}

/// The tiers, running.
pub(crate) struct Tiers {
    route: RouteServer,
    service: ImServiceServer,
    gate: GateServer,
    certs: ClusterCerts,
}

/// The file of tokens by which business systems use the timeline service, among the keys.
const SERVICE_TOKENS: &str = "service-tokens";

/// How long the tiers may take to find each other.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Between two looks at whether they have.
const READY_EVERY: Duration = Duration::from_millis(10);

impl Tiers {
    /// Starts the tiers and waits until a client could log in and send.
    pub(crate) async fn start(config: &TiersConfig, context: &Context) -> anyhow::Result<Self> {
        let keys = config.data.join("keys");
        let reach = &config.reach;
        let certs = make_keys(&keys, &reach.hosts)?;
        let is_open = reach.address.is_loopback();
        let network = Tcp::shared();

        let route_files = certs.route();
        let route = RouteSettings {
            listen: config.ports.loopback(8920),
            http_listen: config.ports.loopback(8921),
            link_cert: route_files.cert,
            link_key: route_files.key,
            link_ca: certs.ca(),
            ..RouteSettings::default()
        };
        let route = RouteServer::start(&route, network.clone(), context).await.context("start the route")?;
        let routes = vec![route.addr().to_string()];

        let CertFiles { cert, key } = certs.im_service_link();
        let service = ImServiceSettings {
            routes: routes.clone(),
            http_listen: config.ports.at(reach.address, 8000),
            http_behind_tls: reach.http_behind_tls,
            grpc_listen: config.ports.at(reach.address, 9000),
            grpc_behind_tls: reach.http_behind_tls,
            // On loopback it is for development.
            timeline_open: is_open,
            service_tokens: (!is_open).then(|| keys.join(SERVICE_TOKENS)),
            admin_listen: config.ports.loopback(8931),
            data: config.data.join("store"),
            link_cert: cert,
            link_key: key,
            link_ca: certs.ca(),
            token_keys: keys.clone(),
            known_users_only: config.known_users_only,
            ..ImServiceSettings::default()
        };
        let service =
            ImServiceServer::start(&service, network.clone(), context).await.context("start the im-service")?;

        let (client_files, link_files) = (certs.gate_server(), certs.gate_link());
        let gate = GateSettings {
            client_listen: config.ports.at(reach.address, 8910),
            http_listen: config.ports.loopback(8911),
            routes,
            client_cert: client_files.cert,
            client_key: client_files.key,
            link_cert: link_files.cert,
            link_key: link_files.key,
            link_ca: certs.ca(),
            token_keys: vec![im_auth::keys::public_file(&keys)],
            ..GateSettings::default()
        };
        let gate = GateServer::start(&gate, network, context).await.context("start the gate")?;
        let tiers = Self { route, service, gate, certs };
        tiers.wait_ready(context).await?;
        Ok(tiers)
    }

    async fn wait_ready(&self, context: &Context) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let unmet = context.readiness.unmet();
            if unmet.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let reasons: Vec<_> = unmet.iter().map(|u| format!("{}: {}", u.condition, u.reason)).collect();
                bail!("not ready after {READY_WITHIN:?}: {}", reasons.join("; "));
            }
            sleep(READY_EVERY).await;
        }
    }

    /// Where clients connect.
    pub(crate) fn client_addr(&self) -> SocketAddr {
        self.gate.client_addr()
    }

    /// Where accounts are served.
    pub(crate) fn accounts_addr(&self) -> SocketAddr {
        self.service.http_addr()
    }

    /// Where the timeline service answers over gRPC.
    pub(crate) fn grpc_addr(&self) -> SocketAddr {
        self.service.grpc_addr()
    }

    /// Where gate, route and im-service answer operators.
    pub(crate) fn admin_addrs(&self) -> [SocketAddr; 3] {
        [self.gate.http_addr(), self.route.http_addr(), self.service.admin_addr()]
    }

    /// The authority that clients trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.certs.ca()
    }

    /// Ends the tiers from the clients inwards, so that what was taken in is finished.
    pub(crate) async fn stop(&self) {
        self.gate.stop().await;
        self.service.stop().await;
        self.route.stop().await;
    }
}

impl Ports {
    fn at(self, address: IpAddr, port: u16) -> SocketAddr {
        let port = match self {
            Self::Default => port,
            Self::Free => 0,
        };
        (address, port).into()
    }

    fn loopback(self, port: u16) -> SocketAddr {
        self.at(Ipv4Addr::LOCALHOST.into(), port)
    }
}

/// Makes what a cluster needs to trust itself, where it is missing: certificates of an authority of
/// its own, good for `hosts` towards clients, the key pair of access tokens, the gates' identity, and a
/// token for business systems.
pub(crate) fn make_keys(dir: &Path, hosts: &[String]) -> anyhow::Result<ClusterCerts> {
    let certs = ClusterCerts::load_or_create(dir, hosts).context("make certificates")?;
    im_auth::keys::load_or_create(dir).context("make token keys")?;
    im_auth::keys::load_or_create_identity(dir).context("make the gates' identity")?;
    make_service_token(&dir.join(SERVICE_TOKENS)).context("make a service token")?;
    Ok(certs)
}

/// The file of tokens for the timeline service, with one that nobody knows yet, where there is none.
fn make_service_token(path: &Path) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if path.exists() {
        return Ok(());
    }
    // Whole or not at all; nobody else may ever read it.
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let token: [u128; 2] = rand::random();
    writeln!(file, "{:032x}{:032x}", token[0], token[1])?;
    file.sync_all()?;
    Ok(std::fs::rename(&new, path)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_service_token_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        make_keys(folder.path(), &[]).unwrap();
        let path = folder.path().join(SERVICE_TOKENS);
        let token = std::fs::read_to_string(&path).unwrap();
        assert_eq!(token.trim().len(), 64);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        make_keys(folder.path(), &[]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), token);
    }
}
