//! What the gate tells over HTTP: pages of bounded length, and nothing that names people to strangers.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use common::{FakeRoute, World};
use im_proto::client::{Command, Empty};
use im_runtime::Operators;
use im_runtime::settings::Secret;
use serde_json::Value;
use tower::ServiceExt as _;

const HERE: &str = "127.0.0.1:1";
const ELSEWHERE: &str = "192.0.2.1:1";

async fn get(world: &World, from: &str, path: &str) -> (StatusCode, Value) {
    let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(from.parse::<SocketAddr>().unwrap()));
    let answer = world.gate.http(&Operators::new(Secret::default())).oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test(start_paused = true)]
async fn who_is_online_comes_in_pages() {
    let world = World::new().await;
    let mut clients = Vec::new();
    for number in 0..7 {
        let mut client = world.greeted().await;
        client.login(&world.token("a"), &format!("d{number}")).await;
        clients.push(client);
    }
    let (mut devices, mut after) = (Vec::new(), Some(0));
    while let Some(last) = after {
        let (status, page) = get(&world, HERE, &format!("/online?limit=3&after={last}")).await;
        assert_eq!((status, page["count"].as_u64()), (StatusCode::OK, Some(7)));
        let rows = page["sessions"].as_array().unwrap();
        assert!(rows.len() <= 3);
        devices.extend(rows.iter().map(|row| row["device"].as_str().unwrap().to_owned()));
        after = page["next_after"].as_u64();
    }
    assert_eq!(devices, ["d0", "d1", "d2", "d3", "d4", "d5", "d6"]);
    for bad in ["/online?limit=-1", "/online?after=x"] {
        assert_eq!(get(&world, HERE, bad).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    let (_, page) = get(&world, HERE, "/online?limit=1000000000").await;
    assert_eq!(page["sessions"].as_array().unwrap().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_told_with_what_waits_on_it() {
    let world = World::with(|config| config.routes = vec!["r1".into()]).await;
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    route.events.up().await;
    let mut client = world.login("anna").await;
    route.session_up().await;
    client.ask(Command::GetMsg, &Empty {}).await;
    route.forward().await;
    let (_, page) = get(&world, HERE, "/debug/conns").await;
    let row = &page["sessions"][0];
    assert_eq!(
        (row["user"].as_str(), row["device"].as_str(), row["platform"].as_str()),
        (Some("anna"), Some("first"), Some("bot"))
    );
    assert_eq!((row["in_flight"].as_u64(), row["queued_bytes"].as_u64()), (Some(1), Some(0)));
    assert!(row["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{row}");
    assert!(row["since_ms"].as_u64().unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn strangers_learn_that_the_gate_lives_and_no_more() {
    let world = World::new().await;
    let _anna = world.login("anna").await;
    assert_eq!(get(&world, ELSEWHERE, "/monitor").await.0, StatusCode::OK);
    for theirs in ["/online", "/debug/conns"] {
        let (status, body) = get(&world, ELSEWHERE, theirs).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{theirs}");
        assert!(!body.to_string().contains("anna"));
    }
}
