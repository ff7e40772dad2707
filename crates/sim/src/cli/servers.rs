//! `standalone`, `demo` and `keys`: the commands that start servers, or make what servers need.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use im_runtime::logging::LogFilter;
use im_runtime::settings::SettingValue;
use serde_json::json;

use super::home::Home;
use super::output::Output;
use super::{Failure, Kind};
use crate::{demo, standalone, tiers};

/// Arguments of `sim standalone`.
#[derive(Debug, Args)]
pub(super) struct StandaloneArgs {
    /// The folder for keys, certificates and the store; made where it is missing.
    #[arg(long, default_value = "sim-data", value_name = "DIR")]
    data: PathBuf,
    /// Listen on free ports instead of 8910, 8911, 8920, 8921, 8000, 9000 and 8931.
    #[arg(long)]
    free_ports: bool,
    /// Let messages go to users who have no account here, because their tokens come from elsewhere.
    #[arg(long)]
    unknown_users: bool,
    /// Serve clients, accounts and timelines on this address of the machine. Where it is not loopback, the
    /// timeline service asks for a token, which is made in DIR/keys/service-tokens.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    listen: IpAddr,
    /// Something in front of 8000 and 9000 ends TLS: accounts and timelines speak plain HTTP, and passwords
    /// and tokens pass there. Needed where they can be reached from other machines.
    #[arg(long)]
    http_behind_tls: bool,
    /// A further name or address under which clients reach this; for the certificate, which is made at the
    /// first start. May be given several times.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    #[command(flatten)]
    log: LogArgs,
}

/// Arguments of `sim demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Talk in a cluster that runs already, of which this file (written by scripts/dev-cluster) tells the
    /// addresses; without FILE in the one that scripts/dev-cluster starts in this folder.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "sim-cluster/cluster.json")]
    cluster: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// What is logged to standard error: a level, or directives such as "info,gate=debug".
    #[arg(long, env = "SIM_LOG", default_value = "warn", value_parser = log_filter)]
    log: LogFilter,
}

fn log_filter(text: &str) -> Result<LogFilter, String> {
    LogFilter::from_text(text).map_err(|error| error.to_string())
}

/// Arguments of `sim keys`.
#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    /// The folder. What it holds already stays as it is.
    dir: PathBuf,
    /// A further name or address under which clients reach the gates; may be given several times.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

/// Servers on the documented ports leave their authority where the other commands look for it.
pub(super) async fn run_standalone(args: StandaloneArgs, home: &Home, json: bool) -> Result<(), Failure> {
    let StandaloneArgs { data, free_ports, unknown_users, listen, http_behind_tls, hosts, log } = args;
    let reach = tiers::Reach { address: listen, http_behind_tls, hosts };
    let publish_ca = (!free_ports).then(|| home.dev_ca());
    let options = standalone::Options { data, free_ports, unknown_users, reach, publish_ca, json, log: log.log };
    standalone::run(options).await.map_err(|error| failed(&error))
}

pub(super) async fn run_demo(args: &DemoArgs) -> Result<(), Failure> {
    let played = match &args.cluster {
        Some(cluster) => demo::run_in(cluster, &args.log.log).await,
        None => demo::run(&args.log.log).await,
    };
    played.map_err(|error| failed(&error))
}

pub(super) fn run_keys(args: &KeysArgs, output: &Output) -> Result<(), Failure> {
    let certs = tiers::make_keys(&args.dir, &args.hosts).map_err(|error| failed(&error))?;
    let ca = certs.ca();
    output.line(
        || format!("keys and certificates are in {}; clients trust {}", args.dir.display(), ca.display()),
        || json!({ "dir": args.dir, "ca": ca }),
    )
}

fn failed(error: &anyhow::Error) -> Failure {
    Failure::new(Kind::Failed, format!("{error:#}"))
}
