//! A whole cluster as plain processes of this machine, on loopback: what `scripts/dev-cluster` runs.
//!
//! ```text
//! clients, browsers ─► haproxy ─┬► gate-1, gate-2 ─► route-1, route-2 ◄─ im-service-1, im-service-2 ◄─┐
//!                               └──────────────────── accounts, timelines over HTTP and gRPC ────────┘
//! im-service-* ─► mongod-1 … 3 (a replica set), redis-1, redis-2 and sentinel-1 … 3
//! ```
//!
//! * `ports`: who listens where, the same at every start of a folder.
//! * `files`: the settings of all of them, in the folder.
//! * `servers`: which processes there are, and in which order they come.
//! * `supervisor`: starts, watches, starts again what has died, stops.
//! * `probe`: when one is ready.
//!
//! It is for development: nothing asks for a password, and nothing can be reached from other machines.

mod files;
mod ports;
mod probe;
mod servers;
mod supervisor;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use files::Folder;
pub use ports::Ports;
use servers::Programs;
use supervisor::Supervisor;

/// Where, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of everything that the cluster keeps; made where it is missing.
    pub data: PathBuf,
    /// Whether a new folder gets free ports instead of the usual ones.
    pub free_ports: bool,
    /// Where `sim`, `sim-gate`, `sim-route` and `sim-im-service` are.
    pub binaries: PathBuf,
}

/// A cluster that runs.
#[derive(Debug)]
pub struct DevCluster {
    folder: Folder,
    ports: Ports,
    supervisor: Supervisor,
}

impl DevCluster {
    /// Starts all of it and waits until a client could log in and send.
    ///
    /// Call it, and [`run`](Self::run), on the thread that lives as long as the cluster shall: the kernel
    /// ends the servers with it.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        fs::create_dir_all(&options.data).with_context(|| format!("make {}", options.data.display()))?;
        let folder = Folder::open(options.data.canonicalize()?)?;
        let programs = Programs::find(&options.binaries)?;
        let ports = Ports::of(folder.path(), options.free_ports)?;
        // Before anything is touched: another one may be running in this very folder.
        ports.check_free()?;
        remove(&folder.description())?;
        programs.make_keys(&folder.keys())?;
        folder.write_settings(&ports)?;
        let mut supervisor = Supervisor::new(folder.path().to_owned());
        for stage in servers::stages(&programs, &folder, &ports) {
            for server in stage.servers {
                supervisor.start(server)?;
            }
            supervisor.wait_ready().await?;
            if stage.makes_replica_set {
                let members: Vec<_> = ports::MONGODS.iter().map(|name| ports.of_name(name)).collect();
                probe::make_replica_set(&members).await.context("make the replica set")?;
            }
        }
        let cluster = Self { folder, ports, supervisor };
        cluster.describe()?;
        Ok(cluster)
    }

    /// Where clients, browsers and business systems find it: for `sim demo --cluster`, and for scripts.
    pub fn description(&self) -> PathBuf {
        self.folder.description()
    }

    /// Where everything listens.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The authority that clients trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.ca()
    }

    /// Watches over it until told to stop, then ends everything from the clients inwards.
    ///
    /// `stop` is asked for again after it has come, and comes a second time when patience has run out.
    pub async fn run(mut self, mut stop: impl AsyncFnMut()) -> anyhow::Result<()> {
        let watched = tokio::select! {
            biased;
            () = stop() => Ok(()),
            watched = self.supervisor.watch() => watched,
        };
        remove(&self.folder.description())?;
        tokio::select! {
            biased;
            () = stop() => self.supervisor.kill_all(),
            () = self.supervisor.stop_all() => {}
        }
        watched
    }

    fn describe(&self) -> anyhow::Result<()> {
        let described = json!({
            "gates": [self.ports.address("clients")],
            "accounts": self.ports.address("http"),
            "grpc": self.ports.address("grpc"),
            "ca": self.folder.ca(),
        });
        let (file, new) = (self.folder.description(), self.folder.description().with_extension("new"));
        fs::write(&new, format!("{described:#}\n")).with_context(|| format!("write {}", new.display()))?;
        // Whole or not at all: somebody may be waiting for it.
        fs::rename(&new, &file).with_context(|| format!("write {}", file.display()))
    }
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
