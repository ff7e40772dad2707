//! The command line. Every scenario takes the same [`Load`]; what starts or finds the servers differs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use im_proto::limits::PAYLOAD_LEN_MAX;

use crate::baseline::StoreMongoArgs;
use crate::output::OutputArgs;
use crate::worker::{PAYLOAD_LEN_MIN, SOCKETS_PER_WORKER_MAX};

/// Puts load on sim and reports what it took.
#[derive(Debug, Parser)]
#[command(name = "sim-loadtest", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// The bare baseline: TLS client → A → B → C and back over loopback, nothing stored.
    Relay(RelayArgs),
    /// Durable messages through the real tiers, against the baseline in the same run.
    Send(SendArgs),
    /// Logged-in connections that only keep their heartbeats: what one costs, and whether all answer.
    Idle(IdleArgs),
    /// Clients lose their gate, by kill -9 or by a drain: how soon are they back, and at what loss.
    Storm(StormArgs),
    /// Mixed traffic for a long while: is anything lost, and does anything grow.
    Soak(SoakArgs),
    /// The store on MongoDB and Redis against a naive writer, without tiers.
    StoreMongo(StoreMongoArgs),
    /// The three hops of the baseline, for a coordinator on the other end of stdin and stdout.
    #[command(hide = true)]
    ServeRelay(ServeRelayArgs),
    /// Client connections, for a coordinator on the other end of stdin and stdout.
    #[command(hide = true)]
    LoadWorker,
    /// Idle clients, for a coordinator on the other end of stdin and stdout.
    #[command(hide = true)]
    HoldWorker,
    /// Whole clients, for a coordinator on the other end of stdin and stdout.
    #[command(hide = true)]
    CrowdWorker,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RelayArgs {
    #[command(flatten)]
    pub(crate) load: Load,
    /// C appends every message to a file and answers after fdatasync, group commit.
    #[arg(long)]
    pub(crate) durable: bool,
    /// Where the file of --durable goes; a temporary folder unless given.
    #[arg(long, value_name = "DIR", requires = "durable")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) tiers: TiersArgs,
    /// Bytes of a message's payload.
    #[arg(long, default_value_t = 200, value_parser = payload_len)]
    pub(crate) payload: usize,
    /// Receivers are not logged in: nothing is delivered live.
    #[arg(long)]
    pub(crate) offline: bool,
    /// The baseline syncs every message to the disk, too.
    #[arg(long)]
    pub(crate) durable_relay: bool,
    /// Into how many slices the measured time is cut; baseline and tiers take turns.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// Gates that run already.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct GivenArgs {
    /// A gate's address, `host:port`; several are used in turn. Without it tiers are started.
    #[arg(long, value_name = "ADDRESS", requires = "ca", requires = "token_key")]
    pub(crate) gate: Vec<String>,
    /// The certificate that the gate's is signed by, PEM.
    #[arg(long, value_name = "FILE", requires = "gate")]
    pub(crate) ca: Option<PathBuf>,
    /// The private key that signs access tokens, PEM.
    #[arg(long, value_name = "FILE", requires = "gate")]
    pub(crate) token_key: Option<PathBuf>,
    /// A process whose CPU time counts as the server's.
    #[arg(long, value_name = "PID", requires = "gate")]
    pub(crate) server_pid: Vec<u32>,
}

/// The tiers that `send` measures.
#[derive(Debug, ClapArgs)]
pub(crate) struct TiersArgs {
    #[command(flatten)]
    pub(crate) given: GivenArgs,
    /// The `sim` binary to start; the one beside this program unless given.
    #[arg(long, value_name = "FILE", conflicts_with = "gate")]
    pub(crate) sim: Option<PathBuf>,
    /// Where the started tiers keep their data; a temporary folder unless given.
    #[arg(long, value_name = "DIR", conflicts_with = "gate")]
    pub(crate) data: Option<PathBuf>,
}

