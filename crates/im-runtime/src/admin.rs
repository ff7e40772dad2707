//! The admin listener: health, readiness, metrics, and whatever the tier adds.
//!
//! It has an address of its own so that a probe never queues behind traffic, and it is not meant
//! for the open network: nothing on it asks who is calling.

use std::{io, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{Readiness, Unmet, http, metrics::Metrics};

/// Probes and scrapers are few; these bounds leave room for a person with a browser.
pub const LIMITS: http::Limits = http::Limits {
    connections: 64,
    head: Duration::from_secs(30),
    body: Duration::from_secs(10),
    age: Duration::from_secs(600),
};

/// The routes every tier has: `/healthz`, `/readyz`, `/metrics`.
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(exposition).with_state(metrics))
}

/// Serves the common routes and `extra` until `shutdown` resolves.
///
/// # Panics
/// When `extra` has a route that is there already.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    extra: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    http::serve(listener, router(readiness, metrics).merge(extra), LIMITS, shutdown).await
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    reasons: Vec<Unmet>,
    /// What does not stand in the way; left out when there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<Unmet>,
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let reasons = readiness.unmet();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, reasons, degraded: readiness.degraded() })).into_response()
}

async fn exposition(State(metrics): State<Metrics>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, metrics.render()).into_response()
}
