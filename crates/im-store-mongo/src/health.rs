//! Whether the servers behind the store answer, as an operator asks.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::fault::Fault;

#[derive(Debug, Default)]
pub(crate) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when MongoDB fails, and the last reason.
    failing: Option<(Instant, String)>,
}

/// A server that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// For how long.
    pub since: Duration,
    /// The last reason.
    pub why: String,
}

impl Health {
    /// MongoDB has done something that was asked of it.
    pub(crate) fn well(&self) {
        let mut state = self.state.lock();
        if state.failing.take().is_some() {
            tracing::info!("MongoDB answers again");
        }
    }

    pub(crate) fn unwell(&self, fault: &Fault) {
        let mut state = self.state.lock();
        if state.failing.is_none() {
            tracing::warn!(%fault, "MongoDB does not do what is asked of it");
        }
        let since = state.failing.take().map_or_else(Instant::now, |(since, _)| since);
        state.failing = Some((since, fault.to_string()));
    }

    pub(crate) fn failing(&self) -> Option<Failing> {
        let state = self.state.lock();
        state.failing.as_ref().map(|(since, why)| Failing { since: since.elapsed(), why: why.clone() })
    }
}
