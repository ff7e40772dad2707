//! Readiness: named conditions that must all hold before a balancer may send work here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// The conditions of one process. Clones share them.
///
/// It grows only with what the tier registers: parts of the process and configured peers, never
/// clients.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Conditions>>);

#[derive(Debug, Default)]
struct Conditions {
    next: u64,
    /// By order of registration.
    all: BTreeMap<u64, (String, Standing)>,
}

/// How a condition stands.
#[derive(Debug)]
enum Standing {
    Holds,
    /// It holds, and an operator should know something about it.
    Degraded(String),
    Unmet(String),
}

/// A condition that does not hold or holds in part, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmet {
    pub condition: String,
    pub reason: String,
}

impl Readiness {
    /// Registers a condition, which does not hold until [`Condition::ready`] says so.
    #[must_use = "a condition that is dropped never holds"]
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let mut conditions = self.lock();
        let id = conditions.next;
        conditions.next += 1;
        conditions.all.insert(id, (name.into(), Standing::Unmet("starting".to_owned())));
        drop(conditions);
        Condition { id, readiness: self.clone() }
    }

    /// What stands in the way; empty means ready.
    #[must_use]
    pub fn unmet(&self) -> Vec<Unmet> {
        self.told(|standing| match standing {
            Standing::Unmet(reason) => Some(reason),
            Standing::Holds | Standing::Degraded(_) => None,
        })
    }

    /// What does not stand in the way, and should be known.
    #[must_use]
    pub fn degraded(&self) -> Vec<Unmet> {
        self.told(|standing| match standing {
            Standing::Degraded(reason) => Some(reason),
            Standing::Holds | Standing::Unmet(_) => None,
        })
    }

    fn told(&self, reason: impl Fn(&Standing) -> Option<&String>) -> Vec<Unmet> {
        let conditions = self.lock();
        let reasons = conditions.all.values().filter_map(|(name, standing)| Some((name, reason(standing)?)));
        reasons.map(|(name, reason)| Unmet { condition: name.clone(), reason: reason.clone() }).collect()
    }

    /// Every change is a single insert or remove, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Conditions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One condition, held by the part of the program that knows about it. Dropping it means that this
/// part has ended: the condition no longer holds.
#[derive(Debug)]
pub struct Condition {
    id: u64,
    readiness: Readiness,
}

impl Condition {
    pub fn ready(&self) {
        self.set(Standing::Holds);
    }

    /// It holds, but not as it should: something is away that can be done without.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(Standing::Degraded(reason.into()));
    }

    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Standing::Unmet(reason.into()));
    }

    /// Takes the condition off the list; nobody waits for it any more.
    pub fn retire(self) {
        self.readiness.lock().all.remove(&self.id);
    }

    fn set(&self, standing: Standing) {
        // Absent only after `retire`, whose drop comes here as well.
        if let Some((_, held)) = self.readiness.lock().all.get_mut(&self.id) {
            *held = standing;
        }
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.not_ready("ended");
    }
}

#[cfg(test)]
mod tests {
    use super::{Readiness, Unmet};

    fn reasons(readiness: &Readiness) -> Vec<(String, String)> {
        readiness.unmet().into_iter().map(|Unmet { condition, reason }| (condition, reason)).collect()
    }

    fn pair(condition: &str, reason: &str) -> (String, String) {
        (condition.to_owned(), reason.to_owned())
    }

    #[test]
    fn ready_only_while_every_condition_holds() {
        let readiness = Readiness::default();
        assert!(readiness.unmet().is_empty());
        let store = readiness.condition("store");
        let link = readiness.condition("link");
        assert_eq!(reasons(&readiness), [pair("store", "starting"), pair("link", "starting")]);
        store.ready();
        link.ready();
        assert!(readiness.unmet().is_empty());
        link.not_ready("no peer");
        assert_eq!(reasons(&readiness), [pair("link", "no peer")]);
        store.degraded("no cache");
        assert_eq!(reasons(&readiness), [pair("link", "no peer")], "what can be done without does not count");
        let known: Vec<_> = readiness.degraded().into_iter().map(|known| (known.condition, known.reason)).collect();
        assert_eq!(known, [pair("store", "no cache")]);
        store.ready();
        assert!(readiness.degraded().is_empty());
        link.retire();
        assert!(readiness.unmet().is_empty());
        drop(store);
        assert_eq!(reasons(&readiness), [pair("store", "ended")]);
    }
}
