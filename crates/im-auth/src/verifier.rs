//! Checks tokens. On the path of every login: keys are parsed once, nothing is locked or awaited.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use im_proto::limits::TOKEN_LEN_MAX;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use crate::claims::{Claims, WireClaims};
use crate::error::{KeyError, TokenError};
use crate::keys::{KeyId, PublicKey};

/// By how much the clocks of signer and verifier may differ. Machines that keep time differ by
/// milliseconds; an access token lives minutes, so this adds little to its life.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// Keys of one verifier at most. A rotation needs two; the rest is for regions with keys of their own.
pub const KEYS_MAX: usize = 16;

/// One or several public keys, found by the key id in the token. To rotate: give verifiers the new
/// key beside the old, then the signer the new one, then take the old away once its last token
/// has expired. A verifier does not change; whoever holds it swaps it whole.
pub struct Verifier {
    /// Few enough that a scan beats a hash.
    keys: Vec<(KeyId, DecodingKey)>,
    validation: Validation,
}

impl Verifier {
    /// From keys in hand. A key given twice is one key.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, KeyError> {
        let mut known: Vec<(KeyId, DecodingKey)> = Vec::new();
        for key in keys {
            if known.iter().all(|(id, _)| *id != key.id()) {
                known.push((key.id(), DecodingKey::from_ed_der(key.as_bytes())));
            }
        }
        match known.len() {
            0 => Err(KeyError::None),
            1..=KEYS_MAX => Ok(Self { keys: known, validation: signature_only() }),
            count => Err(KeyError::TooMany(count)),
        }
    }

    /// From PEM files, one public key each.
    pub fn from_files<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, KeyError> {
        let keys: Result<Vec<_>, _> = paths.into_iter().map(|path| PublicKey::from_file(path.as_ref())).collect();
        Self::new(keys?)
    }

    /// The keys it knows.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|(id, _)| *id)
    }

    /// Who the token says its bearer is, if it is good at `now`. The signature is checked before
    /// anything that the token claims.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_LEN_MAX as usize {
            return Err(TokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        let id = header.kid.as_deref().and_then(KeyId::parse).ok_or(TokenError::UnknownKey)?;
        let (_, key) = self.keys.iter().find(|(known, _)| *known == id).ok_or(TokenError::UnknownKey)?;
        let data = jsonwebtoken::decode::<WireClaims>(token, key, &self.validation).map_err(|error| {
            match error.into_kind() {
                ErrorKind::InvalidSignature => TokenError::BadSignature,
                _ => TokenError::Malformed,
            }
        })?;
        data.claims.check(now, LEEWAY)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

/// The library checks algorithm and signature. Times are checked by us: it would ask the system's
/// clock.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}
