//! The folder of a cluster:
//!
//! ```text
//! cluster.json                where clients find it, while it runs
//! ports.json                  who listens where, for ever
//! NAME.log, NAME.pid          of each process
//! NAME.toml, haproxy.cfg      settings of tiers and balancer, written at every start
//! redis-*.conf, sentinel-*.conf   written at the first start; Redis and its Sentinels keep their roles in them
//! keys/                       certificates and keys, made at the first start
//! mongod-*/, redis-*/, sentinel-*/   data
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::ports::{MONGODS, Ports};
use super::probe::REPLICA_SET;

/// What sentinels call the master.
const REDIS_MASTER: &str = "mymaster";

const HAPROXY: &str = include_str!("../../../../deploy/haproxy.cluster.cfg");

pub(super) const ROUTES: [&str; 2] = ["route-1", "route-2"];
pub(super) const IM_SERVICES: [&str; 2] = ["im-service-1", "im-service-2"];
pub(super) const GATES: [&str; 2] = ["gate-1", "gate-2"];
pub(super) const REDISES: [&str; 2] = ["redis-1", "redis-2"];
pub(super) const SENTINELS: [&str; 3] = ["sentinel-1", "sentinel-2", "sentinel-3"];

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder, with folders in it for those who keep data.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let folder = Self { path };
        for name in MONGODS.iter().chain(&REDISES).chain(&SENTINELS) {
            let dir = folder.file(name);
            fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn description(&self) -> PathBuf {
        self.file("cluster.json")
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.file("keys")
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.keys().join("dev-ca.pem")
    }

    /// The settings of everything that has a file of them.
    pub(super) fn write_settings(&self, ports: &Ports) -> anyhow::Result<()> {
        for name in ROUTES {
            self.write(&format!("{name}.toml"), &self.route(name, ports))?;
        }
        for name in IM_SERVICES {
            self.write(&format!("{name}.toml"), &self.im_service(name, ports))?;
        }
        for name in GATES {
            self.write(&format!("{name}.toml"), &self.gate(name, ports))?;
        }
        self.write("haproxy.cfg", HAPROXY)?;
        for name in REDISES {
            self.write_once(&format!("{name}.conf"), &self.redis(name, ports))?;
        }
        for name in SENTINELS {
            self.write_once(&format!("{name}.conf"), &self.sentinel(name, ports))?;
        }
        Ok(())
    }

    fn route(&self, name: &str, ports: &Ports) -> String {
        format!(
            "[route]\nname = {name:?}\nlisten = {:?}\nhttp_listen = {:?}\n{}",
            ports.address(name),
            ports.address(&format!("{name}-admin")),
            self.link("route"),
        )
    }

    fn im_service(&self, name: &str, ports: &Ports) -> String {
        let members: Vec<_> = MONGODS.iter().map(|name| ports.address(name)).collect();
        let sentinels: Vec<_> = SENTINELS.iter().map(|name| ports.address(name)).collect();
        let text = format!(
            "[runtime]\ndrain_deadline = \"10s\"\n[im-service]\nname = {name:?}\nroutes = {:?}\nhttp_listen = {:?}\n\
             grpc_listen = {:?}\nadmin_listen = {:?}\ntoken_keys = {:?}\n{}",
            ROUTES.map(|route| ports.address(route)),
            ports.address(name),
            ports.address(&format!("{name}-grpc")),
            ports.address(&format!("{name}-admin")),
            self.keys(),
            self.link("im-service-link"),
        );
        format!(
            "{text}# Everything here is on loopback, and for development.\ntimeline_open = true\n\
             store = \"mongo\"\nmongo_uri = \"mongodb://{}/?replicaSet={REPLICA_SET}\"\n\
             redis_url = \"redis+sentinel://{}/{REDIS_MASTER}\"\n",
            members.join(","),
            sentinels.join(","),
        )
    }

    fn gate(&self, name: &str, ports: &Ports) -> String {
        let keys = self.keys();
        format!(
            "[runtime]\ndrain_deadline = \"5s\"\n[gate]\nname = {name:?}\nroutes = {:?}\nclient_listen = {:?}\n\
             http_listen = {:?}\n# haproxy.\nproxy_from = [\"127.0.0.1/32\"]\nclient_cert = {:?}\nclient_key = {:?}\n\
             token_keys = [{:?}]\n{}",
            ROUTES.map(|route| ports.address(route)),
            ports.address(name),
            ports.address(&format!("{name}-admin")),
            keys.join("gate-server.pem"),
            keys.join("gate-server.key.pem"),
            keys.join("token-ed25519.pub.pem"),
            self.link("gate-link"),
        )
    }

    /// A tier's certificate towards the others.
    fn link(&self, role: &str) -> String {
        let keys = self.keys();
        format!(
            "link_cert = {:?}\nlink_key = {:?}\nlink_ca = {:?}\n",
            keys.join(format!("{role}.pem")),
            keys.join(format!("{role}.key.pem")),
            self.ca(),
        )
    }

    fn redis(&self, name: &str, ports: &Ports) -> String {
        let mut text = format!(
            "port {}\nbind 127.0.0.1\ndir {:?}\nsave \"\"\nappendonly yes\n",
            ports.of_name(name),
            self.file(name)
        );
        if name != REDISES[0] {
            text.push_str(&format!("replicaof 127.0.0.1 {}\n", ports.of_name(REDISES[0])));
        }
        text
    }

    fn sentinel(&self, name: &str, ports: &Ports) -> String {
        format!(
            "port {}\nbind 127.0.0.1\ndir {:?}\nsentinel monitor {REDIS_MASTER} 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds {REDIS_MASTER} 1000\nsentinel failover-timeout {REDIS_MASTER} 5000\n",
            ports.of_name(name),
            self.file(name),
            ports.of_name(REDISES[0]),
        )
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let file = self.file(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    }

    fn write_once(&self, name: &str, text: &str) -> anyhow::Result<()> {
        if self.file(name).exists() { Ok(()) } else { self.write(name, text) }
    }
}
