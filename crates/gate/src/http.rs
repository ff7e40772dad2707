//! What the gate tells over HTTP, beside the health, readiness and metrics that every tier has.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use im_proto::SessionId;
use serde::{Deserialize, Serialize};

use crate::sessions::Sessions;

/// Logins shown on one page.
const PAGE_MAX: usize = 1000;

/// `/monitor`: 200 while the process lives. `/online`: who is connected, page by page.
pub(crate) fn router(sessions: Arc<Sessions>) -> Router {
    Router::new().route("/monitor", get(|| async { "ok\n" })).route("/online", get(online)).with_state(sessions)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Online {
    count: usize,
    sessions: Vec<OnlineSession>,
}

#[derive(Serialize)]
struct OnlineSession {
    session: u64,
    user: String,
    device: String,
    since_ms: u64,
}

async fn online(State(sessions): State<Arc<Sessions>>, Query(page): Query<Page>) -> Json<Online> {
    let limit = page.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let rows = sessions.page(SessionId(page.after), limit);
    let rows = rows.iter().filter_map(|client| client.login()).map(|login| OnlineSession {
        session: login.key.session.0,
        user: login.user.to_string(),
        device: login.device.to_string(),
        since_ms: login.since_ms,
    });
    Json(Online { count: sessions.len(), sessions: rows.collect() })
}
