//! The HTTP face of accounts: reads requests, calls [`Accounts`], writes answers. No rule lives here.
//!
//! | call | bearer | request | answer |
//! |---|---|---|---|
//! | `POST /user/register` | | `{user, password}` and any of `email, gender, age, telephone, avatar` | 201, a session |
//! | `POST /user/login` | | `{user, password}` | a session |
//! | `GET /user/token` | refresh | | a session |
//! | `POST /user/password` | access | `{oldPassword, newPassword}` | a session; all others end |
//! | `GET /user/info` | access | | `{user, email, gender, age, telephone, avatar, created}` |
//! | `POST /user/info` | access | the fields to change; `null` clears one | the same |
//! | `POST /user/logout` | refresh | nothing, or `{everywhere}` | 204 |
//! | `GET /ping` | | | `{"message":"pong"}` |
//!
//! A session is `{user, accessToken, expiresIn, refreshToken}`, `expiresIn` in seconds. Names are in
//! camelCase, 64-bit numbers are strings, fields without a value are `null`. Errors have the shape of
//! [`Problem`]; of the 401s, `ACCESS_TOKEN_EXPIRED` asks for `GET /user/token` and any other for a login.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use im_proto::UserId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::profile::{Profile, ProfileChange};
use super::service::{Accounts, Session};

/// Bytes of a request's body. The largest is a registration with every field full of escapes.
pub const BODY_LEN_MAX: usize = 8 * 1024;

/// The calls of this module, to be merged into the service's router. Serve it with
/// `into_make_service_with_connect_info::<SocketAddr>()`: without it no address is known, and failed logins
/// are counted per user only.
pub fn router(accounts: Arc<Accounts>) -> Router {
    Router::new()
        .route("/user/register", post(register))
        .route("/user/login", post(login))
        .route("/user/token", get(refresh))
        .route("/user/password", post(change_password))
        .route("/user/info", get(info).post(change_info))
        .route("/user/logout", post(logout))
        .route("/ping", get(ping))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(accounts)
}

/// The same calls when something else takes the connections and passes the requests on. Whose they are is
/// what it says last in `X-Forwarded-For`; where it says nothing it is not known, and what fails is
/// counted per user only. Counted by address it would all be the proxy's, and whoever guesses at a few
/// names would lock everybody out.
pub fn behind_proxy(router: Router) -> Router {
    router.layer(map_request(async |mut request: Request| {
        let forwarded = forwarded_for(request.headers());
        let extensions = request.extensions_mut();
        extensions.remove::<ConnectInfo<SocketAddr>>();
        if let Some(client) = forwarded {
            extensions.insert(ConnectInfo(SocketAddr::new(client, 0)));
        }
        request
    }))
}

/// The last address of `X-Forwarded-For`: the one that the proxy next to us has added. Those in front of
/// it may be anybody's claim.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).into_iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

const FORWARDED_FOR: &str = "x-forwarded-for";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    user: String,
    password: String,
    /// Refuses unknown fields, so this does.
    #[serde(flatten)]
    profile: serde_json::Map<String, serde_json::Value>,
}

