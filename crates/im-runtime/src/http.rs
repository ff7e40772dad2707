//! Serves an axum router on a bound listener, with the bounds that a plain `axum::serve` lacks: a
//! number of connections, a time to send the request's head, one for its body, and a greatest age.

mod body;

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::Problem;

/// What one listener may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; beyond them new ones wait in the kernel's backlog.
    pub connections: usize,
    /// How long a client may take for the head of a request, and how long a kept-alive connection
    /// may idle between two.
    pub head: Duration,
    /// How long a client may take for the body of a request, all of it.
    pub body: Duration,
    /// A connection is closed after this long, so that stuck ones cannot hold all places.
    pub age: Duration,
}

/// After a failing `accept` (out of descriptors, mostly) the next attempt waits this long; trying
/// at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// On shutdown, requests in progress may take this long to end.
const FINISH: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves, then lets requests in progress finish.
///
/// Handlers find the peer's address as [`ConnectInfo<SocketAddr>`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(limits.connections));
    let stop = CancellationToken::new();
    let _stop_on_drop = stop.clone().drop_guard();
    let connections = TaskTracker::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            // The semaphore is never closed, so a permit always comes in the end.
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    connection(stream, peer, router, limits, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.cancel();
    connections.close();
    if timeout(FINISH, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "HTTP requests did not finish in time");
    }
    Ok(())
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits, stop: CancellationToken) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request, peer, limits.body).await) }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .serve_connection(TokioIo::new(stream), service)
    );
    let oldest = Instant::now() + limits.age;
    let first = tokio::select! {
        done = timeout_at(oldest, serving.as_mut()) => done.is_ok(),
        () = stop.cancelled() => false,
    };
    if !first {
        // Told to stop, or too old: finish the request in progress and take no other.
        serving.as_mut().graceful_shutdown();
        let _ = timeout(FINISH, serving).await;
    }
}

/// What the router answers, unless the body takes too long to come.
async fn answer(router: Router, request: Request<Incoming>, peer: SocketAddr, patience: Duration) -> Response {
    let (mut request, arrived) = body::watch(request);
    request.extensions_mut().insert(ConnectInfo(peer));
    let late = async {
        if timeout(patience, arrived).await.is_ok() {
            // It came, or nobody wants it; how long the answer takes is the router's business.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        answer = router.oneshot(request) => answer.unwrap_or_else(|never| match never {}),
        () = late => {
            let why = format!("the body of a request has to come within {} s", patience.as_secs_f32());
            let mut answer = Problem::new(StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW", why).into_response();
            // What is left of the body would be taken for the next request.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            answer
        }
    }
}
