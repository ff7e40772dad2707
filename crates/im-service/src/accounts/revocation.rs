//! Tells the rest of the service that sessions are no longer wanted.

use im_proto::UserId;

/// Revocations that a subscriber may be behind. They are rare, and a kick takes microseconds; one that is
/// further behind gets an error that says so, and must look at the account of every session it holds.
pub const REVOCATIONS_MAX: usize = 1024;

/// Something that was given to a user is void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose.
    pub user: UserId,
    /// Access tokens of a smaller generation are void.
    pub generation: u64,
    /// Access tokens of this login are void, whatever their generation; 0 names none.
    pub login: u64,
    /// Why.
    pub cause: RevocationCause,
}

/// Why something is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationCause {
    /// The user ended one login.
    LoggedOut,
    /// The user ended all of them.
    LoggedOutEverywhere,
    /// The password was changed or reset: all logins ended.
    PasswordChanged,
    /// An operator closed the account: all logins ended.
    Banned,
    /// An operator ended all of them.
    EndedByOperator,
    /// A refresh token was used twice: the login it belongs to ended.
    TokenReused,
}
