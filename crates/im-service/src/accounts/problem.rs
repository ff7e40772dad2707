//! The one shape of an error over HTTP, here and in the timeline API:
//! `{"code":400,"reason":"ACCOUNT_INVALID_PARAM","message":"…","metadata":{}}`.
//!
//! `code` repeats the status, `reason` is for programs and never changes, `message` is for people.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::AccountError;

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// For programs.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Further facts by name.
    pub metadata: BTreeMap<&'static str, String>,
}

/// Suggested to those who were told *busy*.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Problem {
    /// One without metadata.
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), metadata: BTreeMap::new() }
    }

    /// Says when a retry may help, in the body and as `Retry-After`: whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        self.metadata.insert("retryAfterSeconds", seconds.to_string());
        self
    }
}

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
            E::Banned => plain(StatusCode::FORBIDDEN, "ACCOUNT_BANNED"),
            E::AccessExpired => plain(StatusCode::UNAUTHORIZED, "ACCESS_TOKEN_EXPIRED"),
            E::AccessInvalid => plain(StatusCode::UNAUTHORIZED, "ACCESS_TOKEN_INVALID"),
            E::RefreshInvalid => plain(StatusCode::UNAUTHORIZED, "REFRESH_TOKEN_INVALID"),
            E::RefreshReused => plain(StatusCode::UNAUTHORIZED, "REFRESH_TOKEN_REUSED"),
            E::Busy => plain(StatusCode::SERVICE_UNAVAILABLE, "BUSY").retry_after(BUSY_RETRY_AFTER),
            // What exactly failed is for our log.
            E::Store(_) => {
                tracing::error!(error = %message, "the store failed an account request");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the server cannot reach its data right now")
                    .retry_after(BUSY_RETRY_AFTER)
            }
            E::Internal(_) => {
                tracing::error!(error = %message, "an account request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the server failed; its log says why")
            }
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    reason: &'a str,
    message: &'a str,
    metadata: &'a BTreeMap<&'static str, String>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body =
            Body { code: self.status.as_u16(), reason: self.reason, message: &self.message, metadata: &self.metadata };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.metadata.get("retryAfterSeconds").and_then(|text| HeaderValue::from_str(text).ok())
        {
            headers.insert(header::RETRY_AFTER, seconds);
        }
        // RFC 9110, section 11.6.1: a 401 names the scheme that would be taken.
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
