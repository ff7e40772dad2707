//! `relay`: the bare baseline by itself.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, ensure};

use super::DataFolder;
use crate::args::RelayArgs;
use crate::child::Child;
use crate::coordinator::{Endpoint, Fleet, plans};
use crate::machine::Machine;
use crate::output;
use crate::relay::{CONNECTIONS_MAX, Ready};
use crate::report::{RelayReport, Workload};
use crate::worker::TrafficPlan;

pub(crate) fn relay(args: &RelayArgs) -> anyhow::Result<()> {
    super::runtime()?.block_on(run(args))
}

async fn run(args: &RelayArgs) -> anyhow::Result<()> {
    let load = &args.load;
    let machine = Machine::read();
    let folder = if args.durable { Some(DataFolder::new(args.data.as_deref())?) } else { None };
    let server = Server::start(folder.as_ref().map(DataFolder::path), load.connections).await?;
    let mut fleet = Fleet::connect(plans(load, &server.endpoint, |_| TrafficPlan::Relay)).await?;
    let measured = fleet.run("relay", &[server.pid()?], load.warmup(), load.measured()).await?;
    let report = RelayReport::new(&measured, Workload::new(load, machine.cpus), args.durable, machine);
    output::publish(&report, &report.page(&measured), &load.output)
}

/// The relay in a process of its own.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) endpoint: Endpoint,
}

impl Server {
    /// `durable` is the folder for the file that C appends to.
    pub(super) async fn start(durable: Option<&Path>, connections: u32) -> anyhow::Result<Self> {
        ensure!(
            connections <= CONNECTIONS_MAX,
            "the relay takes {CONNECTIONS_MAX} connections at most: more do not fit the open files of one process"
        );
        let mut arguments: Vec<&OsStr> = vec!["serve-relay".as_ref()];
        if let Some(folder) = durable {
            arguments.extend(["--durable".as_ref(), folder.as_os_str()]);
        }
        let mut child = Child::start_self("relay server", &arguments)?;
        let ready: Ready = child.recv().await.context("start the relay")?;
        let addresses = vec![(Ipv4Addr::UNSPECIFIED, ready.port).into()];
        Ok(Self { child, endpoint: Endpoint { addresses, certificate: ready.certificate } })
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.pid()
    }
}
