//! What the connections of a worker share: whether they are to send, and what they have measured.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
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

/// What one wake-up of a connection has read.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// When the messages were due that are answered.
    pub(super) answered: Vec<Instant>,
    /// When the messages were due that others sent to this connection.
    pub(super) delivered: Vec<Instant>,
    /// How many were refused.
    pub(super) refused: u64,
}

impl Arrivals {
    pub(super) fn clear(&mut self) {
        self.answered.clear();
        self.delivered.clear();
        self.refused = 0;
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
    is_finished: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    run: Option<Run>,
    answered: u64,
    refused: u64,
    ack: Latencies,
    deliver: Latencies,
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
            is_finished: AtomicBool::new(false),
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
        Slice {
            answered: state.answered,
            ack: state.ack.buckets(),
            unanswered,
            refused: state.refused,
            deliver: state.deliver.buckets(),
        }
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

    /// No further run follows: connections are to end.
    pub(super) fn finish(&self) {
        self.is_finished.store(true, Relaxed);
        self.wake_all();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished.load(Relaxed)
    }

    /// Takes note of what has arrived, and tells what run is on.
    pub(super) fn on_arrivals(&self, now: Instant, arrivals: &Arrivals) -> Option<Run> {
        let mut state = self.state.lock();
        let run = state.run?;
        let answered = arrivals.answered.len() as u64;
        self.answered.fetch_add(answered + arrivals.refused, Relaxed);
        state.refused += arrivals.refused;
        if run.measures(now) {
            state.answered += answered;
        }
        for &due in arrivals.answered.iter().filter(|&&due| run.measures(due)) {
            state.ack.record(now.saturating_duration_since(due));
        }
        for &due in arrivals.delivered.iter().filter(|&&due| run.measures(due)) {
            state.deliver.record(now.saturating_duration_since(due));
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

    fn answers(due: &[Instant]) -> Arrivals {
        Arrivals { answered: due.to_vec(), ..Arrivals::default() }
    }

    #[test]
    fn throughput_counts_answers_in_the_window_and_latency_counts_messages_due_in_it() {
        let start = Instant::now();
        let control = Control::new(1);
        control.begin(Run { number: 1, measured_from: at(start, 100), stop: at(start, 200), schedule: None });
        control.on_sent(4);
        control.on_arrivals(at(start, 90), &answers(&[at(start, 80)]));
        control.on_arrivals(at(start, 110), &answers(&[at(start, 90)]));
        control.on_arrivals(at(start, 190), &answers(&[at(start, 180)]));
        assert!(!control.is_drained(None));
        control.on_arrivals(at(start, 900), &answers(&[at(start, 199)]));
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
    fn refusals_are_no_answers_but_end_the_wait() {
        let start = Instant::now();
        let control = Control::new(1);
        control.begin(Run { number: 1, measured_from: start, stop: at(start, 100), schedule: None });
        control.on_sent(2);
        control.on_arrivals(at(start, 10), &Arrivals { refused: 1, ..answers(&[start]) });
        assert!(control.is_drained(None));
        let slice = control.end(None);
        assert_eq!((slice.answered, slice.refused, slice.unanswered), (1, 1, 0));
    }

    #[test]
    fn deliveries_have_latencies_of_their_own() {
        let start = Instant::now();
        let control = Control::new(1);
        control.begin(Run { number: 1, measured_from: at(start, 10), stop: at(start, 100), schedule: None });
        let delivered = vec![at(start, 5), at(start, 20)];
        control.on_arrivals(at(start, 50), &Arrivals { delivered, ..Arrivals::default() });
        let slice = control.end(None);
        let mut deliver = Latencies::default();
        deliver.merge(&slice.deliver).unwrap();
        assert!((deliver.quantiles().p50 - 30.0).abs() < 0.1, "{deliver:?}");
        assert_eq!(slice.answered, 0);
    }

    #[test]
    fn what_was_due_and_never_sent_is_unanswered() {
        let start = Instant::now();
        let control = Control::new(1);
        control.begin(Run { number: 1, measured_from: start, stop: at(start, 100), schedule: None });
        control.on_sent(3);
        control.on_arrivals(at(start, 10), &answers(&[start, start]));
        assert!(!control.is_drained(Some(5)));
        assert_eq!(control.end(Some(5)).unanswered, 3);
    }
}
