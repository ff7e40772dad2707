//! What a run found, for people and for scripts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::cost::{Costs, LoginCpu, Sample};
use crate::args::IdleArgs;
use crate::histogram::{Latencies, Quantiles};
use crate::hold::Standing;
use crate::kernel::{StateCounts, Table};
use crate::machine::Machine;
use crate::output::{self, Page, Series};
use crate::scenario::gates::Gates;

/// What was measured.
pub(super) struct Findings {
    /// At the end of the ramp.
    pub(super) held: u64,
    pub(super) ramp_time: Duration,
    pub(super) stopped_by: Option<String>,
    /// Before the first connection, and what they added.
    pub(super) before: Costs,
    pub(super) cost: Costs,
    pub(super) login_cpu: Option<LoginCpu>,
    pub(super) idle_server_cpu_percent: f64,
    pub(super) table: Table,
    pub(super) table_read: Duration,
    pub(super) answering: u64,
    pub(super) answers_refused: u64,
    pub(super) at_end: Standing,
    pub(super) samples: Vec<Sample>,
    pub(super) login: Latencies,
    pub(super) answer: Latencies,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct IdleReport {
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
    /// What the load workers themselves took per login.
    worker_login_cpu_ms: Option<f64>,
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
    pub(super) fn new(args: &IdleArgs, found: &Findings, gates: &Gates, workers: u32, machine: Machine) -> Self {
        let per = |bytes: i64| bytes as f64 / found.held.max(1) as f64;
        let Costs { gates: gate_bytes, routes, im_services, workers: worker_bytes, kernel } = found.cost;
        let quantiles = |latencies: &Latencies| (!latencies.is_empty()).then(|| latencies.quantiles());
        let sorted = |reasons: &std::collections::HashMap<String, u64>| reasons.clone().into_iter().collect();
        Self {
            scenario: "idle",
            connections: found.held,
            connections_wanted: args.connections,
            answering: found.answering,
            answers_refused: found.answers_refused,
            gate_bytes_per_connection: per(gate_bytes),
            gate_bytes_before: found.before.gates,
            gate_bytes_after: found.before.gates + gate_bytes,
            route_bytes_per_connection: per(routes),
            im_service_bytes_per_connection: per(im_services),
            worker_bytes_per_connection: per(worker_bytes),
            kernel_bytes_per_connection: per(kernel.bytes()),
            kernel: KernelReport {
                ends: if gates.are_here() { "both" } else { "clients" },
                slab_bytes: kernel.slab_bytes,
                socket_buffer_bytes: kernel.socket_buffer_bytes,
            },
            logins_per_second: found.held as f64 / found.ramp_time.as_secs_f64().max(1e-3),
            login_cpu_ms: found.login_cpu.map(|cpu| cpu.servers),
            gate_login_cpu_ms: found.login_cpu.map(|cpu| cpu.gates),
            worker_login_cpu_ms: found.login_cpu.map(|cpu| cpu.workers),
            login_ms: quantiles(&found.login),
            idle_server_cpu_percent: found.idle_server_cpu_percent,
            tcp_states: found.table.all.clone(),
            gate_tcp_states: found.table.at_servers.clone(),
            tcp_states_read_ms: found.table_read.as_secs_f64() * 1e3,
            answer_ms: quantiles(&found.answer),
            failed: found.at_end.failed.values().sum(),
            failed_reasons: sorted(&found.at_end.failed),
            lost: found.at_end.lost.values().sum(),
            lost_reasons: sorted(&found.at_end.lost),
            stopped_by: found.stopped_by.clone(),
            gates: gates.addresses().len(),
            workers,
            heartbeat_seconds: args.heartbeat,
            seconds: args.seconds,
            machine,
        }
    }

    pub(super) fn page(&self, found: &Findings) -> Page {
        let Findings { samples, login, answer, .. } = found;
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
        if let Some(workers) = self.worker_login_cpu_ms {
            page.measured("load workers' own CPU per login", workers, "ms", "");
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
