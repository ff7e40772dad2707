//! What a process says of itself, on SIGUSR1 and in its metrics; tiers add their own beside it.

use tokio::runtime::Handle;

use crate::{Readiness, Signals};

/// What the kernel and the async runtime say of this process. A part that cannot be read is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Bytes of memory that it holds.
    pub resident_bytes: Option<u64>,
    /// Its greatest so far.
    pub resident_bytes_peak: Option<u64>,
    /// Open files, sockets included.
    pub files: Option<usize>,
    /// How many it may open.
    pub files_max: Option<usize>,
    /// Threads.
    pub threads: Option<u64>,
    /// Async tasks.
    pub tasks: usize,
    /// Async tasks that wait for a thread.
    pub tasks_waiting: usize,
}

impl Process {
    /// Now. Call it inside the runtime.
    #[must_use]
    pub fn look() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim_end_matches("kB").trim().parse::<u64>().ok()
        };
        let runtime = Handle::current().metrics();
        Self {
            resident_bytes: number("VmRSS:").map(|kib| kib * 1024),
            resident_bytes_peak: number("VmHWM:").map(|kib| kib * 1024),
            // The folder itself is open while it is read.
            files: std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1)),
            files_max: files_max(),
            threads: number("Threads:"),
            tasks: runtime.num_alive_tasks(),
            tasks_waiting: runtime.global_queue_depth(),
        }
    }

    /// Sets the gauges that every tier has.
    pub(crate) fn record(&self) {
        let Self { resident_bytes, resident_bytes_peak: _, files, files_max, threads, tasks, tasks_waiting } = *self;
        if let Some(bytes) = resident_bytes {
            metrics::gauge!("sim_process_resident_bytes").set(bytes as f64);
        }
        if let Some(files) = files {
            metrics::gauge!("sim_process_open_files").set(files as f64);
        }
        if let Some(files_max) = files_max {
            metrics::gauge!("sim_process_open_files_max").set(files_max as f64);
        }
        if let Some(threads) = threads {
            metrics::gauge!("sim_process_threads").set(threads as f64);
        }
        metrics::gauge!("sim_process_tasks").set(tasks as f64);
        metrics::gauge!("sim_process_tasks_waiting").set(tasks_waiting as f64);
    }
}

/// The soft limit of open files.
fn files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Logs a line each time it is asked for.
pub(crate) async fn tell(signals: Signals, readiness: Readiness) {
    let mut asked = signals.diagnostics();
    loop {
        asked.next().await;
        let Process { resident_bytes, resident_bytes_peak, files, files_max, threads, tasks, tasks_waiting } =
            Process::look();
        let unmet = readiness.unmet();
        tracing::info!(
            resident_bytes,
            resident_bytes_peak,
            files,
            files_max,
            threads,
            tasks,
            tasks_waiting,
            ?unmet,
            "diagnostics: process"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[tokio::test]
    async fn a_process_knows_its_size() {
        let process = Process::look();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{process:?}");
        assert!(process.files.is_some_and(|files| files >= 3), "{process:?}");
        assert!(process.files_max > process.files, "{process:?}");
        assert!(process.threads.is_some_and(|threads| threads >= 1), "{process:?}");
    }
}
