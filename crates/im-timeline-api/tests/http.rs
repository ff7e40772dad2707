//! The calls as old callers make them, and what was added.
#![allow(clippy::unwrap_used)]

mod common;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use common::{World, world};
use http_body_util::BodyExt as _;
use im_proto::client::ContentType;
use im_proto::{RefusalCode, UserId};
use im_timeline_api::{Auth, http};
use serde_json::{Value, json};
use tower::ServiceExt as _;

async fn call(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{status}: {bytes:?}")))
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(Method::POST).uri(path).body(body.into()).unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

fn open(world: &World) -> Router {
    http::router(world.api.clone(), Auth::Open)
}

async fn send(router: &Router, body: &Value) -> (StatusCode, Value) {
    call(router, post("/timeline/send", body.to_string())).await
}

/// Asked for without a bound, and then checked to be the same in steps of two.
async fn timeline(router: &Router, member: &str) -> Vec<Value> {
    let (status, whole) = call(router, get(&format!("/timeline/sync?member={member}&last_read=0"))).await;
    assert_eq!(status, StatusCode::OK);
    let (mut stepped, mut at) = (Vec::new(), "0".to_owned());
    loop {
        let (_, page) = call(router, get(&format!("/timeline/sync?member={member}&last_read={at}&count=2"))).await;
        assert_eq!(page["latestSeq"], whole["latestSeq"]);
        page["entrySetLastSeq"].as_str().unwrap().clone_into(&mut at);
        let rows = page["entrySet"].as_array().unwrap();
        if rows.is_empty() {
            break;
        }
        assert!(rows.len() <= 2);
        stepped.extend(rows.iter().cloned());
    }
    assert_eq!(Value::from(stepped.clone()), whole["entrySet"]);
    stepped
}

fn texts(rows: &[Value]) -> Vec<String> {
    let text = |row: &Value| {
        let message: Value = serde_json::from_str(row["message"].as_str().unwrap()).unwrap();
        message["text"].as_str().unwrap().to_owned()
    };
    rows.iter().map(text).collect()
}

fn says(from: &str, text: &str) -> String {
    json!({ "from": from, "text": text }).to_string()
}

#[tokio::test]
async fn the_scenario_of_the_documentation() {
    let world = world();
    let router = open(&world);
    let pair = |from: &str, to: &str, text: &str| json!({ "from": from, "to": to, "message": says(from, text) });
    assert_eq!(send(&router, &pair("a", "b", "吃了吗？")).await, (StatusCode::OK, json!({ "sequence": "1" })));
    assert_eq!(send(&router, &pair("b", "a", "吃了")).await, (StatusCode::OK, json!({ "sequence": "2" })));
    let spellings = [("group_name", "group_members"), ("groupName", "groupMembers"), ("group_name", "groupMembers")];
    for ((group, members), (from, text)) in
        spellings.into_iter().zip([("a", "大家好"), ("c", "报三围"), ("a", "初次见面，多多指教")])
    {
        let body = json!({ group: "group_a", members: ["a", "c", "d"], "message": says(from, text) });
        let (status, answer) = call(&router, post("/timeline/sendGroup", body.to_string())).await;
        assert_eq!((status, answer), (StatusCode::OK, json!({ "failedMembers": [] })));
    }
    let all = ["吃了吗？", "吃了", "大家好", "报三围", "初次见面，多多指教"];
    assert_eq!(texts(&timeline(&router, "a").await), all);
    assert_eq!(texts(&timeline(&router, "b").await), all[..2]);
    assert_eq!(texts(&timeline(&router, "c").await), all[2..]);
    assert_eq!(texts(&timeline(&router, "d").await), all[2..]);
    for path in ["single/a/b", "single/b/a"] {
        let (_, history) = call(&router, get(&format!("/timeline/history/{path}"))).await;
        assert_eq!(texts(history["entrySet"].as_array().unwrap()), all[..2]);
    }
    let (_, history) = call(&router, get("/timeline/history/group/group_a?last_read=0&count=10")).await;
    assert_eq!(texts(history["entrySet"].as_array().unwrap()), all[2..]);
    let senders: Vec<_> = world.host.pushes.lock().iter().map(|push| push.message.clone().unwrap().sender).collect();
    assert_eq!(senders.iter().map(UserId::as_str).collect::<Vec<_>>(), ["a", "b", "a", "c", "a"]);
    assert_eq!(world.host.groups.lock()[0], ("group_a".into(), vec!["a".into(), "c".into(), "d".into()]));
}

#[tokio::test]
async fn a_user_without_messages_has_an_empty_set() {
    let router = open(&world());
    let empty = json!({ "latestSeq": "0", "entrySetLastSeq": "0", "entrySet": [] });
    assert_eq!(call(&router, get("/timeline/sync?member=nobody&last_read=0&count=10")).await, (StatusCode::OK, empty));
    for path in ["/timeline/history/single/x/y", "/timeline/history/group/none"] {
        assert_eq!(call(&router, get(path)).await, (StatusCode::OK, json!({ "entrySet": [] })));
    }
    let far = json!({ "latestSeq": "0", "entrySetLastSeq": "9223372036854775807", "entrySet": [] });
    let path = format!("/timeline/sync?member=nobody&last_read={}", i64::MAX);
    assert_eq!(call(&router, get(&path)).await, (StatusCode::OK, far));
}

#[tokio::test]
async fn bad_requests_are_told_and_leave_nothing() {
    let world = world();
    let router = open(&world);
    let (m, long) = ("{\"text\":\"x\"}", "x".repeat(65));
    let many: Vec<_> = (0..1001).map(|n| format!("u{n}")).collect();
    let sends = [
        json!({}),
        json!({ "from": "", "to": "b", "message": m }),
        json!({ "from": "a", "message": m }),
        json!({ "from": "a", "to": "b" }),
        json!({ "from": "a", "to": "b", "message": "text" }),
        json!({ "from": "a", "to": "b", "message": "[1]" }),
        json!({ "from": "a", "to": "b", "message": { "text": "x" } }),
        json!({ "from": "a:b", "to": "b", "message": m }),
        json!({ "from": "a", "to": "b\u{7}", "message": m }),
        json!({ "from": "a", "to": long, "message": m }),
        json!({ "from": 1, "to": "b", "message": m }),
        json!({ "from": "a", "to": "b", "message": m, "idempotencyKey": long }),
        json!({ "from": "a", "to": "b", "message": format!("{{\"a\":\"{}\"}}", "x".repeat(16 * 1024)) }),
        json!({ "from": "a", "to": "b", "message": m, "padding": "x".repeat(300 * 1024) }),
    ];
    let group_sends = [
        json!({ "group_members": ["a"], "message": m }),
        json!({ "group_name": "g", "message": m }),
        json!({ "group_name": "g", "group_members": [], "message": m }),
        json!({ "group_name": "g", "group_members": ["a", ""], "message": m }),
        json!({ "group_name": "g", "group_members": many, "message": m }),
        json!({ "group_name": "g:h", "group_members": ["a"], "message": m }),
        json!({ "group_name": "g", "group_members": ["a"], "from": "b", "message": m }),
        json!({ "group_name": "g", "group_members": ["a"], "message": "" }),
    ];
    let garbage = ["", "{", "null", "[]", "\"x\"", "\u{0}"];
    let mut requests: Vec<_> = sends.iter().map(|body| post("/timeline/send", body.to_string())).collect();
    requests.extend(group_sends.iter().map(|body| post("/timeline/sendGroup", body.to_string())));
    requests.extend(garbage.map(|body| post("/timeline/send", body)));
    requests.extend(garbage.map(|body| post("/timeline/sendGroup", body)));
    requests.extend(
        [
            "sync",
            "sync?member=",
            "sync?member=a&last_read=-1",
            "sync?member=a&count=-1",
            "sync?member=a&count=10001",
            "sync?member=a&count=99999999999999999999",
            "sync?member=a&last_read=9223372036854775808",
            "sync?member=a&last_read=x",
            "sync?member=a%3Ab",
            "history/single/a/b?count=-5",
            "history/single/a/b%3A",
            "history/single/a/%FF",
            "history/group/g%00",
            "history/group/g?latest=perhaps",
        ]
        .map(|path| get(&format!("/timeline/{path}"))),
    );
    requests.push(get("/timeline/send"));
    for request in requests {
        let asked = format!("{} {}", request.method(), request.uri());
        let (status, problem) = call(&router, request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{asked}: {problem}");
        assert_eq!((&problem["code"], &problem["reason"]), (&json!(400), &json!("TIMELINE_INVALID_PARAM")), "{asked}");
        assert!(!problem["message"].as_str().unwrap().is_empty() && problem["metadata"] == json!({}), "{asked}");
    }
    assert!(world.store.dump(None, 10).await.unwrap().rows.is_empty());
    assert!(world.host.pushes.lock().is_empty());
}

#[tokio::test]
async fn sending_again_under_a_key_changes_nothing() {
    let world = world();
    let router = open(&world);
    let body = |text: &str, key: Option<&str>| {
        let mut body = json!({ "from": "a", "to": "b", "message": says("a", text) });
        if let Some(key) = key {
            body["idempotencyKey"] = json!(key);
        }
        body
    };
    let one = (StatusCode::OK, json!({ "sequence": "1" }));
    assert_eq!(send(&router, &body("x", Some("k"))).await, one);
    assert_eq!(send(&router, &body("x", Some("k"))).await, one);
    let mut by_header = post("/timeline/send", body("x", None).to_string());
    by_header.headers_mut().insert("idempotency-key", "k".parse().unwrap());
    assert_eq!(call(&router, by_header).await, one);
    let (status, problem) = send(&router, &body("y", Some("k"))).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::CONFLICT, &json!("TIMELINE_KEY_REUSED")));
    assert_eq!(world.host.pushes.lock().len(), 1, "a repeat tells nobody");
    // Without a key each request is a message.
    assert_eq!(send(&router, &body("x", None)).await.1, json!({ "sequence": "2" }));
    assert_eq!(send(&router, &body("x", None)).await.1, json!({ "sequence": "3" }));

    let group =
        json!({ "group_name": "g", "group_members": ["c", "d", "c"], "message": "{}", "idempotency_key": "g1" });
    for _ in 0..2 {
        assert_eq!(call(&router, post("/timeline/sendGroup", group.to_string())).await.0, StatusCode::OK);
    }
    assert_eq!(timeline(&router, "d").await.len(), 1);
}

