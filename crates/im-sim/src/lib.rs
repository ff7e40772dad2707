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
//! one and prints its log.
//!
//! # What a seed repeats
//!
//! The plan, the faults and the delays of the network are the seed's. Not the seed's are: which branch
//! of the SDK's `select!`s goes first when several could, jitter in backoffs, the gate a client tries
//! first, and which lane of an im-service a user gets. So a replay meets the same faults in
//! the same traffic, but not always the same interleaving: run a seed some times
//! (`SIM_REPEAT=20 SIM_SEED=17`) before believing that it has become good.

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
