//! The HTTP face.
//!
//! Names are in camelCase, requests may also spell them in snake_case; 64-bit numbers are strings in
//! answers and may be either in requests; fields without a value are present.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use im_runtime::Problem;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tower_http::cors::{Any, CorsLayer};
use utoipa::{OpenApi, ToSchema};

use crate::{ApiError, Auth, BODY_LEN_MAX, Call, Entry, GroupSend, HistoryOf, SyncRows, TimelineApi, UserSend};

/// Where a caller may put its own name for a message, for callers that cannot change the body.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The calls of this module, its description at `/openapi.json`, and two pages for people: `/` to
/// try the timelines, `/docs` to try each call.
pub fn router(api: Arc<TimelineApi>, auth: Auth) -> Router {
    let cors = CorsLayer::new().allow_origin(Any).allow_methods([Method::GET, Method::POST]).allow_headers(Any);
    let calls = Router::new()
        .route("/timeline/send", post(send))
        .route("/timeline/sendGroup", post(send_group))
        .route("/timeline/sync", get(sync))
        .route("/timeline/history/single/{from}/{to}", get(single_history))
        .route("/timeline/history/group/{group}", get(group_history))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(api)
        .layer(from_fn_with_state(Arc::new(auth), admit))
        // Outermost: a browser asks what it may do before it shows a token.
        .layer(cors);
    calls
        .route("/openapi.json", get(async || Json(Description::openapi())))
        .route("/", get(async || page(include_str!("../web/sync.html"), "text/html; charset=utf-8")))
        .route("/sync.js", get(async || page(include_str!("../web/sync.js"), "text/javascript; charset=utf-8")))
        .route("/docs", get(async || page(include_str!("../web/docs.html"), "text/html; charset=utf-8")))
        .route("/docs.js", get(async || page(include_str!("../web/docs.js"), "text/javascript; charset=utf-8")))
        .route("/page.css", get(async || page(include_str!("../web/page.css"), "text/css; charset=utf-8")))
}

/// What the calls are, for programs.
#[derive(OpenApi)]
#[openapi(
    info(title = "Timelines", description = "Sends messages and reads timelines and histories.", license(name = "MIT OR Apache-2.0")),
    paths(send, send_group, sync, single_history, group_history),
    components(schemas(ProblemBody)),
    modifiers(&Secured)
)]
pub struct Description;

struct Secured;

impl utoipa::Modify for Secured {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{
            ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
        };
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Api-Key"))));
        let either = ["token", "key"].map(|name| SecurityRequirement::new(name, Vec::<String>::new()));
        openapi.security = Some(either.into());
    }
}

async fn admit(State(auth): State<Arc<Auth>>, request: Request, next: Next) -> Result<Response, Problem> {
    auth.admit(request.headers())?;
    Ok(next.run(request).await)
}

async fn method_not_allowed() -> Problem {
    ApiError::invalid("this address does not take this method").into()
}

fn page(body: &'static str, kind: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'; frame-ancestors 'none'")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}

/// An error.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description; `Problem` writes it")]
struct ProblemBody {
    /// The status, once more.
    #[schema(example = 400)]
    code: u16,
    /// For programs.
    #[schema(example = "TIMELINE_INVALID_PARAM")]
    reason: String,
    /// For people.
    message: String,
    /// Further facts.
    metadata: std::collections::HashMap<String, String>,
}

/// A message from one user to another.
#[derive(Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct SendBody {
    /// Who sends.
    #[schema(example = "a")]
    from: String,
    /// Who gets it.
    #[schema(example = "b")]
    to: String,
    /// A JSON object, as a string.
    #[schema(example = "{\"text\":\"hello\"}")]
    message: String,
    /// The caller's own name for it: sending again under it changes nothing and gives the same sequence.
    #[serde(alias = "idempotency_key")]
    idempotency_key: Option<String>,
}

/// Where the message stands.
#[derive(Serialize, ToSchema)]
struct SendReply {
    /// The place in the receiver's timeline, a number as a string.
    #[schema(example = "3")]
    sequence: String,
}

