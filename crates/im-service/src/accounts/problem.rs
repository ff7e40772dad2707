//! What each account error is over HTTP.

use std::time::Duration;

use axum::http::StatusCode;
pub use im_runtime::Problem;
use im_timeline::StoreError;
use tracing::{error, warn};

use super::error::AccountError;

/// Suggested to those who were told *busy*.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        use AccountError as E;
        let message = error.to_string();
        let plain = |status, reason| Self::new(status, reason, message.clone());
        match error {
            E::BadUser(_) | E::BlankName | E::BadPassword | E::BadProfile(_) => {
                plain(StatusCode::BAD_REQUEST, "ACCOUNT_INVALID_PARAM")
            }
            E::UserExists => plain(StatusCode::CONFLICT, "ACCOUNT_USER_EXISTS"),
            E::NoSuchUser => plain(StatusCode::NOT_FOUND, "ACCOUNT_NO_SUCH_USER"),
            E::WrongPassword => plain(StatusCode::UNAUTHORIZED, "ACCOUNT_WRONG_PASSWORD"),
            E::TooManyAttempts { retry_after } => {
                plain(StatusCode::TOO_MANY_REQUESTS, "ACCOUNT_TOO_MANY_ATTEMPTS").retry_after(retry_after)
            }
            E::TooManyRegistrations { retry_after } => {
                plain(StatusCode::TOO_MANY_REQUESTS, "ACCOUNT_TOO_MANY_REGISTRATIONS").retry_after(retry_after)
            }
            E::Banned => plain(StatusCode::FORBIDDEN, "ACCOUNT_BANNED"),
            E::AccessExpired => plain(StatusCode::UNAUTHORIZED, "ACCESS_TOKEN_EXPIRED"),
            E::AccessInvalid => plain(StatusCode::UNAUTHORIZED, "ACCESS_TOKEN_INVALID"),
            E::RefreshInvalid => plain(StatusCode::UNAUTHORIZED, "REFRESH_TOKEN_INVALID"),
            E::RefreshReused => plain(StatusCode::UNAUTHORIZED, "REFRESH_TOKEN_REUSED"),
            E::Busy => plain(StatusCode::SERVICE_UNAVAILABLE, "BUSY").retry_after(BUSY_RETRY_AFTER),
            // What exactly failed is for our log.
            E::Store(failure) => {
                match failure {
                    StoreError::Unavailable(_) => warn!(%failure, "the store failed an account request"),
                    _ => error!(%failure, "the store failed an account request"),
                }
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the server cannot reach its data right now")
                    .retry_after(BUSY_RETRY_AFTER)
            }
            E::Internal(_) => {
                error!(error = %message, "an account request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the server failed; its log says why")
            }
        }
    }
}
