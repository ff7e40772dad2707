//! Tiers of one's own, as an operator runs them: a route, an im-service and several gates, each a
//! process with a settings file and a log in one folder, on free ports. They end with this value,
//! and with this process however it ends.

mod ports;
mod process;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use im_auth::keys;
use im_link::certs::ClusterCerts;
use im_link::tls::CertFiles;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::sleep;

use self::process::Process;

/// How long tiers may take to find each other.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Starts before a port that is always in use is no coincidence.
const STARTS_MAX: usize = 3;

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct ClusterPlan {
    pub(crate) gates: usize,
    /// The folder with `sim-gate`, `sim-route` and `sim-im-service`.
    pub(crate) binaries: PathBuf,
    /// Where settings, keys, logs and the store go.
    pub(crate) folder: PathBuf,
    /// Further lines for the gates' `[gate]` table.
    pub(crate) gate_settings: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Route,
    ImService,
    Gate,
}

impl Kind {
    /// The table of the settings file.
    const fn section(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::ImService => "im-service",
            Self::Gate => "gate",
        }
    }

    /// The key of the listener that answers `/readyz`.
    const fn admin_key(self) -> &'static str {
        match self {
            Self::Route | Self::Gate => "http_listen",
            Self::ImService => "admin_listen",
        }
    }
}

/// One process.
#[derive(Debug)]
struct Tier {
    kind: Kind,
    name: String,
    address: SocketAddr,
    admin: SocketAddr,
    process: Process,
}

/// The tiers, running.
#[derive(Debug)]
pub(crate) struct Cluster {
    tiers: Vec<Tier>,
    ca: PathBuf,
    keys: PathBuf,
    /// Tiers that were ended on purpose.
    ended: HashSet<String>,
}

impl Cluster {
    /// Starts the tiers and waits until a client could log in and send.
    pub(crate) async fn start(plan: &ClusterPlan) -> anyhow::Result<Self> {
        for _ in 1..STARTS_MAX {
            match Self::try_start(plan).await {
                // Somebody took a port between our look and the tier's.
                Err(error) if format!("{error:#}").contains("in use") => {}
                started => return started,
            }
        }
        Self::try_start(plan).await
    }

    async fn try_start(plan: &ClusterPlan) -> anyhow::Result<Self> {
        let keys_dir = plan.folder.join("keys");
        let certs = ClusterCerts::load_or_create(&keys_dir, &[]).context("make certificates")?;
        keys::load_or_create(&keys_dir).context("make the key that signs tokens")?;
        let mut cluster = Self { tiers: Vec::new(), ca: certs.ca(), keys: keys_dir, ended: HashSet::new() };
        let mut ports = ports::Free::default();
        // Routes first, so that nobody has to wait for a second try to dial them.
        let tiers = [(Kind::Route, 1), (Kind::ImService, 1), (Kind::Gate, plan.gates)];
        for (kind, count) in tiers {
            for number in 1..=count {
                cluster.add(plan, &certs, &mut ports, kind, number)?;
            }
            if kind == Kind::Route {
                cluster.wait_ready("/healthz").await?;
            }
        }
        cluster.wait_ready("/readyz").await?;
        Ok(cluster)
    }

    fn add(
        &mut self,
        plan: &ClusterPlan,
        certs: &ClusterCerts,
        ports: &mut ports::Free,
        kind: Kind,
        number: usize,
    ) -> anyhow::Result<()> {
        let section = kind.section();
        let name = format!("{section}-{number}");
        // Gates have addresses of their own, so that they can be told apart in a table of sockets.
        let host = if kind == Kind::Gate { gate_host(number) } else { Ipv4Addr::LOCALHOST };
        let (address, admin) = (ports.take(host)?, ports.take(Ipv4Addr::LOCALHOST)?);
        let mut text = format!("[{section}]\nname = {name:?}\nlink_ca = {:?}\n", certs.ca());
        writeln!(text, "{} = \"{admin}\"", kind.admin_key())?;
        let CertFiles { cert, key } = match kind {
            Kind::Route => certs.route(),
            Kind::ImService => certs.im_service_link(),
            Kind::Gate => certs.gate_link(),
        };
        writeln!(text, "link_cert = {cert:?}\nlink_key = {key:?}")?;
        let routes: Vec<_> = self.of(Kind::Route).map(|tier| tier.address.to_string()).collect();
        match kind {
            Kind::Route => writeln!(text, "listen = \"{address}\"")?,
            Kind::ImService => {
                writeln!(
                    text,
                    "http_listen = \"{address}\"\nroutes = {routes:?}\nknown_users_only = false\ngrpc_listen = \"127.0.0.1:0\""
                )?;
                writeln!(text, "token_keys = {:?}\ndata = {:?}", self.keys, plan.folder.join("store"))?;
            }
            Kind::Gate => {
                let CertFiles { cert, key } = certs.gate_server();
                writeln!(text, "client_listen = \"{address}\"\nroutes = {routes:?}")?;
                writeln!(text, "client_cert = {cert:?}\nclient_key = {key:?}")?;
                writeln!(text, "token_keys = [{:?}]", keys::public_file(&self.keys))?;
                // What is measured is what a gate can do, not what it grants one client.
                for limit in ["messages_per_connection", "messages_per_user", "logins_per_user"] {
                    writeln!(text, "{limit} = \"off\"")?;
                }
                for line in &plan.gate_settings {
                    writeln!(text, "{line}")?;
                }
            }
        }
        let config = plan.folder.join(format!("{name}.toml"));
        std::fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        let program = plan.binaries.join(format!("sim-{section}{}", std::env::consts::EXE_SUFFIX));
        let process = Process::start(&program, &config, &plan.folder.join(format!("{name}.log")))?;
        self.tiers.push(Tier { kind, name, address, admin, process });
        Ok(())
    }

