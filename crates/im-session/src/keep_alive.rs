//! Who has been silent for how long, on links between tiers. A client's silence is the business of
//! [`gate_session`](crate::gate_session), which has its own, longer times.

use std::time::{Duration, Instant};

/// Watches one link: asks for a ping when it has been quiet, and gives it up when nothing comes back.
#[derive(Clone, Copy, Debug)]
pub struct LinkHealth {
    ping_every: Duration,
    dead_after: Duration,
    heard: Instant,
    pinged: Instant,
}

/// What to do about a link now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum LinkStep {
    /// Send a ping.
    Ping,
    /// Nothing before this instant.
    WaitUntil(Instant),
    /// The peer has been silent for too long: close.
    Dead,
}

impl LinkHealth {
    /// A link that came up at `now`. `dead_after` should be a few times `ping_every`.
    pub fn new(now: Instant, ping_every: Duration, dead_after: Duration) -> Self {
        Self { ping_every, dead_after, heard: now, pinged: now }
    }

    /// Something came in.
    pub fn on_heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// What to do at `now`.
    pub fn poll(&mut self, now: Instant) -> LinkStep {
        if now >= self.heard + self.dead_after {
            return LinkStep::Dead;
        }
        let ping_at = self.heard.max(self.pinged) + self.ping_every;
        if now >= ping_at {
            self.pinged = now;
            return LinkStep::Ping;
        }
        LinkStep::WaitUntil(ping_at.min(self.heard + self.dead_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);
    const DEAD: Duration = Duration::from_secs(3);

    #[test]
    fn a_silent_link_is_pinged_and_then_given_up() {
        let start = Instant::now();
        let mut health = LinkHealth::new(start, EVERY, DEAD);
        assert_eq!(health.poll(start), LinkStep::WaitUntil(start + EVERY));
        assert_eq!(health.poll(start + EVERY), LinkStep::Ping);
        assert_eq!(health.poll(start + EVERY), LinkStep::WaitUntil(start + EVERY * 2));
        assert_eq!(health.poll(start + EVERY * 2), LinkStep::Ping);
        assert_eq!(health.poll(start + EVERY * 2), LinkStep::WaitUntil(start + DEAD));
        assert_eq!(health.poll(start + DEAD), LinkStep::Dead);
    }

    #[test]
    fn a_link_that_speaks_is_left_alone() {
        let start = Instant::now();
        let mut health = LinkHealth::new(start, EVERY, DEAD);
        for tick in 1..100 {
            let now = start + EVERY / 2 * tick;
            health.on_heard(now);
            assert_eq!(health.poll(now), LinkStep::WaitUntil(now + EVERY));
        }
    }
}
