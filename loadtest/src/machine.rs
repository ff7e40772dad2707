//! What the figures were measured on.

use std::fmt;
use std::fs;
use std::thread;

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpus: u32,
    pub(crate) cpu_model: String,
    pub(crate) kernel: String,
    pub(crate) memory_bytes: u64,
    /// Processes that wanted a processor in the minute before: above 0 others were at work, too.
    pub(crate) load_before: f64,
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
            load_before: text("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gibibytes = self.memory_bytes as f64 / f64::from(1 << 30);
        let Self { cpus, cpu_model, kernel, load_before, .. } = self;
        write!(f, "{cpus} × {cpu_model}, {gibibytes:.0} GiB, Linux {kernel}, load {load_before:.2} before")
    }
}

pub(crate) fn cpus() -> u32 {
    thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

/// Files that this process, and what it starts, may open; without bound where nothing is told.
pub(crate) fn open_files_max() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    open_files_limit(&limits).unwrap_or(u64::MAX)
}

/// `Max open files            1024                 20000                files`: the limit that holds, then
/// the one that it could be raised to.
fn open_files_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
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
    fn the_limit_that_holds_is_the_first() {
        let limits = "Limit   Soft Limit   Hard Limit   Units\nMax open files            1024                 20000                files\n";
        assert_eq!(open_files_limit(limits), Some(1024));
        assert_eq!(open_files_limit("Max open files   unlimited   unlimited   files\n"), None);
        assert!(open_files_max() > 100);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotalX: 1 kB\nMemTotal:       24608252 kB\n";
        assert_eq!(field(text, "MemTotal").and_then(kibibytes), Some(24_608_252));
        assert_eq!(field(text, "Mem"), None);
    }
}
