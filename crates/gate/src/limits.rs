//! What a client may cost: how often it may ask, log in, fail, and how many may stand in the door
//! without having logged in. On by default, each with a name; whoever meets one is told with a refusal
//! where it can hear one, and counted under the limit's name in `sim_gate_limited_total`.
//!
//! The accepting loop asks at the door, a connection before it checks a token and before it passes a
//! request on. All state has a bound of its own: a [`RateTable`], and one count per address that has
//! somebody in the door. A reload replaces the numbers and keeps the state.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use im_auth::TokenError;
use im_link::link;
use im_proto::client::{Command, KickReason};
use im_proto::{Refusal, RefusalCode, UserId};
use im_session::{Action, CloseReason, Dismissal};
use proto_codec::FrameError;

use crate::proxy::IpRange;
use crate::rate::{Rate, RateTable};
use crate::sessions::Client;

/// The limits of a gate that may change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one connection, heartbeats included.
    pub messages_per_connection: Rate,
    /// Requests of one user over all its connections to this gate.
    pub messages_per_user: Rate,
    /// Connections that have not logged in, all together.
    pub unauthenticated_max: usize,
    /// The same from one address.
    pub unauthenticated_per_address_max: u32,
    /// Connections accepted from one address.
    pub handshakes_per_address: Rate,
    /// Logins of one user.
    pub logins_per_user: Rate,
    /// Tokens from one address that nobody has signed.
    pub login_failures_per_address: Rate,
    /// Tokens of one user that have run out.
    pub login_failures_per_user: Rate,
    /// Addresses that count for many: only what is limited for all together is limited for them.
    pub exempt: Vec<IpRange>,
}

impl Default for Limits {
    fn default() -> Self {
        crate::server::GateSettings::default().limits()
    }
}

/// A limit, by the name that metrics and logs have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    Connections,
    ConnectionMessages,
    UserMessages,
    Unauthenticated,
    UnauthenticatedPerAddress,
    HandshakesPerAddress,
    LoginsPerUser,
    LoginFailuresPerAddress,
    LoginFailuresPerUser,
    LoginTime,
    FrameBytes,
    OutboundBytes,
}

impl Limit {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionMessages => "messages_per_connection",
            Self::UserMessages => "messages_per_user",
            Self::Unauthenticated => "unauthenticated",
            Self::UnauthenticatedPerAddress => "unauthenticated_per_address",
            Self::HandshakesPerAddress => "handshakes_per_address",
            Self::LoginsPerUser => "logins_per_user",
            Self::LoginFailuresPerAddress => "login_failures_per_address",
            Self::LoginFailuresPerUser => "login_failures_per_user",
            Self::LoginTime => "login_time",
            Self::FrameBytes => "frame_bytes",
            Self::OutboundBytes => "outbound_bytes",
        }
    }

    /// The limit behind the end of a connection, if one is.
    pub(crate) const fn behind(reason: &CloseReason) -> Option<Self> {
        match reason {
            CloseReason::Framing(FrameError::TooLong { .. }) => Some(Self::FrameBytes),
            CloseReason::LoginTimeout => Some(Self::LoginTime),
            CloseReason::Kicked(KickReason::SlowConsumer) => Some(Self::OutboundBytes),
            _ => None,
        }
    }

    /// Somebody met it.
    pub(crate) fn count(self) {
        metrics::counter!("sim_gate_limited_total", "limit" => self.name()).increment(1);
    }
}

/// Refusals in a row after which a client that goes on asking is let go: it does not listen, and each
/// costs an answer.
const UNHEEDED_MAX: u32 = 1000;

