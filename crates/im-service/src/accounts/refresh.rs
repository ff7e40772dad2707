//! Refresh tokens: their text, and what becomes of a login when one is used.
//!
//! A login is a *family* of tokens, one row in the store. Each exchange gives out a new token and takes
//! the one that was presented out of use:
//!
//! ```text
//! login ─► T1 ─ exchange ─► T2 ─ exchange ─► T3      current
//!          ▲                 ▲
//!          │                 └ previous: exchanged once more within REUSE_GRACE (the answer was lost)
//!          └ used before: it is in two hands, the family ends
//! ```
//!
//! When the previous token comes again in time, the new token stands beside the one whose answer may have
//! been lost, and both are current until one of them is used; the other is then *previous*. So two
//! programs that share a stored token do not end each other's login, and a thief who was quick is still
//! found out by the owner's next exchange.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use im_proto::UserId;
use im_proto::limits::ID_LEN_MAX;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record::Family;

/// How long a token that was exchanged is taken once more: a client's timeout and one retry.
pub const REUSE_GRACE: Duration = Duration::from_secs(30);
/// Logins of one user at most; one more ends the login that was not used for longest. Bounds the rows
/// of an account without anything that sweeps.
pub const FAMILIES_MAX: usize = 32;
/// Current tokens of one family at most: retries within one grace. The eldest gives way, for it is the
/// one whose answer was lost first.
const SIBLINGS_MAX: usize = 8;

const FAMILY_LEN: usize = 16;
const SECRET_LEN: usize = 32;
/// base64url of the longest token. Longer texts are not even decoded.
const TEXT_LEN_MAX: usize = (FAMILY_LEN + SECRET_LEN + ID_LEN_MAX as usize).div_ceil(3) * 4;

/// A refresh token in clear: family, secret, user. Does not print.
#[derive(Clone)]
pub(super) struct RefreshToken {
    pub(super) user: UserId,
    family: [u8; FAMILY_LEN],
    secret: [u8; SECRET_LEN],
}

impl RefreshToken {
    /// The first of a new login.
    pub(super) fn first(user: UserId) -> Self {
        Self { user, family: random(), secret: random() }
    }

    /// The next of the same login.
    pub(super) fn next(&self) -> Self {
        Self { user: self.user.clone(), family: self.family, secret: random() }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > TEXT_LEN_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (family, rest) = bytes.split_first_chunk()?;
        let (secret, user) = rest.split_first_chunk()?;
        let user = UserId::new(str::from_utf8(user).ok()?).ok()?;
        Some(Self { user, family: *family, secret: *secret })
    }

    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode([&self.family[..], &self.secret, self.user.as_str().as_bytes()].concat())
    }

    /// Under which key its family is stored.
    pub(super) fn key(&self) -> String {
        im_timeline::user_key(&self.user, &URL_SAFE_NO_PAD.encode(self.family))
    }

    /// Names its login in access tokens: half of the family's random name. Never 0, which names none.
    pub(super) fn login(&self) -> u64 {
        let half = self.family.first_chunk().expect("a family's name is longer than that");
        u64::from_be_bytes(*half).max(1)
    }

    /// What of the token is stored. The secret is 32 random bytes, so a plain hash cannot be guessed
    /// back, and a stolen store logs nobody in.
    pub(super) fn hash(&self) -> SecretHash {
        let hash = digest::digest(&digest::SHA256, &self.secret);
        SecretHash(*hash.as_ref().first_chunk().expect("a SHA-256 has 32 bytes"))
    }
}

/// SHA-256 of a token's secret; base64url in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecretHash(pub(super) [u8; 32]);

impl SecretHash {
    fn is_in(self, hashes: &[Self]) -> bool {
        hashes.iter().any(|hash| verify_slices_are_equal(&hash.0, &self.0).is_ok())
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a hash has 32 bytes in base64url"))
    }
}

/// What becomes of a family when one of its tokens is presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// The token was good; this is the family with the next one in it.
    Next(Family),
    /// Nobody used the login for too long.
    Expired,
    /// The token was used before, or never given out: end the family.
    Reused,
}

impl Family {
    /// A new login with its first token.
    pub(super) fn new(first: SecretHash, generation: u64, now_ms: u64, lifetime: Duration) -> Self {
        Self {
            current: vec![first],
            previous: Vec::new(),
            replaced_ms: now_ms,
            expires_ms: now_ms.saturating_add(millis(lifetime)),
            generation,
        }
    }

