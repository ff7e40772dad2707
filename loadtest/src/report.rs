//! What a scenario prints at its end: for people, or as one JSON object.

use serde::Serialize;

use crate::args::{Load, SendArgs};
use crate::coordinator::Measured;
use crate::histogram::Quantiles;
use crate::machine::Machine;
use crate::output::Page;
use crate::worker::Verdict;

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Workload {
    pub(crate) connections: u32,
    pub(crate) in_flight: u32,
    /// Messages per second in an open loop; null in a closed one.
    pub(crate) rate: Option<u32>,
    pub(crate) seconds: u32,
    pub(crate) warmup: u32,
    pub(crate) workers: u32,
}

impl Workload {
    pub(crate) fn new(load: &Load, cpus: u32) -> Self {
        Self {
            connections: load.connections,
            in_flight: load.in_flight(),
            rate: load.rate,
            seconds: load.seconds,
            warmup: load.warmup,
            workers: load.workers(cpus),
        }
    }

    fn describe(&self, page: &mut Page) {
        let rate = self.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate}/s"));
        let Self { connections, in_flight, seconds, warmup, workers, .. } = self;
        page.fact(
            "workload",
            format!("{connections} connections × {in_flight} in flight, {rate}, {seconds} s after {warmup} s, {workers} workers"),
        );
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RelayReport {
    scenario: &'static str,
    relay_per_second: f64,
    server_cpu_us_per_message: f64,
    client_cpu_us_per_message: f64,
    ack_ms: Quantiles,
    answered: u64,
    unanswered: u64,
    durable: bool,
    #[serde(flatten)]
    workload: Workload,
    machine: Machine,
}

impl RelayReport {
    pub(crate) fn page(&self, measured: &Measured) -> Page {
        let mut page = Page::new("relay: the bare baseline");
        page.measured("messages per second", self.relay_per_second, "", "");
        page.measured("server CPU per message", self.server_cpu_us_per_message, "µs", "");
        page.measured("client CPU per message", self.client_cpu_us_per_message, "µs", "");
        page.quantiles("ack", Some(self.ack_ms));
        page.fact("answered, unanswered", format!("{}, {}", self.answered, self.unanswered));
        page.fact("durable", self.durable);
        self.workload.describe(&mut page);
        page.machine(&self.machine);
        page.latency_curve("latency", &[("ack", &measured.ack)]);
        page
    }

