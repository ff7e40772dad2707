//! Who listens where. A folder keeps its ports: members of a replica set and of a Sentinel group know each
//! other by them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::port::Port;

/// The members of the replica set.
pub(crate) const MONGODS: [&str; 3] = ["mongod-1", "mongod-2", "mongod-3"];

/// What listens, and where it usually does. What clients use is where it is documented; the n-th instance
/// of a tier has 10,000 × n on top; the stores of others are beside their usual ports, where another one of
/// theirs may run.
const USUAL: [(&str, u16); 26] = [
    ("clients", 8910),
    ("http", 8000),
    ("grpc", 9000),
    ("gate-1", 18910),
    ("gate-1-admin", 18911),
    ("gate-2", 28910),
    ("gate-2-admin", 28911),
    ("route-1", 18920),
    ("route-1-admin", 18921),
    ("route-2", 28920),
    ("route-2-admin", 28921),
    ("im-service-1", 18000),
    ("im-service-1-grpc", 19000),
    ("im-service-1-admin", 18931),
    ("im-service-2", 28000),
    ("im-service-2-grpc", 29000),
    ("im-service-2-admin", 28931),
    ("mongod-1", 27021),
    ("mongod-2", 27022),
    ("mongod-3", 27023),
    ("redis-1", 6381),
    ("redis-2", 6382),
    ("sentinel-1", 26381),
    ("sentinel-2", 26382),
    ("sentinel-3", 26383),
    ("haproxy-admin", 8909),
];

/// Who listens where on the loopback address.
#[derive(Debug)]
pub struct Ports {
    numbers: BTreeMap<String, u16>,
    /// Ports that were free when the folder was made, so that no test takes one while all of this starts.
    _leases: Vec<Port>,
}

impl Ports {
    /// The ports of a folder; chosen if it is new.
    pub(crate) fn of(folder: &Path, free: bool) -> anyhow::Result<Self> {
        let file = folder.join("ports.json");
        if file.exists() {
            let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let numbers: BTreeMap<String, u16> =
                serde_json::from_slice(&text).with_context(|| format!("{} lists no ports", file.display()))?;
            for (name, _) in USUAL {
                ensure!(numbers.contains_key(name), "{} has no port of {name}", file.display());
            }
            return Ok(Self { numbers, _leases: Vec::new() });
        }
        let (mut numbers, mut leases) = (BTreeMap::new(), Vec::new());
        for (name, usual) in USUAL {
            let number = if free {
                let lease = Port::lease()?;
                let number = lease.number;
                leases.push(lease);
                number
            } else {
                usual
            };
            numbers.insert(name.to_owned(), number);
        }
        fs::write(&file, serde_json::to_vec_pretty(&numbers)?).with_context(|| format!("write {}", file.display()))?;
        Ok(Self { numbers, _leases: leases })
    }

    /// An error that names what somebody else holds.
    pub(crate) fn check_free(&self) -> anyhow::Result<()> {
        let taken = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err();
        let taken: Vec<_> = self.numbers.iter().filter(|(_, port)| taken(**port)).collect();
        if taken.len() == self.numbers.len() {
            bail!("a cluster runs on these ports already, in this folder or in another");
        }
        if !taken.is_empty() {
            let list: Vec<_> = taken.into_iter().map(|(name, port)| format!("{port} ({name})")).collect();
            bail!(
                "these ports are in use: {}; stop what has them, or start a cluster on free ports in another folder: \
                 --free-ports --data DIR",
                list.join(", ")
            );
        }
        Ok(())
    }

    /// The port of one of the names that are known here.
    ///
    /// # Panics
    /// When the name is none of them.
    pub(crate) fn of_name(&self, name: &str) -> u16 {
        *self.numbers.get(name).unwrap_or_else(|| panic!("nothing here is called {name}"))
    }

    /// `127.0.0.1:PORT` of what clients, operators or other tiers know by this name: `clients`, `http`, `grpc`,
    /// a tier's name, and that with `-admin`.
    ///
    /// # Panics
    /// When nothing is called so.
    pub fn address(&self, name: &str) -> String {
        format!("127.0.0.1:{}", self.of_name(name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_shares_a_port_and_none_is_taken_by_outgoing_connections() {
        let distinct: BTreeSet<_> = USUAL.iter().map(|(_, port)| port).collect();
        assert_eq!(distinct.len(), USUAL.len());
        assert!(USUAL.iter().all(|(_, port)| *port < 32_768), "the system takes those for outgoing connections");
    }

    #[test]
    fn a_folder_keeps_its_ports() {
        let folder = tempfile::tempdir().unwrap();
        let first = Ports::of(folder.path(), true).unwrap();
        assert_ne!(first.of_name("clients"), 8910);
        let second = Ports::of(folder.path(), false).unwrap();
        assert_eq!(first.numbers, second.numbers);
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports::of(folder.path(), true).unwrap();
        ports.check_free().unwrap();
        let _other = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.of_name("redis-2"))).unwrap();
        let error = ports.check_free().unwrap_err().to_string();
        assert!(error.contains(&format!("{} (redis-2);", ports.of_name("redis-2"))), "{error}");
    }
}
