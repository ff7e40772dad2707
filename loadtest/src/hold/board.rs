//! What the clients of a worker and its main task tell each other: the question that is open, and
//! how many have answered it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::histogram::Latencies;

/// What came back on a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Answered,
    /// The gate answers, and could not answer the question.
    Refused,
}

/// The answers to one question.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) latencies: Latencies,
}

/// One thread runs all clients, so the lock is never waited for; it stands here because tasks have
/// to be able to move.
#[derive(Debug)]
pub(super) struct Board {
    wakers: Vec<AtomicWaker>,
    question: AtomicU32,
    answers: Mutex<Answers>,
}

impl Board {
    pub(super) fn new(clients: u32) -> Self {
        Self {
            wakers: (0..clients).map(|_| AtomicWaker::new()).collect(),
            question: AtomicU32::new(0),
            answers: Mutex::default(),
        }
    }

    /// Where a client leaves its waker.
    pub(super) fn waker(&self, client: u32) -> &AtomicWaker {
        &self.wakers[client as usize]
    }

    pub(super) fn wakers(&self) -> &[AtomicWaker] {
        &self.wakers
    }

    /// The number of the question that is open; 0 before the first.
    pub(super) fn question(&self) -> u32 {
        self.question.load(Relaxed)
    }

    /// Puts another question. Clients put it to the server when they are woken.
    pub(super) fn ask(&self) {
        *self.answers.lock() = Answers::default();
        self.question.fetch_add(1, Relaxed);
    }

    pub(super) fn on_answer(&self, question: u32, asked_at: Instant, asked: Asked) {
        if question != self.question() {
            return;
        }
        let mut answers = self.answers.lock();
        match asked {
            Asked::Answered => answers.answered += 1,
            Asked::Refused => answers.refused += 1,
        }
        answers.latencies.record(asked_at.elapsed());
    }

    /// How many have come back.
    pub(super) fn answer_count(&self) -> u64 {
        let answers = self.answers.lock();
        answers.answered + answers.refused
    }

    pub(super) fn take_answers(&self) -> Answers {
        std::mem::take(&mut self.answers.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_an_earlier_question_do_not_count() {
        let board = Board::new(1);
        board.ask();
        board.on_answer(1, Instant::now(), Asked::Answered);
        assert_eq!(board.answer_count(), 1);
        board.ask();
        board.on_answer(1, Instant::now(), Asked::Answered);
        board.on_answer(2, Instant::now(), Asked::Refused);
        let answers = board.take_answers();
        assert_eq!((answers.answered, answers.refused, answers.latencies.len()), (0, 1, 1));
    }
}