    pub(crate) fn new(measured: &Measured, workload: Workload, durable: bool, machine: Machine) -> Self {
        Self {
            scenario: "relay",
            relay_per_second: measured.per_second(),
            server_cpu_us_per_message: measured.server_cpu_us_per_message(),
            client_cpu_us_per_message: measured.client_cpu_us_per_message(),
            ack_ms: measured.ack.quantiles(),
            answered: measured.answered,
            unanswered: measured.unanswered,
            durable,
            workload,
            machine,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SendReport {
    scenario: &'static str,
    acked_per_second: f64,
    /// The baseline in the same run, and the first divided by it.
    relay_per_second: f64,
    ratio: f64,
    server_cpu_us_per_message: f64,
    client_cpu_us_per_message: f64,
    relay_cpu_us_per_message: f64,
    ack_ms: Quantiles,
    /// Null when nothing came live.
    deliver_ms: Option<Quantiles>,
    relay_ack_ms: Quantiles,
    answered: u64,
    delivered: u64,
    refused: u64,
    unanswered: u64,
    #[serde(flatten)]
    verdict: Verdict,
    payload: usize,
    offline: bool,
    durable_relay: bool,
    rounds: u32,
    #[serde(flatten)]
    workload: Workload,
    machine: Machine,
}

impl SendReport {
    pub(crate) fn page(&self, sent: &Measured, relayed: &Measured) -> Page {
        let mut page = Page::new("send: durable messages");
        page.measured("acked per second", self.acked_per_second, "", "");
        page.measured("relay per second", self.relay_per_second, "", "");
        page.measured("ratio", self.ratio, "", "≥ 0.40 at × 4, ≥ 0.60 at × 1");
        page.measured("server CPU per message", self.server_cpu_us_per_message, "µs", "≤ 12 µs at × 4, ≤ 30 µs at × 1");
        page.measured("client CPU per message", self.client_cpu_us_per_message, "µs", "");
        page.measured("relay's CPU per message", self.relay_cpu_us_per_message, "µs", "");
        page.quantiles("ack", Some(self.ack_ms));
        page.quantiles("deliver", self.deliver_ms);
        page.quantiles("relay's ack", Some(self.relay_ack_ms));
        page.fact("answered, delivered live", format!("{}, {}", self.answered, self.delivered));
        page.fact("refused, unanswered", format!("{}, {}", self.refused, self.unanswered));
        page.fact("acked, rows read", format!("{}, {}", self.verdict.acked, self.verdict.rows));
        self.verdict.describe(&mut page);
        self.workload.describe(&mut page);
        page.machine(&self.machine);
        let curves = [("ack", &sent.ack), ("deliver", &sent.deliver), ("relay's ack", &relayed.ack)];
        page.latency_curve("latency", &curves);
        page
    }

    pub(crate) fn new(
        sent: &Measured,
        relayed: &Measured,
        verdict: Verdict,
        args: &SendArgs,
        workload: Workload,
        machine: Machine,
    ) -> Self {
        let (acked_per_second, relay_per_second) = (sent.per_second(), relayed.per_second());
        Self {
            scenario: "send",
            acked_per_second,
            relay_per_second,
            // JSON has no number for a division by nothing.
            ratio: if relay_per_second > 0.0 { acked_per_second / relay_per_second } else { 0.0 },
            server_cpu_us_per_message: sent.server_cpu_us_per_message(),
            client_cpu_us_per_message: sent.client_cpu_us_per_message(),
            relay_cpu_us_per_message: relayed.server_cpu_us_per_message(),
            ack_ms: sent.ack.quantiles(),
            deliver_ms: (!sent.deliver.is_empty()).then(|| sent.deliver.quantiles()),
            relay_ack_ms: relayed.ack.quantiles(),
            answered: sent.answered,
            delivered: sent.deliver.len(),
            refused: sent.refused,
            unanswered: sent.unanswered,
            verdict,
            payload: args.payload,
            offline: args.offline,
            durable_relay: args.durable_relay,
            rounds: args.rounds,
            workload,
            machine,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::args::{Args, Scenario};

    fn machine() -> Machine {
        Machine { cpus: 2, cpu_model: "a".to_owned(), kernel: "b".to_owned(), memory_bytes: 3, load_before: 0.5 }
    }

    fn workload() -> Workload {
        Workload { connections: 10, in_flight: 4, rate: None, seconds: 2, warmup: 1, workers: 1 }
    }

    #[test]
    fn the_relay_report_has_every_field_that_scripts_read() {
        let measured = Measured {
            answered: 3000,
            server_cpu: Duration::from_millis(60),
            time: Duration::from_secs(2),
            ..Measured::default()
        };
        let report = RelayReport::new(&measured, workload(), true, machine());
        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(json["relay_per_second"], 1500.0);
        assert_eq!(json["server_cpu_us_per_message"], 20.0);
        assert_eq!(json["durable"], true);
        assert_eq!(json["connections"], 10);
        assert_eq!(json["in_flight"], 4);
        assert_eq!(json["seconds"], 2);
        assert!(json["rate"].is_null());
        assert_eq!(json["machine"]["cpus"], 2);
        assert_eq!(json["machine"]["kernel"], "b");
        for quantile in ["p50", "p90", "p99", "p999"] {
            assert!(json["ack_ms"][quantile].is_number(), "{quantile}");
        }
    }

    #[test]
    fn the_send_report_has_every_field_that_scripts_read() {
        let line = ["sim-loadtest", "send", "--connections", "10", "--json"];
        let Scenario::Send(args) = Args::try_parse_from(line).unwrap().scenario else { panic!("not a send") };
        let run = |answered| Measured { answered, time: Duration::from_secs(2), ..Measured::default() };
        let verdict = Verdict { acked: 1500, rows: 3000, lost: 1, duplicated: 2, out_of_order: 3, overtaken: 4 };
        let report = SendReport::new(&run(1500), &run(3000), verdict, &args, workload(), machine());
        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(json["acked_per_second"], 750.0);
        assert_eq!(json["relay_per_second"], 1500.0);
        assert_eq!(json["ratio"], 0.5);
        assert_eq!((&json["lost"], &json["duplicated"], &json["out_of_order"]), (&1.into(), &2.into(), &3.into()));
        assert!(json["server_cpu_us_per_message"].is_number());
        assert!(json["deliver_ms"].is_null());
        assert!(json["ack_ms"]["p999"].is_number());
        assert_eq!(json["machine"]["cpus"], 2);
    }
}
