//! How far another machine's clock and this one are apart, without asking and without trusting
//! anybody's time of day.
//!
//! Whatever a peer says that its clock showed, it took some time to get here. So "when it arrived
//! minus what the peer's clock showed" is never less than the true difference, and the least of many
//! such samples is the difference plus the delay of the fastest frame. Both clocks must be ones that
//! are never set; that they run at slightly different speeds is allowed for.

use std::time::{Duration, Instant};

/// By how much two machines' clocks may drift apart, parts per million. Quartz does a tenth of it.
const DRIFT_PPM: u32 = 500;

/// The estimate for one peer.
#[derive(Debug)]
pub struct PeerClock {
    /// Milliseconds to add to the peer's clock.
    difference: i64,
    /// When that was the best guess. It ages by the drift.
    estimated_at: Instant,
}

impl PeerClock {
    /// From the first sample: at `now`, as milliseconds `now_ms` of this clock, came a frame that says
    /// that the peer's clock showed `peer_ms`.
    pub fn new(now: Instant, now_ms: u64, peer_ms: u64) -> Self {
        Self { difference: difference(now_ms, peer_ms), estimated_at: now }
    }

    /// A further sample.
    pub fn heard(&mut self, now: Instant, now_ms: u64, peer_ms: u64) {
        let sample = difference(now_ms, peer_ms);
        if sample <= self.difference + drift(now.saturating_duration_since(self.estimated_at)) {
            *self = Self { difference: sample, estimated_at: now };
        }
    }

    /// What this clock showed when the peer's showed `peer_ms`.
    pub fn here_ms(&self, peer_ms: u64) -> i64 {
        self.difference.saturating_add_unsigned(peer_ms)
    }
}

/// Both are milliseconds since a start, so they are far from what an `i64` holds, unless a peer lies.
fn difference(now_ms: u64, peer_ms: u64) -> i64 {
    const FAR: i128 = i64::MAX as i128 / 2;
    (i128::from(now_ms) - i128::from(peer_ms)).clamp(-FAR, FAR) as i64
}

fn drift(elapsed: Duration) -> i64 {
    i64::try_from((elapsed * DRIFT_PPM / 1_000_000).as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peer's clock shows this much more than ours.
    const AHEAD: u64 = 5000;

    #[test]
    fn the_fastest_frame_tells_the_difference() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        // Sent at 1000 and held for 800 ms: for all we know now, the peer's clock is that much behind.
        let mut clock = PeerClock::new(at(1800), 1800, 1000 + AHEAD);
        assert_eq!(clock.here_ms(1000 + AHEAD), 1800);
        clock.heard(at(2003), 2003, 2000 + AHEAD);
        assert_eq!(clock.here_ms(1000 + AHEAD), 1003);
        clock.heard(at(4500), 4500, 3000 + AHEAD);
        assert_eq!(clock.here_ms(1000 + AHEAD), 1003, "a slow frame says nothing new");
    }

    #[test]
    fn a_clock_that_runs_slower_is_followed() {
        let start = Instant::now();
        // A day of samples once a second; the peer loses 100 of a million.
        let mut clock = PeerClock::new(start, 0, AHEAD);
        for second in 1..86_400_u64 {
            let now_ms = second * 1000;
            clock.heard(start + Duration::from_secs(second), now_ms, now_ms - now_ms / 10_000 + AHEAD);
        }
        let shown = 86_000_000 - 8600 + AHEAD;
        assert!((clock.here_ms(shown) - 86_000_000).abs() <= 2000, "it says {}", clock.here_ms(shown));
    }

    #[test]
    fn a_liar_overflows_nothing() {
        let now = Instant::now();
        let mut clock = PeerClock::new(now, 0, u64::MAX);
        assert!(clock.here_ms(u64::MAX) > clock.here_ms(0));
        clock.heard(now, u64::MAX, 0);
        clock.heard(now + Duration::from_secs(1 << 40), 7, u64::MAX);
        assert!(clock.here_ms(0) < 0);
    }
}