/// Send a message to a user.
#[utoipa::path(post, path = "/timeline/send", request_body = SendBody, responses(
    (status = 200, body = SendReply), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
    (status = 409, body = ProblemBody), (status = 503, body = ProblemBody)))]
async fn send(
    State(api): State<Arc<TimelineApi>>,
    headers: HeaderMap,
    Body(body): Body<SendBody>,
) -> Result<Json<SendReply>, Problem> {
    let SendBody { from, to, message, idempotency_key } = body;
    let idempotency_key = named(idempotency_key, &headers)?;
    let sequence = api.send(UserSend { from, to, message, idempotency_key }).await?;
    Ok(Json(SendReply { sequence: sequence.to_string() }))
}

/// A message to a group.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct SendGroupBody {
    /// The group.
    #[serde(alias = "groupName")]
    #[schema(example = "group_a")]
    group_name: String,
    /// Who gets it.
    #[serde(alias = "groupMembers")]
    group_members: Vec<String>,
    /// A JSON object, as a string.
    #[schema(example = "{\"text\":\"hello\"}")]
    message: String,
    /// Who sends, one of the members. Without it the message's own `from` is taken where that is a
    /// member, else the first member.
    from: Option<String>,
    /// The caller's own name for it, as for a message to a user.
    #[serde(alias = "idempotencyKey")]
    idempotency_key: Option<String>,
}

/// Whom the message did not reach.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SendGroupReply {
    /// Always empty: a message is stored for all members or, with an error, for none.
    failed_members: Vec<String>,
}

/// Send a message to a group.
#[utoipa::path(post, path = "/timeline/sendGroup", request_body = SendGroupBody, responses(
    (status = 200, body = SendGroupReply), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
    (status = 409, body = ProblemBody), (status = 503, body = ProblemBody)))]
async fn send_group(
    State(api): State<Arc<TimelineApi>>,
    headers: HeaderMap,
    Body(body): Body<SendGroupBody>,
) -> Result<Json<SendGroupReply>, Problem> {
    let SendGroupBody { group_name: group, group_members: members, message, from, idempotency_key } = body;
    let idempotency_key = named(idempotency_key, &headers)?;
    api.send_group(GroupSend { group, members, message, from, idempotency_key }).await?;
    Ok(Json(SendGroupReply { failed_members: Vec::new() }))
}

/// A row.
#[derive(Serialize, ToSchema)]
struct EntryBody {
    /// The place in the timeline, a number as a string.
    #[schema(example = "3")]
    sequence: String,
    /// A JSON object, as a string.
    message: String,
}

/// Rows of a user's timeline.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SyncReply {
    /// The greatest place, a number as a string.
    #[schema(example = "4")]
    latest_seq: String,
    /// The place of the last row, or the position asked with where there is none.
    #[schema(example = "4")]
    entry_set_last_seq: String,
    /// The rows; none means that there are no more.
    entry_set: Vec<EntryBody>,
}

impl From<SyncRows> for SyncReply {
    fn from(rows: SyncRows) -> Self {
        Self {
            latest_seq: rows.latest.to_string(),
            entry_set_last_seq: rows.last.to_string(),
            entry_set: rows.entries.into_iter().map(EntryBody::from).collect(),
        }
    }
}

impl From<Entry> for EntryBody {
    fn from(Entry { sequence, message }: Entry) -> Self {
        Self { sequence: sequence.to_string(), message }
    }
}

/// What stands behind the question mark. Read as text, so that every mistake has a message of its own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    member: String,
    #[serde(alias = "lastRead")]
    last_read: String,
    count: String,
    latest: String,
}

impl Asked {
    fn call(&self) -> Result<Call, ApiError> {
        let latest = match self.latest.as_str() {
            "" | "false" | "0" => false,
            "true" | "1" => true,
            _ => return Err(ApiError::invalid("latest is true or false")),
        };
        Ok(Call { last_read: integer("last_read", &self.last_read)?, count: integer("count", &self.count)?, latest })
    }
}

fn integer(what: &str, text: &str) -> Result<i64, ApiError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| ApiError::invalid(format!("{what} is not a whole number of 64 bits")))
}

