//! What a coordinator and a crowd worker say to each other: one JSON object per line.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::histogram::Buckets;
use crate::worker::Verdict;

/// From the coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CrowdOrder {
    /// Start all clients; the first order. Answered by [`CrowdNotice::Joined`].
    Join(CrowdPlan),
    /// From now on this many acts per second; 0 ends the traffic.
    Traffic { per_second: f64, mix: Mix },
    /// The gate goes now: note who leaves and when it is back. Answered by [`CrowdNotice::Watching`].
    Watch,
    /// Wait for what is under way and compare. Answered by [`CrowdNotice::Audited`].
    Audit {
        /// How long messages may take to arrive.
        patience_ms: u64,
    },
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CrowdNotice {
    Joined,
    Watching,
    /// Several times a second.
    Standing(Crowd),
    Audited(Box<Outcome>),
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mix {
    /// Messages alone.
    Messages,
    /// Messages, and everything else that people do.
    People,
}

/// How the clients of a worker stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Crowd {
    pub(crate) online: u64,
    /// Logged in, and everything that was there has been taken.
    pub(crate) caught_up: u64,
    /// Away from their connection at some time since the watch began.
    pub(crate) left: u64,
    /// Of those, caught up again.
    pub(crate) returned: u64,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
}

impl Crowd {
    pub(crate) fn sum(all: &[Self]) -> Self {
        let mut sum = Self::default();
        for crowd in all {
            sum.online += crowd.online;
            sum.caught_up += crowd.caught_up;
            sum.left += crowd.left;
            sum.returned += crowd.returned;
            sum.acked += crowd.acked;
            sum.failed += crowd.failed;
        }
        sum
    }
}

/// What became of everything, once the traffic is over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) crowd: Crowd,
    /// From the beginning of the watch to the login elsewhere.
    pub(crate) back: Buckets,
    /// From there to having caught up.
    pub(crate) synced: Buckets,
    /// From the loss of the connection, or leaving it, to the login elsewhere.
    pub(crate) away: Buckets,
    /// Clients that left because the gate asked them to, without losing their connection first.
    pub(crate) redirected: u64,
    /// Connections that were lost, by reason.
    pub(crate) dropped: HashMap<String, u64>,
    pub(crate) sent: u64,
    /// Sends whose ack says that an earlier try had arrived.
    pub(crate) repeated: u64,
    pub(crate) failed: HashMap<String, u64>,
    /// Other acts than sends: how many went well, and why the others did not.
    pub(crate) acts: u64,
    pub(crate) acts_failed: HashMap<String, u64>,
    /// Due acts that were left out, because too many were under way.
    pub(crate) skipped: u64,
    /// From the due time of a send to its ack.
    pub(crate) ack: Buckets,
    pub(crate) verdict: Verdict,
}

/// Which clients one worker runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CrowdPlan {
    pub(crate) gates: Vec<SocketAddr>,
    /// Everybody begins at the first gate, or each where chance says.
    pub(crate) all_at_first: bool,
    /// The DER of the certificate to trust, in base64.
    pub(crate) certificate: String,
    pub(crate) token_key: PathBuf,
    /// The front of the users' names; their number follows.
    pub(crate) prefix: String,
    /// Number of the first client; even, because 2n and 2n + 1 talk to each other.
    pub(crate) first: u32,
    pub(crate) connections: u32,
    pub(crate) source_addresses: u32,
}
