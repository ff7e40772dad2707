//! What can be wrong with settings. Each problem is one line that names its place.

use std::{fmt, path::PathBuf};

use super::value::Invalid;

/// Where a value or a name came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{}: cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{at}: not TOML: {message}")]
    Syntax { at: Origin, message: String },
    #[error("{at}: unknown table [{section}]{}", meant(nearest.as_deref(), "[", "]"))]
    UnknownSection { at: Origin, section: String, nearest: Option<String> },
    #[error("{at}: {key:?} stands outside any table; the tables are {known}")]
    OutsideTable { at: Origin, key: String, known: String },
    #[error("{at}: [{section}] must be a table")]
    NotATable { at: Origin, section: String },
    #[error("{at}: [{section}] has no setting {key:?}{}", meant(nearest.as_deref(), "", ""))]
    UnknownKey { at: Origin, section: String, key: String, nearest: Option<String> },
    #[error("{at}: no such setting{}", meant(nearest.as_deref(), "", ""))]
    UnknownVariable { at: Origin, nearest: Option<String> },
    #[error("{at}: the value is not UTF-8")]
    NotUnicode { at: Origin },
    #[error("{at}: [{section}] {key}: {reason}")]
    BadValue { at: Origin, section: &'static str, key: &'static str, reason: Invalid },
}

fn meant(nearest: Option<&str>, open: &str, close: &str) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {open}{name}{close}?"))
}

/// Every problem found, in the order of the layers; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError(Vec<Problem>);

impl SettingsError {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty(), "an error without a problem");
        Self(problems)
    }

    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.iter();
        if let Some(first) = lines.next() {
            write!(f, "{first}")?;
        }
        lines.try_for_each(|problem| write!(f, "\n{problem}"))
    }
}
