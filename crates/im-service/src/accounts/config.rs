//! What an operator may set.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::attempts::Limit;

/// Where the time comes from: the system's clock, or a test's.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Settings of [`Accounts`](super::Accounts).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountsConfig {
    /// How long an access token is good. Default 10 minutes. A gate believes it without asking, so this
    /// is also how long somebody may still log in whose access was taken away.
    pub access_lifetime: Duration,
    /// How long a refresh token is good when it is not used. Default 30 days.
    pub refresh_lifetime: Duration,
    /// Memory of one password hash in KiB. Default 19 MiB, as OWASP asks of argon2id with two passes.
    /// Hashes that are stored keep the cost they were made with.
    pub hash_memory_kib: u32,
    /// Password hashes computed at the same time. Default 2: two cores and 38 MiB.
    pub hashes_in_flight: usize,
    /// Password hashes that wait for one of those; whoever comes after them is told *busy*.
    /// Default 64: at 20 ms each, the last one has waited less than a second.
    pub hashes_waiting: usize,
    /// How long a hash may wait before its caller is told *busy*. Default 5 s.
    pub hash_patience: Duration,
    /// Failed logins of one user. Default 10, then one a minute. Whoever knows a user's name can use
    /// these up; the price is a wait, and the account's live sessions and refresh tokens go on.
    pub failures_per_user: Limit,
    /// Failed logins from one address (one /64 of IPv6). Default 100, then one in 6 s: an office behind
    /// one address has more than one user who forgets.
    pub failures_per_address: Limit,
    /// Registrations from one address, whether they succeed or not. Default 50, then one in 30 s: each
    /// costs a password hash and a row for ever.
    pub registrations_per_address: Limit,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self {
            access_lifetime: Duration::from_secs(10 * 60),
            refresh_lifetime: Duration::from_secs(30 * 24 * 3600),
            hash_memory_kib: 19 * 1024,
            hashes_in_flight: 2,
            hashes_waiting: 64,
            hash_patience: Duration::from_secs(5),
            failures_per_user: Limit { burst: 10, every: Duration::from_secs(60) },
            failures_per_address: Limit { burst: 100, every: Duration::from_secs(6) },
            registrations_per_address: Limit { burst: 50, every: Duration::from_secs(30) },
        }
    }
}
