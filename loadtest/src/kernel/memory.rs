//! Memory that the kernel itself takes, and what is left of the machine's.

use std::fs;

use anyhow::Context;

/// Linux counts socket buffers in pages.
const PAGE_BYTES: i64 = 4096;

/// What the kernel holds for sockets, and for everything else that is kept in slabs. Only the
/// difference of two readings says something about connections, and a neighbour who opens many files
/// in between is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelMemory {
    /// Sockets, files, poll entries, and whatever else the kernel allocates in small pieces.
    pub(crate) slab_bytes: i64,
    /// Bytes that wait in sockets, with their envelopes.
    pub(crate) socket_buffer_bytes: i64,
}

impl KernelMemory {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let read = |path| fs::read_to_string(path).with_context(|| format!("read {path}"));
        let slab_bytes = meminfo(&read("/proc/meminfo")?, "Slab").context("no Slab in /proc/meminfo")? as i64;
        let pages = buffer_pages(&read("/proc/net/sockstat")?).context("no TCP mem in /proc/net/sockstat")?;
        Ok(Self { slab_bytes, socket_buffer_bytes: pages * PAGE_BYTES })
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            slab_bytes: self.slab_bytes - earlier.slab_bytes,
            socket_buffer_bytes: self.socket_buffer_bytes - earlier.socket_buffer_bytes,
        }
    }

    pub(crate) fn bytes(&self) -> i64 {
        self.slab_bytes + self.socket_buffer_bytes
    }
}

/// Bytes that programs can still get without swapping.
pub(crate) fn available_bytes() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    meminfo(&text, "MemAvailable").context("no MemAvailable in /proc/meminfo")
}

fn meminfo(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// `TCP: inuse 1 orphan 0 tw 4 alloc 1 mem 202`
fn buffer_pages(sockstat: &str) -> Option<i64> {
    let mut words = sockstat.lines().find(|line| line.starts_with("TCP:"))?.split_ascii_whitespace();
    words.find(|&word| word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "MemTotal: 24 kB\nSlabX: 1 kB\nSlab:             453464 kB\nSReclaimable: 7 kB\n";
        assert_eq!(meminfo(text, "Slab"), Some(453_464 * 1024));
        assert_eq!(meminfo(text, "MemAvailable"), None);
        let text = "sockets: used 20\nTCP: inuse 1 orphan 0 tw 4 alloc 1 mem 202\nUDP: inuse 0 mem 3\n";
        assert_eq!(buffer_pages(text), Some(202));
    }

    #[test]
    fn this_machine_tells() {
        assert!(KernelMemory::read().unwrap().slab_bytes > 0);
        assert!(available_bytes().unwrap() > 0);
    }
}
