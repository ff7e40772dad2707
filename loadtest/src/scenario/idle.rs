//! `idle`: how many logged-in connections can be held, what each costs in memory on every side, what
//! a login costs, and whether all of them still answer at the end.

mod cost;
mod report;
mod watch;
mod workers;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use self::cost::{Costs, LoginCpu};
use self::report::{Findings, IdleReport};
use self::watch::Watch;
use super::gates::Gates;
use crate::args::IdleArgs;
use crate::child::Child;
use crate::coordinator::share;
use crate::histogram::Latencies;
use crate::hold::{HoldPlan, Standing, source_addresses_for};
use crate::kernel::{Table, limits};
use crate::machine::{Machine, open_files_max};
use crate::output;

/// Files that a process needs beside its connections.
const SPARE_FILES: u64 = 300;

pub(crate) fn idle(args: &IdleArgs) -> anyhow::Result<()> {
    super::runtime()?.block_on(run(args))
}

async fn run(args: &IdleArgs) -> anyhow::Result<()> {
    let machine = Machine::read();
    let (gate_count, worker_count) = (args.gates(), args.workers(machine.cpus));
    let is_all_here = args.given.gate.is_empty();
    if is_all_here {
        check_files("gate", args.connections.div_ceil(gate_count))?;
    }
    check_files("worker", args.connections.div_ceil(worker_count))?;
    let sockets = u64::from(args.connections) * if is_all_here { 2 } else { 1 };
    for warning in limits::too_low(sockets) {
        eprintln!("kernel: {warning}");
    }
    let mut gates = match Gates::given(&args.given)? {
        Some(gates) => gates,
        None => {
            let heartbeat = format!("heartbeat = \"{}s\"", args.heartbeat);
            let keep_alive = format!("keep_alive = \"{}s\"", (args.heartbeat * 3).max(180));
            Gates::start(&args.cluster, gate_count, &[heartbeat, keep_alive]).await?
        }
    };

    let mut workers = start_workers(worker_count)?;
    let worker_pids = workers.iter().map(Child::pid).collect::<anyhow::Result<Vec<_>>>()?;
    let before = Costs::read(&gates, &worker_pids)?;
    let mut watch = Watch::begin(args, &gates, &worker_pids)?;
    let ramp = watch.ramp(&mut workers, plans(args, &gates, worker_count)?).await?;
    let held = ramp.held();
    let mut login = Latencies::default();
    ramp.standings.iter().try_for_each(|standing| login.merge(&standing.login))?;

    let idle_from = watch.sample(held)?;
    watch.hold(&mut workers, Instant::now() + Duration::from_secs(args.seconds.into())).await?;
    let idle_to = watch.sample(held)?;
    let cost = Costs::read(&gates, &worker_pids)?.since(&before);
    let read_began = Instant::now();
    let table = Table::read(&gates.addresses().iter().copied().collect())?;
    let table_read = read_began.elapsed();

    let (asked, standings) = watch.ask(&mut workers, held).await?;
    let mut answer = Latencies::default();
    asked.iter().try_for_each(|asked| answer.merge(&asked.latency))?;
    let findings = Findings {
        held,
        ramp_time: ramp.took,
        stopped_by: ramp.stopped_by,
        before,
        cost,
        login_cpu: LoginCpu::of(&watch.samples, args.heartbeat),
        idle_server_cpu_percent: idle_to.server_cpu_percent_since(&idle_from),
        table,
        table_read,
        answering: asked.iter().map(|asked| asked.answered).sum(),
        answers_refused: asked.iter().map(|asked| asked.refused).sum(),
        at_end: Standing::sum(&standings),
        samples: watch.samples,
        login,
        answer,
    };
    gates.check_alive()?;
    let report = IdleReport::new(args, &findings, &gates, worker_count, machine);
    // Clients first: gates that go before them would be followed by half a million complaints.
    drop(workers);
    drop(gates);
    output::publish(&report, &report.page(&findings), &args.output)?;
    ensure!(held == u64::from(args.connections), "only {held} of {} connections are held", args.connections);
    ensure!(findings.answering == held, "only {} of {held} connections answer", findings.answering);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_process_that_may_not_open_so_many_files_is_told_before() {
        check_files("gate", 10).unwrap();
        let error = check_files("gate", u32::MAX).unwrap_err().to_string();
        assert!(error.contains("--gates"), "{error}");
    }
}
