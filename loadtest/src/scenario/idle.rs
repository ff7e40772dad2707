//! `idle`: how many logged-in connections can be held, what each costs in memory on every side, what
//! a login costs, and whether all of them still answer at the end.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::time::{interval, sleep_until};

use super::DataFolder;
use super::gates::Gates;
use crate::args::IdleArgs;
use crate::child::Child;
use crate::coordinator::share;
use crate::histogram::{Latencies, Quantiles};
use crate::hold::{AskedAll, HoldNotice, HoldOrder, HoldPlan, Standing, source_addresses_for};
use crate::kernel::{self, KernelMemory, StateCounts, Table};
use crate::machine::{Machine, open_files_max};
use crate::output::{self, Page, Series};
use crate::progress::Standings;

/// Below this the ramp ends: a machine without memory kills somebody, and then nothing is measured.
const MEMORY_FLOOR: u64 = 1 << 30;
/// Files that a process needs beside its connections.
const SPARE_FILES: u64 = 300;
/// Questions per second at the end: far below what gates answer, so that an answer's time tells
/// about the connection and not about a queue.
const QUESTIONS_PER_SECOND: u32 = 5_000;
/// How long the last answer is waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

pub(crate) fn idle(args: &IdleArgs) -> anyhow::Result<()> {
    super::runtime()?.block_on(run(args))
}

async fn run(args: &IdleArgs) -> anyhow::Result<()> {
    let machine = Machine::read();
    let (gate_count, worker_count) = (args.gates(), args.workers(machine.cpus));
    if args.given.gate.is_empty() {
        check_files("gate", args.connections.div_ceil(gate_count))?;
    }
    check_files("worker", args.connections.div_ceil(worker_count))?;
    let folder = DataFolder::new(args.cluster.data.as_deref())?;
    let mut settings = args.cluster.gate_setting.clone();
    settings.push(format!("heartbeat = \"{}s\"", args.heartbeat));
    settings.push(format!("keep_alive = \"{}s\"", (args.heartbeat * 3).max(180)));
    let mut gates = Gates::find(&args.given, &args.cluster, gate_count as usize, folder.path(), settings).await?;

    let mut workers = start_workers(worker_count)?;
    let worker_pids = workers.iter().map(Child::pid).collect::<anyhow::Result<Vec<_>>>()?;
    let before = Costs::read(&gates, &worker_pids)?;
    let mut samples = vec![Sample::take(Instant::now(), 0, &gates, &worker_pids)?];
    let start = Instant::now();
    let plans = plans(args, &gates, worker_count)?;
    let (ramped, ramp_time, stopped_by) = {
        let mut seen = Watch { args, gates: &gates, pids: &worker_pids, start, samples: &mut samples };
        seen.ramp(&mut workers, plans).await?
    };
    let held = ramped.iter().map(|standing| standing.held).sum::<u64>();
    let mut login = Latencies::default();
    ramped.iter().try_for_each(|standing| login.merge(&standing.login))?;

    let hold_end = Instant::now() + Duration::from_secs(args.seconds.into());
    let idle_from = Sample::take(start, held, &gates, &worker_pids)?;
    {
        let mut seen = Watch { args, gates: &gates, pids: &worker_pids, start, samples: &mut samples };
        seen.hold(&mut workers, hold_end).await?;
    }
    let after = Costs::read(&gates, &worker_pids)?;
    let idle_to = Sample::take(start, held, &gates, &worker_pids)?;
    let read_began = Instant::now();
    let table = Table::read(&gates.ports())?;
    let table_read = read_began.elapsed();

    let (asked, standings) = ask(&mut workers, held).await?;
    gates.check_alive()?;
    let mut answer = Latencies::default();
    asked.iter().try_for_each(|asked| answer.merge(&asked.latency))?;
    let answering = asked.iter().map(|asked| asked.answered).sum();
    let at_end = Standing::sum(&standings);

    let login_window = login_window(&samples, args.heartbeat);
    let per = |bytes: i64| bytes as f64 / held.max(1) as f64;
    let cost = after.since(&before);
    let kernel = after.kernel.since(&before.kernel);
    let report = IdleReport {
        scenario: "idle",
        connections: held,
        connections_wanted: args.connections,
        answering,
        answers_refused: asked.iter().map(|asked| asked.refused).sum(),
        gate_bytes_per_connection: per(cost.gates),
        gate_bytes_before: before.gates,
        gate_bytes_after: after.gates,
        route_bytes_per_connection: per(cost.routes),
        im_service_bytes_per_connection: per(cost.im_services),
        worker_bytes_per_connection: per(cost.workers),
        kernel_bytes_per_connection: per(kernel.bytes()),
        kernel: KernelReport {
            ends: if gates.are_here() { "both" } else { "clients" },
            slab_bytes: kernel.slab_bytes,
            socket_buffer_bytes: kernel.socket_buffer_bytes,
        },
        logins_per_second: held as f64 / ramp_time.as_secs_f64().max(1e-3),
        login_cpu_ms: login_window.map(|window| window.all_ms),
        gate_login_cpu_ms: login_window.map(|window| window.gates_ms),
        login_ms: (!login.is_empty()).then(|| login.quantiles()),
        idle_server_cpu_percent: idle_to.server_cpu_percent_since(&idle_from),
        tcp_states: table.all,
        gate_tcp_states: table.at_servers,
        tcp_states_read_ms: table_read.as_secs_f64() * 1e3,
        answer_ms: (!answer.is_empty()).then(|| answer.quantiles()),
        failed: at_end.failed.values().sum(),
        failed_reasons: at_end.failed.into_iter().collect(),
        lost: at_end.lost.values().sum(),
        lost_reasons: at_end.lost.into_iter().collect(),
        stopped_by,
        gates: gates.addresses().len(),
        workers: worker_count,
        heartbeat_seconds: args.heartbeat,
        seconds: args.seconds,
        machine,
    };
    let page = report.page(&samples, &login, &answer);
    // Clients first: gates that go before them would be followed by half a million complaints.
    drop(workers);
    drop(gates);
    output::publish(&report, &page, &args.output)?;
    ensure!(
        report.connections == u64::from(args.connections),
        "only {held} of {} connections are held",
        args.connections
    );
    ensure!(answering == held, "only {answering} of {held} connections answer");
    Ok(())
}