    /// Presents a token and asks for `next` in its place.
    pub(super) fn exchange(
        &self,
        presented: SecretHash,
        next: SecretHash,
        now_ms: u64,
        lifetime: Duration,
    ) -> Exchange {
        if self.expires_ms <= now_ms {
            return Exchange::Expired;
        }
        let expires_ms = now_ms.saturating_add(millis(lifetime));
        if presented.is_in(&self.current) {
            return Exchange::Next(Self {
                current: vec![next],
                previous: self.current.clone(),
                replaced_ms: now_ms,
                expires_ms,
                generation: self.generation,
            });
        }
        let in_grace = now_ms < self.replaced_ms.saturating_add(millis(REUSE_GRACE));
        if in_grace && presented.is_in(&self.previous) {
            let mut family = Self { expires_ms, ..self.clone() };
            if family.current.len() >= SIBLINGS_MAX {
                family.current.remove(0);
            }
            family.current.push(next);
            return Exchange::Next(family);
        }
        Exchange::Reused
    }

    /// Whether the token is of this login, used or not. Enough for ending it.
    pub(super) fn knows(&self, presented: SecretHash) -> bool {
        presented.is_in(&self.current) || presented.is_in(&self.previous)
    }
}

fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    rand::fill(&mut bytes).expect("the generator is seeded when the process starts and does not fail afterwards");
    bytes
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(3600);
    const GRACE_MS: u64 = REUSE_GRACE.as_millis() as u64;

    fn token(number: u8) -> SecretHash {
        SecretHash([number; 32])
    }

    fn login(now_ms: u64) -> Family {
        Family::new(token(1), 4, now_ms, LIFETIME)
    }

    fn next(family: &Family, presented: u8, asked: u8, now_ms: u64) -> Family {
        match family.exchange(token(presented), token(asked), now_ms, LIFETIME) {
            Exchange::Next(family) => family,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_exchange_takes_the_old_token_out_of_use() {
        let family = next(&login(1000), 1, 2, 2000);
        assert_eq!(family.current, [token(2)]);
        assert_eq!(family.generation, 4);
        let family = next(&family, 2, 3, 3000);
        assert_eq!(family.exchange(token(1), token(9), 3000, LIFETIME), Exchange::Reused, "not even in the grace");
        assert_eq!(family.exchange(token(7), token(9), 3000, LIFETIME), Exchange::Reused, "never given out");
    }

    #[test]
    fn a_lost_answer_is_asked_for_again() {
        let family = next(&login(1000), 1, 2, 2000);
        let again = next(&family, 1, 3, 2000 + GRACE_MS - 1);
        assert_eq!(again.current, [token(2), token(3)]);
        assert_eq!(family.exchange(token(1), token(3), 2000 + GRACE_MS, LIFETIME), Exchange::Reused);
        // The grace counts from the first exchange: retries do not lengthen it.
        assert_eq!(again.exchange(token(1), token(4), 2000 + GRACE_MS, LIFETIME), Exchange::Reused);
    }

    /// Owner and thief both exchanged the first token in time. Whoever comes second with its own is found.
    #[test]
    fn a_quick_thief_is_found_at_the_next_exchange() {
        let family = next(&next(&login(1000), 1, 2, 2000), 1, 3, 2001);
        let family = next(&family, 3, 4, 600_000);
        assert_eq!(family.exchange(token(2), token(5), 1_200_000, LIFETIME), Exchange::Reused);
    }

    #[test]
    fn siblings_are_few() {
        let mut family = next(&login(1000), 1, 2, 2000);
        for asked in 3..60 {
            family = next(&family, 1, asked, 2001);
        }
        assert_eq!(family.current.len(), SIBLINGS_MAX);
        assert_eq!(next(&family, 59, 60, 2002).previous.len(), SIBLINGS_MAX);
    }

    #[test]
    fn an_unused_login_ends_and_a_used_one_does_not() {
        let lifetime_ms = millis(LIFETIME);
        let family = login(1000);
        assert_eq!(family.exchange(token(1), token(2), 1000 + lifetime_ms, LIFETIME), Exchange::Expired);
        let family = next(&family, 1, 2, 999 + lifetime_ms);
        next(&family, 2, 3, 998 + 2 * lifetime_ms);
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let first = RefreshToken::first(UserId::new("x".repeat(64)).unwrap());
        let text = first.text();
        assert!(text.len() <= TEXT_LEN_MAX);
        let read = RefreshToken::parse(&text).unwrap();
        assert_eq!((read.key(), read.hash()), (first.key(), first.hash()));
        assert_eq!(read.next().key(), first.key(), "same family");
        assert_ne!(read.next().hash(), first.hash());
        assert_ne!(RefreshToken::first(first.user.clone()).key(), first.key());
        assert!(!first.key().contains(&text[30..60]), "the secret is not in the key");
        for bad in ["", "AAAA", "=", "ü", &text[..64], &format!("{text}AAAA"), &"A".repeat(1 << 20)] {
            assert!(RefreshToken::parse(bad).is_none(), "{bad:.80}");
        }
    }
}
