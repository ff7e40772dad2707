//! `storm`: everybody is on one gate, and it goes: by kill -9, or by a drain. How soon are all logged in
//! elsewhere and in step again, and what happened to the messages that they sent all the while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;

use super::crowds::{Crowds, Outcomes};
use super::gates::Gates;
use crate::args::StormArgs;
use crate::crowd::{Crowd, Mix};
use crate::histogram::{Latencies, Quantiles};
use crate::machine::Machine;
use crate::output::{self, Page, Series};
use crate::worker::Verdict;

/// The gate that goes.
const VICTIM: &str = "gate-1";

pub(crate) fn storm(args: &StormArgs) -> anyhow::Result<()> {
    super::runtime()?.block_on(run(args))
}

async fn run(args: &StormArgs) -> anyhow::Result<()> {
    let machine = Machine::read();
    let mut gates = Gates::start(&args.cluster, args.gates, &[]).await?;
    let workers = args.workers.unwrap_or(machine.cpus);
    let mut crowds = Crowds::join(&gates, args.connections, workers, true).await?;

    crowds.traffic(args.rate.into(), Mix::Messages).await?;
    let calm = Duration::from_secs(args.seconds.into());
    let all = u64::from(args.connections);
    crowds.follow("calm", Instant::now() + calm, |_| false, |crowd| Ok(describe(crowd))).await?;
    crowds.watch().await?;
    let began = Instant::now();
    let mut returned = vec![(0.0, 0.0)];
    if args.drain {
        gates.cluster()?.terminate(VICTIM).await?;
    } else {
        gates.cluster()?.kill(VICTIM).await?;
    }
    let deadline = began + Duration::from_secs(args.patience.into());
    let all_back = crowds
        .follow(
            "storm",
            deadline,
            |crowd| crowd.returned >= all,
            |crowd| {
                returned.push((began.elapsed().as_secs_f64(), crowd.returned as f64));
                Ok(describe(crowd))
            },
        )
        .await?;
    returned.push((began.elapsed().as_secs_f64(), if all_back { all as f64 } else { 0.0 }));
    let exit = if args.drain {
        let code = gates.cluster()?.ended(VICTIM, deadline.saturating_duration_since(Instant::now())).await?;
        Some((code, began.elapsed()))
    } else {
        None
    };
    crowds.follow("after", Instant::now() + calm, |_| false, |crowd| Ok(describe(crowd))).await?;
    let outcomes = crowds.audit().await?;
    gates.check_alive()?;
    drop(crowds);
    drop(gates);

    let report = StormReport::new(args, &outcomes, exit, machine);
    output::publish(&report, &report.page(&outcomes, returned), &args.output)?;
    ensure!(report.returned == all, "{} of {all} clients are back", report.returned);
    ensure!(report.verdict.is_right(), "what applications saw is not what was acked: {:?}", report.verdict);
    ensure!(report.failed == 0, "{} sends failed", report.failed);
    if args.drain {
        ensure!(report.gate_exit_code == Some(0), "the gate ended with {:?}", report.gate_exit_code);
    }
    Ok(())
}

fn describe(crowd: &Crowd) -> String {
    let Crowd { online, left, returned, acked, failed, .. } = crowd;
    format!("online {online}, left {left}, back {returned}, acked {acked}, failed {failed}")
}

/// Times of those that came back, and of the last of them.
#[derive(Clone, Copy, Debug, Serialize)]
struct Times {
    #[serde(flatten)]
    quantiles: Quantiles,
    /// Until all were.
    all: f64,
}

impl Times {
    fn of(latencies: &Latencies) -> Option<Self> {
        (!latencies.is_empty()).then(|| Self { quantiles: latencies.quantiles(), all: latencies.max_ms() })
    }

    fn describe(times: Option<Self>) -> String {
        times.map_or_else(
            || "none".to_owned(),
            |t| format!("p50 {:.0} · p99 {:.0} · all {:.0} ms", t.quantiles.p50, t.quantiles.p99, t.all),
        )
    }
}

