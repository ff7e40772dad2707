//! Starts servers and load workers, lets the workers run, and gathers what they and the kernel say.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::future::{try_join_all, try_join3};
use tokio::time::{interval, sleep_until};

use crate::args::Load;
use crate::child::Child;
use crate::cpu;
use crate::histogram::Latencies;
use crate::machine::cpus;
use crate::progress::Progress;
use crate::worker::{Notice, Order, Plan, Slice, Window, loopback_of};

/// From an order to the start of its run: time for it to reach every worker.
const LEAD: Duration = Duration::from_millis(100);

/// What one run measured, all workers together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
    pub(crate) ack: Latencies,
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
        self.ack.merge(&slice.ack)
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
    /// Starts the workers and lets each build its part of the connections.
    pub(crate) async fn connect(load: &Load, port: u16, certificate: &str) -> anyhow::Result<Self> {
        let count = load.workers(cpus());
        let connecting = (0..count).map(|number| {
            let connections = share(load.connections, count, number);
            let plan = Plan {
                host: loopback_of(number),
                port,
                certificate: certificate.to_owned(),
                connections,
                in_flight: load.in_flight(),
                rate: load.rate.map(|rate| f64::from(rate) * f64::from(connections) / f64::from(load.connections)),
            };
            Worker::connect(plan)
        });
        Ok(Self { workers: try_join_all(connecting).await?, runs: 0 })
    }

    /// Puts load on the server for a while.
    pub(crate) async fn run(
        &mut self,
        what: &str,
        server_pid: u32,
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
        let (slices, (), cpu) = try_join3(try_join_all(runs), shown, cpu_used(window, server_pid, &pids)).await?;
        let mut sum = Measured { time: measured, server_cpu: cpu.0, client_cpu: cpu.1, ..Measured::default() };
        slices.iter().try_for_each(|slice| sum.add(slice))?;
        Ok(sum)
    }
}

/// CPU time of the server and of the workers between the two ends of the measured time.
async fn cpu_used(window: Window, server: u32, workers: &[u32]) -> anyhow::Result<(Duration, Duration)> {
    let read = || {
        let workers = workers.iter().map(|&pid| cpu::of_process(pid)).sum::<anyhow::Result<Duration>>()?;
        anyhow::Ok((cpu::of_process(server)?, workers))
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
        let mut child = Child::start("load worker", &["load-worker"])?;
        child.send(&Order::Connect(plan)).await?;
        match child.recv().await.context("build connections")? {
            Notice::Connected => Ok(Self { child, answered: 0 }),
            other => bail!("a load worker said {other:?} instead of being connected"),
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
                Notice::Connected => bail!("a load worker is connected twice"),
            }
        }
    }
}

/// Part number `number` of `whole` in `parts` nearly equal parts.
fn share(whole: u32, parts: u32, number: u32) -> u32 {
    whole / parts + u32::from(number < whole % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_add_up() {
        for (whole, parts) in [(1000, 2), (1001, 2), (7, 7), (45_001, 4)] {
            let shares: Vec<_> = (0..parts).map(|number| share(whole, parts, number)).collect();
            assert_eq!(shares.iter().sum::<u32>(), whole);
            assert!(shares.iter().max().unwrap_or(&0) - shares.iter().min().unwrap_or(&0) <= 1, "{shares:?}");
        }
    }

    #[test]
    fn no_messages_cost_nothing_that_json_cannot_say() {
        assert_eq!(us_per_message(Duration::from_secs(1), 0), 0.0);
        assert_eq!(us_per_message(Duration::from_secs(1), 1000), 1000.0);
    }
}