async fn register(
    State(accounts): State<Arc<Accounts>>,
    Peer(address): Peer,
    Body(request): Body<Registration>,
) -> Result<(StatusCode, SessionBody), Problem> {
    let profile: ProfileChange =
        serde_json::from_value(request.profile.into()).map_err(|error| invalid(error.to_string()))?;
    let session = accounts.register(&request.user, request.password, profile, address).await?;
    Ok((StatusCode::CREATED, session.into()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Login {
    user: String,
    password: String,
}

async fn login(
    State(accounts): State<Arc<Accounts>>,
    Peer(address): Peer,
    Body(request): Body<Login>,
) -> Result<SessionBody, Problem> {
    Ok(accounts.login(&request.user, request.password, address).await?.into())
}

async fn refresh(State(accounts): State<Arc<Accounts>>, Bearer(token): Bearer) -> Result<SessionBody, Problem> {
    Ok(accounts.refresh(&token).await?.into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PasswordChange {
    old_password: String,
    new_password: String,
}

async fn change_password(
    State(accounts): State<Arc<Accounts>>,
    Caller(user): Caller,
    Peer(address): Peer,
    Body(request): Body<PasswordChange>,
) -> Result<SessionBody, Problem> {
    let session = accounts.change_password(&user, request.old_password, request.new_password, address).await?;
    Ok(session.into())
}

async fn info(State(accounts): State<Arc<Accounts>>, Caller(user): Caller) -> Result<Json<Info>, Problem> {
    let (profile, created_ms) = accounts.profile(&user).await?;
    Ok(Json(Info::new(&user, profile, created_ms)))
}

async fn change_info(
    State(accounts): State<Arc<Accounts>>,
    Caller(user): Caller,
    Body(change): Body<ProfileChange>,
) -> Result<Json<Info>, Problem> {
    let (profile, created_ms) = accounts.change_profile(&user, change).await?;
    Ok(Json(Info::new(&user, profile, created_ms)))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Logout {
    everywhere: bool,
}

async fn logout(
    State(accounts): State<Arc<Accounts>>,
    Bearer(token): Bearer,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let body = body.map_err(unreadable)?;
    let request: Logout = if body.is_empty() { Logout::default() } else { parse(&body)? };
    accounts.logout(&token, request.everywhere).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn ping() -> Json<Pong> {
    Json(Pong { message: "pong" })
}

async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "this path takes another method")
}

#[derive(Serialize)]
struct Pong {
    message: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    user: String,
    #[serde(flatten)]
    profile: Profile,
    /// Milliseconds since 1970.
    created: String,
}

impl Info {
    fn new(user: &UserId, profile: Profile, created_ms: u64) -> Self {
        Self { user: user.to_string(), profile, created: created_ms.to_string() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionBody {
    user: String,
    access_token: String,
    expires_in: u64,
    refresh_token: String,
}

impl From<Session> for SessionBody {
    fn from(session: Session) -> Self {
        Self {
            user: session.user.to_string(),
            access_token: session.access_token,
            expires_in: session.expires_in.as_secs(),
            refresh_token: session.refresh_token,
        }
    }
}

impl IntoResponse for SessionBody {
    fn into_response(self) -> Response {
        // A refresh is a GET, which caches would otherwise be free to keep.
        const NO_STORE: [(HeaderName, HeaderValue); 1] =
            [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        (NO_STORE, Json(self)).into_response()
    }
}

/// A JSON body, whatever its declared type: tools forget to declare it, and there is no other.
struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await.map_err(unreadable)?;
        parse(&body).map(Self)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))
}

fn unreadable(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BODY_TOO_LARGE",
            format!("a body has at most {BODY_LEN_MAX} bytes"),
        ),
        _ => invalid(rejection.body_text()),
    }
}

fn invalid(message: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "ACCOUNT_INVALID_PARAM", message)
}

/// `Authorization: Bearer …`, whatever kind of token the call wants.
struct Bearer(String);

impl<S: Send + Sync> FromRequestParts<S> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        bearer(parts).map(|token| Self(token.to_owned())).ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "TOKEN_MISSING",
                "this call needs the header Authorization: Bearer …",
            )
        })
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_ascii())
}

/// Whose access token the request bears.
struct Caller(UserId);

impl FromRequestParts<Arc<Accounts>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, accounts: &Arc<Accounts>) -> Result<Self, Problem> {
        let Bearer(token) = Bearer::from_request_parts(parts, accounts).await?;
        let claims = accounts.authenticate(&token).await?;
        Ok(Self(claims.user))
    }
}

/// Where the request came from, if the listener told. What comes from this machine comes from a proxy,
/// which says for whom, see [`behind_proxy`], or from somebody who has better ways than guessing.
struct Peer(Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let is_here = |address: &IpAddr| address.to_canonical().is_loopback();
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let address = if address.as_ref().is_some_and(is_here) { forwarded_for(&parts.headers) } else { address };
        Ok(Self(address.filter(|address| !is_here(address))))
    }
}
