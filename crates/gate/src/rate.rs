//! How often something may happen, and a table of bounded size that remembers how often it did.
//!
//! The generic cell rate algorithm: what is remembered of a connection, a user or an address is one
//! number, the time at which everything that it has used up is paid for. Time is an argument, in
//! microseconds since a start that the caller chooses.

use std::fmt::{self, Display};
use std::hash::Hash;
use std::str::FromStr;
use std::time::Duration;

use ahash::RandomState;
use im_runtime::settings::{Invalid, SettingValue};
use parking_lot::Mutex;

/// So many at once, and afterwards one per interval.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Per this time; zero: as often as one likes.
    per: Duration,
    count: u32,
    burst: u32,
}

impl Rate {
    /// As often as one likes.
    pub const OFF: Self = Self { per: Duration::ZERO, count: 1, burst: 1 };

    /// `count` a second, up to `burst` of them at once. Neither is 0.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        Self { per: Duration::from_secs(1), count, burst }
    }

    /// Charges one to whoever has used up what is paid for at `paid_us`. Gives the new time, or says
    /// how long to wait.
    pub(crate) fn charge(&self, paid_us: u64, now_us: u64) -> Result<u64, Duration> {
        let every_us = self.every_us();
        let paid_us = paid_us.max(now_us).saturating_add(every_us);
        let allowed_us = now_us.saturating_add(every_us.saturating_mul(u64::from(self.burst)));
        if paid_us > allowed_us { Err(Duration::from_micros(paid_us - allowed_us)) } else { Ok(paid_us) }
    }

    /// Whether one more could be charged.
    fn admits(&self, paid_us: u64, now_us: u64) -> Result<(), Duration> {
        self.charge(paid_us, now_us).map(drop)
    }

    fn every_us(&self) -> u64 {
        u64::try_from(self.per.as_micros()).unwrap_or(u64::MAX) / u64::from(self.count)
    }
}

/// `100/s burst 400`, or `off`.
impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            0 => return f.write_str("off"),
            1 => 's',
            60 => 'm',
            _ => 'h',
        };
        write!(f, "{}/{unit} burst {}", self.count, self.burst)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl FromStr for Rate {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        parse(text).ok_or_else(|| Invalid::text(text, Self::KIND))
    }
}

fn parse(text: &str) -> Option<Rate> {
    if text == "off" {
        return Some(Rate::OFF);
    }
    let (rate, burst) = text.split_once(" burst ")?;
    let (count, unit) = rate.split_once('/')?;
    let per = Duration::from_secs(match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    });
    let positive = |text: &str| text.trim().parse().ok().filter(|count: &u32| (1..=1_000_000).contains(count));
    Some(Rate { per, count: positive(count)?, burst: positive(burst)? })
}

impl SettingValue for Rate {
    const KIND: &'static str = "a rate such as \"100/s burst 400\" (s, m or h), or \"off\"";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        text.parse()
    }

    fn to_toml(&self) -> String {
        self.to_string().to_toml()
    }
}

/// Slots that share a hash. A full set loses its least guilty key: whoever sprays the table with names
/// does not push out the one that is being counted.
const WAYS: usize = 8;

/// Sets, and a lock for each of so many of them. 8192 × 8 keys of 16 bytes are 1 MiB, touched as keys
/// come; a key counts only until what it used up is paid for, so that is 65,536 keys busy in the same
/// second or so.
const SETS: usize = 8192;
const LOCKS: usize = 64;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The key's hash; 64 keyed bits, which nobody outside can make collide.
    key: u64,
    /// When everything is paid for. 0: the slot is free.
    paid_us: u64,
}

/// What every key has used up. It never grows; a key that is not busy is as good as absent.
#[derive(Debug)]
pub(crate) struct RateTable {
    hasher: RandomState,
    sets: Vec<Mutex<Box<[[Slot; WAYS]]>>>,
}

