//! Which gate to try next.

use std::collections::VecDeque;

/// The known gates in turn; before them, once, those that a redirect named.
#[derive(Debug)]
pub(crate) struct Gates {
    known: Vec<String>,
    next: usize,
    redirected: VecDeque<String>,
}

impl Gates {
    /// Begins at a place that `random` chooses. `known` is not empty.
    pub(crate) fn new(known: Vec<String>, random: u64) -> Self {
        let next = (random % known.len().max(1) as u64) as usize;
        Self { known, next, redirected: VecDeque::new() }
    }

    pub(crate) fn next(&mut self) -> String {
        self.redirected.pop_front().unwrap_or_else(|| {
            let gate = self.known[self.next].clone();
            self.next = (self.next + 1) % self.known.len();
            gate
        })
    }

    pub(crate) fn redirect(&mut self, gates: impl IntoIterator<Item = String>) {
        self.redirected = gates.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirected_gates_come_first_and_once() {
        let mut gates = Gates::new(vec!["a".into(), "b".into()], 3);
        assert_eq!(gates.next(), "b");
        gates.redirect(["c".to_owned()]);
        assert_eq!([gates.next(), gates.next(), gates.next()], ["c", "a", "b"]);
    }
}
