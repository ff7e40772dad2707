//! Ports that no other test takes. A tier must come back on the port that it had, so "whatever is
//! free" (port 0) will not do: a port is leased for as long as its cluster lives, also while nobody
//! listens on it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};

use crate::binaries::profile_dir;

/// Below this are the ports that services usually have.
const FIRST: u16 = 10_240;

/// Where the system's own choice for outgoing connections begins, unless it says otherwise. A port
/// from there may be taken by any connection of any program while its tier is down.
const EPHEMERAL_DEFAULT: u16 = 32_768;

/// Tries before there seem to be no ports.
const TRIES_MAX: usize = 200;

/// A port of the loopback address; given back on drop.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Locked while the lease lasts. The lock goes with the process, whatever ends it.
    _lock: File,
}

impl Port {
    /// Leases one.
    pub fn lease() -> anyhow::Result<Self> {
        let dir = profile_dir().join("e2e-ports");
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        for _ in 0..TRIES_MAX {
            let number = rand::random_range(FIRST..ephemeral_first());
            let path = dir.join(number.to_string());
            let lock = File::create(&path).with_context(|| format!("make {}", path.display()))?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port in {TRIES_MAX} tries");
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

fn ephemeral_first() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    first.filter(|first| *first > FIRST).unwrap_or(EPHEMERAL_DEFAULT)
}
