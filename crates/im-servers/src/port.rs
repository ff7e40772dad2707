//! Ports that no other test takes while this one may need them again: a server that is killed comes
//! back where it was.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, bail};

/// Below the system's own choice for outgoing connections, above what services usually have.
const PORTS: std::ops::Range<u16> = 11_000..32_000;
const TRIES_MAX: usize = 200;

/// A port of the loopback address; given back on drop.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// Locked while the lease lasts. The lock goes with the process, whatever ends it.
    _lock: File,
}

impl Port {
    pub(crate) fn lease() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join("sim-test-ports");
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        for _ in 0..TRIES_MAX {
            let number = rand::random_range(PORTS);
            let path = dir.join(number.to_string());
            let lock = File::create(&path).with_context(|| format!("make {}", path.display()))?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port in {TRIES_MAX} tries");
    }
}
