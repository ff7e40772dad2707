//! What a process has cost the machine so far: the examples that measure take it before and after.

use std::time::Duration;

/// What this process has used so far, as Linux counts it.
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Bytes handed to the disk.
    pub(crate) written: u64,
}

impl Usage {
    pub(crate) fn now() -> Result<Self, Box<dyn std::error::Error>> {
        /// Ticks per second of `/proc/self/stat`; fixed on Linux.
        const TICK_MS: u64 = 10;
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let after_name = stat.rsplit(')').next().ok_or("stat without name")?;
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>()).sum::<Result<_, _>>()?;
        let io = std::fs::read_to_string("/proc/self/io")?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).ok_or("io without write_bytes")?;
        Ok(Self { cpu: Duration::from_millis(ticks * TICK_MS), written: written.parse()? })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self { cpu: self.cpu - before.cpu, written: self.written - before.written }
    }
}
