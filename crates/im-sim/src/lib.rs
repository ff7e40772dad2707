//! Simulated worlds: clients, gates, routes, im-services and a store whose disk can lose what was not
//! synced, all in one thread under [`turmoil`], on simulated time. The tiers and the client SDK are
//! the real ones; only the network, the clock and the disk are not.
//!
//! A world is drawn from a seed ([`plan`]): who sends what to whom, and which faults strike: links that
//! are cut, cut one way, held or slow; processes that are killed and hosts that lose power, one by one
//! or all of a tier, and come back; fsyncs that fail. At a stated time everything is healed; from then
//! on the world has a stated time to converge ([`plan::CONVERGENCE`]). Then the invariants are
//! checked ([`check`]) over what the applications saw and what is on the disk:
//!
//! * what was acked is at its place, and once in the timeline of each recipient, and in no other;
//! * places are 1, 2, 3, …; no name of a sender is stored twice; nothing is stored that nobody sent;
//! * each application got its timeline one by one and in order, across reconnects and restarts,
//!   nothing that is not stored, and all of it;
//! * of one device, what was sent behind each other stands so.
//!
//! A send that was never acked (its device died and forgot it) may be stored, once, or not.
//!
//! ```text
//! plan ──► world ─┬► tiers, app   software of the hosts
//!                 ├► log          what happened
//!                 └► check        what must hold
//! ```
//!
//! `cargo test -p im-sim` runs some tens of worlds; `SIM_SEEDS=1000` runs so many; `SIM_SEED=17` runs
//! one and prints its log (`-- --nocapture`).
//!
//! # What a seed repeats
//!
//! Everything: a world run twice gives the same log to the millisecond, in one process or in two, as a
//! test shows. What it rests on: the network, the wall clock and every random number that tiers and SDK
//! draw come from [`network::SimNetwork`]; their `select!`s look at their branches in a fixed order; the
//! store is the memory store, which starts no thread; and [`world::run`] lines up the runtime's task
//! numbers. Not the seed's, and without effect: the signing key and the ids of tokens, and the order of
//! hash maps that are only looked up. A change of the tiers that iterates over a hash map, draws a
//! number of its own, or starts a thread will show as a replay that differs.

mod app;
pub mod broken;
pub mod check;
pub mod log;
pub mod network;
mod panics;
pub mod plan;
mod shared_store;
mod tiers;
pub mod world;
