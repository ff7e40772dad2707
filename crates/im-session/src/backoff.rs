//! How long to wait before the next try: doubling from a least to a greatest time, with jitter, so
//! that those who lost the same peer do not come back at the same instant.

use std::time::Duration;

/// The waiting times of one series of tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits between `min` and `max`; a `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// The next wait: between half of the step and the whole of it, as `random` (uniform over all
    /// of `u64`) says.
    pub fn next(&mut self, random: u64) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        step / 2 + (step / 2).mul_f64(random as f64 / u64::MAX as f64)
    }

    /// A try succeeded: begin with the least time again.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_greatest_and_begins_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000));
        let waits: Vec<_> = (0..5).map(|_| backoff.next(u64::MAX)).collect();
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(800), ms(1000)]);
        assert_eq!(backoff.next(0), ms(500), "the jitter takes away up to half");
        backoff.reset();
        assert_eq!(backoff.next(0), ms(50));
    }
}
