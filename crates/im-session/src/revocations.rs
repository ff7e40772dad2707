//! Access tokens that were taken back and have not run out yet.
//!
//! A token is believed until it runs out, so whoever takes one back has to tell everybody who might be
//! shown it: gates refuse it, routes keep what they heard for gates whose link comes up later, and an
//! im-service for routes. All three keep it here, no longer than such a token lasts.
//!
//! Soft state, and bounded: what is lost is a token that is good until it runs out, minutes later.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use im_proto::UserId;
use im_proto::client::KickReason;
use im_proto::link::Revoke;

/// Revocations kept at once, some 150 bytes each. A token lasts ten minutes by default, so this is some
/// hundred a second for as long as that, and they go in one burst over a link that comes up: 4 MiB.
pub const KEPT_MAX: usize = 64 * 1024;

/// What was taken back.
#[derive(Debug)]
pub struct Revocations {
    users: HashMap<UserId, Vec<Kept>>,
    len: usize,
    max: usize,
}

#[derive(Debug)]
struct Kept {
    until: Instant,
    revoke: Revoke,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::with_max(KEPT_MAX)
    }
}

impl Revocations {
    /// With room for so many.
    pub fn with_max(max: usize) -> Self {
        Self { users: HashMap::new(), len: 0, max: max.max(1) }
    }

    /// Something was taken back. Says whether that is news.
    pub fn add(&mut self, now: Instant, revoke: Revoke) -> bool {
        let until = now + Duration::from_millis(revoke.lasts_ms.into());
        self.forget(&revoke.user, |kept| kept.until <= now);
        let known = self.users.get(&revoke.user).into_iter().flatten().any(|kept| {
            covers(&kept.revoke, &revoke) && (kept.until >= until || until - kept.until < HEARD_TWICE_WITHIN)
        });
        if known {
            return false;
        }
        self.forget(&revoke.user, |kept| covers(&revoke, &kept.revoke));
        if self.len >= self.max {
            self.make_room(now);
        }
        self.users.entry(revoke.user.clone()).or_default().push(Kept { until, revoke });
        self.len += 1;
        true
    }

    /// Why a token is void, if it is.
    pub fn voids(&self, now: Instant, user: &UserId, generation: u64, login: u64) -> Option<KickReason> {
        let kept = self.users.get(user)?.iter().filter(|kept| kept.until > now);
        let mut void = kept.filter(|kept| is_void(&kept.revoke, generation, login)).map(|kept| kept.revoke.reason);
        // Whose account is closed is told so, whatever else was taken back.
        let first = void.next()?;
        Some(if void.any(|reason| reason == KickReason::Forbidden) { KickReason::Forbidden } else { first })
    }

    /// All of it, with the time that is left.
    pub fn live(&self, now: Instant) -> impl Iterator<Item = Revoke> {
        self.users.values().flatten().filter(move |kept| kept.until > now).map(move |kept| {
            let left = (kept.until - now).as_millis();
            Revoke { lasts_ms: u32::try_from(left).unwrap_or(u32::MAX), ..kept.revoke.clone() }
        })
    }

    /// How many are kept, those that are over included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn forget(&mut self, user: &UserId, over: impl Fn(&Kept) -> bool) {
        let Some(kept) = self.users.get_mut(user) else { return };
        let before = kept.len();
        kept.retain(|kept| !over(kept));
        self.len -= before - kept.len();
        if kept.is_empty() {
            self.users.remove(user);
        }
    }

    /// Drops what is over, else a quarter of the whole: what would be over first. So the price of looking
    /// at all of it is paid seldom.
    fn make_room(&mut self, now: Instant) {
        let mut ends: Vec<_> = self.users.values().flatten().map(|kept| kept.until).collect();
        let (_, quarter, _) = ends.select_nth_unstable(self.len / 4);
        let over = now.max(*quarter);
        self.users.retain(|_, kept| {
            kept.retain(|kept| kept.until > over);
            !kept.is_empty()
        });
        self.len = self.users.values().map(Vec::len).sum();
    }
}

