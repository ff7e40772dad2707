//! A small HTTP client for accounts: register, log in, exchange tokens, log out, look up.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use im_link::network::Tcp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{Dial, PlainDial};

/// Bytes of an answer at most: a login with two tokens is about two kilobytes.
const ANSWER_LEN_MAX: usize = 64 * 1024;
/// How long one exchange may take, dialling included. A login waits for a password hash, and for
/// those of others before it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between one attempt and the next.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What a login gives.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// Who logged in.
    pub user: String,
    /// What a gate takes.
    pub access_token: String,
    /// Seconds until the access token runs out.
    pub expires_in: u64,
    /// What gets the next pair of tokens; good once.
    pub refresh_token: String,
}

impl std::fmt::Debug for Login {
    /// Tokens do not belong into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// What a user tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// Who.
    pub user: String,
    /// An address for letters.
    pub email: Option<String>,
    /// Gender.
    pub gender: Option<String>,
    /// Age in years.
    pub age: Option<u8>,
    /// Telephone number.
    pub telephone: Option<String>,
    /// Where the picture is.
    pub avatar: Option<String>,
    /// When the account was made, milliseconds since 1970.
    pub created: String,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The server said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The reason's name, stable, for programs; empty when the answer had none.
        reason: String,
        /// A sentence for a person.
        message: String,
    },
    /// The server cannot be reached, or was gone before it had answered; in that case what was asked for
    /// may have happened.
    #[error("cannot reach {address}: {error}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// Not an HTTP conversation as it should be.
    #[error("{address} does not answer as an account server: {why}")]
    BadAnswer {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
}

impl AccountsError {
    /// Whether the same may work later: a server or a balancer that is away, busy or without its data.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 502 | 503 | 504),
            Self::Unreachable { .. } => true,
            Self::BadAnswer { .. } => false,
        }
    }
}

/// The account server.
#[derive(Clone)]
pub struct Accounts {
    dial: Arc<dyn Dial>,
    address: String,
}

#[derive(Serialize)]
struct Credentials<'a> {
    user: &'a str,
    password: &'a str,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    reason: String,
    message: String,
}

impl Accounts {
    /// Speaks HTTP with `host:port`.
    pub fn new(address: impl Into<String>) -> Self {
        Self::over(Arc::new(PlainDial::over(Tcp::shared())), address)
    }

    /// Speaks HTTP over what `dial` gives: TLS, or a simulated network.
    pub fn over(dial: Arc<dyn Dial>, address: impl Into<String>) -> Self {
        Self { dial, address: address.into() }
    }

    /// Makes an account and logs in.
    pub async fn register(&self, user: &str, password: &str) -> Result<Login, AccountsError> {
        let answer = self.exchange(Method::POST, "/user/register", None, Some(Credentials { user, password })).await?;
        self.read(&answer)
    }

    /// As [`register`](Self::register), again and again while the error [may pass](AccountsError::may_pass)
    /// and `patience` is not over. An account that an attempt has made whose answer was lost is logged in to.
    pub async fn register_within(
        &self,
        user: &str,
        password: &str,
        patience: Duration,
    ) -> Result<Login, AccountsError> {
        let deadline = Instant::now() + patience;
        let mut made = self.register(user, password).await;
        while let Err(error) = &made {
            if !error.may_pass() || Instant::now() >= deadline {
                break;
            }
            sleep(RETRY_AFTER).await;
            made = match self.register(user, password).await {
                Err(taken @ AccountsError::Refused { status: 409, .. }) => match self.login(user, password).await {
                    // Nobody else knows the password: the name is somebody else's.
                    Err(AccountsError::Refused { status: 401, .. }) => Err(taken),
                    login => login,
                },
                made => made,
            };
        }
        made
    }

    /// Logs in.
    pub async fn login(&self, user: &str, password: &str) -> Result<Login, AccountsError> {
        let answer = self.exchange(Method::POST, "/user/login", None, Some(Credentials { user, password })).await?;
        self.read(&answer)
    }

    /// Exchanges a refresh token for a new pair. The old one is used up.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Login, AccountsError> {
        let answer = self.exchange(Method::GET, "/user/token", Some(refresh_token), None).await?;
        self.read(&answer)
    }

    /// Ends the login that a refresh token belongs to.
    pub async fn logout(&self, refresh_token: &str) -> Result<(), AccountsError> {
        self.exchange(Method::POST, "/user/logout", Some(refresh_token), None).await.map(drop)
    }

    /// The profile of the user whom the access token names.
    pub async fn info(&self, access_token: &str) -> Result<Profile, AccountsError> {
        let answer = self.exchange(Method::GET, "/user/info", Some(access_token), None).await?;
        self.read(&answer)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Option<Credentials<'_>>,
    ) -> Result<Bytes, AccountsError> {
        let body = body.map(|body| serde_json::to_vec(&body)).transpose().map_err(|error| self.bad_answer(error))?;
        let body = Bytes::from(body.unwrap_or_default());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(CONTENT_TYPE, "application/json");
        if let Some(bearer) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let request = request.body(Full::new(body)).map_err(|error| self.bad_answer(error))?;
        let exchange = tokio::time::timeout(PATIENCE, self.send(request)).await;
        let (status, answer) =
            exchange.map_err(|_| self.unreachable(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))??;
        if status.is_success() {
            return Ok(answer);
        }
        let Problem { reason, message } = serde_json::from_slice(&answer).unwrap_or_default();
        let message = if message.is_empty() { status.to_string() } else { message };
        Err(AccountsError::Refused { status: status.as_u16(), reason, message })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(hyper::StatusCode, Bytes), AccountsError> {
        let stream = self.dial.dial(&self.address).await.map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.bad_answer(error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| self.no_answer(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LEN_MAX).collect().await.map_err(|error| self.bad_answer(error))?;
            Ok((parts.status, body.to_bytes()))
        };
        // The connection lives exactly as long as this one exchange. When it ends first, what it has
        // brought is still there to be read.
        let mut exchange = pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    }

    fn read<'a, T: Deserialize<'a>>(&self, answer: &'a [u8]) -> Result<T, AccountsError> {
        serde_json::from_slice(answer).map_err(|error| self.bad_answer(error))
    }

    fn unreachable(&self, error: io::Error) -> AccountsError {
        AccountsError::Unreachable { address: self.address.clone(), error }
    }

    /// Balancers and servers that stop end connections in the middle.
    fn no_answer(&self, error: &hyper::Error) -> AccountsError {
        if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
            let why = "the connection ended before the answer";
            return self.unreachable(io::Error::new(io::ErrorKind::ConnectionAborted, why));
        }
        self.bad_answer(error)
    }

    fn bad_answer(&self, why: impl ToString) -> AccountsError {
        AccountsError::BadAnswer { address: self.address.clone(), why: why.to_string() }
    }
}
