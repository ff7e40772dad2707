//! `send`: durable messages through the real tiers, measured against the bare relay in the same run.
//! Slices of both alternate, so that a noisy neighbour hits both, and at the end every timeline is
//! pulled and compared with the acks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use im_auth::Signer;
use im_proto::UserId;

use super::DataFolder;
use super::relay::Server;
use super::tiers::Tiers;
use crate::args::SendArgs;
use crate::coordinator::{Fleet, Measured, plans};
use crate::machine::Machine;
use crate::output;
use crate::report::{SendReport, Workload};
use crate::worker::{Account, Receivers, SendPlan, TrafficPlan};

/// Longer than any run. Only a gate's verification of it is measured, not its renewal.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

pub(crate) fn send(args: &SendArgs) -> anyhow::Result<()> {
    super::runtime()?.block_on(run(args))
}

async fn run(args: &SendArgs) -> anyhow::Result<()> {
    let load = &args.load;
    ensure!(args.offline || load.connections.is_multiple_of(2), "an even number of connections makes pairs");
    let machine = Machine::read();
    let folder = if args.durable_relay { Some(DataFolder::new(None)?) } else { None };
    let relay = Server::start(folder.as_ref().map(DataFolder::path), load.connections).await?;
    let mut relay_fleet = Fleet::connect(plans(load, &relay.endpoint, |_| TrafficPlan::Relay)).await?;

    let tiers = Tiers::find(&args.tiers).await?;
    let users = Users::new(tiers.signer())?;
    let mut send_fleet = Fleet::connect(plans(load, tiers.endpoint(), |numbers| {
        TrafficPlan::Send(SendPlan {
            senders: numbers.clone().map(|number| users.account("s", number)).collect(),
            receivers: if args.offline {
                Receivers::Offline(numbers.map(|number| users.account("r", number)).collect())
            } else {
                Receivers::Online
            },
            payload_len: args.payload,
        })
    }))
    .await?;

    let (mut relayed, mut sent) = (Measured::default(), Measured::default());
    let slice = load.measured() / args.rounds;
    for round in 1..=args.rounds {
        let named = |what| format!("{what} {round}/{}", args.rounds);
        relayed.add_run(&relay_fleet.run(&named("relay"), &[relay.pid()?], load.warmup(), slice).await?);
        sent.add_run(&send_fleet.run(&named("send"), tiers.pids(), load.warmup(), slice).await?);
    }
    eprintln!("verify: pulling every timeline");
    let verdict = send_fleet.verify().await?;
    tiers.stop().await?;

    let workload = Workload::new(load, machine.cpus);
    let report = SendReport::new(&sent, &relayed, verdict, args, workload, machine);
    output::publish(&report, &report.page(&sent, &relayed), &load.output)?;
    ensure!(verdict.is_right(), "what is stored is not what was acked: {verdict:?}");
    Ok(())
}

/// Users of this run alone, so that their timelines begin empty on a server that has others.
struct Users<'a> {
    signer: &'a Signer,
    prefix: String,
    now: SystemTime,
}

impl<'a> Users<'a> {
    fn new(signer: &'a Signer) -> anyhow::Result<Self> {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).context("a clock that stands before 1970")?;
        Ok(Self { signer, prefix: format!("load{:x}", since.as_millis()), now })
    }

    fn account(&self, role: &str, number: u32) -> Account {
        let user = UserId::new(format!("{}{role}{number}", self.prefix)).expect("short, and letters and digits only");
        let issued = self.signer.issue(user.clone(), "", 0, self.now, TOKEN_LIFETIME);
        Account { user: user.to_string(), token: issued.token }
    }
}
