//! A value that must not appear in logs, in `--print-config` or on a command line.

use std::fmt;

use super::value::{FlagShape, Invalid, SettingValue, quoted};
use toml::de::DeValue;

/// A secret text, or nothing when it was never set.
///
/// There is no `Display`, and `Debug` shows only whether it is set. Comparing two secrets with
/// `==` takes a time that depends on their contents; compare what comes from a peer in constant
/// time instead.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// The text itself. Named so that every use is easy to find.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Secret(set)" } else { "Secret(not set)" })
    }
}

impl SettingValue for Secret {
    const KIND: &'static str = "a secret string";
    const FLAG: FlagShape = FlagShape::Absent;

    fn from_text(text: &str) -> Result<Self, Invalid> {
        Ok(Self(text.to_owned()))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Invalid> {
        // The usual message would repeat what was found.
        value
            .as_str()
            .map(|text| Self(text.to_owned()))
            .ok_or_else(|| Invalid::because("expected a secret string in quotes"))
    }

    /// Always empty, which loads back as "not set". `--print-config` says beside it when a value
    /// was left out.
    fn to_toml(&self) -> String {
        quoted("")
    }
}
