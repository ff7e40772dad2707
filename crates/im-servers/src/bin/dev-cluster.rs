//! `dev-cluster`: a whole cluster on this machine, until Ctrl-C. `scripts/dev-cluster` builds what it needs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use im_servers::dev::{DevCluster, Options};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Two gates behind haproxy, two routes and two im-services on a MongoDB replica set, Redis and Sentinels:
/// processes of this machine on loopback, until Ctrl-C. What dies starts again after some seconds.
#[derive(Debug, Parser)]
#[command(name = "dev-cluster", version)]
struct Arguments {
    /// The folder for data, keys, settings, logs and process ids; made where it is missing.
    #[arg(long, default_value = "sim-cluster", value_name = "DIR")]
    data: PathBuf,
    /// Choose free ports for a new folder; one that has been used keeps its own.
    #[arg(long)]
    free_ports: bool,
}

/// Everything that asks a process to go.
struct Stop([Signal; 3]);

impl Stop {
    fn install() -> anyhow::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [a, b, c] = kinds.map(signal);
        Ok(Self([a?, b?, c?]))
    }

    async fn come(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: the kernel ends the servers with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.context("start the runtime").and_then(|runtime| runtime.block_on(run(arguments)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dev-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { data, free_ports } = arguments;
    let own = std::env::current_exe().context("find this program")?;
    let binaries = own.parent().context("this program is in a folder")?.to_owned();
    let mut stop = Stop::install().context("take signals")?;
    println!("Starting a cluster in {} …", data.display());
    let options = Options { data: data.clone(), free_ports, binaries };
    let cluster = tokio::select! {
        biased;
        // What has been started ends with what is dropped here.
        () = stop.come() => return Ok(()),
        started = DevCluster::start(&options) => started?,
    };
    print(&cluster, &data);
    cluster.run(async || stop.come().await).await?;
    println!("All of it has ended; {} keeps what it knew.", data.display());
    Ok(())
}

fn print(cluster: &DevCluster, data: &std::path::Path) {
    let ports = cluster.ports();
    let (clients, http, grpc) = (ports.address("clients"), ports.address("http"), ports.address("grpc"));
    let (data, ca) = (data.display(), cluster.ca());
    println!("A cluster is running. Ctrl-C stops all of it.");
    println!();
    println!("  clients (TLS)    {clients}, haproxy in front of gate-1 and gate-2");
    println!("  accounts (HTTP)  http://{http}, haproxy in front of im-service-1 and im-service-2");
    println!("  timelines        http://{http}/ (a page), /docs (every call); gRPC {grpc}");
    println!("  certificate      {}", ca.display());
    println!("  balancer         http://{}/", ports.address("haproxy-admin"));
    for name in ["gate-1", "gate-2", "route-1", "route-2", "im-service-1", "im-service-2"] {
        println!("  {name:<16} http://{}/readyz /metrics", ports.address(&format!("{name}-admin")));
    }
    println!("  MongoDB          {}", ["mongod-1", "mongod-2", "mongod-3"].map(|name| ports.address(name)).join(", "));
    println!("  Redis            {}", ["redis-1", "redis-2"].map(|name| ports.address(name)).join(", "));
    println!("  described in     {}", cluster.description().display());
    println!();
    println!("Four people talk, and what each sees is checked:");
    println!("  sim demo --cluster {}", cluster.description().display());
    println!("Talk yourself:");
    println!("  sim register alice --gate {clients} --accounts http://{http} --ca {}", ca.display());
    println!("  sim --as alice chat");
    println!("Kill what you like; it starts again after some seconds:");
    println!("  kill -9 $(cat {data}/gate-1.pid)");
}
