//! The tiers of one region as processes, in a folder of their own: settings, keys, certificates,
//! store, one log per tier. The folder goes when the test has passed and stays, and is named, when it
//! has failed.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use im_auth::{Signer, keys};
use im_link::certs::ClusterCerts;
use im_link::tls::CertFiles;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::binaries::Binary;
use crate::logs::{self, Allowed};
use crate::ports::Port;
use crate::process::{Process, tail};
use crate::{LOOK_EVERY, PATIENCE, http, verify};

/// Starts before a port that is always in use is no coincidence.
const STARTS_MAX: usize = 3;

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Routes, master first.
    pub routes: usize,
    /// Gates.
    pub gates: usize,
    /// im-services; more than one need a store that they share.
    pub im_services: usize,
    /// The servers that keep the store; without any it is a folder of the one im-service.
    pub servers: Option<Servers>,
    /// Whether users need an account.
    pub known_users_only: bool,
    /// Further settings.
    pub settings: Vec<(Binary, String)>,
    /// Lines that its faults bring into the logs.
    pub allowed: Vec<Allowed>,
}

impl Default for Plan {
    /// One of each, users with accounts, nothing to complain about.
    fn default() -> Self {
        Self {
            routes: 1,
            gates: 1,
            im_services: 1,
            servers: None,
            known_users_only: true,
            settings: Vec::new(),
            allowed: Vec::new(),
        }
    }
}

/// Where MongoDB and Redis are, whose processes belong to the test.
#[derive(Clone, Debug)]
pub struct Servers {
    /// MongoDB's address.
    pub mongo: String,
    /// Redis's address.
    pub redis: String,
}

/// The tiers, running.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they are stopped: from the clients inwards.
    tiers: Vec<Tier>,
    allowed: Vec<Allowed>,
    servers: Option<Servers>,
    signer: Signer,
    certs: ClusterCerts,
    folder: Folder,
}

#[derive(Debug)]
struct Tier {
    name: String,
    binary: Binary,
    config: PathBuf,
    log: PathBuf,
    /// Where it serves: clients, tiers, accounts.
    port: Port,
    admin: Port,
    /// Where an im-service answers over gRPC.
    grpc: Option<Port>,
    process: Option<Process>,
}

