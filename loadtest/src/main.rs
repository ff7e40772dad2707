//! `sim-loadtest`: drives load against sim, and against the bare relay that is its yardstick.
//!
//! Three kinds of process, all of them this binary. The *coordinator* is what a person starts: it
//! starts servers and load workers, tells the workers when to run, and prints the report. A *load
//! worker* holds up to [`worker::SOCKETS_PER_WORKER_MAX`] client connections on one thread. A
//! *relay server* is the bare baseline. They are apart so that the CPU of the servers can be read
//! from the kernel without the load generator's, and because one process may open only so many files.

mod args;
mod child;
mod coordinator;
mod cpu;
mod histogram;
mod machine;
mod progress;
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
        Scenario::ServeRelay(args) => relay::serve(&args),
        Scenario::LoadWorker => worker::run(),
    }
}
