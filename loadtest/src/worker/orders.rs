//! What a coordinator and a load worker say to each other: one JSON object per line.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::audit::Verdict;
use crate::histogram::Buckets;
use crate::pipe;

/// From the coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Build the connections; the first order. Answered by [`Notice::Connected`].
    Connect(Plan),
    /// Put load on them for a while. Answered by [`Notice::Progress`] every second, then by
    /// [`Notice::Slice`].
    Run(Window),
    /// Compare what was acked with what is stored; the last order. Answered by [`Notice::Verified`].
    Verify,
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Notice {
    Connected,
    Progress {
        /// Answers so far, in all runs.
        answered: u64,
    },
    Slice(Slice),
    Verified(Verdict),
}

impl Notice {
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        pipe::print(self)
    }
}

/// What one worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    /// The DER of the certificate to trust, in base64.
    pub(crate) certificate: String,
    pub(crate) connections: u32,
    pub(crate) in_flight: u32,
    /// Open loop: messages per second of this worker.
    pub(crate) rate: Option<f64>,
    pub(crate) traffic: TrafficPlan,
}

/// What is said on the connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum TrafficPlan {
    /// The baseline's frames.
    Relay,
    /// Messages to a gate.
    Send(SendPlan),
}

/// Who sends to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SendPlan {
    /// The user of each connection.
    pub(crate) senders: Vec<Account>,
    pub(crate) receivers: Receivers,
    /// Bytes of a message's payload.
    pub(crate) payload_len: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Receivers {
    /// Users of connections 0 and 1 send to each other, 2 and 3, and so on.
    Online,
    /// One for each sender, not logged in while messages are sent.
    Offline(Vec<Account>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) token: String,
}

/// When to run. Processes share the wall clock, so that is what the start is told in; everything
/// after it is measured on each worker's own monotonic clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Different in each run.
    pub(crate) number: u32,
    pub(crate) start_unix_us: u64,
    pub(crate) warmup_ms: u64,
    pub(crate) measured_ms: u64,
}

impl Window {
    /// A run that starts `lead` from now.
    pub(crate) fn after(lead: Duration, number: u32, warmup: Duration, measured: Duration) -> Self {
        let start = SystemTime::now() + lead;
        Self {
            number,
            start_unix_us: start.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64,
            warmup_ms: warmup.as_millis() as u64,
            measured_ms: measured.as_millis() as u64,
        }
    }

    /// The start on this process's monotonic clock; now, if it has passed.
    pub(crate) fn start(&self) -> Instant {
        let start = UNIX_EPOCH + Duration::from_micros(self.start_unix_us);
        Instant::now() + start.duration_since(SystemTime::now()).unwrap_or_default()
    }

    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_millis(self.warmup_ms)
    }

    pub(crate) fn measured(&self) -> Duration {
        Duration::from_millis(self.measured_ms)
    }
}

/// What one worker saw in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slice {
    /// Answers that came within the measured time.
    pub(crate) answered: u64,
    /// From the due time to the answer, of messages that were due within the measured time.
    pub(crate) ack: Buckets,
    /// Messages of the whole run without an answer at its end.
    pub(crate) unanswered: u64,
    /// Messages of the whole run that were refused. They count as neither answered nor unanswered.
    pub(crate) refused: u64,
    /// Messages that came live to their receivers, of those due within the measured time, and how
    /// long that took from the due time.
    pub(crate) deliver: Buckets,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_survives_the_way_to_another_process() {
        let before = Instant::now();
        let window = Window::after(Duration::from_secs(60), 1, Duration::ZERO, Duration::from_secs(1));
        let start = window.start() - before;
        assert!((start.as_secs_f64() - 60.0).abs() < 1.0, "{start:?}");
    }

    #[test]
    fn a_start_that_has_passed_is_now() {
        let window = Window { number: 1, start_unix_us: 0, warmup_ms: 0, measured_ms: 1000 };
        assert!(window.start() <= Instant::now());
    }
}