impl Cluster {
    /// Starts the tiers and waits until a client could log in and send.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        for _ in 1..STARTS_MAX {
            match Self::try_start(plan.clone()).await {
                // Somebody who knows nothing of leases was faster. Other ports, then.
                Err(error) if format!("{error:#}").contains("in use") => {}
                started => return started,
            }
        }
        Self::try_start(plan).await
    }

    async fn try_start(plan: Plan) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare(plan)?;
        // Routes first, so that nobody has to wait for a second try to dial them.
        for kind in [Binary::Route, Binary::ImService, Binary::Gate] {
            for tier in cluster.tiers.iter_mut().filter(|tier| tier.binary == kind) {
                tier.start()?;
            }
            if kind == Binary::Route {
                for tier in cluster.tiers.iter_mut().filter(|tier| tier.binary == kind) {
                    tier.wait_status("/healthz").await?;
                }
            }
        }
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    /// The folder with keys, certificates and settings, and no tier running.
    pub fn prepare(plan: Plan) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let keys_dir = folder.path().join("keys");
        let certs = ClusterCerts::load_or_create(&keys_dir, &[])?;
        let signer = keys::load_or_create(&keys_dir)?;
        let (mut allowed, servers) = (plan.allowed.clone(), plan.servers.clone());
        if servers.is_some() {
            allowed.extend(logs::MONGO_LATE);
        }
        let mut cluster = Self { tiers: Vec::new(), allowed, servers, signer, certs, folder };
        for number in 1..=plan.gates {
            cluster.add(Binary::Gate, number)?;
        }
        for number in 1..=plan.im_services {
            cluster.add(Binary::ImService, number)?;
        }
        for number in 1..=plan.routes {
            cluster.add(Binary::Route, number)?;
        }
        cluster.write_settings(&plan)?;
        Ok(cluster)
    }

    fn add(&mut self, binary: Binary, number: usize) -> anyhow::Result<()> {
        let name = format!("{}-{number}", binary.section());
        let file = |kind: &str| self.folder.path().join(format!("{name}.{kind}"));
        let (config, log) = (file("toml"), file("log"));
        let (port, admin) = (Port::lease()?, Port::lease()?);
        let grpc = (binary == Binary::ImService).then(Port::lease).transpose()?;
        self.tiers.push(Tier { name, binary, config, log, port, admin, grpc, process: None });
        Ok(())
    }

    fn write_settings(&self, plan: &Plan) -> anyhow::Result<()> {
        let routes: Vec<_> = self.of(Binary::Route).map(|tier| tier.port.address().to_string()).collect();
        for tier in &self.tiers {
            let mut text = self.settings(tier, &routes, plan.known_users_only)?;
            for (_, line) in plan.settings.iter().filter(|(binary, _)| *binary == tier.binary) {
                writeln!(text, "{line}")?;
            }
            std::fs::write(&tier.config, text)?;
        }
        Ok(())
    }

    fn settings(&self, tier: &Tier, routes: &[String], known_users_only: bool) -> anyhow::Result<String> {
        let Tier { name, binary, port, admin, grpc, .. } = tier;
        let mut text = format!("[{}]\nname = {name:?}\nlink_ca = {:?}\n", binary.section(), self.certs.ca());
        let (address, admin) = (port.address().to_string(), admin.address().to_string());
        writeln!(text, "{} = {admin:?}", binary.admin_key())?;
        let CertFiles { cert, key } = match binary {
            Binary::Gate => self.certs.gate_link(),
            Binary::Route => self.certs.route(),
            Binary::ImService => self.certs.im_service_link(),
        };
        writeln!(text, "link_cert = {cert:?}\nlink_key = {key:?}")?;
        let keys_dir = self.folder.path().join("keys");
        match binary {
            Binary::Route => writeln!(text, "listen = {address:?}")?,
            Binary::Gate => {
                let CertFiles { cert, key } = self.certs.gate_server();
                writeln!(text, "client_listen = {address:?}\nroutes = {routes:?}")?;
                writeln!(text, "client_cert = {cert:?}\nclient_key = {key:?}")?;
                writeln!(text, "token_keys = [{:?}]", keys::public_file(&keys_dir))?;
            }
            Binary::ImService => {
                writeln!(text, "http_listen = {address:?}\nroutes = {routes:?}")?;
                writeln!(text, "token_keys = {keys_dir:?}")?;
                writeln!(text, "known_users_only = {known_users_only}")?;
                let grpc = grpc.as_ref().context("an im-service has a port for gRPC")?.address().to_string();
                writeln!(text, "grpc_listen = {grpc:?}")?;
                match &self.servers {
                    None => writeln!(text, "data = {:?}", self.data())?,
                    Some(Servers { mongo, redis }) => {
                        writeln!(text, "store = \"mongo\"\nmongo_uri = {mongo:?}\nredis_url = {redis:?}")?;
                    }
                }
            }
        }
        Ok(text)
    }

    /// Where clients connect, one address per gate.
    pub fn gates(&self) -> Vec<String> {
        self.of(Binary::Gate).map(|tier| tier.port.address().to_string()).collect()
    }

    /// Where accounts are served.
    pub fn accounts(&self) -> anyhow::Result<SocketAddr> {
        self.of(Binary::ImService).next().map(|tier| tier.port.address()).context("no im-service")
    }

    /// Where an im-service answers over gRPC.
    pub fn grpc(&self, name: &str) -> anyhow::Result<SocketAddr> {
        Ok(self.find(name)?.grpc.as_ref().with_context(|| format!("{name} does not speak gRPC"))?.address())
    }

    /// Where a tier serves.
    pub fn address(&self, name: &str) -> anyhow::Result<SocketAddr> {
        Ok(self.find(name)?.port.address())
    }

    /// Where a tier answers operators.
    pub fn admin(&self, name: &str) -> anyhow::Result<SocketAddr> {
        Ok(self.find(name)?.admin.address())
    }

    /// A tier's settings file.
    pub fn config(&self, name: &str) -> anyhow::Result<&Path> {
        Ok(&self.find(name)?.config)
    }

    /// A tier's log up to now.
    pub fn log(&self, name: &str) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(&self.find(name)?.log)?)
    }

    /// The authority that clients trust.
    pub fn ca(&self) -> PathBuf {
        self.certs.ca()
    }

    /// Makes access tokens that the gates believe.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The store's folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The cluster's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A tier's process.
    pub fn process(&mut self, name: &str) -> anyhow::Result<&mut Process> {
        self.find_mut(name)?.process.as_mut().with_context(|| format!("{name} is not running"))
    }

    /// Waits until a tier's log says something.
    pub async fn wait_log(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.log(name)?.contains(text) {
            ensure!(Instant::now() < deadline, "{name} does not log {text:?} in {PATIENCE:?}:\n{}", self.log(name)?);
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// `kill -9`.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let tier = self.find_mut(name)?;
        let mut process = tier.process.take().with_context(|| format!("{name} is not running"))?;
        process.check_alive().with_context(|| name.to_owned())?;
        process.kill().await
    }

    /// Starts a tier that is down, with the settings that it had.
    pub fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        let tier = self.find_mut(name)?;
        ensure!(tier.process.is_none(), "{name} is running");
        tier.start()
    }

    /// Ends a tier with SIGTERM; an error unless it drains and exits with 0.
    pub async fn terminate(&mut self, name: &str) -> anyhow::Result<()> {
        let tier = self.find_mut(name)?;
        let mut process = tier.process.take().with_context(|| format!("{name} is not running"))?;
        process.check_alive().with_context(|| name.to_owned())?;
        process.signal("TERM").await?;
        let status = process.ended().await.with_context(|| name.to_owned())?;
        ensure!(status.code() == Some(0), "{name} ended with {status}:\n{}", tail(&tier.log));
        Ok(())
    }

    /// Waits until every tier that runs says that it is ready.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        for tier in &mut self.tiers {
            if tier.process.is_some() {
                tier.wait_status("/readyz").await?;
            }
        }
        Ok(())
    }

    /// Stops every tier, clients' side first, and checks what is left: exit codes, logs, store.
    /// Says how many messages the store holds.
    pub async fn finish(mut self) -> anyhow::Result<u64> {
        let running: Vec<_> =
            self.tiers.iter().filter(|tier| tier.process.is_some()).map(|tier| tier.name.clone()).collect();
        for name in running {
            self.terminate(&name).await?;
        }
        self.check_logs()?;
        match &self.servers {
            None => verify::store(&self.data()).await,
            Some(servers) => verify::shared_store(servers).await,
        }
    }

    /// An error that shows every line that a person would look at and nobody announced.
    pub fn check_logs(&self) -> anyhow::Result<()> {
        let mut found = String::new();
        for tier in &self.tiers {
            for line in logs::unexpected(&tier.log, &self.allowed)? {
                writeln!(found, "{}: {line}", tier.name)?;
            }
        }
        ensure!(found.is_empty(), "unexpected lines in the logs:\n{found}");
        Ok(())
    }

    fn of(&self, binary: Binary) -> impl Iterator<Item = &Tier> {
        self.tiers.iter().filter(move |tier| tier.binary == binary)
    }

    fn find(&self, name: &str) -> anyhow::Result<&Tier> {
        self.tiers.iter().find(|tier| tier.name == name).with_context(|| format!("no tier {name}"))
    }

    fn find_mut(&mut self, name: &str) -> anyhow::Result<&mut Tier> {
        self.tiers.iter_mut().find(|tier| tier.name == name).with_context(|| format!("no tier {name}"))
    }
}

impl Tier {
    fn start(&mut self) -> anyhow::Result<()> {
        self.process = Some(Process::start(self.binary, &self.config, &self.log)?);
        Ok(())
    }

    /// Waits until `GET path` answers 200.
    async fn wait_status(&mut self, path: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let process = self.process.as_mut().with_context(|| format!("{} is not running", self.name))?;
            process.check_alive().with_context(|| self.name.clone())?;
            // Refused while it is not up yet, and 503 with the reason while it is not ready.
            let answer = http::get(self.admin.address(), path).await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{}: {path} answers {answer:?} after {PATIENCE:?}\n{}", self.name, tail(&self.log));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// A temporary folder that stays when its test fails, or when `SIM_E2E_KEEP` is set.
#[derive(Debug)]
struct Folder(Option<TempDir>);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(Some(tempfile::Builder::new().prefix("sim-e2e-").tempdir().context("make a temporary folder")?)))
    }

    fn path(&self) -> &Path {
        self.0.as_ref().expect("taken on drop alone").path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if (std::thread::panicking() || std::env::var_os("SIM_E2E_KEEP").is_some())
            && let Some(dir) = self.0.take()
        {
            eprintln!("settings, logs and store are kept in {}", dir.keep().display());
        }
    }
}
