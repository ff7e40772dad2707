//! Why an account's owner does not get what was asked for.

use std::time::Duration;

use im_proto::IdError;
use im_timeline::{CommitError, StoreError};

use super::passwords::{PASSWORD_LEN_MAX, PASSWORD_LEN_MIN};

/// Why a request of this module was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The name is no user id.
    #[error("user: {0}")]
    BadUser(#[from] IdError),
    /// The name begins or ends with a blank, and would look like another's.
    #[error("user: a name does not begin or end with a blank")]
    BlankName,
    /// The new password is too short or too long.
    #[error("password: {PASSWORD_LEN_MIN} characters at least, {PASSWORD_LEN_MAX} bytes at most")]
    BadPassword,
    /// A field of the profile is not what it should be.
    #[error(transparent)]
    BadProfile(#[from] ProfileError),
    /// The name is taken.
    #[error("a user of this name exists")]
    UserExists,
    /// No such user, or another password. Deliberately one answer.
    #[error("wrong user or password")]
    WrongPassword,
    /// There is none of that name. Told to operators only.
    #[error("there is no such user")]
    NoSuchUser,
    /// Too many logins failed.
    #[error("too many failed logins")]
    TooManyAttempts {
        /// When the next try is allowed.
        retry_after: Duration,
    },
    /// Too many accounts were asked for from there.
    #[error("too many registrations")]
    TooManyRegistrations {
        /// When the next try is allowed.
        retry_after: Duration,
    },
    /// An operator closed the account.
    #[error("this account is banned")]
    Banned,
    /// The access token is over its time; exchange the refresh token.
    #[error("the access token has expired")]
    AccessExpired,
    /// The access token is no good, or was revoked.
    #[error("the access token is not valid")]
    AccessInvalid,
    /// The refresh token is no good, has expired, or was revoked. Log in again.
    #[error("the refresh token is not valid")]
    RefreshInvalid,
    /// The refresh token was used before: it is in two hands, so the login it belongs to was ended.
    #[error("the refresh token was used before; its login was ended")]
    RefreshReused,
    /// No room for the request right now. Nothing happened.
    #[error("the server is busy")]
    Busy,
    /// The store failed; what was asked for may or may not have happened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that cannot happen did.
    #[error("{0}")]
    Internal(&'static str),
}

/// Which field of a profile was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not of the form `somebody@somewhere`.
    #[error("email: not an address of at most 254 bytes")]
    Email,
    /// Nobody is so old.
    #[error("age: at most 150")]
    Age,
    /// Something beside digits and `+-() `.
    #[error("telephone: at most 32 of digits, blanks and + - ( )")]
    Telephone,
    /// Too long, or with control characters.
    #[error("avatar: at most 512 bytes without control characters")]
    Avatar,
}

/// What is left of a failed commit once the caller has dealt with conflicts.
impl From<CommitError> for AccountError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(_) | CommitError::Busy => Self::Busy,
            CommitError::Store(error) => Self::Store(error),
        }
    }
}
