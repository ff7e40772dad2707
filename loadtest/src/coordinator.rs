//! Starts servers and load workers, lets the workers run, and gathers what they and the kernel say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::future::{try_join_all, try_join3};
use tokio::time::{interval, sleep_until};

use crate::args::Load;
use crate::child::Child;
use crate::histogram::Latencies;
use crate::kernel;
use crate::machine::cpus;
use crate::progress::Progress;
use crate::worker::{Notice, Order, Plan, Slice, TrafficPlan, Verdict, Window};

/// From an order to the start of its run: time for it to reach every worker.
const LEAD: Duration = Duration::from_millis(100);

/// What one run measured, all workers together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
    pub(crate) refused: u64,
    pub(crate) ack: Latencies,
    pub(crate) deliver: Latencies,
    pub(crate) server_cpu: Duration,
    pub(crate) client_cpu: Duration,
    pub(crate) time: Duration,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.answered as f64 / self.time.as_secs_f64()
    }

    pub(crate) fn server_cpu_us_per_message(&self) -> f64 {
        us_per_message(self.server_cpu, self.answered)
    }

    pub(crate) fn client_cpu_us_per_message(&self) -> f64 {
        us_per_message(self.client_cpu, self.answered)
    }

    fn add(&mut self, slice: &Slice) -> anyhow::Result<()> {
        self.answered += slice.answered;
        self.unanswered += slice.unanswered;
        self.refused += slice.refused;
        self.ack.merge(&slice.ack)?;
        self.deliver.merge(&slice.deliver)
    }

    /// Adds another run of the same load.
    pub(crate) fn add_run(&mut self, run: &Self) {
        self.answered += run.answered;
        self.unanswered += run.unanswered;
        self.refused += run.refused;
        self.ack.add(&run.ack);
        self.deliver.add(&run.deliver);
        self.server_cpu += run.server_cpu;
        self.client_cpu += run.client_cpu;
        self.time += run.time;
    }
}

/// 0 when there was no message: JSON has no number for "none of them".
fn us_per_message(cpu: Duration, messages: u64) -> f64 {
    if messages == 0 { 0.0 } else { cpu.as_secs_f64() * 1e6 / messages as f64 }
}

/// Load workers whose connections are built.
#[derive(Debug)]
pub(crate) struct Fleet {
    workers: Vec<Worker>,
    runs: u32,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    answered: u64,
}

impl Fleet {
    /// Starts a worker for each plan and lets it build its connections.
    pub(crate) async fn connect(plans: Vec<Plan>) -> anyhow::Result<Self> {
        Ok(Self { workers: try_join_all(plans.into_iter().map(Worker::connect)).await?, runs: 0 })
    }

    /// Puts load on the server for a while.
    pub(crate) async fn run(
        &mut self,
        what: &str,
        server_pids: &[u32],
        warmup: Duration,
        measured: Duration,
    ) -> anyhow::Result<Measured> {
        self.runs += 1;
        let window = Window::after(LEAD, self.runs, warmup, measured);
        let progress = std::cell::RefCell::new(Progress::start(what, warmup + measured));
        let pids = self.workers.iter().map(|worker| worker.child.pid()).collect::<anyhow::Result<Vec<_>>>()?;
        let answered = std::cell::RefCell::new(vec![0; self.workers.len()]);
        let runs = self.workers.iter_mut().enumerate().map(|(place, worker)| {
            let answered = &answered;
            worker.run(window, move |sum| answered.borrow_mut()[place] = sum)
        });
        let shown = async {
            let mut seconds = interval(Duration::from_secs(1));
            let end = window.start() + warmup + measured;
            while Instant::now() < end {
                tokio::select! {
                    _ = seconds.tick() => progress.borrow_mut().tick(answered.borrow().iter().sum()),
                    () = sleep_until(end.into()) => {}
                }
            }
            Ok(())
        };
        let (slices, (), cpu) = try_join3(try_join_all(runs), shown, cpu_used(window, server_pids, &pids)).await?;
        let mut sum = Measured { time: measured, server_cpu: cpu.0, client_cpu: cpu.1, ..Measured::default() };
        slices.iter().try_for_each(|slice| sum.add(slice))?;
        Ok(sum)
    }

    /// Compares what was acked with what is stored. The workers are done after that.
    pub(crate) async fn verify(mut self) -> anyhow::Result<Verdict> {
        let mut sum = Verdict::default();
        for verdict in try_join_all(self.workers.iter_mut().map(Worker::verify)).await? {
            sum.add(&verdict);
        }
        Ok(sum)
    }
}

/// Shares the load among workers. `traffic` gets the numbers of the connections that a worker builds.
/// Connections 2n and 2n + 1 come to the same worker, because they may be two users who talk.
pub(crate) fn plans(load: &Load, server: &Endpoint, mut traffic: impl FnMut(Range<u32>) -> TrafficPlan) -> Vec<Plan> {
    let pairs = load.connections.div_ceil(2);
    let count = load.workers(cpus());
    let mut next = 0;
    (0..count)
        .map(|number| {
            let first = next;
            next = (first + 2 * share(pairs, count, number)).min(load.connections);
            let connections = next - first;
            Plan {
                address: server.address_for(number),
                certificate: server.certificate.clone(),
                connections,
                in_flight: load.in_flight(),
                rate: load.rate.map(|rate| f64::from(rate) * f64::from(connections) / f64::from(load.connections)),
                traffic: traffic(first..next),
            }
        })
        .collect()
}

