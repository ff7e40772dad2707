//! What the gate tells over HTTP, beside the health, readiness and metrics that every tier has. Whatever
//! names people is for operators alone, and comes in pages.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use im_proto::SessionId;
use im_runtime::Operators;
use serde::{Deserialize, Serialize};

use crate::connection::Shared;
use crate::sessions::{Client, Login};

/// Logins shown on one page.
const PAGE_MAX: usize = 1000;

/// `/monitor`: 200 while the process lives. `/online`: who is logged in. `/debug/conns`: the same with
/// where from, and what waits. The last two are the operators' alone.
pub(crate) fn router(shared: Arc<Shared>, operators: &Operators) -> Router {
    let theirs = Router::new().route("/online", get(online)).route("/debug/conns", get(conns)).with_state(shared);
    Router::new().route("/monitor", get(|| async { "ok\n" })).merge(operators.guard(theirs))
}

#[derive(Deserialize)]
struct Page {
    /// The last session of the page before.
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Rows<T> {
    /// Logins in all.
    count: usize,
    sessions: Vec<T>,
    /// What to ask for next; `null` behind the last page.
    next_after: Option<u64>,
}

#[derive(Serialize)]
struct OnlineRow {
    session: u64,
    user: String,
    device: String,
    platform: &'static str,
    since_ms: u64,
}

#[derive(Serialize)]
struct ConnRow {
    #[serde(flatten)]
    online: OnlineRow,
    address: String,
    /// Bytes that wait for the client.
    queued_bytes: usize,
    /// Requests that wait for their answer.
    in_flight: u32,
    /// Whether the gate is about to end the connection.
    ending: bool,
}

async fn online(State(shared): State<Arc<Shared>>, Query(page): Query<Page>) -> Json<Rows<OnlineRow>> {
    Json(rows(&shared, &page, |_, login| online_row(login)))
}

async fn conns(State(shared): State<Arc<Shared>>, Query(page): Query<Page>) -> Json<Rows<ConnRow>> {
    Json(rows(&shared, &page, |client, login| ConnRow {
        online: online_row(login),
        address: client.address.to_string(),
        queued_bytes: client.outbound.len(),
        in_flight: client.in_flight.load(Ordering::Relaxed),
        ending: client.dismissed().is_some(),
    }))
}

fn rows<T>(shared: &Shared, page: &Page, row: impl Fn(&Client, &Login) -> T) -> Rows<T> {
    let limit = page.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let clients = shared.sessions.page(SessionId(page.after), limit);
    let last = clients.last().and_then(|client| client.login()).map(|login| login.key.session.0);
    let sessions = clients.iter().filter_map(|client| Some(row(client, client.login()?))).collect();
    Rows { count: shared.sessions.len(), sessions, next_after: last.filter(|_| clients.len() == limit) }
}

fn online_row(login: &Login) -> OnlineRow {
    OnlineRow {
        session: login.key.session.0,
        user: login.user.to_string(),
        device: login.device.to_string(),
        platform: login.platform_name(),
        since_ms: login.since_ms,
    }
}
