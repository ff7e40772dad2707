//! Counts failed logins, or registrations, in a table that never grows.
//!
//! Each key (a user, an address) may fail `burst` times at once and then once per `every`. A key is one
//! number: the time at which all its failures are forgiven (the generic cell rate algorithm). A key
//! whose time is over is as good as absent, so nothing needs sweeping.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use ahash::RandomState;
use parking_lot::Mutex;

/// How often something may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Failures in one go; at least 1.
    pub burst: u32,
    /// Afterwards, one more each time this has passed.
    pub every: Duration,
}

/// Slots that share a hash. A full set loses its least guilty key: somebody who sprays the table with
/// names, each of which failed once, does not push out the one that is being guessed at.
const WAYS: usize = 8;
/// Sets; 8192 × 8 keys of 16 bytes are 1 MiB.
const SETS: usize = 8192;

#[derive(Clone, Copy, Default)]
struct Slot {
    /// The key's hash; 64 keyed bits, which nobody outside can make collide.
    key: u64,
    /// When all is forgiven, milliseconds since 1970. 0: the slot is free.
    forgiven_ms: u64,
}

/// The table of one [`Limit`].
pub(super) struct Attempts {
    limit: Limit,
    hasher: RandomState,
    sets: Mutex<Box<[[Slot; WAYS]]>>,
}

impl Attempts {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, hasher: RandomState::new(), sets: Mutex::new(vec![Default::default(); SETS].into()) }
    }

    /// Counts a try as failed before its outcome is known, so that tries at the same moment cannot all
    /// slip through. `Err` says how long to wait. Given back with [`forgive`](Self::forgive).
    pub(super) fn charge(&self, key: impl Hash, now_ms: u64) -> Result<(), Duration> {
        let hash = self.hasher.hash_one(key);
        let every_ms = self.every_ms();
        let mut sets = self.sets.lock();
        let slot = find(&mut sets[set_of(hash)], hash);
        if slot.key != hash {
            *slot = Slot { key: hash, forgiven_ms: 0 };
        }
        let forgiven_ms = slot.forgiven_ms.max(now_ms).saturating_add(every_ms);
        let allowed_ms = now_ms.saturating_add(every_ms.saturating_mul(u64::from(self.limit.burst.max(1))));
        if forgiven_ms > allowed_ms {
            return Err(Duration::from_millis(forgiven_ms - allowed_ms));
        }
        slot.forgiven_ms = forgiven_ms;
        Ok(())
    }

    /// Takes one charge back: the try succeeded.
    pub(super) fn forgive(&self, key: impl Hash) {
        let hash = self.hasher.hash_one(key);
        let every_ms = self.every_ms();
        let mut sets = self.sets.lock();
        if let Some(slot) = sets[set_of(hash)].iter_mut().find(|slot| slot.key == hash) {
            slot.forgiven_ms = slot.forgiven_ms.saturating_sub(every_ms);
        }
    }

    fn every_ms(&self) -> u64 {
        u64::try_from(self.limit.every.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// The key's own slot, or the one whose key is forgiven first.
fn find(set: &mut [Slot; WAYS], hash: u64) -> &mut Slot {
    let index = (0..WAYS)
        .min_by_key(|&way| if set[way].key == hash { 0 } else { set[way].forgiven_ms.saturating_add(1) })
        .unwrap_or(0);
    &mut set[index]
}

fn set_of(hash: u64) -> usize {
    // The low bits choose the set: SETS is small, the remainder always fits.
    (hash % SETS as u64) as usize
}

/// What counts as one address: one household has a whole /64 of IPv6, and an IPv4 address is the same
/// in either spelling.
pub(super) fn address_key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMIT: Limit = Limit { burst: 3, every: Duration::from_secs(60) };

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let attempts = Attempts::new(LIMIT);
        for _ in 0..3 {
            assert_eq!(attempts.charge("anna", 1_000_000), Ok(()));
        }
        assert_eq!(attempts.charge("anna", 1_000_000), Err(Duration::from_secs(60)));
        assert_eq!(attempts.charge("anna", 1_059_999), Err(Duration::from_millis(1)), "a refused try costs nothing");
        assert_eq!(attempts.charge("bert", 1_000_000), Ok(()), "others are not concerned");
        assert_eq!(attempts.charge("anna", 1_060_000), Ok(()));
        assert_eq!(attempts.charge("anna", 1_060_000), Err(Duration::from_secs(60)));
        for _ in 0..3 {
            assert_eq!(attempts.charge("anna", 9_000_000), Ok(()), "an hour later all is forgiven");
        }
    }

    #[test]
    fn success_costs_nothing() {
        let attempts = Attempts::new(LIMIT);
        for _ in 0..100 {
            attempts.charge("anna", 1_000_000).unwrap();
            attempts.forgive("anna");
        }
        for _ in 0..2 {
            attempts.charge("anna", 1_000_000).unwrap();
        }
        attempts.forgive("anna");
        attempts.charge("anna", 1_000_000).unwrap();
        attempts.charge("anna", 1_000_000).unwrap();
        assert!(attempts.charge("anna", 1_000_000).is_err(), "failures before a success still count");
    }

    /// Three times as many names as the table holds, each once: the one being guessed at is remembered.
    #[test]
    fn spraying_names_does_not_clear_the_guilty() {
        let attempts = Attempts::new(LIMIT);
        while attempts.charge("anna", 1_000_000).is_ok() {}
        for name in 0..3 * SETS * WAYS {
            let _ = attempts.charge(name, 1_000_000);
        }
        assert!(attempts.charge("anna", 1_000_000).is_err());
    }

    #[test]
    fn what_is_one_address() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }
}