/// An error with a hint where a process could not open so many sockets.
fn check_files(what: &str, connections: u32) -> anyhow::Result<()> {
    let (needed, limit) = (u64::from(connections) + SPARE_FILES, open_files_max());
    ensure!(
        needed <= limit,
        "{connections} connections per {what} need {needed} open files, and a process may open {limit} (ulimit -n): \
         more processes (--gates, --workers) or a higher limit"
    );
    Ok(())
}

fn start_workers(count: u32) -> anyhow::Result<Vec<Child>> {
    (0..count).map(|_| Child::start_self("hold worker", &["hold-worker".as_ref()])).collect()
}

fn plans(args: &IdleArgs, gates: &Gates, workers: u32) -> anyhow::Result<Vec<HoldPlan>> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock that stands before 1970")?;
    let mut next = 0;
    let plan = |number| {
        let first = next;
        let connections = share(args.connections, workers, number);
        next += connections;
        Ok(HoldPlan {
            gates: gates.addresses().to_vec(),
            certificate: gates.certificate().to_owned(),
            token_key: gates.token_key().to_owned(),
            prefix: format!("idle{:x}u", since.as_millis()),
            first,
            connections,
            concurrency: share(args.concurrency, workers, number).max(1) as usize,
            per_second: f64::from(args.rate) * f64::from(connections) / f64::from(args.connections),
            source_addresses: source_addresses_for(args.connections),
        })
    };
    (0..workers).map(plan).collect()
}

/// Memory at one moment.
struct Costs {
    gates: i64,
    routes: i64,
    im_services: i64,
    workers: i64,
    kernel: KernelMemory,
}