/// Read a user's timeline, step by step.
#[utoipa::path(get, path = "/timeline/sync",
    params(
        ("member" = String, Query, description = "Whose timeline"),
        ("last_read" = Option<i64>, Query, minimum = 0, description = "Rows behind this place; 0 from the beginning"),
        ("count" = Option<i64>, Query, minimum = 0, maximum = 10000, description = "Rows at most; 0 leaves it to the server, which gives at most 1000")),
    responses((status = 200, body = SyncReply), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 503, body = ProblemBody)))]
async fn sync(State(api): State<Arc<TimelineApi>>, Params(asked): Params) -> Result<Json<SyncReply>, Problem> {
    Ok(Json(api.sync(&asked.member, asked.call()?).await?.into()))
}

/// Rows of a history.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HistoryReply {
    /// The rows; none means that there are no more.
    entry_set: Vec<EntryBody>,
}

async fn history(api: &TimelineApi, of: HistoryOf, asked: &Asked) -> Result<Json<HistoryReply>, Problem> {
    let rows = api.history(of, asked.call()?).await?;
    Ok(Json(HistoryReply { entry_set: rows.into_iter().map(EntryBody::from).collect() }))
}

/// Read the history of two users.
#[utoipa::path(get, path = "/timeline/history/single/{from}/{to}",
    params(
        ("from" = String, Path, description = "One user"), ("to" = String, Path, description = "The other"),
        ("last_read" = Option<i64>, Query, minimum = 0, description = "Rows behind this place; with latest, before it"),
        ("count" = Option<i64>, Query, minimum = 0, maximum = 10000, description = "Rows at most; 0 leaves it to the server, which gives at most 1000"),
        ("latest" = Option<bool>, Query, description = "Backwards, the newest first")),
    responses((status = 200, body = HistoryReply), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 503, body = ProblemBody)))]
async fn single_history(
    State(api): State<Arc<TimelineApi>>,
    path: Result<Path<(String, String)>, PathRejection>,
    Params(asked): Params,
) -> Result<Json<HistoryReply>, Problem> {
    let Path((from, to)) = path.map_err(|error| ApiError::invalid(error.body_text()))?;
    history(&api, HistoryOf::Pair(from, to), &asked).await
}

/// Read a group's history.
#[utoipa::path(get, path = "/timeline/history/group/{group}",
    params(
        ("group" = String, Path, description = "The group"),
        ("last_read" = Option<i64>, Query, minimum = 0, description = "Rows behind this place; with latest, before it"),
        ("count" = Option<i64>, Query, minimum = 0, maximum = 10000, description = "Rows at most; 0 leaves it to the server, which gives at most 1000"),
        ("latest" = Option<bool>, Query, description = "Backwards, the newest first")),
    responses((status = 200, body = HistoryReply), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 503, body = ProblemBody)))]
async fn group_history(
    State(api): State<Arc<TimelineApi>>,
    path: Result<Path<String>, PathRejection>,
    Params(asked): Params,
) -> Result<Json<HistoryReply>, Problem> {
    let Path(group) = path.map_err(|error| ApiError::invalid(error.body_text()))?;
    history(&api, HistoryOf::Group(group), &asked).await
}

/// The key of the body, else of the header.
fn named(key: Option<String>, headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    match (key, headers.get(IDEMPOTENCY_KEY)) {
        (None, Some(value)) => match value.to_str() {
            Ok(key) => Ok(Some(key.to_owned())),
            Err(_) => Err(ApiError::invalid("the idempotency key is not text")),
        },
        (key, _) => Ok(key),
    }
}

/// A body of JSON, whatever its content type says.
struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| ApiError::invalid(error.body_text()))?;
        let body = serde_json::from_slice(&bytes).map_err(|error| ApiError::invalid(error.to_string()))?;
        Ok(Self(body))
    }
}

struct Params(Asked);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked: Result<Query<Asked>, QueryRejection> = Query::from_request_parts(parts, state).await;
        let Query(asked) = asked.map_err(|error| ApiError::invalid(error.body_text()))?;
        Ok(Self(asked))
    }
}