/// Where clients of a server connect.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) addresses: Vec<SocketAddr>,
    /// The DER of the certificate to trust, in base64.
    pub(crate) certificate: String,
}

impl Endpoint {
    /// Workers take turns at the addresses. A server that listens everywhere on this machine gets an
    /// address of its own for each worker, so that no pair of addresses runs out of ports.
    fn address_for(&self, worker: u32) -> SocketAddr {
        let mut address = self.addresses[worker as usize % self.addresses.len()];
        if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
            address.set_ip(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + worker).into());
        }
        address
    }
}

/// CPU time of the server and of the workers between the two ends of the measured time.
async fn cpu_used(window: Window, servers: &[u32], workers: &[u32]) -> anyhow::Result<(Duration, Duration)> {
    let read = || {
        let sum = |pids: &[u32]| pids.iter().map(|&pid| kernel::cpu_time(pid)).sum::<anyhow::Result<Duration>>();
        anyhow::Ok((sum(servers)?, sum(workers)?))
    };
    let from = window.start() + window.warmup();
    sleep_until(from.into()).await;
    let before = read()?;
    sleep_until((from + window.measured()).into()).await;
    let after = read()?;
    Ok((after.0 - before.0, after.1 - before.1))
}

impl Worker {
    async fn connect(plan: Plan) -> anyhow::Result<Self> {
        let mut child = Child::start_self("load worker", &["load-worker".as_ref()])?;
        child.send(&Order::Connect(plan)).await?;
        match child.recv().await.context("build connections")? {
            Notice::Connected => Ok(Self { child, answered: 0 }),
            other => bail!("a load worker said {other:?} instead of being connected"),
        }
    }

    async fn verify(&mut self) -> anyhow::Result<Verdict> {
        self.child.send(&Order::Verify).await?;
        loop {
            match self.child.recv().await? {
                Notice::Progress { .. } => {}
                Notice::Verified(verdict) => return Ok(verdict),
                other => bail!("a load worker said {other:?} instead of a verdict"),
            }
        }
    }

    /// `on_progress` gets the answers since the run began.
    async fn run(&mut self, window: Window, mut on_progress: impl FnMut(u64)) -> anyhow::Result<Slice> {
        self.child.send(&Order::Run(window)).await?;
        let answered_before = self.answered;
        loop {
            match self.child.recv().await? {
                Notice::Progress { answered } => {
                    self.answered = answered;
                    on_progress(answered - answered_before);
                }
                Notice::Slice(slice) => return Ok(slice),
                other => bail!("a load worker said {other:?} in the middle of a run"),
            }
        }
    }
}

/// Part number `number` of `whole` in `parts` nearly equal parts.
pub(crate) fn share(whole: u32, parts: u32, number: u32) -> u32 {
    whole / parts + u32::from(number < whole % parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::OutputArgs;

    #[test]
    fn shares_are_even_and_add_up() {
        for (whole, parts) in [(1000, 2), (1001, 2), (7, 7), (45_001, 4)] {
            let shares: Vec<_> = (0..parts).map(|number| share(whole, parts, number)).collect();
            assert_eq!(shares.iter().sum::<u32>(), whole);
            assert!(shares.iter().max().unwrap_or(&0) - shares.iter().min().unwrap_or(&0) <= 1, "{shares:?}");
        }
    }

    #[test]
    fn pairs_stay_together_and_every_connection_is_built_once() {
        let server = Endpoint { addresses: vec![([0, 0, 0, 0], 7).into()], certificate: String::new() };
        for (connections, workers) in [(1, 2), (7, 2), (1000, 3), (1001, 4)] {
            let load = Load {
                connections,
                in_flight: None,
                rate: Some(100),
                seconds: 1,
                warmup: 0,
                workers: Some(workers),
                output: OutputArgs::default(),
            };
            let mut ranges = Vec::new();
            let plans = plans(&load, &server, |range| {
                ranges.push(range);
                TrafficPlan::Relay
            });
            assert!(ranges.iter().all(|range| range.start % 2 == 0 && !range.is_empty()), "{ranges:?}");
            assert!(ranges.windows(2).all(|two| two[0].end == two[1].start), "{ranges:?}");
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, connections));
            let rate: f64 = plans.iter().filter_map(|plan| plan.rate).sum();
            assert!((rate - 100.0).abs() < 1e-9, "{rate}");
            let mut hosts: Vec<_> = plans.iter().map(|plan| plan.address).collect();
            hosts.dedup();
            assert_eq!(hosts.len(), plans.len(), "each worker has an address of its own");
        }
    }

    #[test]
    fn no_messages_cost_nothing_that_json_cannot_say() {
        assert_eq!(us_per_message(Duration::from_secs(1), 0), 0.0);
        assert_eq!(us_per_message(Duration::from_secs(1), 1000), 1000.0);
    }
}
