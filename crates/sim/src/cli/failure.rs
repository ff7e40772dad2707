//! How a command fails: one line that says what happened, one that says what to do, an exit code.

use std::fmt;
use std::process::ExitCode;

use im_client::accounts::AccountsError;
use im_client::{CallError, EndCause, SendError, StartError};
use im_proto::{IdError, Refusal, RefusalCode};

/// Which exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Refused, or something went wrong.
    Failed = 1,
    /// An argument makes no sense.
    Usage = 2,
    /// There is no login that the server takes.
    LoginNeeded = 3,
    /// The server was not reached in time.
    Unreachable = 4,
    /// A store breaks its own rules.
    NotClean = 5,
}

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    hint: Option<&'static str>,
}

const LOGIN_HINT: &str = "log in: sim login USER";
const SERVER_HINT: &str =
    "is the server running there? other addresses: sim login USER --gate HOST:PORT --accounts URL";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let hint = match kind {
            Kind::LoginNeeded => Some(LOGIN_HINT),
            Kind::Unreachable => Some(SERVER_HINT),
            Kind::Failed | Kind::Usage | Kind::NotClean => None,
        };
        Self { kind, message: message.into(), hint }
    }

    pub(crate) fn with_hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// Says where else the server may be, if it was not reached.
    pub(crate) fn with_hint_if_unreachable(self, hint: &'static str) -> Self {
        if self.kind == Kind::Unreachable { self.with_hint(hint) } else { self }
    }

    /// Adds what was being done, in front.
    pub(crate) fn context(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// Tells it on standard error and gives the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if json {
            eprintln!("{}", serde_json::json!({ "error": self.message, "hint": self.hint }));
        } else {
            eprintln!("sim: {}", self.message);
            if let Some(hint) = self.hint {
                eprintln!("     {hint}");
            }
        }
        ExitCode::from(self.kind as u8)
    }
}

impl From<EndCause> for Failure {
    fn from(cause: EndCause) -> Self {
        let kind = if matches!(cause, EndCause::LoginNeeded(_)) { Kind::LoginNeeded } else { Kind::Failed };
        Self::new(kind, cause.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let failure = Self::new(Kind::Failed, refusal.detail);
        match refusal.code {
            RefusalCode::NoSuchGroup => failure.with_hint("your groups: sim group list"),
            RefusalCode::NoSuchConversation => failure.with_hint("your conversations: sim conversations"),
            RefusalCode::NotAMember => failure.with_hint("a member can add you: sim group add GROUP USER"),
            _ => failure,
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) => refusal.into(),
            CallError::Ended(cause) => cause.into(),
            CallError::TimedOut => Self::new(Kind::Unreachable, "no answer in time"),
            CallError::Busy | CallError::BadAnswer(_) => Self::new(Kind::Failed, error.to_string()),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Refused(refusal) => refusal.into(),
            SendError::Ended(cause) => cause.into(),
            SendError::TooLarge | SendError::QueueFull => Self::new(Kind::Failed, error.to_string()),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }
}

impl From<AccountsError> for Failure {
    fn from(error: AccountsError) -> Self {
        let kind = match &error {
            AccountsError::Unreachable { .. } => Kind::Unreachable,
            AccountsError::Refused { .. } | AccountsError::BadAnswer { .. } => Kind::Failed,
        };
        let failure = Self::new(kind, error.to_string());
        match error {
            AccountsError::Refused { status: 409, .. } => failure.with_hint("is it yours? sim login USER"),
            AccountsError::Refused { status: 401, .. } => failure.with_hint("no account yet? sim register USER"),
            _ => failure,
        }
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::new(Kind::Usage, error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }
}
