//! What `store-mongo` prints.

use serde::Serialize;

use super::StoreMongoArgs;
use super::inbox::Inbox;
use super::servers::{PerMessage, Versions};
use super::workload::Measured;
use crate::histogram::Quantiles;
use crate::machine::Machine;
use crate::output::{Page, Table};

/// One writer with so many in flight.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    acked_per_second: f64,
    ack_ms: Quantiles,
    acked: u64,
    per_message: PerMessage,
}

impl From<Measured> for Figures {
    fn from(measured: Measured) -> Self {
        Self {
            acked_per_second: measured.acked as f64 / measured.time.as_secs_f64(),
            ack_ms: measured.latencies.quantiles(),
            acked: measured.acked,
            per_message: measured.per_message,
        }
    }
}

/// Both writers with so many in flight.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pass {
    in_flight: u32,
    store: Figures,
    naive: Figures,
    /// Sends per second of the store, divided by those of the naive writer.
    ratio: f64,
}

impl Pass {
    pub(super) fn new(in_flight: u32, store: Measured, naive: Measured) -> Self {
        let (store, naive) = (Figures::from(store), Figures::from(naive));
        Self { in_flight, ratio: store.acked_per_second / naive.acked_per_second, store, naive }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct StoreReport {
    scenario: &'static str,
    passes: Vec<Pass>,
    inbox: Option<Inbox>,
    users: u32,
    payload: u32,
    seconds: u32,
    warmup: u32,
    /// Members of the replica set, where it was started here.
    members: Option<u8>,
    versions: Versions,
    machine: Machine,
}

impl StoreReport {
    pub(super) fn new(
        args: &StoreMongoArgs,
        passes: Vec<Pass>,
        inbox: Option<Inbox>,
        versions: Versions,
        machine: Machine,
    ) -> Self {
        Self {
            scenario: "store-mongo",
            passes,
            inbox,
            users: args.users,
            payload: args.payload,
            seconds: args.seconds,
            warmup: args.warmup,
            members: args.mongo.is_none().then_some(args.members),
            versions,
            machine,
        }
    }

    pub(super) fn page(&self) -> Page {
        let mut page = Page::new("store-mongo: the store on MongoDB and Redis against a naive writer");
        for pass in &self.passes {
            page.measured(&format!("ratio with {} in flight", pass.in_flight), pass.ratio, "", "≥ 10 with 256");
        }
        let head = ["", "in flight", "sends/s", "p50 ms", "p99 ms", "MongoDB calls", "Redis calls"]
            .into_iter()
            .chain(["MongoDB CPU µs", "Redis CPU µs", "own CPU µs"]);
        let rows = self.passes.iter().flat_map(|pass| {
            [("naive", &pass.naive), ("store", &pass.store)].map(|(name, figures)| row(name, pass.in_flight, figures))
        });
        let title = "for each message".to_owned();
        page.tables.push(Table { title, head: head.map(str::to_owned).collect(), rows: rows.collect() });
        if let Some(inbox) = &self.inbox {
            page.fact("rows of timelines", inbox.rows);
            page.quantiles("the last 50 of a timeline (goal p50 ≤ 2 ms)", Some(inbox.sync_last_50_ms));
            let rows = inbox.sizes.iter().map(|(name, size)| {
                let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
                let bytes = [size.data_bytes, size.disk_bytes, size.index_bytes].map(mebibytes);
                [(*name).to_owned(), size.documents.to_string()].into_iter().chain(bytes).collect()
            });
            let head = ["", "documents", "data MiB", "on disk MiB", "indexes MiB"].map(str::to_owned).to_vec();
            page.tables.push(Table { title: "what the collections take".to_owned(), head, rows: rows.collect() });
        }
        page.fact(
            "workload",
            format!(
                "{} users, payloads of {} bytes, {} s after {} s",
                self.users, self.payload, self.seconds, self.warmup
            ),
        );
        page.fact("servers", format!("MongoDB {}, Redis {}", self.versions.mongo, self.versions.redis));
        page.machine(&self.machine);
        page
    }
}

fn row(name: &str, in_flight: u32, figures: &Figures) -> Vec<String> {
    let Figures { acked_per_second, ack_ms, per_message, .. } = figures;
    let of = |value: f64| format!("{value:.2}");
    let rest = [
        of(ack_ms.p50),
        of(ack_ms.p99),
        of(per_message.mongo_round_trips),
        of(per_message.redis_round_trips),
        of(per_message.mongo_cpu_us),
        of(per_message.redis_cpu_us),
        of(per_message.own_cpu_us),
    ];
    [name.to_owned(), in_flight.to_string(), format!("{acked_per_second:.0}")].into_iter().chain(rest).collect()
}
