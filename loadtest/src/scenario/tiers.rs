//! The tiers to be measured: those that the command line names, or `sim standalone` started for the
//! occasion, on free ports and in a folder of its own.

use std::env::consts::EXE_SUFFIX;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use im_auth::{Signer, keys};
use serde::Deserialize;

use super::DataFolder;
use crate::args::TiersArgs;
use crate::child::Child;
use crate::cluster;
use crate::coordinator::Endpoint;

/// Gates that can be reached, with what it takes to log in there.
#[derive(Debug)]
pub(super) struct Tiers {
    endpoint: Endpoint,
    signer: Signer,
    /// The processes whose CPU time counts as the server's.
    pids: Vec<u32>,
    started: Option<(Child, DataFolder)>,
}

/// What `sim standalone --json` prints when a client could log in and send.
#[derive(Debug, Deserialize)]
struct Standalone {
    clients: SocketAddr,
    ca: PathBuf,
    keys: PathBuf,
}

impl Tiers {
    pub(super) async fn find(args: &TiersArgs) -> anyhow::Result<Self> {
        match (&args.given.ca, &args.given.token_key) {
            (Some(ca), Some(token_key)) => Ok(Self {
                endpoint: endpoint(resolve(&args.given.gate)?, ca)?,
                signer: load_key(token_key)?,
                pids: args.given.server_pid.clone(),
                started: None,
            }),
            _ => Self::start(args).await,
        }
    }

    async fn start(args: &TiersArgs) -> anyhow::Result<Self> {
        let folder = DataFolder::new(args.data.as_deref())?;
        let program = args.sim.clone().map_or_else(beside_this_program, Ok)?;
        let mut arguments = ["standalone", "--free-ports", "--unknown-users", "--json", "--log", "warn", "--data"]
            .map(AsRef::as_ref)
            .to_vec();
        arguments.push(folder.path().as_os_str());
        let mut process = Child::start("sim standalone", &program, &arguments)?;
        let ready: Standalone = process.recv().await.context("start the tiers")?;
        Ok(Self {
            endpoint: endpoint(vec![ready.clients], &ready.ca)?,
            signer: load_key(&ready.keys.join(keys::PRIVATE_FILE))?,
            pids: vec![process.pid()?],
            started: Some((process, folder)),
        })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(super) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Ends what was started, and only then removes its folder.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self.started {
            Some((process, _folder)) => process.stop().await,
            None => Ok(()),
        }
    }
}

fn endpoint(addresses: Vec<SocketAddr>, ca: &Path) -> anyhow::Result<Endpoint> {
    Ok(Endpoint { addresses, certificate: cluster::certificate(ca)? })
}

fn load_key(path: &Path) -> anyhow::Result<Signer> {
    keys::load(path).context("load the key that signs tokens")
}

/// Both binaries come out of one build, into one folder.
fn beside_this_program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("find this program")?.with_file_name(format!("sim{EXE_SUFFIX}"));
    ensure!(program.exists(), "there is no {}: build it, or name it with --sim", program.display());
    Ok(program)
}

pub(super) fn resolve(gates: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for gate in gates {
        addresses.extend(gate.to_socket_addrs().with_context(|| format!("resolve {gate}"))?);
    }
    ensure!(!addresses.is_empty(), "no gate has an address");
    Ok(addresses)
}
