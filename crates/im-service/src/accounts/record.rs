//! How accounts and logins are stored.
//!
//! JSON with a version: an account is read a few times per login, beside a password hash that costs
//! a thousand times as much, so compactness buys nothing, while an export that a person can read, and
//! fields that may be missing, do. A record of a later version is refused rather than half understood.

use bytes::Bytes;
use im_timeline::StoreError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::profile::Profile;
use super::refresh::SecretHash;

/// The version that is written, and the only one there has been.
const VERSION: u32 = 1;

/// A user, under its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    /// argon2id in PHC form.
    pub(super) password_hash: String,
    #[serde(flatten)]
    pub(super) profile: Profile,
    pub(super) banned: bool,
    /// Milliseconds since 1970.
    pub(super) created_ms: u64,
    /// Rises when everything that was handed out before shall be void. Tokens and logins carry the
    /// one they were made under, so that revoking all of them is one write here.
    pub(super) generation: u64,
}

/// A login and the refresh tokens that descend from it, under `user NUL family`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Family {
    /// The tokens that may be exchanged: one, or a few when answers got lost.
    pub(super) current: Vec<SecretHash>,
    /// The tokens that the current ones took the place of.
    pub(super) previous: Vec<SecretHash>,
    /// When they did, milliseconds since 1970; the login's time at first.
    pub(super) replaced_ms: u64,
    /// When an unused login ends, milliseconds since 1970.
    pub(super) expires_ms: u64,
    /// The account's when the login was made.
    pub(super) generation: u64,
}

/// A record in its envelope.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    record: T,
}

#[derive(Deserialize)]
struct Envelope {
    v: u32,
}

pub(super) trait Stored: Serialize + DeserializeOwned {
    /// For error sentences.
    const WHAT: &'static str;

    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(&Versioned { v: VERSION, record: self })
            .expect("texts, numbers and lists always have a JSON form")
            .into()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |why: &dyn std::fmt::Display| StoreError::Damaged(format!("{}: {why}", Self::WHAT));
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
        if envelope.v != VERSION {
            return Err(damaged(&format_args!("version {} is not known here", envelope.v)));
        }
        serde_json::from_slice::<Versioned<Self>>(bytes).map(|stored| stored.record).map_err(|error| damaged(&error))
    }
}

impl Stored for Account {
    const WHAT: &'static str = "account";
}

impl Stored for Family {
    const WHAT: &'static str = "refresh token";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::accounts::profile::Gender;

    /// What is on disk stays readable: these texts are never changed, only added to.
    #[test]
    fn version_1_is_written_down() {
        let account = Account {
            password_hash: "$argon2id$…".into(),
            profile: Profile {
                email: Some("a@b".into()),
                gender: Some(Gender::Other),
                age: Some(30),
                telephone: None,
                avatar: None,
            },
            banned: false,
            created_ms: 1_800_000_000_000,
            generation: 2,
        };
        let text = r#"{"v":1,"passwordHash":"$argon2id$…","email":"a@b","gender":"other","age":30,"telephone":null,"avatar":null,"banned":false,"createdMs":1800000000000,"generation":2}"#;
        assert_eq!(account.to_bytes(), text);
        assert_eq!(Account::from_bytes(text.as_bytes()), Ok(account));

        let family = Family {
            current: vec![SecretHash([1; 32])],
            previous: vec![],
            replaced_ms: 5,
            expires_ms: 6,
            generation: 7,
        };
        let text = r#"{"v":1,"current":["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"],"previous":[],"replacedMs":5,"expiresMs":6,"generation":7}"#;
        assert_eq!(family.to_bytes(), text);
        assert_eq!(Family::from_bytes(text.as_bytes()), Ok(family));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refused = |text: &str| matches!(Account::from_bytes(text.as_bytes()), Err(StoreError::Damaged(_)));
        assert!(refused(""));
        assert!(refused("{}"));
        assert!(refused(r#"{"v":1}"#));
        let good = r#"{"v":1,"passwordHash":"x","banned":false,"createdMs":1,"generation":0}"#;
        assert!(Account::from_bytes(good.as_bytes()).is_ok(), "a profile may be missing");
        assert!(refused(&good.replace(r#""v":1"#, r#""v":2"#)));
    }
}
