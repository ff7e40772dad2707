//! The key schedule.
//!
//! ```text
//! shared  = X25519(own ephemeral, peer's ephemeral)
//! root    = HKDF-Extract(salt = transcript hash, ikm = shared)
//! derive(secret, label, context, n) = HKDF-Expand(secret, "sim v1 " + label + 00 + context, n)
//!
//! up to the login:  derive(root, "client handshake", "", 32)   derive(root, "gate handshake", "", 32)
//! after it:         derive(root, "client session", ctx, 32)    derive(root, "gate session", ctx, 32)
//!                   ctx = session id (8 bytes, big-endian) + user id (UTF-8)
//! of each secret:   key = derive(secret, "key", "", key length)   iv = derive(secret, "iv", "", 12)
//! rekey:            secret = derive(secret, "rekey", "", 32)
//! ```
//!
//! All with SHA-256. Labels hold no zero byte, so label and context cannot run into each other.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::hmac;
use im_proto::{SessionId, UserId};
use zeroize::Zeroizing;

use crate::direction::{Opener, Sealer};
use crate::suite::Suite;

/// Frames that one key seals before it is replaced. Were each of them the greatest there is (2 MiB),
/// that would be 2^37 AES blocks, where AES-GCM's bound still leaves an attacker under 2^-54. It also
/// keeps the counter far from its end.
pub const REKEY_AFTER: u64 = 1 << 20;

/// A derived secret; wiped when it is dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

pub(crate) const PREFIX: &[u8] = b"sim v1 ";

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Gate,
}

/// What both sides know after the handshake. Kept until the login, then turned into session keys.
pub struct Agreed {
    side: Side,
    suite: Suite,
    root: Secret,
    rekey_after: u64,
}

/// The keys of one side: what it sends is sealed, what it receives opened.
#[derive(Debug)]
pub struct Keys {
    /// Seals what this side sends.
    pub sealer: Sealer,
    /// Opens what this side receives.
    pub opener: Opener,
}

impl Agreed {
    pub(crate) fn new(side: Side, suite: Suite, transcript_hash: &[u8; 32], shared: &[u8]) -> Self {
        Self { side, suite, root: extract(transcript_hash, shared), rekey_after: REKEY_AFTER }
    }

    /// The cipher.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Replaces keys after that many frames instead of [`REKEY_AFTER`]; both sides have to. For tests,
    /// which would take long to come to the real number.
    #[must_use]
    pub fn with_rekey_after(mut self, frames: u64) -> Self {
        self.rekey_after = frames.max(1);
        self
    }

    /// The keys of every frame behind the handshake, up to and with the answer to the login.
    pub fn handshake_keys(&self) -> Keys {
        self.keys("client handshake", "gate handshake", &[])
    }

    /// The keys of every frame behind a successful login.
    pub fn session_keys(self, session: SessionId, user: &UserId) -> Keys {
        let context = [&session.0.to_be_bytes()[..], user.as_str().as_bytes()].concat();
        self.keys("client session", "gate session", &context)
    }

    fn keys(&self, client: &str, gate: &str, context: &[u8]) -> Keys {
        let (own, peers) = match self.side {
            Side::Client => (client, gate),
            Side::Gate => (gate, client),
        };
        let secret = |label| derive::<32>(&self.root, label, context);
        Keys {
            sealer: Sealer::new(self.suite, secret(own), self.rekey_after),
            opener: Opener::new(self.suite, secret(peers), self.rekey_after),
        }
    }
}

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreed").field("side", &self.side).field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// HKDF-Extract, which is one HMAC: this way the root is bytes of ours, to be wiped and to expand from.
fn extract(salt: &[u8], secret: &[u8]) -> Secret {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), secret);
    Zeroizing::new(tag.as_ref().try_into().expect("an HMAC-SHA256 has 32 bytes"))
}

/// HKDF-Expand with a label and a context.
pub(crate) fn derive<const LEN: usize>(secret: &Secret, label: &str, context: &[u8]) -> Zeroizing<[u8; LEN]> {
    let mut out = Zeroizing::new([0; LEN]);
    let info = [PREFIX, label.as_bytes(), &[0], context];
    Prk::new_less_safe(HKDF_SHA256, &secret[..])
        .expand(&info, Length(LEN))
        .and_then(|okm| okm.fill(&mut out[..]))
        .expect("a few dozen bytes are within what HKDF gives");
    out
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