impl RateTable {
    pub(crate) fn new() -> Self {
        let part = || Mutex::new(vec![[Slot::default(); WAYS]; SETS / LOCKS].into_boxed_slice());
        Self { hasher: RandomState::new(), sets: (0..LOCKS).map(|_| part()).collect() }
    }

    /// Charges one to a key, or says how long it has to wait.
    pub(crate) fn charge(&self, rate: Rate, key: impl Hash, now_us: u64) -> Result<(), Duration> {
        if rate == Rate::OFF {
            return Ok(());
        }
        self.with_slot(key, |slot, hash| {
            let paid_us = if slot.key == hash { slot.paid_us } else { 0 };
            *slot = Slot { key: hash, paid_us: rate.charge(paid_us, now_us)? };
            Ok(())
        })
    }

    /// Whether a key could be charged one more.
    pub(crate) fn admits(&self, rate: Rate, key: impl Hash, now_us: u64) -> Result<(), Duration> {
        if rate == Rate::OFF {
            return Ok(());
        }
        self.with_slot(key, |slot, hash| rate.admits(if slot.key == hash { slot.paid_us } else { 0 }, now_us))
    }

    /// Looks at the key's own slot, or at the one whose key is paid for first.
    fn with_slot<R>(&self, key: impl Hash, look: impl FnOnce(&mut Slot, u64) -> R) -> R {
        let hash = self.hasher.hash_one(key);
        let set = (hash % SETS as u64) as usize;
        let mut part = self.sets[set % LOCKS].lock();
        let slots = &mut part[set / LOCKS];
        let key_or_least = |slot: &&mut Slot| if slot.key == hash { 0 } else { slot.paid_us.saturating_add(1) };
        let slot = slots.iter_mut().min_by_key(key_or_least).expect("a set has slots");
        look(slot, hash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const S: u64 = 1_000_000;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let table = RateTable::new();
        let rate = Rate::per_second(10, 3);
        for _ in 0..3 {
            assert_eq!(table.charge(rate, "a", 5 * S), Ok(()));
        }
        let wait = Duration::from_millis(100);
        assert_eq!(table.charge(rate, "a", 5 * S), Err(wait));
        assert_eq!(table.admits(rate, "a", 5 * S), Err(wait), "looking costs nothing");
        assert_eq!(table.charge(rate, "b", 5 * S), Ok(()), "others are not concerned");
        assert_eq!(table.charge(rate, "a", 5 * S + 100_000), Ok(()), "nor do refused tries cost anything");
        assert_eq!(table.charge(rate, "a", 5 * S + 100_000), Err(wait));
        for _ in 0..3 {
            assert_eq!(table.charge(rate, "a", 9 * S), Ok(()), "after a while all is paid for");
        }
        for _ in 0..1000 {
            assert_eq!(table.charge(Rate::OFF, "a", 9 * S), Ok(()));
        }
    }

    /// Three times as many names as the table holds, each once: the one that is counted is remembered.
    #[test]
    fn spraying_names_does_not_clear_the_guilty() {
        let (table, rate) = (RateTable::new(), Rate::per_second(1, 10));
        while table.charge(rate, "a", S).is_ok() {}
        for name in 0..3 * SETS * WAYS {
            let _ = table.charge(rate, name, S);
        }
        assert!(table.charge(rate, "a", S).is_err());
    }

    #[test]
    fn as_text() {
        for text in ["100/s burst 400", "1/m burst 20", "5000/h burst 1", "off"] {
            assert_eq!(Rate::from_text(text).unwrap().to_string(), text);
        }
        for bad in
            ["", "100", "100/s", "0/s burst 1", "1/s burst 0", "1/d burst 1", "-1/s burst 1", "1/s burst 9999999"]
        {
            assert!(Rate::from_text(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Rate::from_text("60/m burst 2").unwrap().charge(0, S), Ok(2 * S));
    }
}