#[derive(Clone, Debug, Serialize)]
struct StormReport {
    scenario: &'static str,
    mode: &'static str,
    connections: u32,
    /// Clients that lost their connection, or were asked to leave it.
    left: u64,
    /// Of those, logged in elsewhere and caught up.
    returned: u64,
    /// From the moment at which the gate was told or killed to the login elsewhere.
    back_ms: Option<Times>,
    /// To having caught up.
    synced_ms: Option<Times>,
    /// Of each client by itself: from leaving to the login elsewhere.
    away_ms: Option<Times>,
    /// Clients that left because they were asked to, and kept their connection until then.
    redirected: u64,
    /// Connections that were lost all the while, by reason.
    dropped: BTreeMap<String, u64>,
    sent: u64,
    acked: u64,
    /// Sends of which the application was told that they failed.
    failed: u64,
    failed_reasons: BTreeMap<String, u64>,
    /// Sends that had to be made again and had arrived before.
    repeated: u64,
    skipped: u64,
    /// From the due time of a send to its ack, over as many connections as that took.
    ack_ms: Option<Times>,
    #[serde(flatten)]
    verdict: Verdict,
    gate_exit_code: Option<i32>,
    gate_exit_seconds: Option<f64>,
    gates: u32,
    rate: u32,
    machine: Machine,
}

impl StormReport {
    fn new(args: &StormArgs, outcomes: &Outcomes, exit: Option<(Option<i32>, Duration)>, machine: Machine) -> Self {
        Self {
            scenario: "storm",
            mode: if args.drain { "drain" } else { "kill" },
            connections: args.connections,
            left: outcomes.crowd.left,
            returned: outcomes.crowd.returned,
            back_ms: Times::of(&outcomes.back),
            synced_ms: Times::of(&outcomes.synced),
            away_ms: Times::of(&outcomes.away),
            redirected: outcomes.redirected,
            dropped: outcomes.dropped.clone().into_iter().collect(),
            sent: outcomes.sent,
            acked: outcomes.crowd.acked,
            failed: outcomes.failed.values().sum(),
            failed_reasons: outcomes.failed.clone().into_iter().collect(),
            repeated: outcomes.repeated,
            skipped: outcomes.skipped,
            ack_ms: Times::of(&outcomes.ack),
            verdict: outcomes.verdict,
            gate_exit_code: exit.and_then(|(code, _)| code),
            gate_exit_seconds: exit.map(|(_, took)| took.as_secs_f64()),
            gates: args.gates,
            rate: args.rate,
            machine,
        }
    }

    fn page(&self, outcomes: &Outcomes, returned: Vec<(f64, f64)>) -> Page {
        let what = if self.mode == "drain" { "is drained" } else { "is killed" };
        let mut page = Page::new(format!("storm: a gate with {} clients {what}", self.connections));
        page.fact("left, back and synced", format!("{}, {}", self.left, self.returned));
        page.fact("logged in elsewhere after", Times::describe(self.back_ms));
        page.fact("synced after", Times::describe(self.synced_ms));
        page.fact("each away for", Times::describe(self.away_ms));
        page.fact(
            "asked to leave, lost their connection",
            format!("{}, {}", self.redirected, self.dropped.values().sum::<u64>()),
        );
        for (reason, count) in self.dropped.iter().chain(&self.failed_reasons) {
            page.fact("  reason", format!("{count} × {reason}"));
        }
        page.fact(
            "sends: sent, acked, failed",
            format!("{}, {}, {}   (goal: none fails)", self.sent, self.acked, self.failed),
        );
        page.fact("made again, left out", format!("{}, {}", self.repeated, self.skipped));
        page.fact("ack", Times::describe(self.ack_ms));
        self.verdict.describe(&mut page);
        if let Some(seconds) = self.gate_exit_seconds {
            page.fact("the gate's end", format!("code {:?} after {seconds:.1} s", self.gate_exit_code));
        }
        page.fact("gates, sends per second", format!("{}, {}", self.gates, self.rate));
        page.machine(&self.machine);
        page.lines(
            "clients back over time",
            "seconds",
            "clients",
            vec![Series { name: "back".into(), points: returned }],
        );
        page.latency_curve(
            "time until a client is back",
            &[
                ("logged in", &outcomes.back),
                ("synced", &outcomes.synced),
                ("away", &outcomes.away),
                ("ack of a send", &outcomes.ack),
            ],
        );
        page
    }
}