impl Costs {
    fn read(gates: &Gates, workers: &[u32]) -> anyhow::Result<Self> {
        Ok(Self {
            gates: memory(gates.pids())?,
            routes: memory(gates.route_pids())?,
            im_services: memory(gates.im_service_pids())?,
            workers: memory(workers)?,
            kernel: KernelMemory::read()?,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            gates: self.gates - before.gates,
            routes: self.routes - before.routes,
            im_services: self.im_services - before.im_services,
            workers: self.workers - before.workers,
            kernel: self.kernel.since(&before.kernel),
        }
    }
}

fn memory(pids: &[u32]) -> anyhow::Result<i64> {
    pids.iter().map(|&pid| kernel::anonymous_bytes(pid).map(|bytes| bytes as i64)).sum()
}

/// What is looked at every second.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    held: u64,
    gate_bytes: i64,
    worker_bytes: i64,
    kernel_bytes: i64,
    gate_cpu: Duration,
    server_cpu: Duration,
}

impl Sample {
    fn take(start: Instant, held: u64, gates: &Gates, workers: &[u32]) -> anyhow::Result<Self> {
        let cpu = |pids: &[u32]| pids.iter().map(|&pid| kernel::cpu_time(pid)).sum::<anyhow::Result<Duration>>();
        let gate_cpu = cpu(gates.pids())?;
        Ok(Self {
            at: start.elapsed(),
            held,
            gate_bytes: memory(gates.pids())?,
            worker_bytes: memory(workers)?,
            kernel_bytes: KernelMemory::read()?.bytes(),
            gate_cpu,
            server_cpu: gate_cpu + cpu(gates.route_pids())? + cpu(gates.im_service_pids())?,
        })
    }

    fn server_cpu_percent_since(&self, earlier: &Self) -> f64 {
        let time = (self.at - earlier.at).as_secs_f64();
        if time < 0.5 { 0.0 } else { (self.server_cpu - earlier.server_cpu).as_secs_f64() / time * 100.0 }
    }
}

/// CPU per login.
#[derive(Clone, Copy, Debug, PartialEq)]
struct LoginCpu {
    all_ms: f64,
    gates_ms: f64,
}

/// The CPU of logins alone: from the start to the last look before the first heartbeat was due.
fn login_window(samples: &[Sample], heartbeat: u32) -> Option<LoginCpu> {
    /// A client sends its first heartbeat so long after its login; a look a second before is safe.
    const MARGIN: Duration = Duration::from_secs(1);
    let end = Duration::from_secs(heartbeat.into()).saturating_sub(MARGIN);
    let first = samples.first()?;
    let last = samples.iter().take_while(|sample| sample.at <= end).last()?;
    let logins = last.held.checked_sub(first.held).filter(|&logins| logins > 0)? as f64;
    let ms = |time: Duration| time.as_secs_f64() * 1e3 / logins;
    Some(LoginCpu { all_ms: ms(last.server_cpu - first.server_cpu), gates_ms: ms(last.gate_cpu - first.gate_cpu) })
}

/// Looks on while workers work, shows it, and notes it down.
struct Watch<'a> {
    args: &'a IdleArgs,
    gates: &'a Gates,
    pids: &'a [u32],
    start: Instant,
    samples: &'a mut Vec<Sample>,
}

type Shared<T> = std::rc::Rc<std::cell::RefCell<T>>;

