//! Why a call did not happen, and what that is over HTTP and gRPC.

use std::time::Duration;

use axum::http::StatusCode;
use im_proto::{Refusal, RefusalCode};
use im_runtime::Problem;
use im_timeline::{AppendError, StoreError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// When a retry may help.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The name space of the reasons in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "timeline.v1";

/// Why a call did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request is wrong. Nothing was stored.
    #[error("{0}")]
    Invalid(String),
    /// The caller showed no token, or one that is not known.
    #[error("this needs a service token: `Authorization: Bearer …` or `X-Api-Key: …`")]
    NoToken,
    /// The idempotency key was used for another message.
    #[error("this idempotency key was used for another message")]
    KeyReused,
    /// Too much at once. Nothing was stored; a retry may help.
    #[error("too much is under way; try again")]
    Busy,
    /// The data cannot be reached. A message may have been stored or not: sending it again under
    /// the same idempotency key tells, and does no harm.
    #[error("the server cannot reach its data right now")]
    Unavailable,
    /// The server failed.
    #[error("the server failed; its log says why")]
    Internal,
}

impl ApiError {
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "TIMELINE_INVALID_PARAM",
            Self::NoToken => "TIMELINE_UNAUTHORIZED",
            Self::KeyReused => "TIMELINE_KEY_REUSED",
            Self::Busy => "TIMELINE_BUSY",
            Self::Unavailable => "TIMELINE_UNAVAILABLE",
            Self::Internal => "TIMELINE_INTERNAL",
        }
    }

    fn may_be_retried(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable)
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::IdReused => Self::KeyReused,
            AppendError::Busy => Self::Busy,
            AppendError::Store(error) => error.into(),
            // Recipients are checked before; a store that refuses them is a fault of ours.
            AppendError::BadRecipients(why) => {
                tracing::error!(why, "the store refused the recipients of a message");
                Self::Internal
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => tracing::warn!(%error, "the store failed a timeline request"),
            _ => tracing::error!(%error, "the store failed a timeline request"),
        }
        Self::Unavailable
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            RefusalCode::Busy => Self::Busy,
            RefusalCode::Unavailable => Self::Unavailable,
            RefusalCode::Internal => Self::Internal,
            _ => Self::Invalid(refusal.to_string()),
        }
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let status = match &error {
            ApiError::Invalid(_) => StatusCode::BAD_REQUEST,
            ApiError::NoToken => StatusCode::UNAUTHORIZED,
            ApiError::KeyReused => StatusCode::CONFLICT,
            ApiError::Busy | ApiError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = Self::new(status, error.reason(), error.to_string());
        if error.may_be_retried() { problem.retry_after(RETRY_AFTER) } else { problem }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let code = match &error {
            ApiError::Invalid(_) => Code::InvalidArgument,
            ApiError::NoToken => Code::Unauthenticated,
            ApiError::KeyReused => Code::AlreadyExists,
            ApiError::Busy => Code::ResourceExhausted,
            ApiError::Unavailable => Code::Unavailable,
            ApiError::Internal => Code::Internal,
        };
        let mut details = ErrorDetails::with_error_info(error.reason(), DOMAIN, []);
        if error.may_be_retried() {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Self::with_error_details(code, error.to_string(), details)
    }
}
