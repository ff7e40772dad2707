//! What a coordinator and a holding worker say to each other: one JSON object per line.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::histogram::Buckets;

/// From the coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HoldOrder {
    /// Log all clients in; the first order. Answered by [`HoldNotice::Ramped`].
    Ramp(HoldPlan),
    /// Begin no further login. The ramp is then over with what there is.
    Stop,
    /// Ask every connection for an answer. Answered by [`HoldNotice::Asked`].
    Ask {
        /// Over how long the questions are spread.
        spread_ms: u64,
        /// How long the last of them is waited for.
        patience_ms: u64,
    },
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HoldNotice {
    /// Every second.
    Standing(Standing),
    /// The ramp is over.
    Ramped(Standing),
    Asked(AskedAll),
}

/// How a worker's connections stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Logged in now.
    pub(crate) held: u64,
    /// Of those, how many have got an answer to the question that is open.
    pub(crate) answered: u64,
    /// Logins that came to nothing, by reason.
    pub(crate) failed: HashMap<String, u64>,
    /// Connections that ended after their login, by reason.
    pub(crate) lost: HashMap<String, u64>,
    /// From the first byte of a dial to the login's answer; told with the end of the ramp alone.
    pub(crate) login: Buckets,
}

/// What came back on a question to all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AskedAll {
    pub(crate) answered: u64,
    /// The gate answered that it could not tell.
    pub(crate) refused: u64,
    pub(crate) latency: Buckets,
}

/// Which clients one worker holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HoldPlan {
    /// Client number n connects to gate n modulo their number.
    pub(crate) gates: Vec<SocketAddr>,
    /// The DER of the certificate to trust, in base64.
    pub(crate) certificate: String,
    /// The key that signs the clients' tokens. A worker makes each token when it is needed, so that
    /// half a million of them need not be held or sent.
    pub(crate) token_key: PathBuf,
    /// The front of the users' names; their number follows.
    pub(crate) prefix: String,
    /// Number of the first client.
    pub(crate) first: u32,
    pub(crate) connections: u32,
    /// Logins under way at once.
    pub(crate) concurrency: usize,
    /// Logins per second at most.
    pub(crate) per_second: f64,
    /// Loopback clients have addresses of their own to dial from, so many; 0 leaves it to the system.
    pub(crate) source_addresses: u32,
}