impl Watch<'_> {
    /// Lets everybody log in. How each worker stands then, how long it took, and what ended it early.
    async fn ramp(
        &mut self,
        workers: &mut [Child],
        plans: Vec<HoldPlan>,
    ) -> anyhow::Result<(Vec<Standing>, Duration, Option<String>)> {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let standings: Shared<Vec<Standing>> = Shared::new(vec![Standing::default(); workers.len()].into());
        let began = Instant::now();
        let ramps = workers.iter_mut().zip(plans).enumerate().map(|(place, (worker, plan))| {
            ramp_worker(worker, plan, stopped.clone(), Shared::clone(&standings), place)
        });
        let mut ramps = std::pin::pin!(try_join_all(ramps));
        let mut stopped_by = None;
        let mut progress = Standings::start("ramp", self.args.connections.into());
        let mut seconds = interval(Duration::from_secs(1));
        let ramped = loop {
            tokio::select! {
                ramped = &mut ramps => break ramped?,
                _ = seconds.tick() => {
                    let sum = Standing::sum(&standings.borrow());
                    let sample = self.sample(sum.held)?;
                    progress.show(sum.held, &describe(&sample, &sum));
                    if stopped_by.is_none() && kernel::available_bytes()? < MEMORY_FLOOR {
                        stopped_by = Some(format!("less than {} MiB of memory is left", MEMORY_FLOOR >> 20));
                        stop.send_replace(true);
                    }
                }
            }
        };
        let took = began.elapsed();
        let sum = Standing::sum(&ramped);
        self.sample(sum.held)?;
        if stopped_by.is_none() && sum.held < u64::from(self.args.connections) {
            let reason = sum.failed.iter().chain(&sum.lost).max_by_key(|(_, count)| **count);
            stopped_by = reason.map(|(reason, count)| format!("{reason} ({count} times)"));
        }
        Ok((ramped, took, stopped_by))
    }

    async fn hold(&mut self, workers: &mut [Child], until: Instant) -> anyhow::Result<()> {
        let standings: Shared<Vec<Standing>> = Shared::new(vec![Standing::default(); workers.len()].into());
        let watched = workers
            .iter_mut()
            .enumerate()
            .map(|(place, worker)| watch_worker(worker, Shared::clone(&standings), place));
        let mut watched = std::pin::pin!(try_join_all(watched));
        let mut progress = Standings::start("hold", self.args.connections.into());
        let mut seconds = interval(Duration::from_secs(1));
        // The first words of the workers come within a second.
        seconds.tick().await;
        loop {
            tokio::select! {
                ended = &mut watched => { ended?; }
                () = sleep_until(until.into()) => return Ok(()),
                _ = seconds.tick() => {
                    let sum = Standing::sum(&standings.borrow());
                    let sample = self.sample(sum.held)?;
                    progress.show(sum.held, &describe(&sample, &sum));
                }
            }
        }
    }

    fn sample(&mut self, held: u64) -> anyhow::Result<Sample> {
        let sample = Sample::take(self.start, held, self.gates, self.pids)?;
        self.samples.push(sample);
        Ok(sample)
    }
}

fn describe(sample: &Sample, sum: &Standing) -> String {
    let mebibytes = |bytes: i64| bytes >> 20;
    let (failed, lost): (u64, u64) = (sum.failed.values().sum(), sum.lost.values().sum());
    format!(
        "gates {} MiB, workers {} MiB, failed {failed}, lost {lost}",
        mebibytes(sample.gate_bytes),
        mebibytes(sample.worker_bytes)
    )
}

async fn ramp_worker(
    worker: &mut Child,
    plan: HoldPlan,
    mut stopped: tokio::sync::watch::Receiver<bool>,
    standings: Shared<Vec<Standing>>,
    place: usize,
) -> anyhow::Result<Standing> {
    worker.send(&HoldOrder::Ramp(plan)).await?;
    let mut told = false;
    loop {
        let notice = tokio::select! {
            notice = worker.recv() => notice?,
            Ok(()) = stopped.changed(), if !told => {
                told = true;
                worker.send(&HoldOrder::Stop).await?;
                continue;
            }
        };
        match notice {
            HoldNotice::Standing(standing) => standings.borrow_mut()[place] = standing,
            HoldNotice::Ramped(standing) => return Ok(standing),
            HoldNotice::Asked(_) => bail!("a hold worker answers what it was not asked"),
        }
    }
}

async fn watch_worker(worker: &mut Child, standings: Shared<Vec<Standing>>, place: usize) -> anyhow::Result<()> {
    loop {
        match worker.recv().await? {
            HoldNotice::Standing(standing) => standings.borrow_mut()[place] = standing,
            other => bail!("a hold worker said {other:?} while it holds"),
        }
    }
}

