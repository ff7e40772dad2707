//! When messages are due in an open loop. Messages of all connections of a worker stand on one even
//! line, `1/rate` apart, and the connections take turns; so no two connections fire together, and
//! when a message was due never depends on how the ones before it fared.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    per_second: f64,
    connections: u32,
}

impl Schedule {
    pub(crate) fn new(start: Instant, per_second: f64, connections: u32) -> Self {
        Self { start, per_second, connections }
    }

    /// When `connection` is to send its message number `n`, counted from 0.
    pub(crate) fn due(&self, connection: u32, n: u64) -> Instant {
        self.start + self.after(n * u64::from(self.connections) + u64::from(connection))
    }

    /// How many messages, of all connections, are due up to and including `now`.
    pub(crate) fn due_count(&self, now: Instant) -> u64 {
        let Some(elapsed) = now.checked_duration_since(self.start) else { return 0 };
        // The product may fall a hair short of a whole number that `after` rounded up to.
        let guess = (elapsed.as_secs_f64() * self.per_second) as u64;
        (guess..).find(|&n| self.after(n) > elapsed).unwrap_or(guess)
    }

    /// Whose turn message number `n` of all connections is.
    pub(crate) fn connection_of(&self, n: u64) -> u32 {
        (n % u64::from(self.connections)) as u32
    }

    fn after(&self, n: u64) -> Duration {
        Duration::from_nanos((n as f64 * 1e9 / self.per_second) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 3000.0;
    const CONNECTIONS: u32 = 7;

    fn schedule() -> (Instant, Schedule) {
        let start = Instant::now();
        (start, Schedule::new(start, RATE, CONNECTIONS))
    }

    #[test]
    fn connections_take_turns_on_one_even_line() {
        let (start, schedule) = schedule();
        for n in 0..1_000u64 {
            let due = schedule.due(schedule.connection_of(n), n / u64::from(CONNECTIONS)) - start;
            assert!((due.as_secs_f64() - n as f64 / RATE).abs() < 1e-6, "message {n} is due after {due:?}");
            assert_eq!(schedule.due_count(start + due), n + 1, "a message is due at its due time");
        }
    }

    #[test]
    fn a_second_holds_exactly_the_rate() {
        let (start, schedule) = schedule();
        assert_eq!(schedule.due_count(start + Duration::from_secs(1) - Duration::from_nanos(1)), 3000);
        assert_eq!(schedule.due_count(start + Duration::from_secs(3600) - Duration::from_nanos(1)), 3600 * 3000);
    }

    /// A clock that jumps by uneven steps, even over pauses, sees every message exactly once.
    #[test]
    fn no_message_is_left_out_or_counted_twice_by_an_uneven_clock() {
        let (start, schedule) = schedule();
        let (mut now, mut counted) = (start, 0);
        for step in [1u64, 250, 333, 1_000, 90_000, 333_333, 2_000_000].iter().cycle().take(700) {
            now += Duration::from_micros(*step);
            let due_count = schedule.due_count(now);
            for n in counted..due_count {
                assert!(schedule.due(schedule.connection_of(n), n / u64::from(CONNECTIONS)) <= now);
            }
            counted = due_count;
            let next = schedule.due(schedule.connection_of(counted), counted / u64::from(CONNECTIONS));
            assert!(next > now, "message {counted} was due at {:?} and is not counted", next - start);
        }
    }

    #[test]
    fn nothing_is_due_before_the_start() {
        let (start, _) = schedule();
        let later = Schedule::new(start + Duration::from_secs(5), RATE, CONNECTIONS);
        assert_eq!(later.due_count(start), 0);
    }
}
