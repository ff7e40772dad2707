//! Latencies: recorded by a worker, carried to the coordinator as text, merged there without loss.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Three digits: every reported value is within 0.1 % of the measured one.
const DIGITS: u8 = 3;
/// Slower answers count as this slow. A run waits less for its last answers.
const LATENCY_MAX: Duration = Duration::from_secs(120);

/// Latencies in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let microseconds_max = LATENCY_MAX.as_micros() as u64;
        Self(Histogram::new_with_bounds(1, microseconds_max, DIGITS).expect("the bounds are in range and in order"))
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub(crate) fn merge(&mut self, buckets: &Buckets) -> anyhow::Result<()> {
        for &(value, count) in &buckets.0 {
            self.0.record_n(value, count).with_context(|| format!("merge a latency of {value} µs"))?;
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all of them have the same bounds");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// The greatest, in milliseconds.
    pub(crate) fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }

    /// The buckets that are not empty.
    pub(crate) fn buckets(&self) -> Buckets {
        Buckets(self.0.iter_recorded().map(|at| (at.value_iterated_to(), at.count_at_value())).collect())
    }

    /// Quantile and milliseconds, from the least to the greatest latency, for a drawing. The greatest of n
    /// stands at 1 − 1/n: further out nothing was seen.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        /// Points between two halvings of the distance to 1.
        const TICKS_PER_HALF: u32 = 8;
        let last = 1.0 - 1.0 / self.len().max(1) as f64;
        let ticks = self.0.iter_quantiles(TICKS_PER_HALF);
        ticks.map(|at| (at.quantile_iterated_to().min(last), at.value_iterated_to() as f64 / 1000.0)).collect()
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Quantiles { p50: at(0.50), p90: at(0.90), p99: at(0.99), p999: at(0.999) }
    }
}

/// What travels between processes: each value that occurred, and how often. A value falls into the
/// same bucket on both sides, because both have the same bounds, so merging loses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buckets(Vec<(u64, u64)>);

/// The quantiles of a report, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Latencies from a fixed generator, over six orders of magnitude.
    fn sample(seed: u64, count: usize) -> Vec<Duration> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Duration::from_micros(1 + (state >> 33) % 10u64.pow((state >> 60) as u32 % 6 + 1))
        };
        (0..count).map(|_| next()).collect()
    }

    fn recorded(sample: &[Duration]) -> Latencies {
        let mut latencies = Latencies::default();
        sample.iter().for_each(|&latency| latencies.record(latency));
        latencies
    }

    #[test]
    fn merging_parts_gives_what_recording_all_gives() {
        let (left, right) = (sample(1, 5_000), sample(2, 3_000));
        let mut merged = Latencies::default();
        for part in [&left, &right] {
            let text = serde_json::to_string(&recorded(part).buckets()).unwrap();
            merged.merge(&serde_json::from_str(&text).unwrap()).unwrap();
        }
        let whole = recorded(&[left, right].concat());
        assert_eq!(merged.len(), 8_000);
        assert_eq!(merged.buckets(), whole.buckets());
        assert_eq!(merged.quantiles(), whole.quantiles());
    }

    #[test]
    fn quantiles_are_milliseconds_of_the_right_rank() {
        let thousand: Vec<_> = (1..=1000).map(Duration::from_millis).collect();
        let quantiles = recorded(&thousand).quantiles();
        for (got, wanted) in
            [(quantiles.p50, 500.0), (quantiles.p90, 900.0), (quantiles.p99, 990.0), (quantiles.p999, 999.0)]
        {
            assert!((got - wanted).abs() <= wanted / 1000.0, "{got} is not within 0.1 % of {wanted}");
        }
    }

    #[test]
    fn a_curve_rises_from_the_least_to_the_greatest() {
        let curve = recorded(&(1..=1000).map(Duration::from_millis).collect::<Vec<_>>()).curve();
        assert!(curve.windows(2).all(|two| two[0].0 <= two[1].0 && two[0].1 <= two[1].1), "{curve:?}");
        let (quantile, ms) = curve[curve.len() - 1];
        assert_eq!(quantile, 0.999);
        assert!((ms - 1000.0).abs() <= 1.0, "{ms}");
    }

    #[test]
    fn extremes_are_kept_at_the_bounds() {
        let latencies = recorded(&[Duration::ZERO, Duration::from_secs(100_000)]);
        assert_eq!(latencies.len(), 2);
        assert!(latencies.quantiles().p999 >= LATENCY_MAX.as_secs_f64() * 1000.0);
    }
}