/// Puts a question to every connection.
async fn ask(workers: &mut [Child], held: u64) -> anyhow::Result<(Vec<AskedAll>, Vec<Standing>)> {
    eprintln!("ask: every connection for an answer");
    let spread_ms = held * 1000 / u64::from(QUESTIONS_PER_SECOND);
    let order = HoldOrder::Ask { spread_ms, patience_ms: ANSWER_TIME_MAX.as_millis() as u64 };
    let asked = workers.iter_mut().map(|worker| async {
        worker.send(&order).await?;
        let asked = loop {
            match worker.recv().await? {
                HoldNotice::Standing(_) => {}
                HoldNotice::Asked(asked) => break asked,
                other => bail!("a hold worker said {other:?} instead of what came back"),
            }
        };
        // The next word says how it stands after that.
        match worker.recv().await? {
            HoldNotice::Standing(standing) => Ok((asked, standing)),
            other => bail!("a hold worker said {other:?} while it holds"),
        }
    });
    Ok(try_join_all(asked).await?.into_iter().unzip())
}

impl Standing {
    fn sum(all: &[Self]) -> Self {
        let mut sum = Self::default();
        for standing in all {
            sum.held += standing.held;
            for (into, from) in [(&mut sum.failed, &standing.failed), (&mut sum.lost, &standing.lost)] {
                add_counts(into, from);
            }
        }
        sum
    }
}

fn add_counts(into: &mut HashMap<String, u64>, from: &HashMap<String, u64>) {
    for (reason, count) in from {
        *into.entry(reason.clone()).or_default() += count;
    }
}

#[derive(Clone, Debug, Serialize)]
struct IdleReport {
    scenario: &'static str,
    /// Held at the end of the ramp.
    connections: u64,
    connections_wanted: u32,
    /// Connections over which the server answered at the end.
    answering: u64,
    /// Connections over which it answered that it could not tell; not counted as answering.
    answers_refused: u64,
    /// Anonymous memory of all gates with the connections less that without, per connection.
    gate_bytes_per_connection: f64,
    gate_bytes_before: i64,
    gate_bytes_after: i64,
    route_bytes_per_connection: f64,
    im_service_bytes_per_connection: f64,
    worker_bytes_per_connection: f64,
    /// Of the ends that are on this machine, see `kernel.ends`.
    kernel_bytes_per_connection: f64,
    kernel: KernelReport,
    logins_per_second: f64,
    /// CPU of all tiers per accept, TLS handshake and login; null when nothing was measured before
    /// the first heartbeats.
    login_cpu_ms: Option<f64>,
    gate_login_cpu_ms: Option<f64>,
    login_ms: Option<Quantiles>,
    /// CPU of all tiers while the connections were held, in percent of one CPU.
    idle_server_cpu_percent: f64,
    tcp_states: StateCounts,
    /// The gates' ends alone.
    gate_tcp_states: StateCounts,
    tcp_states_read_ms: f64,
    answer_ms: Option<Quantiles>,
    failed: u64,
    failed_reasons: BTreeMap<String, u64>,
    lost: u64,
    lost_reasons: BTreeMap<String, u64>,
    /// Why there are fewer connections than wanted.
    stopped_by: Option<String>,
    gates: usize,
    workers: u32,
    heartbeat_seconds: u32,
    seconds: u32,
    machine: Machine,
}

#[derive(Clone, Debug, Serialize)]
struct KernelReport {
    /// Whose sockets are on this machine: `both`, or the `clients`' alone.
    ends: &'static str,
    slab_bytes: i64,
    socket_buffer_bytes: i64,
}

