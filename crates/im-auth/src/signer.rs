//! Makes tokens. Only the service that keeps accounts has one.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use im_proto::UserId;
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use crate::claims::{Claims, WireClaims, unix_seconds};
use crate::error::KeyError;
use crate::keys::PublicKey;

/// Random bytes in a token's id: enough that no two tokens share one.
const TOKEN_ID_LEN: usize = 12;

/// A token and what it says.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What the client presents.
    pub token: String,
    /// What it says.
    pub claims: Claims,
}

/// Holds the private key. Its `Debug` names the key and shows nothing of it.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
    header: Header,
    public: PublicKey,
}

impl Signer {
    /// From a private key in PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair =
            Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::Rejected("an Ed25519 private key in PKCS#8"))?;
        let public = PublicKey::from_raw(pair.public_key().as_ref())?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(public.id().to_string());
        Ok(Self { key: EncodingKey::from_ed_der(der), header, public })
    }

    /// The key that checks this signer's tokens.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Makes a token that is good from `now` for `lifetime`, and names no login.
    pub fn issue(&self, user: UserId, name: &str, generation: u64, now: SystemTime, lifetime: Duration) -> Issued {
        self.issue_for(0, user, name, generation, now, lifetime)
    }

    /// The same for one login at the accounts.
    pub fn issue_for(
        &self,
        login: u64,
        user: UserId,
        name: &str,
        generation: u64,
        now: SystemTime,
        lifetime: Duration,
    ) -> Issued {
        let issued_at = unix_seconds(now);
        let claims = Claims {
            user,
            name: name.to_owned(),
            issued_at,
            expires_at: issued_at.saturating_add(lifetime.as_secs()),
            id: token_id(),
            generation,
            login,
        };
        Issued { token: self.sign(&claims), claims }
    }

    /// Signs claims as they are.
    pub fn sign(&self, claims: &Claims) -> String {
        jsonwebtoken::encode(&self.header, &WireClaims::from(claims), &self.key)
            .expect("the key was parsed when the signer was made, and texts and numbers always have a JSON form")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key", &self.public.id()).finish_non_exhaustive()
    }
}

fn token_id() -> String {
    let mut bytes = [0; TOKEN_ID_LEN];
    rand::fill(&mut bytes).expect("the generator is seeded when the process starts and does not fail afterwards");
    URL_SAFE_NO_PAD.encode(bytes)
}
