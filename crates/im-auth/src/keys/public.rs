//! A public key and its name.

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pem::{EncodeConfig, LineEnding, Pem};

use super::files;
use crate::error::KeyError;

/// Bytes of an Ed25519 public key.
const KEY_LEN: usize = 32;
/// What stands before the key in a SubjectPublicKeyInfo: an Ed25519 key has no parameters, so this
/// never varies (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bytes of a key id. A collision would only make two keys of one verifier indistinguishable, and
/// nobody gains from making one.
const ID_LEN: usize = 8;

const TAG: &str = "PUBLIC KEY";
const KIND: &str = "an Ed25519 public key in PEM";

/// The name of a key in a token's header (`kid`): the first bytes of the SHA-256 of the public key,
/// base64url. Whoever has the key knows its name; nobody has to assign one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; ID_LEN]);

impl KeyId {
    /// From a token's header; `None` for what cannot be a name of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; ID_LEN];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(ID_LEN) => Some(Self(bytes)),
            _ => None,
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Checks what the private key of the same pair signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    bytes: [u8; KEY_LEN],
}

impl PublicKey {
    /// From a PEM text with one `PUBLIC KEY`.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let pem = pem::parse(text).ok().filter(|pem| pem.tag() == TAG).ok_or(KeyError::Rejected(KIND))?;
        let raw = pem.contents().strip_prefix(&SPKI_PREFIX).ok_or(KeyError::Rejected(KIND))?;
        Self::from_raw(raw)
    }

    /// From a PEM file.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let text = files::read_text(path)?;
        Self::from_pem(&text).map_err(|_| KeyError::NotAKey { path: path.to_path_buf(), expected: KIND })
    }

    pub(crate) fn from_raw(raw: &[u8]) -> Result<Self, KeyError> {
        let bytes = raw.try_into().map_err(|_| KeyError::Rejected(KIND))?;
        let hash = digest::digest(&digest::SHA256, raw);
        let id = *hash.as_ref().first_chunk().expect("a SHA-256 is longer than a key id");
        Ok(Self { id: KeyId(id), bytes })
    }

    /// Its name.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The key as PEM, as tools write it.
    pub fn to_pem(&self) -> String {
        encode(&Pem::new(TAG, [&SPKI_PREFIX[..], &self.bytes].concat()))
    }

    /// The 32 bytes of RFC 8032's public key.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.bytes
    }
}

/// PEM with the line ends of the systems that this runs on.
pub(super) fn encode(pem: &Pem) -> String {
    pem::encode_config(pem, EncodeConfig::new().set_line_ending(LineEnding::LF))
}
