//! A second region beside a [`Cluster`]: gates and routes alone, as processes. Requests of its users go
//! to the cluster's im-service, over the links between the regions' routes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use im_client::TlsDial;
use im_link::certs::ClusterCerts;
use im_link::tls::CertFiles;
use tokio::time::{Instant, sleep};

use crate::binaries::Binary;
use crate::cable::Cable;
use crate::cluster::Cluster;
use crate::logs::{self, Allowed};
use crate::person::Person;
use crate::ports::Port;
use crate::process::{Process, tail};
use crate::{LOOK_EVERY, PATIENCE, http};

/// Its name.
pub const FAR: &str = "far";

/// The region, running.
#[derive(Debug)]
pub struct Region {
    gates: Vec<Member>,
    routes: Vec<Member>,
    /// From each gate to each route.
    cables: Vec<Vec<Cable>>,
}

#[derive(Debug)]
struct Member {
    port: Port,
    admin: Port,
    log: PathBuf,
    process: Process,
}

impl Region {
    /// Starts so many gates and routes, whose routes dial `peers` of the region `near` with the cluster's
    /// certificates, and waits until a client could log in and send.
    pub async fn start(near: &Cluster, gates: usize, routes: usize, peers: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut region = Self { gates: Vec::new(), routes: Vec::new(), cables: Vec::new() };
        for number in 1..=routes {
            let peers: Vec<_> = peers.iter().map(|address| format!("near={address}")).collect();
            let route = |port: &Port| format!("listen = \"{}\"\npeers = {peers:?}\n", port.address());
            region.routes.push(Member::start(near, Binary::Route, number, route)?);
        }
        for number in 1..=gates {
            let mut cables = Vec::new();
            for route in &region.routes {
                cables.push(Cable::lay(route.port.address()).await?);
            }
            let routes: Vec<_> = cables.iter().map(|cable| cable.address().to_string()).collect();
            let keys = near.folder().join("keys");
            let CertFiles { cert, key } = ClusterCerts::at(&keys).gate_server();
            let gate = |port: &Port| {
                format!(
                    "client_listen = \"{}\"\nroutes = {routes:?}\nclient_cert = {cert:?}\nclient_key = {key:?}\ntoken_keys = [{:?}]\n",
                    port.address(),
                    im_auth::keys::public_file(&keys)
                )
            };
            region.gates.push(Member::start(near, Binary::Gate, number, gate)?);
            region.cables.push(cables);
        }
        region.wait_ready().await?;
        Ok(region)
    }

    /// The cable from a gate to a route, both counted from 0.
    pub fn cable(&self, gate: usize, route: usize) -> &Cable {
        &self.cables[gate][route]
    }

    /// Waits until everybody is ready.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        for member in self.routes.iter().chain(&self.gates) {
            member.wait_answer("/readyz", 200).await?;
        }
        Ok(())
    }

    /// Waits until no route finds an im-service.
    pub async fn wait_alone(&self) -> anyhow::Result<()> {
        for route in &self.routes {
            route.wait_answer("/readyz", 503).await?;
        }
        Ok(())
    }

    /// Where a route answers operators, counted from 0.
    pub fn route_admin(&self, route: usize) -> SocketAddr {
        self.routes[route].admin.address()
    }

    /// A user with a client at a gate, counted from 0.
    pub async fn person(&self, near: &Cluster, gate: usize, user: &str, device: &str) -> anyhow::Result<Person> {
        let dial = Arc::new(TlsDial::new(&near.ca())?);
        let gates = vec![self.gates[gate].port.address().to_string()];
        Person::connect_by(near, user, device, gates, dial).await
    }

    /// Ends everybody in order; an error unless they drain, exit with 0, and say nothing that is not
    /// allowed.
    pub async fn finish(mut self, allowed: &[Allowed]) -> anyhow::Result<()> {
        for member in self.gates.iter_mut().chain(&mut self.routes) {
            member.process.check_alive()?;
            member.process.signal("TERM").await?;
            let status = member.process.ended().await?;
            ensure!(status.code() == Some(0), "ended with {status}:\n{}", tail(&member.log));
            let lines = logs::unexpected(&member.log, allowed)?;
            ensure!(lines.is_empty(), "unexpected lines in {}: {lines:#?}", member.log.display());
        }
        Ok(())
    }
}

impl Member {
    fn start(
        near: &Cluster,
        binary: Binary,
        number: usize,
        settings: impl FnOnce(&Port) -> String,
    ) -> anyhow::Result<Self> {
        let name = format!("{FAR}-{}-{number}", binary.section());
        let file = |kind: &str| near.folder().join(format!("{name}.{kind}"));
        let certs = ClusterCerts::at(near.folder().join("keys"));
        let CertFiles { cert, key } = if binary == Binary::Route { certs.route() } else { certs.gate_link() };
        let (port, admin) = (Port::lease()?, Port::lease()?);
        let mut text = format!("[{}]\nname = {name:?}\nregion = {FAR:?}\n", binary.section());
        writeln!(text, "link_ca = {:?}\nlink_cert = {cert:?}\nlink_key = {key:?}", certs.ca())?;
        writeln!(text, "{} = \"{}\"", binary.admin_key(), admin.address())?;
        text += &settings(&port);
        let log = file("log");
        std::fs::write(file("toml"), text)?;
        let process = Process::start(binary, &file("toml"), &log)?;
        Ok(Self { port, admin, log, process })
    }

    async fn wait_answer(&self, path: &str, status: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !http::get(self.admin.address(), path).await.is_ok_and(|answer| answer.status == status) {
            ensure!(Instant::now() < deadline, "{path} does not get {status}:\n{}", tail(&self.log));
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
