//! What a token says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use im_proto::UserId;
use serde::{Deserialize, Serialize};

use crate::error::TokenError;

/// Who issues access tokens. A token of the same key with another issuer is for another use and
/// logs nobody in.
pub const ISSUER: &str = "sim";

/// What a token says; all of it is signed. Times are whole seconds since 1970, as JWT has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose token (`sub`).
    pub user: UserId,
    /// The name to show (`name`).
    pub name: String,
    /// When it was made (`iat`).
    pub issued_at: u64,
    /// The first second in which it is no longer good (`exp`).
    pub expires_at: u64,
    /// Names this one token in logs (`jti`).
    pub id: String,
    /// The account's generation when the token was made (`gen`). A password reset or "log out
    /// everywhere" raises the account's; a service that knows of it refuses smaller ones.
    pub generation: u64,
    /// The login at the accounts that it was made for (`sid`, in hexadecimal), so that one login can be
    /// taken back; 0 where it names none.
    pub login: u64,
}

/// Claims as they stand in the token.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireClaims {
    sub: String,
    name: String,
    iat: u64,
    exp: u64,
    jti: String,
    iss: String,
    /// Left out while 0, which most accounts keep for ever.
    #[serde(rename = "gen", default, skip_serializing_if = "is_zero")]
    generation: u64,
    #[serde(rename = "sid", default, skip_serializing_if = "Option::is_none")]
    login: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<&Claims> for WireClaims {
    fn from(claims: &Claims) -> Self {
        Self {
            sub: claims.user.as_str().to_owned(),
            name: claims.name.clone(),
            iat: claims.issued_at,
            exp: claims.expires_at,
            jti: claims.id.clone(),
            iss: ISSUER.to_owned(),
            generation: claims.generation,
            login: (claims.login != 0).then(|| format!("{:016x}", claims.login)),
        }
    }
}

impl WireClaims {
    /// Everything that is to be checked beside the signature.
    pub(crate) fn check(self, now: SystemTime, leeway: Duration) -> Result<Claims, TokenError> {
        if self.iss != ISSUER {
            return Err(TokenError::BadIssuer);
        }
        let user = UserId::new(&self.sub).map_err(|_| TokenError::BadSubject)?;
        let (now, leeway) = (unix_seconds(now), leeway.as_secs());
        if self.iat > now.saturating_add(leeway) {
            return Err(TokenError::NotYet { at: self.iat });
        }
        if self.exp.saturating_add(leeway) <= now {
            return Err(TokenError::Expired { user, at: self.exp });
        }
        Ok(Claims {
            user,
            name: self.name,
            issued_at: self.iat,
            expires_at: self.exp,
            id: self.jti,
            generation: self.generation,
            // Whoever else signs for us may name logins as they like.
            login: self.login.and_then(|login| u64::from_str_radix(&login, 16).ok()).unwrap_or(0),
        })
    }
}

/// A clock that stands before 1970 counts as 1970, where every token lies in the future.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
