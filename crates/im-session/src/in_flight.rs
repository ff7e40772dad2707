//! Requests that wait for their answer: correlation, a window, one patience for all.
//!
//! Entries sit in a slab and on a list in the order of their deadlines, so that every operation is
//! constant-time and memory is bounded by the window. A sequence is the slab's index with a
//! generation above it, so that a late answer to an expired request does not meet the request that
//! took its place. The generation has 16 bits and begins again after 65,535 requests: an answer that
//! comes exactly that many later, or a multiple, is the one that it cannot tell. A gate waits longer
//! than a route, so that late answers are rare where clients' requests meet.

use std::time::{Duration, Instant};

use slab::Slab;

/// The greatest window: an index takes the low 16 bits of a sequence.
pub const WINDOW_MAX: usize = 1 << 16;

const NONE: u32 = u32::MAX;

/// A bounded set of waiting requests, each with what its answer is for.
#[derive(Debug)]
pub struct InFlight<T> {
    entries: Slab<Entry<T>>,
    oldest: u32,
    newest: u32,
    /// Drawn anew for each entry, never 0, so that no sequence is 0.
    generation: u16,
    window: usize,
    patience: Duration,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    deadline: Instant,
    generation: u16,
    older: u32,
    newer: u32,
}

impl<T> InFlight<T> {
    /// At most `window` requests (capped at [`WINDOW_MAX`]), each waiting for `patience`.
    pub fn new(window: usize, patience: Duration) -> Self {
        Self {
            entries: Slab::new(),
            oldest: NONE,
            newest: NONE,
            generation: 0,
            window: window.min(WINDOW_MAX),
            patience,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Admits a request and gives its sequence, never 0. A full window gives the value back.
    pub fn insert(&mut self, now: Instant, value: T) -> Result<u32, T> {
        if self.entries.len() >= self.window {
            return Err(value);
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let (generation, older) = (self.generation, self.newest);
        let deadline = now + self.patience;
        let index = self.entries.insert(Entry { value, deadline, generation, older, newer: NONE }) as u32;
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
        Ok(u32::from(generation) << 16 | index)
    }

    /// The request that an answer of this sequence is for; `None` when it has expired or never was.
    pub fn take(&mut self, sequence: u32) -> Option<T> {
        let index = sequence & 0xffff;
        let entry = self.entries.get(index as usize)?;
        (u32::from(entry.generation) == sequence >> 16).then(|| self.remove(index))
    }

    /// When the next request expires.
    pub fn deadline(&self) -> Option<Instant> {
        self.entries.get(self.oldest as usize).map(|entry| entry.deadline)
    }

    /// One request whose time is over; call until it gives `None`.
    #[must_use]
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        (self.deadline()? <= now).then(|| self.remove(self.oldest))
    }

    /// Every request, oldest first, when no answer can come any more.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| (self.oldest != NONE).then(|| self.remove(self.oldest)))
    }

    fn remove(&mut self, index: u32) -> T {
        let entry = self.entries.remove(index as usize);
        match self.entries.get_mut(entry.older as usize) {
            Some(older) => older.newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        match self.entries.get_mut(entry.newer as usize) {
            Some(newer) => newer.older = entry.older,
            None => self.newest = entry.older,
        }
        entry.value
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn answers_meet_their_requests_in_any_order() {
        let now = Instant::now();
        let mut in_flight = InFlight::new(8, PATIENCE);
        let sequences: Vec<_> = (0..8).map(|n| in_flight.insert(now, n).unwrap()).collect();
        assert_eq!(in_flight.insert(now, 8), Err(8), "the window is full");
        for n in [3usize, 0, 7, 1, 2, 6, 5, 4] {
            assert_ne!(sequences[n], 0);
            assert_eq!(in_flight.take(sequences[n]), Some(n));
            assert_eq!(in_flight.take(sequences[n]), None, "an answer counts once");
        }
        assert!(in_flight.is_empty());
        assert_eq!(in_flight.deadline(), None);
    }

    #[test]
    fn a_late_answer_never_meets_the_successor() {
        let now = Instant::now();
        let mut in_flight = InFlight::new(1, PATIENCE);
        let first = in_flight.insert(now, "first").unwrap();
        assert_eq!(in_flight.expire(now), None);
        assert_eq!(in_flight.expire(now + PATIENCE), Some("first"));
        let second = in_flight.insert(now, "second").unwrap();
        assert_eq!(in_flight.take(first), None);
        assert_eq!(in_flight.take(second), Some("second"));
    }

    #[test]
    fn the_oldest_expires_first_whatever_was_taken_between() {
        let start = Instant::now();
        let mut in_flight = InFlight::new(WINDOW_MAX, PATIENCE);
        let at = |n: u32| start + Duration::from_secs(u64::from(n));
        let sequences: Vec<_> = (0..6).map(|n| in_flight.insert(at(n), n).unwrap()).collect();
        for taken in [0, 2, 5] {
            assert_eq!(in_flight.take(sequences[taken as usize]), Some(taken));
        }
        assert_eq!(in_flight.deadline(), Some(at(1) + PATIENCE));
        assert_eq!(in_flight.expire(at(1) + PATIENCE), Some(1));
        assert_eq!(in_flight.expire(at(1) + PATIENCE), None);
        assert_eq!(in_flight.drain().collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn sequences_skip_zero_when_the_generation_wraps() {
        let now = Instant::now();
        let mut in_flight = InFlight::new(4, PATIENCE);
        for n in 0..200_000u32 {
            let sequence = in_flight.insert(now, n).unwrap();
            assert_ne!(sequence, 0);
            assert_eq!(in_flight.take(sequence), Some(n));
        }
    }
}