impl IdleReport {
    fn page(&self, samples: &[Sample], login: &Latencies, answer: &Latencies) -> Page {
        let mut page = Page::new(format!("idle: {} connections held", output::number(self.connections as f64)));
        page.fact(
            "held, wanted, answering",
            format!("{}, {}, {}", self.connections, self.connections_wanted, self.answering),
        );
        if let Some(why) = &self.stopped_by {
            page.fact("stopped by", why);
        }
        page.measured("gate bytes per connection", self.gate_bytes_per_connection, "", "≤ 6,000");
        let ends = format!(
            "kernel bytes per connection, {}",
            if self.kernel.ends == "both" { "both ends" } else { "clients' end" }
        );
        page.measured(&ends, self.kernel_bytes_per_connection, "", "");
        page.measured("route bytes per connection", self.route_bytes_per_connection, "", "");
        page.measured("im-service bytes per connection", self.im_service_bytes_per_connection, "", "");
        page.measured("worker bytes per connection", self.worker_bytes_per_connection, "", "");
        page.measured("logins per second", self.logins_per_second, "", "≥ 3,500");
        if let (Some(all), Some(gates)) = (self.login_cpu_ms, self.gate_login_cpu_ms) {
            page.measured("server CPU per login", all, "ms", "≤ 0.30 ms");
            page.measured("of which the gates", gates, "ms", "");
        }
        page.quantiles("login", self.login_ms);
        page.quantiles("answer at the end", self.answer_ms);
        page.measured("server CPU while idle", self.idle_server_cpu_percent, "% of one CPU", "");
        page.fact("failed, lost", format!("{}, {}", self.failed, self.lost));
        for (reason, count) in self.failed_reasons.iter().chain(&self.lost_reasons) {
            page.fact("  reason", format!("{count} × {reason}"));
        }
        page.fact("gates, workers", format!("{}, {}", self.gates, self.workers));
        page.fact("heartbeat", format!("{} s", self.heartbeat_seconds));
        page.machine(&self.machine);
        let line = |name: &str, value: &dyn Fn(&Sample) -> f64| Series {
            name: name.to_owned(),
            points: samples.iter().map(|sample| (sample.held as f64, value(sample))).collect(),
        };
        const MIB: f64 = 1_048_576.0;
        let kernel_before = samples.first().map_or(0, |first| first.kernel_bytes);
        let memory = vec![
            line("gates", &|sample| sample.gate_bytes as f64 / MIB),
            line("workers", &|sample| sample.worker_bytes as f64 / MIB),
            line("kernel", &|sample| (sample.kernel_bytes - kernel_before) as f64 / MIB),
        ];
        page.lines("memory over connections", "connections", "MiB", memory);
        let held = samples.iter().map(|sample| (sample.at.as_secs_f64(), sample.held as f64)).collect();
        page.lines(
            "connections over time",
            "seconds",
            "connections",
            vec![Series { name: "held".into(), points: held }],
        );
        page.latency_curve("latency", &[("login", login), ("answer", answer)]);
        let took = format!("TCP states (read in {:.0} ms)", self.tcp_states_read_ms);
        page.states(&took, &self.tcp_states);
        page.states("TCP states at the gates' end", &self.gate_tcp_states);
        page
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sample(seconds: u64, held: u64, cpu_ms: u64) -> Sample {
        Sample {
            at: Duration::from_secs(seconds),
            held,
            gate_bytes: 0,
            worker_bytes: 0,
            kernel_bytes: 0,
            gate_cpu: Duration::from_millis(cpu_ms),
            server_cpu: Duration::from_millis(2 * cpu_ms),
        }
    }

    #[test]
    fn heartbeats_do_not_count_as_logins() {
        let samples = [sample(0, 0, 100), sample(10, 1000, 300), sample(29, 2000, 500), sample(31, 2100, 5000)];
        assert_eq!(login_window(&samples, 30), Some(LoginCpu { all_ms: 0.4, gates_ms: 0.2 }));
        assert_eq!(login_window(&samples[..1], 30), None, "nobody has logged in");
    }

    #[test]
    fn a_process_that_may_not_open_so_many_files_is_told_before() {
        check_files("gate", 10).unwrap();
        let error = check_files("gate", u32::MAX).unwrap_err().to_string();
        assert!(error.contains("--gates"), "{error}");
    }
}
