//! The gates that a scenario dials: those that the command line names, or tiers started for the
//! occasion, each a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::DataFolder;
use super::tiers::resolve;
use crate::args::{ClusterArgs, GivenArgs};
use crate::cluster::{self, Cluster, ClusterPlan, Kind};

#[derive(Debug)]
pub(super) struct Gates {
    addresses: Vec<SocketAddr>,
    /// DER in base64.
    certificate: String,
    token_key: PathBuf,
    /// Of the gates; of all servers where the command line named them.
    pids: Vec<u32>,
    route_pids: Vec<u32>,
    im_service_pids: Vec<u32>,
    /// Where they were started here; their files go after them.
    cluster: Option<(Cluster, DataFolder)>,
}

impl Gates {
    /// Those that run already, where the command line names them.
    pub(super) fn given(args: &GivenArgs) -> anyhow::Result<Option<Self>> {
        let (Some(ca), Some(token_key)) = (&args.ca, &args.token_key) else { return Ok(None) };
        Ok(Some(Self {
            addresses: resolve(&args.gate)?,
            certificate: cluster::certificate(ca)?,
            token_key: token_key.clone(),
            pids: args.server_pid.clone(),
            route_pids: Vec::new(),
            im_service_pids: Vec::new(),
            cluster: None,
        }))
    }

    /// Starts tiers with so many gates. `settings` stand in the gates' files behind those of the command line.
    pub(super) async fn start(args: &ClusterArgs, count: u32, settings: &[String]) -> anyhow::Result<Self> {
        let folder = DataFolder::new(args.data.as_deref())?;
        let plan = ClusterPlan {
            gates: count as usize,
            binaries: cluster::binaries(args.binaries.as_deref())?,
            folder: std::path::absolute(folder.path())?,
            gate_settings: [&args.gate_setting, settings].concat(),
        };
        let cluster = Cluster::start(&plan).await?;
        let of = |wanted| {
            let pids = cluster.pids()?;
            anyhow::Ok(pids.into_iter().filter(|(kind, ..)| *kind == wanted).map(|(.., pid)| pid).collect::<Vec<_>>())
        };
        let (pids, route_pids, im_service_pids) = (of(Kind::Gate)?, of(Kind::Route)?, of(Kind::ImService)?);
        ensure!(pids.len() == plan.gates, "{} of {count} gates run", pids.len());
        Ok(Self {
            addresses: cluster.gates(),
            certificate: cluster.certificate()?,
            token_key: cluster.token_key(),
            pids,
            route_pids,
            im_service_pids,
            cluster: Some((cluster, folder)),
        })
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn token_key(&self) -> &Path {
        &self.token_key
    }

    pub(super) fn pids(&self) -> &[u32] {
        &self.pids
    }

    pub(super) fn route_pids(&self) -> &[u32] {
        &self.route_pids
    }

    pub(super) fn im_service_pids(&self) -> &[u32] {
        &self.im_service_pids
    }

    /// Whether the gates run on this machine, so that the kernel's figures hold both ends.
    pub(super) fn are_here(&self) -> bool {
        self.addresses.iter().all(|address| address.ip().is_loopback())
    }

    /// The tiers, where they were started here.
    pub(super) fn cluster(&mut self) -> anyhow::Result<&mut Cluster> {
        self.cluster.as_mut().map(|(cluster, _)| cluster).context("the gates are not this run's own")
    }

    /// An error if a tier has ended that nobody ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.cluster.as_mut().map_or(Ok(()), |(cluster, _)| cluster.check_alive())
    }
}
