//! What the figures were measured on.

use std::fs;
use std::thread;

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpus: u32,
    pub(crate) cpu_model: String,
    pub(crate) kernel: String,
    pub(crate) memory_bytes: u64,
}

impl Machine {
    /// Reads `/proc`; what it does not tell stays empty, because a report without it is still a report.
    pub(crate) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpus: cpus(),
            cpu_model: field(&text("/proc/cpuinfo"), "model name").unwrap_or_default().to_owned(),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: field(&text("/proc/meminfo"), "MemTotal").and_then(kibibytes).unwrap_or_default() * 1024,
        }
    }
}

pub(crate) fn cpus() -> u32 {
    thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name)?;
    Some(value.trim())
}

fn kibibytes(value: &str) -> Option<u64> {
    value.strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotalX: 1 kB\nMemTotal:       24608252 kB\n";
        assert_eq!(field(text, "MemTotal").and_then(kibibytes), Some(24_608_252));
        assert_eq!(field(text, "Mem"), None);
    }
}
