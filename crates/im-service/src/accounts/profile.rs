//! What a user tells of itself.

use serde::{Deserialize, Deserializer, Serialize};

use super::error::ProfileError;

const EMAIL_LEN_MAX: usize = 254;
const AGE_MAX: u8 = 150;
const TELEPHONE_LEN_MAX: usize = 32;
const AVATAR_LEN_MAX: usize = 512;

/// As its owner stated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gender {
    /// Female.
    Female,
    /// Male.
    Male,
    /// Neither of these.
    Other,
}

/// All of it voluntary. Also the form in which it is stored and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// An address for letters.
    pub email: Option<String>,
    /// Gender.
    pub gender: Option<Gender>,
    /// Age in years.
    pub age: Option<u8>,
    /// Telephone number.
    pub telephone: Option<String>,
    /// Where the picture is.
    pub avatar: Option<String>,
}

/// Which fields to change: absent leaves a field, `null` clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProfileChange {
    /// See [`Profile::email`].
    #[serde(deserialize_with = "present")]
    pub email: Option<Option<String>>,
    /// See [`Profile::gender`].
    #[serde(deserialize_with = "present")]
    pub gender: Option<Option<Gender>>,
    /// See [`Profile::age`].
    #[serde(deserialize_with = "present")]
    pub age: Option<Option<u8>>,
    /// See [`Profile::telephone`].
    #[serde(deserialize_with = "present")]
    pub telephone: Option<Option<String>>,
    /// See [`Profile::avatar`].
    #[serde(deserialize_with = "present")]
    pub avatar: Option<Option<String>>,
}

/// Tells a field that is `null` from one that is not there.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl ProfileChange {
    /// Checks every field that is to be set.
    pub(super) fn check(&self) -> Result<(), ProfileError> {
        let set =
            |field: &Option<Option<String>>, good: fn(&str) -> bool| field.iter().flatten().all(|text| good(text));
        if !set(&self.email, is_email) {
            return Err(ProfileError::Email);
        }
        if self.age.flatten().is_some_and(|age| age > AGE_MAX) {
            return Err(ProfileError::Age);
        }
        if !set(&self.telephone, is_telephone) {
            return Err(ProfileError::Telephone);
        }
        if !set(&self.avatar, is_avatar) {
            return Err(ProfileError::Avatar);
        }
        Ok(())
    }

    pub(super) fn apply(self, profile: &mut Profile) {
        fn change<T>(field: &mut Option<T>, to: Option<Option<T>>) {
            if let Some(to) = to {
                *field = to;
            }
        }
        change(&mut profile.email, self.email);
        change(&mut profile.gender, self.gender);
        change(&mut profile.age, self.age);
        change(&mut profile.telephone, self.telephone);
        change(&mut profile.avatar, self.avatar);
    }
}

/// Catches slips of the hand. Whether an address works, only a letter to it can tell.
fn is_email(text: &str) -> bool {
    let plain = text.len() <= EMAIL_LEN_MAX && !text.contains(|c: char| c.is_control() || c.is_whitespace());
    plain
        && text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
}

fn is_telephone(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_digit() || "+-() ".contains(c);
    text.len() <= TELEPHONE_LEN_MAX && text.contains(|c: char| c.is_ascii_digit()) && text.chars().all(allowed)
}

fn is_avatar(text: &str) -> bool {
    !text.is_empty() && text.len() <= AVATAR_LEN_MAX && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(json: &str) -> Result<(), ProfileError> {
        serde_json::from_str::<ProfileChange>(json).unwrap().check()
    }

    #[test]
    fn absent_leaves_and_null_clears() {
        let mut profile = Profile { email: Some("a@b".into()), age: Some(30), ..Default::default() };
        let change: ProfileChange = serde_json::from_str(r#"{"age":null,"gender":"female"}"#).unwrap();
        change.apply(&mut profile);
        assert_eq!(profile, Profile { email: Some("a@b".into()), gender: Some(Gender::Female), ..Default::default() });
    }

    #[test]
    fn fields_are_checked() {
        assert_eq!(check(r#"{"email":"a@b.c","age":150,"telephone":"+49 (30) 1-2","avatar":"/a.png"}"#), Ok(()));
        for email in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a\\n@c"] {
            assert_eq!(check(&format!(r#"{{"email":"{email}"}}"#)), Err(ProfileError::Email), "{email}");
        }
        assert_eq!(check(&format!(r#"{{"email":"a@{}"}}"#, "b".repeat(253))), Err(ProfileError::Email));
        assert_eq!(check(r#"{"age":151}"#), Err(ProfileError::Age));
        for telephone in ["", "+", "12a", "123456789012345678901234567890123"] {
            assert_eq!(check(&format!(r#"{{"telephone":"{telephone}"}}"#)), Err(ProfileError::Telephone));
        }
        assert_eq!(check(r#"{"avatar":""}"#), Err(ProfileError::Avatar));
        assert_eq!(check(&format!(r#"{{"avatar":"{}"}}"#, "x".repeat(513))), Err(ProfileError::Avatar));
        assert!(serde_json::from_str::<ProfileChange>(r#"{"banned":false}"#).is_err());
        assert!(serde_json::from_str::<ProfileChange>(r#"{"gender":"?"}"#).is_err());
    }
}
