//! `sim-loadtest`: drives load against sim, and against the bare relay that is its yardstick.
//!
//! Several kinds of process, all of them this binary. The *coordinator* is what a person starts: it
//! starts servers and workers, tells the workers when to run, and prints the report. A *load
//! worker* holds up to [`worker::SOCKETS_PER_WORKER_MAX`] client connections on one thread, a *hold
//! worker* as many that are idle and cost as little as can be. A *crowd worker* runs
//! whole clients of the SDK, which come back by themselves. A *relay server* is the bare baseline.
//! They are apart so that the CPU of the servers can be read from the kernel without the load
//! generator's, and because one process may open only so many files.

mod args;
mod baseline;
mod child;
mod cluster;
mod coordinator;
mod crowd;
mod growth;
mod histogram;
mod hold;
mod kernel;
mod machine;
mod output;
mod pipe;
mod progress;
mod reasons;
mod relay;
mod report;
mod scenario;
mod schedule;
mod tls;
mod worker;

use clap::Parser;

use crate::args::{Args, Scenario};

fn main() -> anyhow::Result<()> {
    match Args::parse().scenario {
        Scenario::Relay(args) => scenario::relay(&args),
        Scenario::Send(args) => scenario::send(&args),
        Scenario::Idle(args) => scenario::idle(&args),
        Scenario::Storm(args) => scenario::storm(&args),
        Scenario::Soak(args) => scenario::soak(&args),
        Scenario::StoreMongo(args) => baseline::store_mongo(&args),
        Scenario::ServeRelay(args) => relay::serve(&args),
        Scenario::LoadWorker => worker::run(),
        Scenario::HoldWorker => hold::run(),
        Scenario::CrowdWorker => crowd::run(),
    }
}
