//! The property test of stores: the same random operations on two backends must give the same
//! answers and, at the end, the same of every read.
//!
//! A backend's test calls [`assert_same`] with its own [`Factory`] and another's, mostly [`InMemory`]. What is
//! wrong is shrunk to few operations and printed with the seed. `SIM_MODEL_CASES` sets the number of cases
//! and `SIM_MODEL_SEED` repeats a run.

// A test that happens to live in a library: a failed unwrap is a failed assertion.
#![allow(clippy::unwrap_used)]

mod ops;
mod reads;

use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use im_proto::Epoch;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::conformance::Factory;
use crate::{AppendError, Disk, MemoryStore, Placed, Store, StoreError, SweepPolicy, Swept};
pub use ops::{Op, operations};

/// Cases without `SIM_MODEL_CASES`: some seconds on a backend that syncs a real disk.
const CASES: u32 = 48;
/// Operations of one case.
const OPS_MAX: usize = 40;
/// Tries at making a failing case smaller.
const SHRINK_MAX: u32 = 300;

/// Memory stores, for others to be compared with.
pub struct InMemory;

#[async_trait]
impl Factory for InMemory {
    type Home = Disk;

    async fn home(&self) -> Disk {
        static EPOCHS: AtomicU64 = AtomicU64::new(1);
        Disk::new(Epoch(EPOCHS.fetch_add(1, Ordering::Relaxed)))
    }

    async fn open(&self, disk: &Disk) -> Arc<dyn Store> {
        Arc::new(MemoryStore::open(disk))
    }
}

/// Where two stores differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("after {done} operations, {what}:\n  one:   {one}\n  other: {other}")]
pub struct Difference {
    /// Operations until then.
    pub done: usize,
    /// What was asked.
    pub what: String,
    /// What the first store said.
    pub one: String,
    /// What the second said.
    pub other: String,
}

fn same<T: Debug + PartialEq>(done: usize, what: impl Into<String>, one: T, other: T) -> Result<(), Difference> {
    if one == other {
        return Ok(());
    }
    Err(Difference { done, what: what.into(), one: format!("{one:?}"), other: format!("{other:?}") })
}

/// Runs the operations on a fresh store of each backend and compares every answer and every read.
pub async fn compare<A: Factory, B: Factory>(one: &A, other: &B, ops: &[Op]) -> Result<(), Difference> {
    let (one_home, other_home) = (one.home().await, other.home().await);
    let (mut a, mut b) = (one.open(&one_home).await, other.open(&other_home).await);
    for (done, op) in ops.iter().enumerate() {
        match op {
            Op::Reopen => {
                a.close().await;
                b.close().await;
                drop((a, b));
                (a, b) = (one.open(&one_home).await, other.open(&other_home).await);
            }
            Op::Crash => {
                one.abandon(&one_home, a).await;
                other.abandon(&other_home, b).await;
                (a, b) = (one.open(&one_home).await, other.open(&other_home).await);
            }
            op => same(done + 1, format!("{op:?}"), apply(&a, op).await, apply(&b, op).await)?,
        }
        reads::compare_heads(done + 1, &*a, &*b).await?;
    }
    reads::compare_all(ops.len(), &*a, &*b).await?;
    a.close().await;
    b.close().await;
    Ok(())
}

/// An operation's answer, without what backends may say differently.
#[derive(Debug, PartialEq)]
enum Answer {
    Appends(Vec<Result<Placed, AppendError>>),
    Trimmed(Result<im_proto::Seq, StoreError>),
    Swept(u64, u64),
    Committed(Result<(), crate::CommitError>),
    Nothing,
}

async fn apply(store: &Arc<dyn Store>, op: &Op) -> Answer {
    match op {
        Op::Append(sends) => {
            // Handed in together, so that they may share a commit group.
            let appends = sends.iter().map(|send| store.append(send.append()));
            let answers = futures_util::future::join_all(appends).await.into_iter();
            Answer::Appends(
                answers
                    .map(|answer| {
                        answer.map_err(|error| match error {
                            AppendError::BadRecipients(_) => AppendError::BadRecipients(""),
                            other => other,
                        })
                    })
                    .collect(),
            )
        }
        Op::Trim { user, through } => Answer::Trimmed(store.trim(&ops::user(*user), im_proto::Seq(*through)).await),
        Op::Sweep { entries_before_ms, sent_before_ms, rows_max } => {
            let policy = SweepPolicy {
                entries_before_ms: *entries_before_ms,
                sent_before_ms: *sent_before_ms,
                rows_max: *rows_max,
            };
            let (mut entries, mut sent) = (0, 0);
            // The first round may begin in the middle.
            for _ in 0..2 {
                loop {
                    let swept: Swept = store.sweep(policy).await.unwrap();
                    entries += swept.entries;
                    sent += swept.sent;
                    if swept.done {
                        break;
                    }
                }
            }
            Answer::Swept(entries, sent)
        }
        Op::Commit(changes) => {
            Answer::Committed(store.commit(changes.iter().map(ops::RecordOp::change).collect()).await)
        }
        Op::Reopen | Op::Crash => Answer::Nothing,
    }
}

/// Compares two backends over random operations.
///
/// # Panics
/// With the seed and the smallest operations found, when the two differ.
pub fn assert_same<A: Factory, B: Factory>(one: &A, other: &B) {
    assert_same_in(CASES, one, other);
}

/// The same with another number of cases, for a backend whose every read crosses a socket.
/// `SIM_MODEL_CASES` still goes before.
///
/// # Panics
/// As [`assert_same`].
pub fn assert_same_in<A: Factory, B: Factory>(cases: u32, one: &A, other: &B) {
    let cases = variable("SIM_MODEL_CASES").map_or(cases, |cases| cases as u32);
    let seed = variable("SIM_MODEL_SEED").unwrap_or_else(random_seed);
    println!("{cases} cases, SIM_MODEL_SEED={seed}");
    if let Err(failure) = find_difference(one, other, cases, seed) {
        panic!("repeat with SIM_MODEL_SEED={seed}\n{failure}");
    }
}

/// The search behind [`assert_same`]: `Err` describes the smallest failing operations.
pub fn find_difference<A: Factory, B: Factory>(one: &A, other: &B, cases: u32, seed: u64) -> Result<(), String> {
    let config = Config { cases, max_shrink_iters: SHRINK_MAX, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runner.run(&operations(OPS_MAX), |ops| {
        runtime.block_on(compare(one, other, &ops)).map_err(|difference| TestCaseError::fail(difference.to_string()))
    });
    outcome.map_err(|error| match error {
        TestError::Fail(why, ops) => format!("{why}\noperations: {ops:#?}"),
        TestError::Abort(why) => format!("aborted: {why}"),
    })
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// A number that differs from run to run, from the keys that the standard library draws.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
