//! `soak`: what people do, for a long while. At the end every application's view is compared with what
//! was acked, and every process's memory, files and CPU over time are looked at for growth.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;

use super::crowds::{Crowds, Outcomes};
use super::gates::Gates;
use crate::args::SoakArgs;
use crate::crowd::Mix;
use crate::growth::{Growth, Trend};
use crate::histogram::Quantiles;
use crate::kernel;
use crate::machine::Machine;
use crate::output::{self, Page, Series, Table, number};
use crate::worker::Verdict;

/// Samples of a whole run at most; a longer one is looked at less often.
const SAMPLES_MAX: f64 = 2_000.0;

pub(crate) fn soak(args: &SoakArgs) -> anyhow::Result<()> {
    super::runtime()?.block_on(run(args))
}

async fn run(args: &SoakArgs) -> anyhow::Result<()> {
    let machine = Machine::read();
    let mut gates = Gates::start(&args.cluster, args.gates, &[]).await?;
    let workers = args.workers.unwrap_or(machine.cpus);
    let mut crowds = Crowds::join(&gates, args.connections, workers, false).await?;

    let mut watched: Vec<_> =
        gates.cluster()?.pids()?.into_iter().map(|(_, name, pid)| Watched::new(name, pid, true)).collect();
    for (number, pid) in crowds.pids()?.into_iter().enumerate() {
        watched.push(Watched::new(format!("worker-{}", number + 1), pid, false));
    }
    let length = Duration::from_secs_f64(args.minutes * 60.0);
    let every = Duration::from_secs_f64((length.as_secs_f64() / SAMPLES_MAX).max(1.0));
    crowds.traffic(args.rate.into(), Mix::People).await?;
    let start = Instant::now();
    let mut next = start;
    crowds
        .follow(
            "soak",
            start + length,
            |_| false,
            |crowd| {
                if Instant::now() >= next {
                    next += every;
                    watched.iter_mut().try_for_each(|process| process.sample(start.elapsed()))?;
                }
                let left = length.saturating_sub(start.elapsed()).as_secs();
                Ok(format!("acked {}, failed {}, {left} s left", crowd.acked, crowd.failed))
            },
        )
        .await?;
    let outcomes = crowds.audit().await?;
    gates.check_alive()?;
    drop(crowds);
    drop(gates);

    let report = SoakReport::new(args, &outcomes, &watched, machine);
    output::publish(&report, &report.page(&outcomes, &watched), &args.output)?;
    ensure!(report.verdict.is_right(), "what applications saw is not what was acked: {:?}", report.verdict);
    ensure!(report.failed == 0, "{} sends failed", report.failed);
    Ok(())
}

/// A process over time.
#[derive(Debug)]
struct Watched {
    name: String,
    pid: u32,
    is_server: bool,
    /// Seconds, and bytes of its own.
    memory: Vec<(f64, f64)>,
    /// Seconds, and open files.
    files: Vec<(f64, f64)>,
    /// Seconds, and percent of one CPU since the sample before.
    cpu: Vec<(f64, f64)>,
    cpu_before: Option<(f64, Duration)>,
}

impl Watched {
    fn new(name: String, pid: u32, is_server: bool) -> Self {
        Self { name, pid, is_server, memory: Vec::new(), files: Vec::new(), cpu: Vec::new(), cpu_before: None }
    }

    fn sample(&mut self, at: Duration) -> anyhow::Result<()> {
        let at = at.as_secs_f64();
        self.memory.push((at, kernel::anonymous_bytes(self.pid)? as f64));
        self.files.push((at, kernel::open_files(self.pid)? as f64));
        let cpu = kernel::cpu_time(self.pid)?;
        if let Some((before_at, before)) = self.cpu_before.filter(|(before_at, _)| at > *before_at) {
            self.cpu.push((at, (cpu - before).as_secs_f64() / (at - before_at) * 100.0));
        }
        self.cpu_before = Some((at, cpu));
        Ok(())
    }

