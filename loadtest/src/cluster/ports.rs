//! Ports that nobody listens on, from below those that the system gives to outgoing connections: at
//! 300,000 of them, a port from there is taken sooner than a tier can bind it.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;

/// Below this are the ports that services usually have.
const FIRST: u16 = 10_240;
/// Where outgoing connections begin, unless the system says otherwise.
const EPHEMERAL_DEFAULT: u16 = 32_768;
/// Tries before there seem to be no ports.
const TRIES_MAX: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Free(HashSet<u16>);

impl Free {
    /// A port of `host` that was free just now, another one each time.
    pub(super) fn take(&mut self, host: Ipv4Addr) -> anyhow::Result<SocketAddr> {
        for _ in 0..TRIES_MAX {
            let port = rand::random_range(FIRST..ephemeral_first());
            let address = SocketAddr::from((host, port));
            if TcpListener::bind(address).is_ok() && self.0.insert(port) {
                return Ok(address);
            }
        }
        bail!("no free port in {TRIES_MAX} tries");
    }
}

fn ephemeral_first() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    first.filter(|first| *first > FIRST).unwrap_or(EPHEMERAL_DEFAULT)
}