#[tokio::test]
async fn a_message_is_stored_to_the_byte_and_announced() {
    let world = world();
    let router = open(&world);
    let message = "{ \"b\":1, \"a\":[ ],\"text\":\"é\\u00e9\" }";
    send(&router, &json!({ "from": "a", "to": "a", "message": message })).await;
    assert_eq!(timeline(&router, "a").await, [json!({ "sequence": "1", "message": message })]);
    let pushes = world.host.pushes.lock();
    let stored = pushes[0].message.as_ref().unwrap();
    assert_eq!((stored.content_type, &stored.payload[..]), (ContentType::Json, message.as_bytes()));
    assert_eq!(pushes[0].targets.len(), 1);
}

#[tokio::test]
async fn histories_go_backwards_from_the_newest() {
    let router = open(&world());
    for n in 1..=5 {
        send(&router, &json!({ "from": "a", "to": "b", "message": says("a", &n.to_string()) })).await;
    }
    for (query, expected) in [
        ("latest=true&count=2", vec!["5", "4"]),
        ("latest=true&last_read=4&count=2", vec!["3", "2"]),
        ("latest=true&last_read=2", vec!["1"]),
        ("latest=1&last_read=1", vec![]),
        ("last_read=3", vec!["4", "5"]),
        ("lastRead=3&count=1", vec!["4"]),
    ] {
        let (_, history) = call(&router, get(&format!("/timeline/history/single/b/a?{query}"))).await;
        assert_eq!(texts(history["entrySet"].as_array().unwrap()), expected, "{query}");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_told_and_browsers_may_ask() {
    let world = world();
    let file = tempfile::NamedTempFile::new().unwrap();
    let token = "t".repeat(32);
    std::fs::write(file.path(), &token).unwrap();
    let router = http::router(world.api.clone(), Auth::from_file(file.path()).unwrap());
    let path = "/timeline/sync?member=a";
    let (status, problem) = call(&router, get(path)).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::UNAUTHORIZED, &json!("TIMELINE_UNAUTHORIZED")));
    // Before anything is read: a bad request without a token learns nothing either.
    assert_eq!(call(&router, post("/timeline/send", "{")).await.0, StatusCode::UNAUTHORIZED);
    let mut asked = get(path);
    asked.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    assert_eq!(call(&router, asked).await.0, StatusCode::OK);
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/timeline/send")
        .header(header::ORIGIN, "https://shop.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "x-api-key,content-type")
        .body(Body::empty())
        .unwrap();
    let response = router.clone().oneshot(preflight).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
}

#[tokio::test]
async fn failures_behind_are_told_as_such() {
    let world = world();
    let router = open(&world);
    let group = json!({ "group_name": "g", "group_members": ["a"], "message": "{}" }).to_string();
    *world.host.refuses.lock() = Some(RefusalCode::Unavailable);
    let response = router.clone().oneshot(post("/timeline/sendGroup", group)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    world.store.close().await;
    let (status, problem) = send(&router, &json!({ "from": "a", "to": "b", "message": "{}" })).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("TIMELINE_UNAVAILABLE")));
}

/// The document is kept, so that a change of the interface is seen in review.
#[tokio::test]
async fn the_kept_description_is_what_is_served() {
    let router = open(&world());
    let (_, served) = call(&router, get("/openapi.json")).await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let text = serde_json::to_string_pretty(&served).unwrap() + "\n";
    if std::env::var_os("SIM_WRITE_DOCS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == text, "run this test with SIM_WRITE_DOCS=1");
}