/// Watches over the limits of one gate.
pub(crate) struct Limiter {
    limits: ArcSwap<Limits>,
    started: Instant,
    used: RateTable,
    /// Connections that have not logged in.
    guests: AtomicUsize,
    /// The same by address, for addresses that are not exempt. At most one entry per guest.
    guests_by_address: DashMap<u128, u32, ahash::RandomState>,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits: ArcSwap::from_pointee(limits),
            started: link::now(),
            used: RateTable::new(),
            guests: AtomicUsize::new(0),
            guests_by_address: DashMap::default(),
        }
    }

    /// From now on these numbers hold. What has been used up stays used up.
    pub(crate) fn reload(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// The numbers that hold.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// Connections that have not logged in.
    pub(crate) fn guests(&self) -> usize {
        self.guests.load(Ordering::Relaxed)
    }

    /// Lets a connection in as a guest, until it has logged in or gone. Before TLS nothing can be said to
    /// one that is not let in.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Guest, Limit> {
        let admitted = self.try_admit(address);
        if let Err(limit) = &admitted {
            limit.count();
        }
        admitted
    }

    fn try_admit(self: &Arc<Self>, address: IpAddr) -> Result<Guest, Limit> {
        let limits = self.limits.load();
        // Counted first and given back by drop, so that many at the same moment cannot all slip through.
        let mut guest = Guest { limiter: Arc::clone(self), address: None };
        if self.guests.fetch_add(1, Ordering::Relaxed) >= limits.unauthenticated_max {
            return Err(Limit::Unauthenticated);
        }
        if limits.exempt.iter().any(|range| range.contains(address)) {
            return Ok(guest);
        }
        let (key, now) = (address_key(address), self.now_us());
        let failures = (Limit::LoginFailuresPerAddress, key);
        if self.used.admits(limits.login_failures_per_address, failures, now).is_err() {
            return Err(Limit::LoginFailuresPerAddress);
        }
        if self.used.charge(limits.handshakes_per_address, (Limit::HandshakesPerAddress, key), now).is_err() {
            return Err(Limit::HandshakesPerAddress);
        }
        guest.address = Some(key);
        let mut there = self.guests_by_address.entry(key).or_insert(0);
        *there += 1;
        let too_many = *there > limits.unauthenticated_per_address_max;
        drop(there);
        if too_many { Err(Limit::UnauthenticatedPerAddress) } else { Ok(guest) }
    }

    /// Whether a user whose token is good may log in now.
    pub(crate) fn login(&self, user: &UserId) -> Result<(), Refusal> {
        let rate = self.limits.load().logins_per_user;
        self.used.charge(rate, (Limit::LoginsPerUser, user), self.now_us()).map_err(|wait| {
            Limit::LoginsPerUser.count();
            rate_limited(format!("a user may log in {rate}"), wait)
        })
    }

    /// A token was no good: what to say. Tokens that nobody signed count against the address that tries
    /// them, which is closed out at the door when there are too many. Those that have run out were good
    /// once and count against their user, whose client is told to take its time.
    pub(crate) fn login_failed(&self, address: IpAddr, error: TokenError) -> Refusal {
        let (limits, now) = (self.limits.load(), self.now_us());
        if let TokenError::Expired { user, .. } = &error {
            let charged = self.used.charge(limits.login_failures_per_user, (Limit::LoginFailuresPerUser, user), now);
            if let Err(wait) = charged {
                Limit::LoginFailuresPerUser.count();
                return rate_limited("tokens that have run out come too often", wait);
            }
        } else if !limits.exempt.iter().any(|range| range.contains(address)) {
            let key = (Limit::LoginFailuresPerAddress, address_key(address));
            // Beyond the limit there is nothing more to charge: the door is closed already.
            let _ = self.used.charge(limits.login_failures_per_address, key, now);
        }
        error.into()
    }

    /// What a connection does with what its session wants: the same, or a refusal where it asks too often.
    pub(crate) fn pass(&self, client: &Client, action: Action) -> Action {
        let (sequence, command) = match &action {
            Action::Forward { sequence, command, .. } => (*sequence, command.number()),
            Action::HeartBeat(sequence) => (*sequence, Command::HeartBeat.number()),
            // It costs an answer like any other.
            Action::Refuse(sequence, command, _) => (*sequence, *command),
            _ => return action,
        };
        match self.request(client) {
            Ok(()) => {
                client.unheeded.store(0, Ordering::Relaxed);
                action
            }
            Err(refusal) if client.unheeded.fetch_add(1, Ordering::Relaxed) < UNHEEDED_MAX => {
                Action::Refuse(sequence, command, refusal)
            }
            Err(_) => {
                client.dismiss(Dismissal::Flood);
                Action::None
            }
        }
    }

    fn request(&self, client: &Client) -> Result<(), Refusal> {
        let (limits, now) = (self.limits.load(), self.now_us());
        let rate = limits.messages_per_connection;
        if rate != Rate::OFF {
            // Only the connection's own task comes here, so nothing happens between the two.
            let paid_us = rate.charge(client.paid_us.load(Ordering::Relaxed), now).map_err(|wait| {
                Limit::ConnectionMessages.count();
                rate_limited(format!("a connection may ask {rate}"), wait)
            })?;
            client.paid_us.store(paid_us, Ordering::Relaxed);
        }
        let Some(login) = client.login() else { return Ok(()) };
        let rate = limits.messages_per_user;
        self.used.charge(rate, (Limit::UserMessages, &login.user), now).map_err(|wait| {
            Limit::UserMessages.count();
            rate_limited(format!("a user may ask {rate}"), wait)
        })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(link::now().saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("limits", &self.limits())
            .field("guests", &self.guests())
            .finish_non_exhaustive()
    }
}

/// A connection that has not logged in. Dropped when it does, or goes.
pub(crate) struct Guest {
    limiter: Arc<Limiter>,
    /// Where it is counted by address.
    address: Option<u128>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Limiter { guests, guests_by_address, .. } = &*self.limiter;
        guests.fetch_sub(1, Ordering::Relaxed);
        if let Some(key) = self.address {
            guests_by_address.remove_if_mut(&key, |_, there| {
                *there = there.saturating_sub(1);
                *there == 0
            });
        }
    }
}

fn rate_limited(detail: impl Into<String>, wait: Duration) -> Refusal {
    let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1);
    Refusal { retry_after_ms, ..Refusal::new(RefusalCode::RateLimited, detail) }
}

/// What counts as one address: one household has a whole /64 of IPv6, and an IPv4 address is the same
/// in either spelling.
fn address_key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}
