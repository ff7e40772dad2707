//! What operators do with accounts, over the admin listener.
//!
//! | call | request | does |
//! |---|---|---|
//! | `GET /accounts/{user}` | | |
//! | `PUT /accounts/{user}/ban` | | closes the account: its logins end, live connections within a second |
//! | `DELETE /accounts/{user}/ban` | | opens it again |
//! | `DELETE /accounts/{user}/logins` | | ends every login; the user may log in again |
//! | `PUT /accounts/{user}/password` | `{password}` | sets another password and ends every login |
//!
//! Each answers `{user, banned, created, generation}`. None is a `GET` or `POST` that changes something: a
//! page in a browser on this machine could send those without being asked first.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use im_proto::UserId;
use im_runtime::Operators;
use serde::{Deserialize, Serialize};

use super::error::AccountError;
use super::http::BODY_LEN_MAX;
use super::problem::Problem;
use super::service::{Accounts, Standing};

/// The calls of this module, for operators alone.
pub fn router(accounts: Arc<Accounts>, operators: &Operators) -> Router {
    let theirs = Router::new()
        .route("/accounts/{user}", get(show))
        .route("/accounts/{user}/ban", put(ban).delete(unban))
        .route("/accounts/{user}/logins", delete(end_logins))
        .route("/accounts/{user}/password", put(set_password))
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(accounts);
    operators.guard(theirs)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    user: String,
    banned: bool,
    /// Milliseconds since 1970.
    created: String,
    generation: String,
}

type Shown = Result<Json<Account>, Problem>;

async fn show(State(accounts): State<Arc<Accounts>>, Path(user): Path<String>) -> Shown {
    look(&accounts, &user_of(&user)?).await
}

async fn ban(State(accounts): State<Arc<Accounts>>, Path(user): Path<String>) -> Shown {
    let user = user_of(&user)?;
    accounts.set_banned(&user, true).await?;
    tracing::info!(%user, "an operator closed an account");
    look(&accounts, &user).await
}

async fn unban(State(accounts): State<Arc<Accounts>>, Path(user): Path<String>) -> Shown {
    let user = user_of(&user)?;
    accounts.set_banned(&user, false).await?;
    tracing::info!(%user, "an operator opened an account");
    look(&accounts, &user).await
}

async fn end_logins(State(accounts): State<Arc<Accounts>>, Path(user): Path<String>) -> Shown {
    let user = user_of(&user)?;
    accounts.end_logins(&user).await?;
    tracing::info!(%user, "an operator ended the logins of an account");
    look(&accounts, &user).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    password: String,
}

async fn set_password(
    State(accounts): State<Arc<Accounts>>,
    Path(user): Path<String>,
    body: axum::body::Bytes,
) -> Shown {
    let user = user_of(&user)?;
    let NewPassword { password } = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "ACCOUNT_INVALID_PARAM", error.to_string()))?;
    accounts.reset_password(&user, password).await?;
    tracing::info!(%user, "an operator set a password");
    look(&accounts, &user).await
}

fn user_of(text: &str) -> Result<UserId, AccountError> {
    Ok(UserId::new(text)?)
}

async fn look(accounts: &Accounts, user: &UserId) -> Shown {
    let Standing { banned, created_ms, generation } = accounts.standing(user).await?;
    let (created, generation) = (created_ms.to_string(), generation.to_string());
    Ok(Json(Account { user: user.to_string(), banned, created, generation }))
}
