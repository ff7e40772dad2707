//! Accounts: who may log in, and the tokens that say so.
//!
//! [`Accounts`] owns the rules and works on the records of any [`Store`](im_timeline::Store);
//! [`router`] is its HTTP face. Nothing else writes the tables `Account` and `Refresh`. Whoever holds
//! live sessions subscribes to [`Accounts::revocations`] and ends those that are no longer wanted.
//!
//! ```text
//! register, login ─► access token (minutes, checked by signature alone)
//!                 └► refresh token (weeks, one row per login) ─ exchange ─► both anew
//! ```
//!
//! What must not happen here: a password or token in a log or a record, a password hash on an async
//! worker, an answer or its delay that tells whether a user exists to somebody who does not log in.

mod attempts;
mod config;
mod error;
mod http;
mod operators;
mod passwords;
mod problem;
mod profile;
mod record;
mod refresh;
mod revocation;
mod service;

#[cfg(test)]
mod tests;

pub use attempts::Limit;
pub use config::{AccountsConfig, Clock};
pub use error::{AccountError, ProfileError};
pub use http::{BODY_LEN_MAX, behind_proxy, router};
pub use operators::router as operators_router;
pub use passwords::{PASSWORD_LEN_MAX, PASSWORD_LEN_MIN, Password};
pub use problem::Problem;
pub use profile::{Gender, Profile, ProfileChange};
pub use refresh::{FAMILIES_MAX, REUSE_GRACE};
pub use revocation::{REVOCATIONS_MAX, Revocation, RevocationCause};
pub use service::{Accounts, Session, Standing};
