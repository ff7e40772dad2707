//! Real processes: the binaries of the tiers, real TLS over real loopback sockets, a real store in a
//! temporary folder, and clients that talk through all of it while things are killed.
//!
//! This crate is for tests alone; the tests are in `tests/`, what they share is here:
//!
//! * [`bare`]: a client that does what a test says and nothing by itself.
//! * [`binaries`]: the tiers' binaries, built when they are missing or old.
//! * [`ports`]: ports that no other test takes.
//! * [`process`]: one process, its end and its log. [`logs`]: what a log may say.
//! * [`browser`]: a page in Chromium.
//! * [`cable`]: a way between two processes that can be cut.
//! * [`cluster`]: the tiers of one region, started, killed, restarted, stopped.
//! * [`dev`]: the cluster that `scripts/dev-cluster` runs.
//! * [`etcd`]: where services are found.
//! * [`haproxy`]: the load balancer in front of the gates.
//! * [`http`]: as much HTTP as probes and accounts need.
//! * [`person`]: a user with a client and a journal of all that the client told.
//! * [`region`]: gates and routes of another region.
//! * [`traffic`]: people who keep sending, and a ledger of what was acked.
//! * [`verify`]: the promise, checked over ledger, timelines, histories and store.
//!
//! Rules: nothing waits by sleeping and hoping, everything waits for a state with a deadline; no port
//! is fixed; no process outlives its test; a WARN or ERROR in a log that nobody announced fails the
//! test, and so does a line that is no log line, which is how panics look.

pub mod bare;
pub mod binaries;
pub mod browser;
pub mod cable;
pub mod cluster;
pub mod dev;
pub mod etcd;
pub mod haproxy;
pub mod http;
pub mod logs;
pub mod person;
pub mod ports;
pub mod process;
pub mod region;
pub mod traffic;
pub mod verify;

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Between two looks at something that cannot be awaited.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Everything here takes milliseconds to a few seconds; on a slow and busy machine, some tens of
/// seconds. Whoever waits this long waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that cannot be awaited, by looking again and again.
///
/// # Panics
/// When it does not come within [`PATIENCE`].
pub async fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(LOOK_EVERY).await;
    }
}
