//! One setting's type: how it is read from text and from TOML, and how it is written back.

use std::{
    fmt::Display,
    net::SocketAddr,
    ops::{Bound, RangeBounds},
    path::PathBuf,
};

use toml::de::DeValue;

/// How a setting appears on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagShape {
    /// `--key VALUE`.
    Value,
    /// `--key` means true; `--key=false` is possible.
    Switch,
    /// Not at all: a command line is visible to every user of the machine.
    Absent,
}

/// Why a text is not a value. Carries the whole sentence, since only the type knows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    /// "`text` is not `kind`".
    #[must_use]
    pub fn text(text: &str, kind: &str) -> Self {
        Self(format!("{text:?} is not {kind}"))
    }

    /// A sentence of the caller's own. It must not hold a secret.
    #[must_use]
    pub fn because(reason: impl Display) -> Self {
        Self(reason.to_string())
    }

    pub(super) fn shape(value: &DeValue<'_>, kind: &str) -> Self {
        Self(format!("expected {kind}, found {}", describe(value)))
    }
}

/// A type that can be a setting.
///
/// `to_toml` must give text that `from_toml` reads back to the same value; `--print-config`
/// promises that its output can be loaded.
pub trait SettingValue: Sized {
    /// What a value looks like, with its article: "an address such as 127.0.0.1:8910".
    const KIND: &'static str;
    const FLAG: FlagShape = FlagShape::Value;

    /// Reads the form used by defaults, environment and flags.
    fn from_text(text: &str) -> Result<Self, Invalid>;

    /// Reads the form used in files. Types whose TOML form is a string need nothing more.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Invalid> {
        match value {
            DeValue::String(text) => Self::from_text(text),
            other => Err(Invalid::shape(other, Self::KIND)),
        }
    }

    /// Writes the form used in files.
    fn to_toml(&self) -> String;
}

/// A check that a value lies in `range`; what `in RANGE` means in a settings table.
pub fn within<T>(range: impl RangeBounds<T>) -> impl Fn(&T) -> Result<(), Invalid>
where
    T: SettingValue + PartialOrd,
{
    move |value| {
        if range.contains(value) {
            return Ok(());
        }
        let low = match range.start_bound() {
            Bound::Included(low) => format!("at least {}", low.to_toml()),
            Bound::Excluded(low) => format!("more than {}", low.to_toml()),
            Bound::Unbounded => String::new(),
        };
        let high = match range.end_bound() {
            Bound::Included(high) => format!("at most {}", high.to_toml()),
            Bound::Excluded(high) => format!("less than {}", high.to_toml()),
            Bound::Unbounded => String::new(),
        };
        let and = if low.is_empty() || high.is_empty() { "" } else { " and " };
        Err(Invalid(format!("{} must be {low}{and}{high}", value.to_toml())))
    }
}

/// A TOML basic string. Control characters are escaped as TOML wants, which is not Rust's way.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

impl SettingValue for String {
    const KIND: &'static str = "a string";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        Ok(text.to_owned())
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl SettingValue for PathBuf {
    const KIND: &'static str = "a path";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::because("a path must not be empty"));
        }
        Ok(Self::from(text))
    }

    fn to_toml(&self) -> String {
        // Paths only ever come from text, so nothing is lost here.
        quoted(&self.to_string_lossy())
    }
}

impl SettingValue for SocketAddr {
    const KIND: &'static str = "an address such as 127.0.0.1:8910";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| Invalid::text(text, Self::KIND))
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl SettingValue for bool {
    const KIND: &'static str = "true or false";
    const FLAG: FlagShape = FlagShape::Switch;

    fn from_text(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| Invalid::text(text, Self::KIND))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Invalid> {
        value.as_bool().ok_or_else(|| Invalid::shape(value, Self::KIND))
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

macro_rules! integer {
    ($($ty:ty: $kind:literal),+ $(,)?) => { $(
        impl SettingValue for $ty {
            const KIND: &'static str = $kind;

            fn from_text(text: &str) -> Result<Self, Invalid> {
                text.replace('_', "").parse().map_err(|_| Invalid::text(text, Self::KIND))
            }

            fn from_toml(value: &DeValue<'_>) -> Result<Self, Invalid> {
                value
                    .as_integer()
                    .and_then(|number| Self::from_str_radix(number.as_str(), number.radix()).ok())
                    .ok_or_else(|| Invalid::shape(value, Self::KIND))
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}
integer! {
    u8: "a whole number from 0 to 255",
    u16: "a whole number from 0 to 65535",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number, 0 or more",
    usize: "a whole number, 0 or more",
    i64: "a whole number",
}

impl<T: SettingValue> SettingValue for Option<T> {
    const KIND: &'static str = T::KIND;
    const FLAG: FlagShape = T::FLAG;

    /// An empty text is "not set", so that a default can be taken back by a stronger layer.
    fn from_text(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() { Ok(None) } else { T::from_text(text).map(Some) }
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Invalid> {
        match value {
            DeValue::String(text) if text.is_empty() => Ok(None),
            value => T::from_toml(value).map(Some),
        }
    }

    fn to_toml(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), T::to_toml)
    }
}

impl<T: SettingValue> SettingValue for Vec<T> {
    const KIND: &'static str = "a list";
    const FLAG: FlagShape = match T::FLAG {
        FlagShape::Absent => FlagShape::Absent,
        FlagShape::Value | FlagShape::Switch => FlagShape::Value,
    };

    /// Separated by commas; spaces around an element do not count.
    fn from_text(text: &str) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Ok(Self::new());
        }
        text.split(',').map(|part| T::from_text(part.trim())).collect()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Invalid> {
        let DeValue::Array(list) = value else {
            return Err(Invalid::shape(value, Self::KIND));
        };
        list.iter().map(|element| T::from_toml(element.get_ref())).collect()
    }

    fn to_toml(&self) -> String {
        let elements: Vec<String> = self.iter().map(T::to_toml).collect();
        format!("[{}]", elements.join(", "))
    }
}
