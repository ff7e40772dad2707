//! Metrics: the process-wide recorder that the `metrics` macros write to, and its rendering.
//!
//! Histograms whose name ends in `_seconds` are kept in the fixed buckets of
//! [`SECONDS_BUCKETS`]; fixed buckets can be added up over instances, quantiles cannot.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::diagnostics::Process;

/// From a tenth of a millisecond to ten seconds, three to a decade.
pub const SECONDS_BUCKETS: [f64; 16] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Histograms buffer their samples until somebody renders or sweeps. Sweeping this often bounds
/// the buffer when no scraper comes.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Renders what was recorded.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The text exposition format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds buffered samples, and looks at the process itself, for as long as it lives; run it as a task.
    pub async fn sweep(self) {
        let mut tick = tokio::time::interval(SWEEP_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.0.run_upkeep();
            Process::look().record();
        }
    }
}

/// Makes this crate's recorder the one of the process. Fails when there is one already.
pub fn install() -> Result<Metrics, BuildError> {
    let (recorder, metrics) = recorder()?;
    ::metrics::set_global_recorder(recorder)?;
    Ok(metrics)
}

/// A recorder and its rendering, not installed; tests use it with `metrics::with_local_recorder`.
pub fn recorder() -> Result<(PrometheusRecorder, Metrics), BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
        .build_recorder();
    let metrics = Metrics(recorder.handle());
    Ok((recorder, metrics))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::recorder;

    #[test]
    fn counters_and_buckets_are_rendered() {
        let (recorder, metrics) = recorder().unwrap();
        ::metrics::with_local_recorder(&recorder, || {
            ::metrics::counter!("pots_total", "glaze" => "green").increment(3);
            ::metrics::histogram!("firing_seconds").record(0.002);
        });
        let text = metrics.render();
        assert!(text.contains("pots_total{glaze=\"green\"} 3\n"), "{text}");
        assert!(text.contains("firing_seconds_bucket{le=\"0.001\"} 0\n"), "{text}");
        assert!(text.contains("firing_seconds_bucket{le=\"0.0025\"} 1\n"), "{text}");
    }
}
