//! Where access tokens come from.

use std::time::Duration;

use im_link::network::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::accounts::{Accounts, AccountsError, Login};

/// Gives access tokens.
pub trait TokenSource: Send + Sync + 'static {
    /// A token to log in with. `rejected` is the one that the server just did not take, if so: the
    /// answer must then be another one or an error.
    fn token<'a>(&'a self, rejected: Option<&'a str>) -> BoxFuture<'a, Result<String, TokenError>>;
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Only a new login, with a password, can help.
    #[error("{0}")]
    LoginNeeded(String),
    /// Not now; asking again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// One token, as long as it lasts.
#[derive(Clone)]
pub struct StaticToken(String);

impl StaticToken {
    /// That token.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
}

impl TokenSource for StaticToken {
    fn token<'a>(&'a self, rejected: Option<&'a str>) -> BoxFuture<'a, Result<String, TokenError>> {
        Box::pin(async move {
            if rejected == Some(&*self.0) {
                return Err(TokenError::LoginNeeded("the server does not take the access token".into()));
            }
            Ok(self.0.clone())
        })
    }
}

/// Called with every new pair of tokens, so that it can be kept for the next start.
pub type OnRefresh = Box<dyn Fn(&Login) + Send + Sync>;

/// Exchanges the refresh token for a new pair when the access token has run out. The server rotates
/// refresh tokens: each is good once.
pub struct RefreshingToken {
    accounts: Accounts,
    current: Mutex<Current>,
    on_refresh: OnRefresh,
}

struct Current {
    access: String,
    /// When the access token should be replaced; `None` when nobody knows how long it lasts.
    stale_at: Option<Instant>,
    refresh: String,
}

/// A token with less time left than this is replaced before it is used.
const MARGIN: Duration = Duration::from_secs(30);

impl RefreshingToken {
    /// Continues with the tokens of a login. How long a kept access token still lasts is not known:
    /// it is tried, and replaced when the server does not take it.
    pub fn new(accounts: Accounts, access: String, refresh: String, on_refresh: OnRefresh) -> Self {
        let current = Mutex::new(Current { access, stale_at: None, refresh });
        Self { accounts, current, on_refresh }
    }
}

impl TokenSource for RefreshingToken {
    fn token<'a>(&'a self, rejected: Option<&'a str>) -> BoxFuture<'a, Result<String, TokenError>> {
        Box::pin(async move {
            // Held while the exchange runs, so that one refresh token is never used twice.
            let mut current = self.current.lock().await;
            let stale = current.stale_at.is_some_and(|at| at <= Instant::now());
            if !stale && rejected != Some(&*current.access) {
                return Ok(current.access.clone());
            }
            let login = self.accounts.refresh(&current.refresh).await?;
            let lasts = Duration::from_secs(login.expires_in).saturating_sub(MARGIN);
            current.stale_at = Some(Instant::now() + lasts);
            current.access.clone_from(&login.access_token);
            current.refresh.clone_from(&login.refresh_token);
            (self.on_refresh)(&login);
            Ok(login.access_token)
        })
    }
}

impl From<AccountsError> for TokenError {
    fn from(error: AccountsError) -> Self {
        match error {
            // Anything else, "too many" and "busy" among them, may go over.
            AccountsError::Refused { status: 401 | 403, .. } => Self::LoginNeeded(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
