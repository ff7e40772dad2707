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
    items: VecDeque<(T, Cost)>,
    total: Cost,
    closed: bool,
    /// Consumers asleep; a push wakes one only when there is one.
    idle: usize,
    /// Something was taken by [`Queue::take`] and the taker has not come back.
    taken: bool,
    /// When the consumer last came back, or the queue last became busy.
    progress: Instant,
}

/// What an item counts against the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Operations in it.
    pub(crate) len: usize,
    pub(crate) bytes: usize,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.len += other.len;
        self.bytes += other.bytes;
    }

    fn sub(&mut self, other: Self) {
        self.len -= other.len;
        self.bytes -= other.bytes;
    }

    /// Whether another one fits beside it.
    fn admits(&self, other: Self, len_max: usize, bytes_max: usize) -> bool {
        self.len + other.len <= len_max && self.bytes.saturating_add(other.bytes) <= bytes_max
    }
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
        let state = State {
            items: VecDeque::new(),
            total: Cost::default(),
            closed: false,
            idle: 0,
            taken: false,
            progress: Instant::now(),
        };
        Self { state: Mutex::new(state), arrived: Condvar::new(), len_max, bytes_max }
    }

    /// Queues an item, or gives it back.
    pub(crate) fn push(&self, item: T, cost: Cost) -> Result<(), (PushError, T)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((PushError::Closed, item));
        }
        // An item over the whole limit still gets in alone, or it never would.
        if !state.items.is_empty() && !state.total.admits(cost, self.len_max, self.bytes_max) {
            return Err((PushError::Full, item));
        }
        if state.items.is_empty() && !state.taken {
            state.progress = Instant::now();
        }
        state.items.push_back((item, cost));
        state.total.add(cost);
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
        let mut taken = Cost::default();
        while let Some((item, cost)) = state.items.pop_front() {
            if !out.is_empty() && !taken.admits(cost, len_max, bytes_max) {
                state.items.push_front((item, cost));
                break;
            }
            taken.add(cost);
            state.total.sub(cost);
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
            if let Some((item, cost)) = state.items.pop_front() {
                state.total.sub(cost);
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
            len: state.total.len,
            bytes: state.total.bytes,
            stalled: if busy { state.progress.elapsed() } else { Duration::ZERO },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::sync::Arc;

    fn bytes(bytes: usize) -> Cost {
        Cost { len: 1, bytes }
    }

    #[test]
    fn full_refuses_at_once() {
        let queue = Queue::new(2, 100);
        assert_eq!(queue.push(1, bytes(10)), Ok(()));
        assert_eq!(queue.push(2, bytes(90)), Ok(()));
        assert_eq!(queue.push(3, bytes(0)), Err((PushError::Full, 3)));
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.push(3, bytes(11)), Err((PushError::Full, 3)), "bytes count too");
        assert_eq!(queue.push(3, bytes(10)), Ok(()));
    }

    #[test]
    fn an_item_over_the_limit_gets_in_alone() {
        let queue = Queue::new(2, 100);
        assert_eq!(queue.push(1, bytes(1000)), Ok(()));
        assert_eq!(queue.push(2, bytes(1)), Err((PushError::Full, 2)));
    }

    #[test]
    fn take_drains_up_to_its_bounds_and_at_least_one() {
        let queue = Queue::new(10, 1000);
        for (item, len) in [(1, 50), (2, 5), (3, 5), (4, 5)] {
            queue.push(item, bytes(len)).unwrap();
        }
        let mut out = Vec::new();
        assert!(queue.take(&mut out, 10, 20));
        assert_eq!(out, [1], "the first is over the bytes and goes alone");
        out.clear();
        assert!(queue.take(&mut out, 2, 20));
        assert_eq!(out, [2, 3]);
    }

    #[test]
    fn several_operations_in_one_item_count_as_several() {
        let queue = Queue::new(4, 1000);
        let several = |len| Cost { len, bytes: len };
        assert_eq!(queue.push('a', several(3)), Ok(()));
        assert_eq!(queue.push('b', several(2)), Err((PushError::Full, 'b')));
        assert_eq!(queue.push('c', several(1)), Ok(()));
        assert_eq!((queue.depth().len, queue.depth().bytes), (4, 4));
        let mut out = Vec::new();
        assert!(queue.take(&mut out, 3, 1000));
        assert_eq!(out, ['a']);
        assert_eq!(queue.pop(), Some('c'));
        assert_eq!(queue.push('d', several(9)), Ok(()), "more than the whole bound still gets in alone");
    }

    #[test]
    fn closed_gives_what_is_left_and_then_ends() {
        let queue = Queue::new(10, 1000);
        queue.push(1, bytes(1)).unwrap();
        queue.close();
        assert_eq!(queue.push(2, bytes(1)), Err((PushError::Closed, 2)));
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
        queue.push(1, bytes(1)).unwrap();
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
