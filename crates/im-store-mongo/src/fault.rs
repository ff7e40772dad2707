//! What goes wrong below the store, sorted by what may be done about it.

use im_timeline::StoreError;
use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure};

/// Server code of a key that is there already.
const DUPLICATE_KEY: i32 = 11000;
/// Server codes by which a transaction ends because others were there first, or because the server
/// gave it up: `LockTimeout`, `WriteConflict`, `SnapshotUnavailable`, `NoSuchTransaction`,
/// `StaleChunkHistory`, `TransactionTooOld`. The body runs again.
const CONFLICTS: [i32; 6] = [24, 112, 246, 251, 225, 13388];

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Another transaction holds or has changed the same documents; nothing happened.
    #[error("another transaction was first")]
    Conflict,
    /// A key is there already; nothing happened.
    #[error("a key is there already")]
    Duplicate,
    /// MongoDB cannot be reached, or has no primary; nothing happened.
    #[error("MongoDB: {0}")]
    Unreachable(String),
    /// Whether it happened is not known.
    #[error("MongoDB: the outcome of a commit is not known: {0}")]
    Unknown(String),
    /// What is stored contradicts itself.
    #[error("{0}")]
    Damaged(String),
    /// MongoDB refused, for a reason that a retry does not mend.
    #[error("MongoDB: {0}")]
    Refused(String),
    /// BSON counts with 63 bits.
    #[error("the number {0} is beyond 63 bits")]
    TooGreat(u64),
}

impl Fault {
    /// Whether another try may succeed soon.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Conflict | Self::Unreachable(_) | Self::Unknown(_))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match code(&error) {
            Some(DUPLICATE_KEY) => return Self::Duplicate,
            Some(code) if CONFLICTS.contains(&code) => return Self::Conflict,
            _ => {}
        }
        let text = || error.kind.to_string();
        if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
            return Self::Unknown(text());
        }
        match &*error.kind {
            ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::DnsResolve { .. }
            | ErrorKind::Shutdown => Self::Unreachable(text()),
            _ if error.contains_label(TRANSIENT_TRANSACTION_ERROR)
                || error.contains_label(mongodb::error::RETRYABLE_WRITE_ERROR)
                || code(&error).is_some_and(is_stepping_down) =>
            {
                Self::Unreachable(text())
            }
            _ => Self::Refused(text()),
        }
    }
}

/// Server codes of a member that is no primary (any more), is shutting down or is not ready.
fn is_stepping_down(code: i32) -> bool {
    matches!(code, 6 | 7 | 89 | 91 | 189 | 262 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436 | 134 | 50 | 64)
}

fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        ErrorKind::InsertMany(many) => {
            let write = many.write_errors.as_ref().and_then(|errors| errors.first()).map(|error| error.code);
            write.or_else(|| many.write_concern_error.as_ref().map(|error| error.code))
        }
        _ => None,
    }
}

/// The code of a reply's first write error: a command that is run by hand is not looked into by the
/// driver.
pub(crate) fn write_error(reply: &mongodb::bson::Document) -> Option<Fault> {
    let errors = reply.get_array("writeErrors").ok()?;
    let first = errors.first()?.as_document()?;
    let code = first.get_i32("code").unwrap_or_default();
    Some(match code {
        DUPLICATE_KEY => Fault::Duplicate,
        code if CONFLICTS.contains(&code) => Fault::Conflict,
        code if is_stepping_down(code) => Fault::Unreachable(format!("code {code}")),
        code => Fault::Refused(format!("code {code}: {}", first.get_str("errmsg").unwrap_or_default())),
    })
}

impl From<mongodb::bson::error::Error> for Fault {
    fn from(error: mongodb::bson::error::Error) -> Self {
        Self::Damaged(format!("a document is not as expected: {error}"))
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(why) => Self::Damaged(why),
            passing if passing.is_passing() => Self::Unavailable(passing.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}
