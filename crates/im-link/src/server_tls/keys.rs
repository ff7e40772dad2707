//! The keys of one direction of TLS 1.3: sealing, opening, and the change to the next ones
//! (RFC 8446, sections 5.2, 5.3, 7.2 and 7.3).
//!
//! The expanded form of a key is ten times its size, and takes 0.2 µs to make: it is made for each step
//! and not kept. Whatever is kept is wiped when it is dropped or replaced; the expanded form by AWS-LC,
//! which wipes all memory that it frees.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::ConnectionTrafficSecrets;
use zeroize::Zeroizing;

use super::secrets::{SECRET_LEN_MAX, Secret};

/// What every AEAD of TLS 1.3 adds to a record.
pub(super) const TAG_LEN: usize = 16;

const KEY_LEN_MAX: usize = 32;
const NONCE_LEN: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    Aes128GcmSha256,
    Aes256GcmSha384,
    Chacha20Poly1305Sha256,
}

impl Suite {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128GcmSha256 => &AES_128_GCM,
            Self::Aes256GcmSha384 => &AES_256_GCM,
            Self::Chacha20Poly1305Sha256 => &CHACHA20_POLY1305,
        }
    }

    fn hash(self) -> hkdf::Algorithm {
        match self {
            Self::Aes128GcmSha256 | Self::Chacha20Poly1305Sha256 => HKDF_SHA256,
            Self::Aes256GcmSha384 => HKDF_SHA384,
        }
    }

    /// Records that may be sealed with one key (RFC 8446, section 5.5; the numbers are rustls').
    pub(super) fn records_max(self) -> u64 {
        match self {
            Self::Aes128GcmSha256 | Self::Aes256GcmSha384 => 1 << 24,
            Self::Chacha20Poly1305Sha256 => u64::MAX,
        }
    }
}

/// The keys of one direction, and how many records they have seen.
pub(super) struct Keys {
    suite: Suite,
    sequence: u64,
    iv: Zeroizing<[u8; NONCE_LEN]>,
    key: Zeroizing<[u8; KEY_LEN_MAX]>,
    secret: Secret,
}

/// Keys made ready for a few records.
pub(super) struct Ready<'a> {
    aead: LessSafeKey,
    iv: &'a [u8; NONCE_LEN],
    sequence: &'a mut u64,
}

impl Keys {
    /// The keys that a handshake ended with. `None`: of a suite that TLS 1.3 does not have.
    pub(super) fn new(sequence: u64, keys: &ConnectionTrafficSecrets, secret: Secret) -> Option<Self> {
        use ConnectionTrafficSecrets as Told;
        let (suite, told_key, told_iv) = match keys {
            Told::Aes128Gcm { key, iv } => (Suite::Aes128GcmSha256, key, iv),
            Told::Aes256Gcm { key, iv } => (Suite::Aes256GcmSha384, key, iv),
            Told::Chacha20Poly1305 { key, iv } => (Suite::Chacha20Poly1305Sha256, key, iv),
            _ => return None,
        };
        let mut key = Zeroizing::new([0; KEY_LEN_MAX]);
        key[..suite.algorithm().key_len()].copy_from_slice(told_key.as_ref());
        Some(Self { suite, sequence, iv: Zeroizing::new(told_iv.as_ref().try_into().ok()?), key, secret })
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    /// Records that these keys have seen.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn ready(&mut self) -> Ready<'_> {
        let algorithm = self.suite.algorithm();
        let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]);
        let key = key.expect("the key is as long as its algorithm says");
        Ready { aead: LessSafeKey::new(key), iv: &self.iv, sequence: &mut self.sequence }
    }

    /// Changes to the next keys.
    pub(super) fn advance(&mut self) {
        let (hash, key_len) = (self.suite.hash(), self.suite.algorithm().key_len());
        let next = self.expand(b"traffic upd", hash.len());
        self.secret[..hash.len()].copy_from_slice(&next[..hash.len()]);
        let key = self.expand(b"key", key_len);
        self.key[..key_len].copy_from_slice(&key[..key_len]);
        let iv = self.expand(b"iv", NONCE_LEN);
        self.iv.copy_from_slice(&iv[..NONCE_LEN]);
        self.sequence = 0;
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.key[..self.suite.algorithm().key_len()], &*self.iv)
    }

    /// HKDF-Expand-Label of the secret, with an empty context.
    fn expand(&self, label: &[u8], len: usize) -> Secret {
        let hash = self.suite.hash();
        let prk = Prk::new_less_safe(hash, &self.secret[..hash.len()]);
        let info = [&(len as u16).to_be_bytes(), &[6 + label.len() as u8][..], b"tls13 ", label, &[0]];
        let mut out = Secret::new([0; SECRET_LEN_MAX]);
        prk.expand(&info, Len(len))
            .and_then(|okm| okm.fill(&mut out[..len]))
            .expect("no label asks for more than a hash is long");
        out
    }
}

impl Ready<'_> {
    /// Encrypts `body` in place. Its last bytes are room for the tag.
    pub(super) fn seal(&mut self, header: [u8; 5], body: &mut [u8]) {
        let nonce = self.nonce();
        let (plain, room) = body.split_at_mut(body.len() - TAG_LEN);
        let tag = self.aead.seal_in_place_separate_tag(nonce, Aad::from(header), plain);
        room.copy_from_slice(tag.expect("a record is far below what an AEAD takes").as_ref());
    }

    /// Decrypts `body` in place. `None`: it is not what the peer has sealed.
    pub(super) fn open<'b>(&mut self, header: [u8; 5], body: &'b mut [u8]) -> Option<&'b [u8]> {
        let nonce = self.nonce();
        self.aead.open_in_place(nonce, Aad::from(header), body).ok().map(|plain| &*plain)
    }

    /// The nonce of the next record, which no other record of these keys has.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = *self.iv;
        for (byte, of_sequence) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        *self.sequence = self.sequence.checked_add(1).expect("no connection lives for 2^64 records");
        Nonce::assume_unique_for_key(nonce)
    }
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}
