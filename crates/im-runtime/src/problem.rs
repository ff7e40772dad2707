//! The one shape of an error over HTTP, whichever listener it comes from:
//! `{"code":400,"reason":"TIMELINE_INVALID_PARAM","message":"…","metadata":{}}`.
//!
//! `code` repeats the status, `reason` is for programs and never changes, `message` is for people.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

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
