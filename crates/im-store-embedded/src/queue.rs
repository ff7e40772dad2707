//! A bounded queue between async callers and our own threads.
//!
//! Pushing never blocks: a full queue refuses at once. Taking blocks the thread that takes. The queue
//! also knows how long its consumer has gone without finishing anything, which is what the watchdog
//! asks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Why something was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Closed,
}

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    len_max: usize,
    bytes_max: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
    /// Consumers asleep; a push wakes one only when there is one.
    idle: usize,
    /// Something was taken by [`Queue::take`] and the taker has not come back.
    taken: bool,
    /// When the consumer last came back, or the queue last became busy.
    progress: Instant,
}

/// How a queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) len: usize,
    pub(crate) bytes: usize,
    /// How long there has been work without anything getting finished.
    pub(crate) stalled: Duration,
}

impl<T> Queue<T> {
    pub(crate) fn new(len_max: usize, bytes_max: usize) -> Self {
        let state =
            State { items: VecDeque::new(), bytes: 0, closed: false, idle: 0, taken: false, progress: Instant::now() };
        Self { state: Mutex::new(state), arrived: Condvar::new(), len_max, bytes_max }
    }

    /// Queues an item of that many bytes, or gives it back.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), (PushError, T)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((PushError::Closed, item));
        }
        // An item over the whole limit still gets in alone, or it never would.
        let too_many_bytes = !state.items.is_empty() && state.bytes + bytes > self.bytes_max;
        if state.items.len() >= self.len_max || too_many_bytes {
            return Err((PushError::Full, item));
        }
        if state.items.is_empty() && !state.taken {
            state.progress = Instant::now();
        }
        state.items.push_back((item, bytes));
        state.bytes += bytes;
        if state.idle > 0 {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for items and moves all that fit under the bounds into `out`, at least one. `false` when
    /// the queue is closed and empty. For one consumer: coming back says that what it took is finished.
    pub(crate) fn take(&self, out: &mut Vec<T>, len_max: usize, bytes_max: usize) -> bool {
        let mut state = self.state.lock();
        state.taken = false;
        state.progress = Instant::now();
        while state.items.is_empty() {
            if state.closed {
                return false;
            }
            state.idle += 1;
            self.arrived.wait(&mut state);
            state.idle -= 1;
        }
        let mut bytes_taken = 0;
        while let Some((item, bytes)) = state.items.pop_front() {
            if !out.is_empty() && (out.len() >= len_max || bytes_taken + bytes > bytes_max) {
                state.items.push_front((item, bytes));
                break;
            }
            bytes_taken += bytes;
            state.bytes -= bytes;
            out.push(item);
        }
        state.taken = true;
        state.progress = Instant::now();
        true
    }

    /// Waits for one item, for any number of consumers. `None` when the queue is closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some((item, bytes)) = state.items.pop_front() {
                state.bytes -= bytes;
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            self.arrived.wait(&mut state);
            state.idle -= 1;
        }
    }

    /// Refuses everything from now on. What is queued still gets taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_all();
    }

    pub(crate) fn depth(&self) -> Depth {
        let state = self.state.lock();
        let busy = state.taken || !state.items.is_empty();
        Depth {
            len: state.items.len(),
            bytes: state.bytes,
            stalled: if busy { state.progress.elapsed() } else { Duration::ZERO },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::sync::Arc;

    #[test]
    fn full_refuses_at_once() {
        let queue = Queue::new(2, 100);
        assert_eq!(queue.push(1, 10), Ok(()));
        assert_eq!(queue.push(2, 90), Ok(()));
        assert_eq!(queue.push(3, 0), Err((PushError::Full, 3)));
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.push(3, 11), Err((PushError::Full, 3)), "bytes count too");
        assert_eq!(queue.push(3, 10), Ok(()));
    }

    #[test]
    fn an_item_over_the_limit_gets_in_alone() {
        let queue = Queue::new(2, 100);
        assert_eq!(queue.push(1, 1000), Ok(()));
        assert_eq!(queue.push(2, 1), Err((PushError::Full, 2)));
    }

    #[test]
    fn take_drains_up_to_its_bounds_and_at_least_one() {
        let queue = Queue::new(10, 1000);
        for (item, bytes) in [(1, 50), (2, 5), (3, 5), (4, 5)] {
            queue.push(item, bytes).unwrap();
        }
        let mut out = Vec::new();
        assert!(queue.take(&mut out, 10, 20));
        assert_eq!(out, [1], "the first is over the bytes and goes alone");
        out.clear();
        assert!(queue.take(&mut out, 2, 20));
        assert_eq!(out, [2, 3]);
    }

    #[test]
    fn closed_gives_what_is_left_and_then_ends() {
        let queue = Queue::new(10, 1000);
        queue.push(1, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(2, 1), Err((PushError::Closed, 2)));
        let mut out = Vec::new();
        assert!(queue.take(&mut out, 10, 20));
        assert!(!queue.take(&mut out, 10, 20));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn close_wakes_every_sleeper() {
        let queue = Arc::new(Queue::<u8>::new(10, 1000));
        let sleepers: Vec<_> = (0..3)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || queue.pop())
            })
            .collect();
        queue.close();
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap(), None);
        }
    }

    #[test]
    fn stalled_counts_from_the_taking_until_the_taker_comes_back() {
        let queue = Queue::new(10, 1000);
        assert_eq!(queue.depth().stalled, Duration::ZERO);
        queue.push(1, 1).unwrap();
        let mut out = Vec::new();
        queue.take(&mut out, 10, 100);
        let begin = Instant::now();
        while queue.depth().stalled < Duration::from_millis(2) {
            assert!(begin.elapsed() < Duration::from_secs(5), "what was taken is not finished, so time must count");
        }
        queue.close();
        queue.take(&mut out, 10, 100);
        assert_eq!(queue.depth().stalled, Duration::ZERO);
    }
}
