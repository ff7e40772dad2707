//! A gate's identity: the one long-lived key of encrypted bodies. It signs handshakes and nothing
//! else, and clients know its public half before they connect.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Stands before what is signed, so that no signature of this key can mean anything else.
pub(crate) const CONTEXT: &[u8] = b"sim encrypted bodies v1, gate\0";

/// The private half: an Ed25519 key.
pub struct IdentityKey(Ed25519KeyPair);

/// Bytes that are no Ed25519 private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key in PKCS#8")]
pub struct BadIdentityKey;

impl IdentityKey {
    /// From PKCS#8, with or without the public key in it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BadIdentityKey> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self).map_err(|_| BadIdentityKey)
    }

    /// From the 32 bytes of RFC 8032's private key.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, BadIdentityKey> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| BadIdentityKey)
    }

    /// What clients pin.
    pub fn public(&self) -> IdentityPublicKey {
        let bytes = self.0.public_key().as_ref().try_into();
        IdentityPublicKey(bytes.expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs the hash of a handshake.
    pub(crate) fn sign(&self, transcript_hash: &[u8; 32]) -> Vec<u8> {
        self.0.sign(&signed_bytes(transcript_hash)).as_ref().to_vec()
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdentityKey").field(&self.public()).finish()
    }
}

/// The public half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityPublicKey([u8; 32]);

impl IdentityPublicKey {
    /// The 32 bytes of RFC 8032's public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of RFC 8032's public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn has_signed(&self, transcript_hash: &[u8; 32], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&signed_bytes(transcript_hash), signature).is_ok()
    }
}

fn signed_bytes(transcript_hash: &[u8; 32]) -> Vec<u8> {
    [CONTEXT, transcript_hash].concat()
}
