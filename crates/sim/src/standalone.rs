//! `sim standalone`: all tiers in one process, until it is told to stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use im_runtime::logging::{self, LogFilter, LogFormat};
use im_runtime::{Context, Ending, Readiness, SettingsSource, Shutdown, Signals, metrics};

use crate::tiers::{Ports, Reach, Tiers, TiersConfig};

/// What may be chosen.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The folder for keys and store.
    pub(crate) data: PathBuf,
    /// Free ports instead of the documented ones.
    pub(crate) free_ports: bool,
    /// Messages also go to users without an account.
    pub(crate) unknown_users: bool,
    /// Who can reach it.
    pub(crate) reach: Reach,
    /// Where clients on this machine look for the authority; `None` leaves them to be told.
    pub(crate) publish_ca: Option<PathBuf>,
    /// Print one JSON object instead of text.
    pub(crate) json: bool,
    /// What is logged to stderr.
    pub(crate) log: LogFilter,
}

/// How long a stop may take.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    logging::init(LogFormat::Text, &options.log).context("start logging")?;
    let shutdown = Shutdown::new();
    let signals = Signals::install(shutdown.clone()).context("take signals")?;
    let metrics = metrics::install().context("install the metrics recorder")?;
    let (readiness, source) = (Readiness::default(), SettingsSource::default());
    let context = Context { shutdown: shutdown.clone(), readiness, signals, metrics, source };
    let config = TiersConfig {
        data: options.data.clone(),
        ports: if options.free_ports { Ports::Free } else { Ports::Default },
        known_users_only: !options.unknown_users,
        reach: options.reach.clone(),
    };
    let tiers = Tiers::start(&config, &context).await?;
    if let Some(published) = &options.publish_ca {
        std::fs::copy(tiers.ca(), published).with_context(|| format!("write {}", published.display()))?;
    }
    if options.json {
        print_json(&tiers, &options.data)?;
    } else {
        print_text(&tiers, &options.data);
    }
    shutdown.begun().await;
    tiers.stop().await;
    match (shutdown.failed(), shutdown.drain(DRAIN_DEADLINE).await) {
        (Some(task), _) => anyhow::bail!("{task} ended by itself; the log says why"),
        (None, Ending::DeadlinePassed { left }) => anyhow::bail!("{left} tasks did not end in time"),
        (None, Ending::Drained) => Ok(()),
    }
}

fn print_text(tiers: &Tiers, data: &Path) {
    let [gate, route, service] = tiers.admin_addrs();
    let (clients, accounts, ca) = (tiers.client_addr(), tiers.accounts_addr(), tiers.ca());
    let grpc = tiers.grpc_addr();
    println!("sim is running: gate, route and im-service in this process. Ctrl-C stops it.");
    println!();
    println!("  clients (TLS)    {clients}");
    println!("  accounts (HTTP)  http://{accounts}");
    println!("  timelines        http://{accounts}/ (a page), /docs (every call); gRPC {grpc}");
    println!("  certificate      {}", ca.display());
    println!("  data             {}", data.display());
    println!("  gate             http://{gate}/online /readyz /metrics");
    println!("  route            http://{route}/census /readyz /metrics");
    println!("  im-service       http://{service}/readyz /metrics");
    println!();
    println!("Talk, from two other terminals:");
    println!("  sim register alice");
    println!("  sim --as alice chat");
}

fn print_json(tiers: &Tiers, data: &Path) -> anyhow::Result<()> {
    let [gate, route, service] = tiers.admin_addrs();
    let json = serde_json::json!({
        "clients": tiers.client_addr().to_string(),
        "accounts": format!("http://{}", tiers.accounts_addr()),
        "timelines": format!("http://{}", tiers.accounts_addr()),
        "grpc": tiers.grpc_addr().to_string(),
        "ca": absolute(&tiers.ca())?,
        "keys": absolute(&data.join("keys"))?,
        "data": absolute(data)?,
        "gate_admin": format!("http://{gate}"),
        "route_admin": format!("http://{route}"),
        "im_service_admin": format!("http://{service}"),
    });
    println!("{json}");
    Ok(())
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("resolve {}", path.display()))
}
