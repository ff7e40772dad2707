//! The crowd workers of a scenario, all together.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use futures_util::future::try_join_all;
use tokio::time::{interval, sleep_until};

use super::gates::Gates;
use crate::child::Child;
use crate::coordinator::share;
use crate::crowd::{Crowd, CrowdNotice, CrowdOrder, CrowdPlan, Mix, Outcome};
use crate::histogram::Latencies;
use crate::hold::source_addresses_for;
use crate::progress::Standings;
use crate::worker::Verdict;

/// How long messages may take to arrive after the last ack: a heartbeat and what follows from it.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(60);

pub(super) struct Crowds {
    workers: Vec<Child>,
    shares: Vec<u32>,
    connections: u32,
    standings: Vec<Crowd>,
}

/// What became of everything, all workers together.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) crowd: Crowd,
    pub(super) back: Latencies,
    pub(super) synced: Latencies,
    pub(super) away: Latencies,
    pub(super) ack: Latencies,
    pub(super) redirected: u64,
    pub(super) sent: u64,
    pub(super) repeated: u64,
    pub(super) acts: u64,
    pub(super) skipped: u64,
    pub(super) dropped: HashMap<String, u64>,
    pub(super) failed: HashMap<String, u64>,
    pub(super) acts_failed: HashMap<String, u64>,
    pub(super) verdict: Verdict,
}

impl Crowds {
    /// Starts workers, and waits until all of their clients are logged in.
    pub(super) async fn join(
        gates: &Gates,
        connections: u32,
        workers: u32,
        all_at_first: bool,
    ) -> anyhow::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock that stands before 1970")?;
        let pairs = connections.div_ceil(2);
        let count = workers.clamp(1, pairs);
        let mut next = 0;
        let plans: Vec<_> = (0..count)
            .map(|number| {
                let first = next;
                next = (first + 2 * share(pairs, count, number)).min(connections);
                CrowdPlan {
                    gates: gates.addresses().to_vec(),
                    all_at_first,
                    certificate: gates.certificate().to_owned(),
                    token_key: gates.token_key().to_owned(),
                    prefix: format!("crowd{:x}u", since.as_millis()),
                    first,
                    connections: next - first,
                    source_addresses: source_addresses_for(connections),
                }
            })
            .collect();
        eprintln!("join: {connections} clients");
        let shares = plans.iter().map(|plan| plan.connections).collect();
        let workers = try_join_all(plans.into_iter().map(|plan| async {
            let mut worker = Child::start_self("crowd worker", &["crowd-worker".as_ref()])?;
            worker.send(&CrowdOrder::Join(plan)).await?;
            match worker.recv().await.context("log all clients in")? {
                CrowdNotice::Joined => anyhow::Ok(worker),
                other => bail!("a crowd worker said {other:?} instead of having joined"),
            }
        }))
        .await?;
        let standings = vec![Crowd::default(); workers.len()];
        Ok(Self { workers, shares, connections, standings })
    }

    pub(super) fn pids(&self) -> anyhow::Result<Vec<u32>> {
        self.workers.iter().map(Child::pid).collect()
    }

    /// From now on so many acts per second.
    pub(super) async fn traffic(&mut self, per_second: f64, mix: Mix) -> anyhow::Result<()> {
        for (worker, share) in self.workers.iter_mut().zip(&self.shares) {
            let per_second = per_second * f64::from(*share) / f64::from(self.connections);
            worker.send(&CrowdOrder::Traffic { per_second, mix }).await?;
        }
        Ok(())
    }

    /// From now on absences are noted.
    pub(super) async fn watch(&mut self) -> anyhow::Result<()> {
        let watching = self.workers.iter_mut().map(|worker| async {
            worker.send(&CrowdOrder::Watch).await?;
            loop {
                match worker.recv().await? {
                    CrowdNotice::Standing(_) => {}
                    CrowdNotice::Watching => return anyhow::Ok(()),
                    other => bail!("a crowd worker said {other:?} instead of watching"),
                }
            }
        });
        try_join_all(watching).await?;
        // What was said before the watch knows of no absence.
        self.standings.fill(Crowd::default());
        Ok(())
    }

    /// Follows how the crowd stands, until `enough` or the deadline. `each_second` is told, too; its text is
    /// shown. Whether it was enough.
    pub(super) async fn follow(
        &mut self,
        what: &'static str,
        until: Instant,
        enough: impl Fn(&Crowd) -> bool,
        mut each_second: impl FnMut(&Crowd) -> anyhow::Result<String>,
    ) -> anyhow::Result<bool> {
        let mut progress = Standings::start(what, self.connections.into());
        let mut seconds = interval(Duration::from_secs(1));
        loop {
            let crowd = Crowd::sum(&self.standings);
            if enough(&crowd) {
                return Ok(true);
            }
            let heard = self.workers.iter_mut().enumerate().map(|(place, worker)| {
                Box::pin(async move { anyhow::Ok((place, worker.recv::<CrowdNotice>().await?)) })
            });
            tokio::select! {
                (heard, ..) = futures_util::future::select_all(heard) => match heard? {
                    (place, CrowdNotice::Standing(crowd)) => self.standings[place] = crowd,
                    (_, other) => bail!("a crowd worker said {other:?} unasked"),
                },
                () = sleep_until(until.into()) => return Ok(false),
                _ = seconds.tick() => {
                    let rest = each_second(&crowd)?;
                    progress.show(crowd.caught_up, &rest);
                }
            }
        }
    }

    /// Ends the traffic, and compares what was acked with what applications saw.
    pub(super) async fn audit(&mut self) -> anyhow::Result<Outcomes> {
        eprintln!("audit: what was acked against what every application saw");
        let order = CrowdOrder::Audit { patience_ms: ARRIVAL_TIME_MAX.as_millis() as u64 };
        let audits = self.workers.iter_mut().map(|worker| async {
            worker.send(&order).await?;
            loop {
                match worker.recv().await? {
                    CrowdNotice::Standing(_) => {}
                    CrowdNotice::Audited(outcome) => return anyhow::Ok(*outcome),
                    other => bail!("a crowd worker said {other:?} instead of the outcome"),
                }
            }
        });
        let mut outcomes = Outcomes::default();
        let mut crowds = Vec::new();
        for outcome in try_join_all(audits).await? {
            crowds.push(outcome.crowd);
            outcomes.add(&outcome)?;
        }
        outcomes.crowd = Crowd::sum(&crowds);
        Ok(outcomes)
    }
}

impl Outcomes {
    fn add(&mut self, other: &Outcome) -> anyhow::Result<()> {
        self.back.merge(&other.back)?;
        self.synced.merge(&other.synced)?;
        self.away.merge(&other.away)?;
        self.ack.merge(&other.ack)?;
        self.redirected += other.redirected;
        self.sent += other.sent;
        self.repeated += other.repeated;
        self.acts += other.acts;
        self.skipped += other.skipped;
        self.verdict.add(&other.verdict);
        for (into, from) in [
            (&mut self.dropped, &other.dropped),
            (&mut self.failed, &other.failed),
            (&mut self.acts_failed, &other.acts_failed),
        ] {
            for (reason, count) in from {
                *into.entry(reason.clone()).or_default() += count;
            }
        }
        Ok(())
    }
}