/// The same comes through each route, and again when a link comes up: it is no news when it would last
/// only so much longer.
const HEARD_TWICE_WITHIN: Duration = Duration::from_secs(5);

/// Whether whatever `narrow` voids is void by `wide` as well.
fn covers(wide: &Revoke, narrow: &Revoke) -> bool {
    let logins = narrow.login == 0 || narrow.login == wide.login;
    wide.reason == narrow.reason && wide.below >= narrow.below && logins
}

/// Whether such a token is void.
pub fn is_void(revoke: &Revoke, generation: u64, login: u64) -> bool {
    generation < revoke.below || (login != 0 && login == revoke.login)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LASTS: Duration = Duration::from_secs(600);

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    fn revoke(name: &str, below: u64, login: u64, reason: KickReason) -> Revoke {
        Revoke { user: user(name), below, login, reason, lasts_ms: LASTS.as_millis() as u32 }
    }

    #[test]
    fn older_tokens_are_void_until_they_would_have_run_out() {
        let (now, mut revocations) = (Instant::now(), Revocations::default());
        assert!(revocations.add(now, revoke("a", 3, 0, KickReason::Revoked)));
        let voids = |at, name, generation| revocations.voids(at, &user(name), generation, 9);
        assert_eq!(voids(now, "a", 2), Some(KickReason::Revoked));
        assert_eq!(voids(now, "a", 3), None, "made since then");
        assert_eq!(voids(now, "b", 0), None, "somebody else's");
        assert_eq!(voids(now + LASTS, "a", 2), None);
        assert_eq!(revocations.live(now + LASTS / 2).next().unwrap().lasts_ms, 300_000);
        assert_eq!(revocations.live(now + LASTS).count(), 0);
    }

    #[test]
    fn one_login_goes_and_the_others_stay() {
        let (now, mut revocations) = (Instant::now(), Revocations::default());
        revocations.add(now, revoke("a", 0, 7, KickReason::Revoked));
        assert_eq!(revocations.voids(now, &user("a"), 1, 7), Some(KickReason::Revoked));
        assert_eq!(revocations.voids(now, &user("a"), 1, 8), None);
        assert_eq!(revocations.voids(now, &user("a"), 1, 0), None, "a token that names no login");
    }

    #[test]
    fn what_is_heard_twice_is_kept_once_and_the_wider_stays() {
        let (now, mut revocations) = (Instant::now(), Revocations::default());
        let narrow = revoke("a", 2, 0, KickReason::Revoked);
        assert!(revocations.add(now, narrow.clone()));
        assert!(!revocations.add(now + Duration::from_millis(5), narrow.clone()), "through the other route");
        assert!(revocations.add(now, revoke("a", 3, 0, KickReason::Revoked)));
        assert!(!revocations.add(now, narrow.clone()));
        assert_eq!(revocations.len(), 1);
        assert_eq!(revocations.voids(now, &user("a"), 2, 0), Some(KickReason::Revoked));
        // A ban is told as one, whichever came first.
        assert!(revocations.add(now, revoke("a", 3, 0, KickReason::Forbidden)));
        assert_eq!(revocations.voids(now, &user("a"), 2, 0), Some(KickReason::Forbidden));
        assert!(revocations.add(now + LASTS, narrow), "what was over is no reason to pass over the same again");
        assert_eq!(revocations.len(), 1);
    }

    #[test]
    fn it_never_grows_beyond_its_bound_and_keeps_what_lasts_longest() {
        let (now, mut revocations) = (Instant::now(), Revocations::with_max(100));
        for number in 0..1010u32 {
            let name = format!("u{number}");
            revocations.add(now + Duration::from_millis(number.into()), revoke(&name, 1, 0, KickReason::Revoked));
            assert!(revocations.len() <= 100);
        }
        let at = now + Duration::from_secs(2);
        assert_eq!(revocations.live(at).count(), revocations.len());
        for number in 940..1010 {
            assert!(revocations.voids(at, &user(&format!("u{number}")), 0, 0).is_some(), "u{number}");
        }
    }
}