    /// Where clients connect, gate by gate.
    pub(crate) fn gates(&self) -> Vec<SocketAddr> {
        self.of(Kind::Gate).map(|tier| tier.address).collect()
    }

    /// The authority that clients trust: its certificate's DER in base64.
    pub(crate) fn certificate(&self) -> anyhow::Result<String> {
        certificate(&self.ca)
    }

    /// The private key that signs access tokens.
    pub(crate) fn token_key(&self) -> PathBuf {
        self.keys.join(keys::PRIVATE_FILE)
    }

    /// Names and process ids of those that run.
    pub(crate) fn pids(&self) -> anyhow::Result<Vec<(Kind, String, u32)>> {
        let running = self.tiers.iter().filter(|tier| !self.ended.contains(&tier.name));
        running.map(|tier| Ok((tier.kind, tier.name.clone(), tier.process.pid()?))).collect()
    }

    /// An error if a tier has ended that nobody ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        let ended = &self.ended;
        self.tiers
            .iter_mut()
            .filter(|tier| !ended.contains(&tier.name))
            .try_for_each(|tier| tier.process.check_alive().with_context(|| tier.name.clone()))
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.ended.insert(name.to_owned());
        self.find(name)?.process.kill().await
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&mut self, name: &str) -> anyhow::Result<()> {
        self.ended.insert(name.to_owned());
        self.find(name)?.process.terminate().await
    }

    /// Waits for a tier's end; its exit code, `None` when a signal ended it.
    pub(crate) async fn ended(&mut self, name: &str, patience: Duration) -> anyhow::Result<Option<i32>> {
        self.find(name)?.process.ended(patience).await
    }

    fn find(&mut self, name: &str) -> anyhow::Result<&mut Tier> {
        self.tiers.iter_mut().find(|tier| tier.name == name).with_context(|| format!("no tier {name}"))
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Tier> {
        self.tiers.iter().filter(move |tier| tier.kind == kind)
    }

    async fn wait_ready(&mut self, path: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        for tier in &mut self.tiers {
            loop {
                tier.process.check_alive().with_context(|| tier.name.clone())?;
                // Refused while it is not up yet, and 503 with the reason while it is not ready.
                let answer = process::http_status(tier.admin, path).await;
                if matches!(answer, Ok(200)) {
                    break;
                }
                if Instant::now() >= deadline {
                    bail!("{}: {path} answers {answer:?} after {READY_WITHIN:?}\n{}", tier.name, tier.process.tail());
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

/// 127.0.0.1 for the first gate, 127.0.0.2 for the next, and from the front again after the last.
fn gate_host(number: usize) -> Ipv4Addr {
    const HOSTS: usize = 250;
    Ipv4Addr::new(127, 0, 0, ((number - 1) % HOSTS + 1) as u8)
}

/// The certificate in a PEM file: its DER in base64.
pub(crate) fn certificate(ca: &Path) -> anyhow::Result<String> {
    let certificate = CertificateDer::from_pem_file(ca).with_context(|| format!("read {}", ca.display()))?;
    Ok(BASE64_STANDARD.encode(certificate))
}

/// The folder with the tiers' binaries: the one given, or the one of this program, because both come
/// out of one build.
pub(crate) fn binaries(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = match given {
        Some(folder) => folder.to_owned(),
        None => {
            let program = std::env::current_exe().context("find this program")?;
            program.parent().context("this program has no folder")?.to_owned()
        }
    };
    for kind in [Kind::Gate, Kind::Route, Kind::ImService] {
        let program = folder.join(format!("sim-{}{}", kind.section(), std::env::consts::EXE_SUFFIX));
        ensure!(program.exists(), "there is no {}: build it, or name its folder with --binaries", program.display());
    }
    Ok(folder)
}