/// Tiers of one's own, each a process.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ClusterArgs {
    /// The folder with `sim-gate`, `sim-route` and `sim-im-service`; the one of this program unless given.
    #[arg(long, value_name = "DIR")]
    pub(crate) binaries: Option<PathBuf>,
    /// Where the started tiers keep settings, logs and data; a temporary folder unless given.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A further line of the gates' settings, for instance `heartbeat = "60s"`. May be repeated.
    #[arg(long, value_name = "LINE")]
    pub(crate) gate_setting: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct IdleArgs {
    /// Connections to hold.
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) connections: u32,
    /// Gates to start: one per 15,000 connections unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2000), conflicts_with = "gate")]
    pub(crate) gates: Option<u32>,
    /// Seconds for which all are held before the gates are asked what they cost.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub(crate) seconds: u32,
    /// Logins per second at most.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Logins under way at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) concurrency: u32,
    /// Worker processes: one per 15,000 connections unless given, two at least.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) workers: Option<u32>,
    /// Questions per second at the end, when every connection has to answer. Far below what gates
    /// answer, so that an answer's time tells about the connection and not about a queue.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) questions: u32,
    /// Seconds between the heartbeats that started gates ask for.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600), conflicts_with = "gate")]
    pub(crate) heartbeat: u32,
    #[command(flatten)]
    pub(crate) given: GivenArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StormArgs {
    /// Clients that are logged in on the gate that goes.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=15_000))]
    pub(crate) connections: u32,
    /// Gates; one goes, the others take its clients.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) gates: u32,
    /// The gate gets SIGTERM and sends its clients away, instead of kill -9.
    #[arg(long)]
    pub(crate) drain: bool,
    /// Messages per second that the clients send each other all the while.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Seconds of traffic before the gate goes, and after all are back.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// Seconds in which all have to be back.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) patience: u32,
    /// Worker processes: one per CPU unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) workers: Option<u32>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SoakArgs {
    /// Clients.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=30_000))]
    pub(crate) connections: u32,
    /// Minutes of traffic; parts of one are allowed.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// What clients do per second, all together: messages mostly, some reads, signals, pages of
    /// history, and logins.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Gates.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) gates: u32,
    /// Worker processes: one per CPU unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) workers: Option<u32>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let range = 0.05..=10_080.0;
    if range.contains(&minutes) { Ok(minutes) } else { Err(format!("a soak takes {range:?} minutes")) }
}

impl IdleArgs {
    /// Connections of a process: it may open 20,000 files on the reference machine.
    const PER_PROCESS: u32 = SOCKETS_PER_WORKER_MAX;

    pub(crate) fn gates(&self) -> u32 {
        self.gates.unwrap_or_else(|| self.connections.div_ceil(Self::PER_PROCESS))
    }

    pub(crate) fn workers(&self, cpus: u32) -> u32 {
        let needed = self.connections.div_ceil(Self::PER_PROCESS);
        self.workers.unwrap_or(cpus).max(needed).min(self.connections)
    }
}

fn payload_len(text: &str) -> Result<usize, String> {
    let range = PAYLOAD_LEN_MIN..=PAYLOAD_LEN_MAX as usize;
    let length = text.parse().map_err(|error| format!("{error}"))?;
    if range.contains(&length) { Ok(length) } else { Err(format!("a payload has {range:?} bytes")) }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ServeRelayArgs {
    /// Append to a file in this folder before answering.
    #[arg(long, value_name = "DIR")]
    pub(crate) durable: Option<PathBuf>,
}

/// How much load, for how long.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Load {
    /// Client connections, all together.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Messages that one connection may have unanswered: 1 unless given, 64 with --rate.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) in_flight: Option<u32>,
    /// Open loop: messages per second, all connections together. Latency then counts from the time
    /// a message was due. Without it each answer is followed by the next message at once.
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Seconds of load before the measured ones.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub(crate) warmup: u32,
    /// Load worker processes: one per CPU unless given, and as many more as the connections need.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) workers: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl Load {
    /// In an open loop the window is only a bound on memory, so it stands further open.
    pub(crate) fn in_flight(&self) -> u32 {
        match (self.in_flight, self.rate) {
            (Some(in_flight), _) => in_flight,
            (None, Some(_)) => 64,
            (None, None) => 1,
        }
    }

    pub(crate) fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_secs(self.warmup.into())
    }

    /// One worker per CPU, because a worker is one thread; more when a process may not open as many
    /// files; never more than there are pairs of connections.
    pub(crate) fn workers(&self, cpus: u32) -> u32 {
        let needed = self.connections.div_ceil(SOCKETS_PER_WORKER_MAX);
        self.workers.unwrap_or(cpus).max(needed).min(self.connections.div_ceil(2))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn load(arguments: &[&str]) -> Load {
        let line = ["sim-loadtest", "relay"].iter().chain(arguments);
        match Args::try_parse_from(line).unwrap().scenario {
            Scenario::Relay(args) => args.load,
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn the_window_is_one_in_a_closed_loop_and_wide_in_an_open_one() {
        assert_eq!(load(&[]).in_flight(), 1);
        assert_eq!(load(&["--rate", "10"]).in_flight(), 64);
        assert_eq!(load(&["--rate", "10", "--in-flight", "3"]).in_flight(), 3);
    }

    #[test]
    fn workers_follow_cpus_until_files_or_connections_bind() {
        assert_eq!(load(&[]).workers(2), 2);
        assert_eq!(load(&["--connections", "2"]).workers(2), 1);
        assert_eq!(load(&["--connections", "45001"]).workers(2), 4);
        assert_eq!(load(&["--workers", "1"]).workers(2), 1);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [["--connections", "0"], ["--in-flight", "0"], ["--seconds", "0"], ["--rate", "0"]] {
            assert!(Args::try_parse_from(["sim-loadtest", "relay"].iter().chain(&line)).is_err(), "{line:?}");
        }
    }
}