    fn report(&self) -> ProcessReport {
        let last = |points: &[(f64, f64)]| points.last().map_or(0.0, |point| point.1);
        let cpu = self.cpu.iter().map(|point| point.1).sum::<f64>() / self.cpu.len().max(1) as f64;
        ProcessReport {
            memory_bytes: last(&self.memory),
            memory: Growth::of(&self.memory, Growth::MEMORY_SLACK),
            open_files: last(&self.files),
            files: Growth::of(&self.files, Growth::FILES_SLACK),
            cpu_percent: cpu,
            is_server: self.is_server,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct ProcessReport {
    memory_bytes: f64,
    memory: Growth,
    open_files: f64,
    files: Growth,
    cpu_percent: f64,
    is_server: bool,
}

#[derive(Clone, Debug, Serialize)]
struct SoakReport {
    scenario: &'static str,
    connections: u32,
    minutes: f64,
    rate: u32,
    sent: u64,
    acked: u64,
    failed: u64,
    failed_reasons: BTreeMap<String, u64>,
    repeated: u64,
    /// Acts other than sends.
    acts: u64,
    acts_failed: BTreeMap<String, u64>,
    skipped: u64,
    dropped: BTreeMap<String, u64>,
    ack_ms: Option<Quantiles>,
    #[serde(flatten)]
    verdict: Verdict,
    /// Whether anything of any server grew in the second half of the run.
    growth: Trend,
    processes: BTreeMap<String, ProcessReport>,
    gates: u32,
    machine: Machine,
}

impl SoakReport {
    fn new(args: &SoakArgs, outcomes: &Outcomes, watched: &[Watched], machine: Machine) -> Self {
        let processes: BTreeMap<_, _> =
            watched.iter().map(|process| (process.name.clone(), process.report())).collect();
        let servers = || processes.values().filter(|process| process.is_server);
        Self {
            scenario: "soak",
            connections: args.connections,
            minutes: args.minutes,
            rate: args.rate,
            sent: outcomes.sent,
            acked: outcomes.crowd.acked,
            failed: outcomes.failed.values().sum(),
            failed_reasons: outcomes.failed.clone().into_iter().collect(),
            repeated: outcomes.repeated,
            acts: outcomes.acts,
            acts_failed: outcomes.acts_failed.clone().into_iter().collect(),
            skipped: outcomes.skipped,
            dropped: outcomes.dropped.clone().into_iter().collect(),
            ack_ms: (!outcomes.ack.is_empty()).then(|| outcomes.ack.quantiles()),
            verdict: outcomes.verdict,
            growth: Trend::worst(servers().flat_map(|process| [process.memory.trend, process.files.trend])),
            processes,
            gates: args.gates,
            machine,
        }
    }

    fn page(&self, outcomes: &Outcomes, watched: &[Watched]) -> Page {
        let mut page = Page::new(format!("soak: {} clients for {} minutes", self.connections, self.minutes));
        self.verdict.describe(&mut page);
        page.fact("growth of the servers", format!("{:?}", self.growth).to_lowercase());
        page.fact(
            "sends: sent, acked, failed, made again",
            format!("{}, {}, {}, {}", self.sent, self.acked, self.failed, self.repeated),
        );
        page.fact("other acts: done, failed", format!("{}, {}", self.acts, self.acts_failed.values().sum::<u64>()));
        for (reason, count) in self.failed_reasons.iter().chain(&self.acts_failed).chain(&self.dropped) {
            page.fact("  reason", format!("{count} × {reason}"));
        }
        page.quantiles("ack", self.ack_ms);
        page.fact("workload", format!("{} acts/s, {} gates", self.rate, self.gates));
        page.machine(&self.machine);
        const MIB: f64 = 1_048_576.0;
        let rows = self.processes.iter().map(|(name, process)| {
            vec![
                name.clone(),
                format!("{:.1}", process.memory_bytes / MIB),
                format!("{:+.1}", process.memory.per_hour / MIB),
                format!("{:?}", process.memory.trend).to_lowercase(),
                number(process.open_files),
                format!("{:?}", process.files.trend).to_lowercase(),
                format!("{:.1}", process.cpu_percent),
            ]
        });
        let head = ["process", "MiB", "MiB/h", "memory", "files", "files", "CPU %"].map(String::from).to_vec();
        page.tables.push(Table { title: "processes".into(), head, rows: rows.collect() });
        let lines = |points: &dyn Fn(&Watched) -> Vec<(f64, f64)>| {
            watched
                .iter()
                .map(|process| Series { name: process.name.clone(), points: points(process) })
                .collect::<Vec<_>>()
        };
        let memory = lines(&|process| process.memory.iter().map(|(at, bytes)| (*at, bytes / MIB)).collect());
        page.lines("memory over time", "seconds", "MiB", memory);
        page.lines("open files over time", "seconds", "files", lines(&|process| process.files.clone()));
        page.lines("CPU over time", "seconds", "% of one CPU", lines(&|process| process.cpu.clone()));
        page.latency_curve("latency", &[("ack", &outcomes.ack)]);
        page
    }
}
