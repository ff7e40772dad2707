//! What connections cost in memory and processor time, as the kernel counts it.

use std::time::{Duration, Instant};

use crate::kernel::{self, KernelMemory};
use crate::scenario::gates::Gates;

/// Memory at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Costs {
    pub(super) gates: i64,
    pub(super) routes: i64,
    pub(super) im_services: i64,
    pub(super) workers: i64,
    pub(super) kernel: KernelMemory,
}

impl Costs {
    pub(super) fn read(gates: &Gates, workers: &[u32]) -> anyhow::Result<Self> {
        Ok(Self {
            gates: memory(gates.pids())?,
            routes: memory(gates.route_pids())?,
            im_services: memory(gates.im_service_pids())?,
            workers: memory(workers)?,
            kernel: KernelMemory::read()?,
        })
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            gates: self.gates - before.gates,
            routes: self.routes - before.routes,
            im_services: self.im_services - before.im_services,
            workers: self.workers - before.workers,
            kernel: self.kernel.since(&before.kernel),
        }
    }
}

fn memory(pids: &[u32]) -> anyhow::Result<i64> {
    pids.iter().map(|&pid| kernel::anonymous_bytes(pid).map(|bytes| bytes as i64)).sum()
}

/// What is looked at every second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) held: u64,
    pub(super) gate_bytes: i64,
    pub(super) worker_bytes: i64,
    pub(super) kernel_bytes: i64,
    gate_cpu: Duration,
    server_cpu: Duration,
    worker_cpu: Duration,
}

impl Sample {
    pub(super) fn take(start: Instant, held: u64, gates: &Gates, workers: &[u32]) -> anyhow::Result<Self> {
        let cpu = |pids: &[u32]| pids.iter().map(|&pid| kernel::cpu_time(pid)).sum::<anyhow::Result<Duration>>();
        let gate_cpu = cpu(gates.pids())?;
        Ok(Self {
            at: start.elapsed(),
            held,
            gate_bytes: memory(gates.pids())?,
            worker_bytes: memory(workers)?,
            kernel_bytes: KernelMemory::read()?.bytes(),
            gate_cpu,
            server_cpu: gate_cpu + cpu(gates.route_pids())? + cpu(gates.im_service_pids())?,
            worker_cpu: cpu(workers)?,
        })
    }

    pub(super) fn server_cpu_percent_since(&self, earlier: &Self) -> f64 {
        let time = (self.at - earlier.at).as_secs_f64();
        if time < 0.5 { 0.0 } else { (self.server_cpu - earlier.server_cpu).as_secs_f64() / time * 100.0 }
    }
}

/// CPU per login, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LoginCpu {
    /// Of all tiers.
    pub(super) servers: f64,
    pub(super) gates: f64,
    /// Of the load workers, which bound the rate where they share the servers' processors.
    pub(super) workers: f64,
}

impl LoginCpu {
    /// The CPU of logins alone: from the start to the last look before the first heartbeat was due.
    pub(super) fn of(samples: &[Sample], heartbeat: u32) -> Option<Self> {
        /// A client sends its first heartbeat so long after its login; a look a second before is safe.
        const MARGIN: Duration = Duration::from_secs(1);
        let end = Duration::from_secs(heartbeat.into()).saturating_sub(MARGIN);
        let first = samples.first()?;
        let last = samples.iter().take_while(|sample| sample.at <= end).last()?;
        let logins = last.held.checked_sub(first.held).filter(|&logins| logins > 0)? as f64;
        let ms = |time: Duration| time.as_secs_f64() * 1e3 / logins;
        Some(Self {
            servers: ms(last.server_cpu - first.server_cpu),
            gates: ms(last.gate_cpu - first.gate_cpu),
            workers: ms(last.worker_cpu - first.worker_cpu),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, held: u64, cpu_ms: u64) -> Sample {
        Sample {
            at: Duration::from_secs(seconds),
            held,
            gate_bytes: 0,
            worker_bytes: 0,
            kernel_bytes: 0,
            gate_cpu: Duration::from_millis(cpu_ms),
            server_cpu: Duration::from_millis(2 * cpu_ms),
            worker_cpu: Duration::from_millis(3 * cpu_ms),
        }
    }

    #[test]
    fn heartbeats_do_not_count_as_logins() {
        let samples = [sample(0, 0, 100), sample(10, 1000, 300), sample(29, 2000, 500), sample(31, 2100, 5000)];
        let expected = LoginCpu { servers: 0.4, gates: 0.2, workers: 0.6 };
        assert_eq!(LoginCpu::of(&samples, 30), Some(expected));
        assert_eq!(LoginCpu::of(&samples[..1], 30), None, "nobody has logged in");
    }
}
