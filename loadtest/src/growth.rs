//! Whether something grows. A process takes memory while it warms up, and a store's caches fill; what
//! goes on growing in the second half of a run is what an operator would be called for.

use serde::Serialize;

/// What became of a figure over a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Growth {
    /// Slope of the second half, by least squares.
    pub(crate) per_hour: f64,
    pub(crate) trend: Trend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trend {
    /// Too few samples to say.
    Unknown,
    Steady,
    Grows,
}

impl Trend {
    pub(crate) fn worst(all: impl Iterator<Item = Self>) -> Self {
        all.max().unwrap_or(Self::Unknown)
    }
}

impl Growth {
    /// Bytes by which memory may differ between two looks and mean nothing: an allocator's arena.
    pub(crate) const MEMORY_SLACK: f64 = 8.0 * 1_048_576.0;
    /// Open files that may come and go: connections, and files of a compaction.
    pub(crate) const FILES_SLACK: f64 = 32.0;
    /// Samples below which a half says nothing.
    const SAMPLES_MIN: usize = 8;
    /// The share by which the last quarter may exceed the one before it.
    const SHARE_MAX: f64 = 0.05;

    /// `points` are seconds and values. It grows when the median of the last quarter exceeds the one of the
    /// quarter before by more than `slack` and by more than a twentieth.
    pub(crate) fn of(points: &[(f64, f64)], slack: f64) -> Self {
        let half = &points[points.len() / 2..];
        if half.len() < Self::SAMPLES_MIN {
            return Self { per_hour: 0.0, trend: Trend::Unknown };
        }
        let (third, fourth) = half.split_at(half.len() / 2);
        let (before, after) = (median(third), median(fourth));
        let grows = after - before > slack.max(before * Self::SHARE_MAX);
        Self { per_hour: slope(half) * 3600.0, trend: if grows { Trend::Grows } else { Trend::Steady } }
    }
}

fn median(points: &[(f64, f64)]) -> f64 {
    let mut values: Vec<_> = points.iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Units per second.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (x - x_mean) * (y - y_mean);
        below += (x - x_mean).powi(2);
    }
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    fn growth(value: impl Fn(f64) -> f64) -> Growth {
        let points: Vec<_> = (0..600).map(|second| (f64::from(second), value(f64::from(second)))).collect();
        Growth::of(&points, Growth::MEMORY_SLACK)
    }

    #[test]
    fn warming_up_is_no_growth() {
        let warm = growth(|second| 100.0 * MIB * (1.0 - (-second / 30.0).exp()));
        assert_eq!(warm.trend, Trend::Steady);
        assert!(warm.per_hour.abs() < MIB, "{warm:?}");
    }

    #[test]
    fn a_leak_is_seen_with_its_slope() {
        let leak = growth(|second| 50.0 * MIB + second * MIB / 10.0);
        assert_eq!(leak.trend, Trend::Grows);
        assert!((leak.per_hour / (360.0 * MIB) - 1.0).abs() < 1e-6, "{leak:?}");
    }

    #[test]
    fn noise_is_no_growth() {
        assert_eq!(growth(|second| 200.0 * MIB + (second * 7.0).sin() * 3.0 * MIB).trend, Trend::Steady);
    }

    #[test]
    fn a_short_run_says_nothing() {
        assert_eq!(Growth::of(&[(0.0, 1.0), (1.0, 1e12)], 0.0).trend, Trend::Unknown);
        assert_eq!(Trend::worst([Trend::Steady, Trend::Unknown].into_iter()), Trend::Steady);
        assert_eq!(Trend::worst([Trend::Steady, Trend::Grows].into_iter()), Trend::Grows);
    }
}
