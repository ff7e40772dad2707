//! The admin listener over real sockets on free ports.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use axum::{
    Router,
    routing::{get, post},
};
use im_runtime::{Readiness, Shutdown, admin, http, metrics};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);

/// Times that no test reaches.
const ROOMY: http::Limits = http::Limits {
    connections: 64,
    head: Duration::from_secs(60),
    body: Duration::from_secs(60),
    age: Duration::from_secs(60),
};

/// One request on a connection of its own; status line, headers and body as they came.
async fn fetch(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn answers_the_common_routes_and_the_tiers_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (recorder, metrics) = metrics::recorder().unwrap();
    ::metrics::with_local_recorder(&recorder, || ::metrics::counter!("pots_total").increment(2));
    let readiness = Readiness::default();
    let store = readiness.condition("store");
    let extra = Router::new().route("/monitor", get(|| async { "42 pots" }));
    let shutdown = Shutdown::new();
    let served = shutdown.spawn(admin::serve(listener, readiness, metrics, extra, shutdown.begun()));

    assert!(fetch(address, "/healthz").await.ends_with("\r\n\r\nok\n"));
    let starting = fetch(address, "/readyz").await;
    assert!(starting.starts_with("HTTP/1.1 503 "), "{starting}");
    assert!(
        starting.ends_with(r#"{"ready":false,"reasons":[{"condition":"store","reason":"starting"}]}"#),
        "{starting}"
    );
    store.ready();
    let ready = fetch(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert!(ready.ends_with(r#"{"ready":true,"reasons":[]}"#), "{ready}");
    let exposition = fetch(address, "/metrics").await;
    assert!(exposition.contains("content-type: text/plain; version=0.0.4"), "{exposition}");
    assert!(exposition.contains("pots_total 2\n"), "{exposition}");
    assert!(fetch(address, "/monitor").await.ends_with("42 pots"));
    assert!(fetch(address, "/nothing").await.starts_with("HTTP/1.1 404 "));

    shutdown.begin();
    timeout(SOON, served).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn silent_connections_are_closed_and_give_their_places_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = http::Limits { connections: 2, head: Duration::from_millis(50), ..ROOMY };
    let router = Router::new().route("/", get(|| async { "hello" }));
    let shutdown = Shutdown::new();
    shutdown.spawn(http::serve(listener, router, limits, shutdown.begun()));

    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Both places are taken; the third is served once the first two ran out of patience.
    assert!(timeout(SOON, fetch(address, "/")).await.unwrap().ends_with("hello"));
    for mut stream in silent {
        let mut rest = Vec::new();
        timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_connection_is_closed_at_its_greatest_age() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = http::Limits { connections: 1, age: Duration::from_millis(50), ..ROOMY };
    let shutdown = Shutdown::new();
    shutdown.spawn(http::serve(listener, Router::new(), limits, shutdown.begun()));

    let mut kept_alive = TcpStream::connect(address).await.unwrap();
    kept_alive.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, kept_alive.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_body_has_its_time_and_an_answer_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = http::Limits { body: Duration::from_millis(200), ..ROOMY };
    let slow_answer = |body: String| async move {
        tokio::time::sleep(Duration::from_millis(400)).await;
        body
    };
    let router = Router::new().route("/", post(slow_answer)).route("/unread", post(|| async { "not read" }));
    let shutdown = Shutdown::new();
    shutdown.spawn(http::serve(listener, router, limits, shutdown.begun()));

    let head =
        |path: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n");
    let ask = async |path: &str, pieces: Vec<String>| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head(path).as_bytes()).await.unwrap();
        for piece in pieces {
            // The server may have had enough.
            if stream.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    // In time, and longer answered than a body may take.
    let body = "x".repeat(100);
    assert!(ask("/", vec![body.clone()]).await.ends_with(&body));
    // A byte every 20 ms is ten in all the time there is, whatever it is that comes.
    let late = ask("/", vec!["x".to_owned(); 15]).await;
    assert!(late.starts_with("HTTP/1.1 408 ") && late.contains("BODY_TOO_SLOW"), "{late}");
    let none = ask("/", vec![]).await;
    assert!(none.starts_with("HTTP/1.1 408 "), "{none}");
    // Whom nobody listens to may be as slow as it likes.
    assert!(ask("/unread", vec![]).await.ends_with("not read"));
}
