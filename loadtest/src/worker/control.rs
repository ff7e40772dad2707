//! What the connections of a worker share: whether they are to send, and what they have measured.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::orders::Slice;
use crate::histogram::Latencies;
use crate::schedule::Schedule;

/// A run that is going on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) number: u32,
    pub(super) measured_from: Instant,
    /// Messages due from here on are not sent.
    pub(super) stop: Instant,
    /// In an open loop, when messages are due; in a closed one they are due when there is room.
    pub(super) schedule: Option<Schedule>,
}

impl Run {
    fn measures(&self, at: Instant) -> bool {
        self.measured_from <= at && at < self.stop
    }
}

/// One thread runs all connections, so the lock is never waited for; it stands here because the
/// pacer's thread wakes them.
#[derive(Debug)]
pub(super) struct Control {
    connections: Vec<AtomicWaker>,
    state: Mutex<State>,
    sent: AtomicU64,
    answered: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    run: Option<Run>,
    answered: u64,
    ack: Latencies,
    /// The counters of [`Control`] when the run began.
    sent_before: u64,
    answered_before: u64,
}

impl Control {
    pub(super) fn new(connections: u32) -> Self {
        Self {
            connections: (0..connections).map(|_| AtomicWaker::new()).collect(),
            state: Mutex::default(),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    /// Where a connection leaves its waker.
    pub(super) fn waker(&self, connection: u32) -> &AtomicWaker {
        &self.connections[connection as usize]
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.len() as u64
    }

    pub(super) fn wake_all(&self) {
        self.connections.iter().for_each(AtomicWaker::wake);
    }

    pub(super) fn begin(&self, run: Run) {
        *self.state.lock() = State {
            run: Some(run),
            sent_before: self.sent.load(Relaxed),
            answered_before: self.answered.load(Relaxed),
            ..State::default()
        };
        self.wake_all();
    }

    /// Ends the run and hands out what was measured.
    pub(super) fn end(&self, expected: Option<u64>) -> Slice {
        let state = std::mem::take(&mut *self.state.lock());
        let sent = self.sent.load(Relaxed) - state.sent_before;
        let answered = self.answered.load(Relaxed) - state.answered_before;
        let unanswered = expected.unwrap_or(sent).saturating_sub(answered);
        Slice { answered: state.answered, ack: state.ack.buckets(), unanswered }
    }

    /// Whether everything that was sent, and in an open loop everything that was due, is answered.
    pub(super) fn is_drained(&self, expected: Option<u64>) -> bool {
        let sent = self.sent.load(Relaxed);
        let sent_all = expected.is_none_or(|expected| sent - self.state.lock().sent_before >= expected);
        sent_all && self.answered.load(Relaxed) >= sent
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Takes note of the answers to messages that were due at these times, and tells what run is on.
    pub(super) fn on_answers(&self, now: Instant, due: &[Instant]) -> Option<Run> {
        let mut state = self.state.lock();
        let run = state.run?;
        self.answered.fetch_add(due.len() as u64, Relaxed);
        if run.measures(now) {
            state.answered += due.len() as u64;
        }
        for &due in due.iter().filter(|&&due| run.measures(due)) {
            state.ack.record(now.saturating_duration_since(due));
        }
        Some(run)
    }

    pub(super) fn on_sent(&self, count: u64) {
        self.sent.fetch_add(count, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn throughput_counts_answers_in_the_window_and_latency_counts_messages_due_in_it() {
        let start = Instant::now();
        let control = Control::new(1);
        control.begin(Run { number: 1, measured_from: at(start, 100), stop: at(start, 200), schedule: None });
        control.on_sent(4);
        control.on_answers(at(start, 90), &[at(start, 80)]);
        control.on_answers(at(start, 110), &[at(start, 90)]);
        control.on_answers(at(start, 190), &[at(start, 180)]);
        assert!(!control.is_drained(None));
        control.on_answers(at(start, 900), &[at(start, 199)]);
        assert!(control.is_drained(None));

        let slice = control.end(None);
        assert_eq!((slice.answered, slice.unanswered), (2, 0));
        let mut ack = Latencies::default();
        ack.merge(&slice.ack).unwrap();
        let quantiles = ack.quantiles();
        assert!((quantiles.p50 - 10.0).abs() < 0.1, "{quantiles:?}");
        assert!((quantiles.p999 - 701.0).abs() < 1.0, "a late answer counts in full: {quantiles:?}");
    }

    #[test]
    fn what_was_due_and_never_sent_is_unanswered() {
        let start = Instant::now();
        let control = Control::new(1);
        control.begin(Run { number: 1, measured_from: start, stop: at(start, 100), schedule: None });
        control.on_sent(3);
        control.on_answers(at(start, 10), &[start, start]);
        assert!(!control.is_drained(Some(5)));
        assert_eq!(control.end(Some(5)).unanswered, 3);
    }
}
