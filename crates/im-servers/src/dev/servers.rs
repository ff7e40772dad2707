//! Which processes a cluster has, and in which order they come: the stores first, then who dials them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::files::{Folder, GATES, IM_SERVICES, REDISES, ROUTES, SENTINELS};
use super::ports::{MONGODS, Ports};
use super::probe::{REPLICA_SET, Ready};
use super::supervisor::Server;
use crate::process::{cache, program};

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Programs {
    sim: PathBuf,
    gate: PathBuf,
    route: PathBuf,
    im_service: PathBuf,
    mongod: PathBuf,
    redis_server: PathBuf,
    redis_sentinel: PathBuf,
    haproxy: PathBuf,
}

/// Those who start together, and are ready before the next.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) servers: Vec<Server>,
    /// Whether these are the members of a replica set, which is made of them when they are ready.
    pub(super) makes_replica_set: bool,
}

impl Programs {
    /// All of them, or an error that says which is missing and who brings it.
    pub(super) fn find(binaries: &Path) -> anyhow::Result<Self> {
        let ours = |name: &str| {
            let path = binaries.join(name);
            ensure!(
                path.is_file(),
                "there is no {}: cargo build -p gate -p route -p im-service -p sim",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            sim: ours("sim")?,
            gate: ours("sim-gate")?,
            route: ours("sim-route")?,
            im_service: ours("sim-im-service")?,
            mongod: program("mongod", "SIM_MONGOD", Some(cache().join("mongod").join("mongod")))?,
            redis_server: program("redis-server", "SIM_REDIS_SERVER", None)?,
            redis_sentinel: program("redis-sentinel", "SIM_REDIS_SENTINEL", None)?,
            // Debian puts it where only root's PATH looks.
            haproxy: program("haproxy", "SIM_HAPROXY", Some("/usr/sbin/haproxy".into()))?,
        })
    }

    /// Makes certificates and keys where there are none, as an operator would.
    pub(super) fn make_keys(&self, keys: &Path) -> anyhow::Result<()> {
        let made = Command::new(&self.sim).arg("keys").arg(keys).output().context("run sim keys")?;
        ensure!(made.status.success(), "sim keys: {}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    }
}

/// All of them.
pub(super) fn stages(programs: &Programs, folder: &Folder, ports: &Ports) -> Vec<Stage> {
    let of = |names: &[&str], server: &dyn Fn(&str) -> Server| Stage {
        servers: names.iter().map(|name| server(name)).collect(),
        makes_replica_set: false,
    };
    let tier = |name: &str, program: &Path, ready: &'static str| Server {
        name: name.to_owned(),
        program: program.to_owned(),
        arguments: vec!["--config".to_owned(), format!("{name}.toml")],
        environment: Vec::new(),
        ready: Ready::Http(ports.of_name(&format!("{name}-admin")), ready),
    };
    vec![
        Stage { makes_replica_set: true, ..of(&MONGODS, &|name| mongod(name, programs, folder, ports)) },
        of(&REDISES, &|name| redis(name, &programs.redis_server, Ready::Redis(ports.of_name(name)))),
        of(&SENTINELS, &|name| redis(name, &programs.redis_sentinel, Ready::Sentinel(ports.of_name(name)))),
        // Routes are ready when there is an im-service, which waits for a route.
        of(&ROUTES, &|name| tier(name, &programs.route, "/healthz")),
        of(&IM_SERVICES, &|name| tier(name, &programs.im_service, "/readyz")),
        of(&GATES, &|name| tier(name, &programs.gate, "/readyz")),
        Stage { servers: vec![haproxy(programs, ports)], makes_replica_set: false },
    ]
}

fn mongod(name: &str, programs: &Programs, folder: &Folder, ports: &Ports) -> Server {
    let port = ports.of_name(name);
    let arguments = ["--replSet", REPLICA_SET, "--bind_ip", "127.0.0.1", "--nounixsocket", "--port", &port.to_string()]
        .into_iter()
        // Three of them share a machine with everything else.
        .chain(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64"])
        // Not fifteen seconds in which a secondary might take over: all of them go.
        .chain(["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=1000"])
        .chain(["--dbpath", &folder.file(name).display().to_string()])
        .map(str::to_owned)
        .collect();
    let program = programs.mongod.clone();
    Server { name: name.to_owned(), program, arguments, environment: Vec::new(), ready: Ready::Mongo(port) }
}

/// A Redis or a Sentinel.
fn redis(name: &str, program: &Path, ready: Ready) -> Server {
    let arguments = vec![format!("{name}.conf")];
    Server { name: name.to_owned(), program: program.to_owned(), arguments, environment: Vec::new(), ready }
}

fn haproxy(programs: &Programs, ports: &Ports) -> Server {
    let mut environment = vec![
        ("LISTEN_CLIENTS".to_owned(), ports.address("clients")),
        ("LISTEN_HTTP".to_owned(), ports.address("http")),
        ("LISTEN_GRPC".to_owned(), ports.address("grpc")),
        ("LISTEN_OPERATORS".to_owned(), ports.address("haproxy-admin")),
    ];
    for name in GATES {
        let variable = name.to_uppercase().replace('-', "_");
        environment.push((variable.clone(), ports.address(name)));
        environment.push((format!("{variable}_CHECK"), ports.of_name(&format!("{name}-admin")).to_string()));
    }
    for name in IM_SERVICES {
        let variable = name.to_uppercase().replace('-', "_");
        environment.push((format!("{variable}_HTTP"), ports.address(name)));
        environment.push((format!("{variable}_GRPC"), ports.address(&format!("{name}-grpc"))));
        environment.push((format!("{variable}_CHECK"), ports.of_name(&format!("{name}-admin")).to_string()));
    }
    Server {
        name: "haproxy".to_owned(),
        program: programs.haproxy.clone(),
        arguments: ["-db", "-f", "haproxy.cfg"].map(str::to_owned).into(),
        environment,
        ready: Ready::Http(ports.of_name("haproxy-admin"), "/healthz"),
    }
}
