//! Each call, as a client makes it.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::accounts::{BODY_LEN_MAX, behind_proxy, operators_router};

async fn register(world: &World, user: &str) -> Value {
    world.call("POST", "/user/register", None, json!({"user": user, "password": PASSWORD}).to_string()).await.ok()
}

async fn login(world: &World, user: &str, password: &str) -> Answer {
    world.call("POST", "/user/login", None, json!({"user": user, "password": password}).to_string()).await
}

async fn info(world: &World, session: &Value) -> Answer {
    world.call("GET", "/user/info", Some(text(session, "accessToken")), "").await
}

async fn exchange(world: &World, session: &Value) -> Answer {
    world.call("GET", "/user/token", Some(text(session, "refreshToken")), "").await
}

#[tokio::test]
async fn a_session_from_registration_to_logout() {
    let world = World::new();
    let request = json!({"user": "anna", "password": PASSWORD, "email": "anna@example.org", "age": 30});
    let answer = world.call("POST", "/user/register", None, request.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let fields: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["accessToken", "expiresIn", "refreshToken", "user"]);
    assert_eq!((&answer.body["user"], &answer.body["expiresIn"]), (&json!("anna"), &json!(600)));

    // What the service gave, a gate takes: it has the public key and nothing else.
    let gate = im_auth::Verifier::new([world.signer.public_key().clone()]).unwrap();
    let now = UNIX_EPOCH + Duration::from_millis(START_MS);
    let claims = gate.verify(text(&answer.body, "accessToken"), now).unwrap();
    assert_eq!((claims.user.as_str(), claims.name.as_str(), claims.generation), ("anna", "anna", 0));
    assert_eq!(claims.expires_at - claims.issued_at, 600);

    let session = login(&world, "anna", PASSWORD).await.ok();
    let profile = info(&world, &session).await.ok();
    assert_eq!(
        profile,
        json!({"user": "anna", "email": "anna@example.org", "gender": null, "age": 30, "telephone": null,
            "avatar": null, "created": START_MS.to_string()})
    );
    let token = text(&session, "accessToken");
    let change = json!({"age": null, "gender": "female"}).to_string();
    let changed = world.call("POST", "/user/info", Some(token), change).await.ok();
    assert_eq!((&changed["age"], &changed["gender"]), (&Value::Null, &json!("female")));
    assert_eq!(changed["email"], "anna@example.org", "what is not named stays");
    assert_eq!(info(&world, &session).await.ok(), changed);

    let next = exchange(&world, &session).await;
    assert_eq!(next.headers[header::CACHE_CONTROL], "no-store");
    let next = next.ok();
    assert_ne!(next["refreshToken"], session["refreshToken"]);
    assert_ne!(next["accessToken"], session["accessToken"]);

    let out = world.call("POST", "/user/logout", Some(text(&next, "refreshToken")), "").await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(exchange(&world, &next).await.refused(401), "REFRESH_TOKEN_INVALID");
    assert_eq!(world.call("GET", "/ping", None, "").await.ok(), json!({"message": "pong"}));
}

#[tokio::test]
async fn an_expired_access_token_is_exchanged() {
    let world = World::new();
    let session = register(&world, "anna").await;
    world.pass(Duration::from_secs(599));
    info(&world, &session).await.ok();
    world.pass(Duration::from_secs(1) + im_auth::LEEWAY);
    let answer = info(&world, &session).await;
    assert_eq!(answer.refused(401), "ACCESS_TOKEN_EXPIRED");
    assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
    let next = exchange(&world, &session).await.ok();
    info(&world, &next).await.ok();
}

#[tokio::test]
async fn wrong_input_is_told() {
    let world = World::new();
    let session = register(&world, "anna").await;
    let (access, refresh) = (Some(text(&session, "accessToken")), Some(text(&session, "refreshToken")));
    let long = "x".repeat(257);
    let good = |user: &str| json!({"user": user, "password": PASSWORD}).to_string();
    let cases = [
        ("/user/register", None, String::new()),
        ("/user/register", None, "{".into()),
        ("/user/register", None, "[]".into()),
        ("/user/register", None, json!({"user": "bert"}).to_string()),
        ("/user/register", None, json!({"user": "bert", "password": 12345678}).to_string()),
        ("/user/register", None, json!({"user": "bert", "password": "1234567"}).to_string()),
        ("/user/register", None, json!({"user": "bert", "password": long}).to_string()),
        ("/user/register", None, json!({"user": "bert", "password": PASSWORD, "banned": false}).to_string()),
        ("/user/register", None, json!({"user": "bert", "password": PASSWORD, "email": "bert"}).to_string()),
        ("/user/register", None, json!({"user": "bert", "password": PASSWORD, "age": 1000}).to_string()),
        ("/user/register", None, good("")),
        ("/user/register", None, good("a:b")),
        ("/user/register", None, good("a\nb")),
        ("/user/register", None, good(" anna")),
        ("/user/register", None, good(&"x".repeat(65))),
        ("/user/login", None, "null".into()),
        ("/user/login", None, good("a:b")),
        ("/user/login", None, json!({"user": "anna", "password": PASSWORD, "x": 1}).to_string()),
        ("/user/password", access, json!({"oldPassword": PASSWORD}).to_string()),
        ("/user/password", access, json!({"oldPassword": PASSWORD, "newPassword": "short"}).to_string()),
        ("/user/info", access, json!({"age": "30"}).to_string()),
        ("/user/info", access, json!({"telephone": "call me"}).to_string()),
        ("/user/logout", refresh, json!({"everywhere": 1}).to_string()),
    ];
    for (path, bearer, body) in cases {
        let answer = world.call("POST", path, bearer, body.clone()).await;
        assert_eq!(answer.refused(400), "ACCOUNT_INVALID_PARAM", "{path} {body}");
    }
    let huge = json!({"user": "bert", "password": "x".repeat(BODY_LEN_MAX)}).to_string();
    for path in ["/user/register", "/user/login"] {
        assert_eq!(world.call("POST", path, None, huge.clone()).await.refused(413), "BODY_TOO_LARGE");
    }
    for (method, path) in [("GET", "/user/login"), ("POST", "/user/token"), ("DELETE", "/user/info")] {
        assert_eq!(world.call(method, path, None, "").await.refused(405), "METHOD_NOT_ALLOWED");
    }
    let answer = world.call("POST", "/user/register", None, good("anna")).await;
    assert_eq!(answer.refused(409), "ACCOUNT_USER_EXISTS");
    assert_eq!(login(&world, "bert", PASSWORD).await.refused(401), "ACCOUNT_WRONG_PASSWORD", "none of that registered");
}

#[tokio::test]
async fn tokens_do_not_stand_in_for_each_other() {
    let world = World::new();
    let session = register(&world, "anna").await;
    let (access, refresh) = (text(&session, "accessToken"), text(&session, "refreshToken"));
    let (bearer_calls, refresh_calls) = (
        [("GET", "/user/info"), ("POST", "/user/info"), ("POST", "/user/password")],
        [("GET", "/user/token"), ("POST", "/user/logout")],
    );
    for (method, path) in bearer_calls {
        assert_eq!(world.call(method, path, None, "{}").await.refused(401), "TOKEN_MISSING");
        for bad in [refresh, "", "x", &access[..access.len() - 1]] {
            assert_eq!(world.call(method, path, Some(bad), "{}").await.refused(401), "ACCESS_TOKEN_INVALID");
        }
    }
    for (method, path) in refresh_calls {
        assert_eq!(world.call(method, path, None, "").await.refused(401), "TOKEN_MISSING");
        for bad in [access, "", "x", &refresh[..refresh.len() - 2]] {
            assert_eq!(world.call(method, path, Some(bad), "").await.refused(401), "REFRESH_TOKEN_INVALID");
        }
    }
    for scheme in ["Basic", "Bearer"] {
        let request = Request::builder().uri("/user/info").header(header::AUTHORIZATION, scheme);
        assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.refused(401), "TOKEN_MISSING");
    }
    let request = Request::builder().uri("/user/info").header(header::AUTHORIZATION, format!("bearer {access}"));
    world.send(request.body(Body::empty()).unwrap()).await.ok();
}

/// Status, headers and body say the same of a name that exists and one that does not.
#[tokio::test]
async fn a_failed_login_does_not_tell_who_exists() {
    let world = World::new();
    register(&world, "anna").await;
    for password in ["wrong horse", "", &"x".repeat(1000)] {
        let known = login(&world, "anna", password).await;
        let unknown = login(&world, "bert", password).await;
        assert_eq!(known.refused(401), "ACCOUNT_WRONG_PASSWORD");
        assert_eq!((known.status, known.headers, known.body), (unknown.status, unknown.headers, unknown.body));
    }
}

#[tokio::test]
async fn failed_logins_are_limited() {
    let world = World::new();
    register(&world, "anna").await;
    register(&world, "bert").await;
    for user in ["anna", "nobody"] {
        for _ in 0..10 {
            assert_eq!(login(&world, user, "wrong horse").await.refused(401), "ACCOUNT_WRONG_PASSWORD");
        }
        let answer = login(&world, user, PASSWORD).await;
        assert_eq!(answer.refused(429), "ACCOUNT_TOO_MANY_ATTEMPTS", "not even the right one: it would tell");
        assert_eq!(answer.headers[header::RETRY_AFTER], "60");
        assert_eq!(answer.body["metadata"]["retryAfterSeconds"], "60");
    }
    login(&world, "bert", PASSWORD).await.ok();
    world.pass(Duration::from_secs(60));
    login(&world, "anna", PASSWORD).await.ok();
}

#[tokio::test]
async fn a_password_change_guesses_no_better_than_a_login() {
    let world = World::new();
    let session = register(&world, "anna").await;
    let change = json!({"oldPassword": "wrong horse", "newPassword": "another horse"}).to_string();
    for _ in 0..10 {
        let answer = world.call("POST", "/user/password", Some(text(&session, "accessToken")), change.clone()).await;
        assert_eq!(answer.refused(401), "ACCOUNT_WRONG_PASSWORD");
    }
    let answer = world.call("POST", "/user/password", Some(text(&session, "accessToken")), change).await;
    assert_eq!(answer.refused(429), "ACCOUNT_TOO_MANY_ATTEMPTS");
}

#[tokio::test]
async fn one_address_cannot_try_one_password_on_everybody() {
    let world = World::with(|config| config.failures_per_address.burst = 5);
    register(&world, "anna").await;
    for name in 0..5 {
        login(&world, &format!("user {name}"), "wrong horse").await.refused(401);
    }
    assert_eq!(login(&world, "anna", PASSWORD).await.refused(429), "ACCOUNT_TOO_MANY_ATTEMPTS");
    let elsewhere = Some("192.0.2.2".parse().unwrap());
    world.accounts.login("anna", PASSWORD.into(), elsewhere).await.unwrap();
    world.accounts.login("anna", PASSWORD.into(), None).await.unwrap();
}

/// A terminator of TLS in front of the listener, on this machine or another one.
#[tokio::test]
async fn somebody_behind_a_proxy_does_not_lock_the_others_out() {
    let world = World::with(|config| config.failures_per_address.burst = 5);
    register(&world, "anna").await;
    let direct = router(Arc::clone(&world.accounts));
    for (calls, proxy) in [
        (direct.clone(), "127.0.0.1:4711"),
        (direct, "[::1]:4711"),
        (behind_proxy(router(Arc::clone(&world.accounts))), "192.0.2.7:4711"),
    ] {
        let proxy: SocketAddr = proxy.parse().unwrap();
        let login = |user: &str, password: &str| {
            let body = json!({"user": user, "password": password}).to_string();
            let request = Request::post("/user/login").extension(ConnectInfo(proxy)).body(Body::from(body)).unwrap();
            calls.clone().oneshot(request)
        };
        for name in 0..8 {
            let answer = login(&format!("user {name}"), "wrong horse").await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{proxy}");
        }
        let answer = login("anna", PASSWORD).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{proxy}");
    }
}

#[tokio::test]
async fn a_changed_password_ends_every_other_session() {
    let world = World::new();
    let first = register(&world, "anna").await;
    let second = login(&world, "anna", PASSWORD).await.ok();
    let change = json!({"oldPassword": PASSWORD, "newPassword": "another horse"}).to_string();
    let third = world.call("POST", "/user/password", Some(text(&second, "accessToken")), change).await.ok();
    for old in [&first, &second] {
        assert_eq!(info(&world, old).await.refused(401), "ACCESS_TOKEN_INVALID");
        assert_eq!(exchange(&world, old).await.refused(401), "REFRESH_TOKEN_INVALID");
    }
    info(&world, &third).await.ok();
    info(&world, &exchange(&world, &third).await.ok()).await.ok();
    login(&world, "anna", PASSWORD).await.refused(401);
    login(&world, "anna", "another horse").await.ok();
}

#[tokio::test]
async fn logging_out_everywhere_ends_all_sessions() {
    let world = World::new();
    let sessions = [register(&world, "anna").await, login(&world, "anna", PASSWORD).await.ok()];
    let everywhere = json!({"everywhere": true}).to_string();
    world.call("POST", "/user/logout", Some(text(&sessions[0], "refreshToken")), everywhere).await.ok();
    for session in &sessions {
        assert_eq!(info(&world, session).await.refused(401), "ACCESS_TOKEN_INVALID");
        assert_eq!(exchange(&world, session).await.refused(401), "REFRESH_TOKEN_INVALID");
    }
    info(&world, &login(&world, "anna", PASSWORD).await.ok()).await.ok();
}

#[tokio::test]
async fn a_failed_store_is_not_the_clients_fault() {
    let world = World::new();
    let session = register(&world, "anna").await;
    world.store.close().await;
    for answer in
        [login(&world, "anna", PASSWORD).await, info(&world, &session).await, exchange(&world, &session).await]
    {
        assert_eq!(answer.refused(503), "UNAVAILABLE");
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
        assert!(!text(&answer.body, "message").contains("closed"), "what failed is for the log");
    }
}

/// The one thread for blocking work is taken, so the first hash runs until it is let go.
#[test]
fn too_many_password_hashes_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let world = World::with(|config| {
            config.hashes_in_flight = 1;
            config.hashes_waiting = 1;
        });
        register(&world, "anna").await;
        let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
        let holder = tokio::task::spawn_blocking(move || held.recv());
        let release_after_the_refusal = async {
            // Costs a hash like any other: a quick answer would tell that there is no such user.
            let refused = login(&world, "nobody", PASSWORD).await;
            release.send(()).unwrap();
            refused
        };
        let (first, second, third) = tokio::join!(
            biased;
            login(&world, "anna", PASSWORD),
            login(&world, "anna", PASSWORD),
            release_after_the_refusal,
        );
        assert_eq!(third.refused(503), "BUSY");
        assert_eq!(third.headers[header::RETRY_AFTER], "1");
        first.ok();
        second.ok();
        holder.await.unwrap().unwrap();
        login(&world, "anna", PASSWORD).await.ok();
    });
}

async fn register_from(world: &World, name: &str, address: &str) -> Answer {
    let body = json!({"user": name, "password": PASSWORD}).to_string();
    let address: SocketAddr = address.parse().unwrap();
    world.send(Request::post("/user/register").extension(ConnectInfo(address)).body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn one_address_makes_so_many_accounts() {
    let world = World::with(|config| config.registrations_per_address.burst = 3);
    for number in 0..3 {
        register_from(&world, &format!("user {number}"), "192.0.2.1:1").await.ok();
    }
    let refused = register_from(&world, "one more", "192.0.2.1:2").await;
    assert_eq!(refused.refused(429), "ACCOUNT_TOO_MANY_REGISTRATIONS");
    assert_eq!(refused.body["metadata"]["retryAfterSeconds"], "30");
    // Another address, this machine, and the same address later.
    register_from(&world, "elsewhere", "192.0.2.2:1").await.ok();
    for number in 0..10 {
        register_from(&world, &format!("here {number}"), "127.0.0.1:1").await.ok();
    }
    world.pass(Duration::from_secs(30));
    register_from(&world, "one more", "192.0.2.1:2").await.ok();
}

/// What the proxy itself has seen counts, and nothing that was there before.
#[tokio::test]
async fn a_proxy_says_for_whom_it_speaks() {
    let world = World::with(|config| config.registrations_per_address.burst = 3);
    let calls = behind_proxy(router(Arc::clone(&world.accounts)));
    let register = async |name: String, forwarded: String| {
        let body = json!({"user": name, "password": PASSWORD}).to_string();
        let proxy: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let request =
            Request::post("/user/register").header("X-Forwarded-For", forwarded).extension(ConnectInfo(proxy));
        calls.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().status()
    };
    for number in 0..3 {
        let forwarded = format!("10.9.9.{number}, 198.51.100.1");
        assert_eq!(register(format!("user {number}"), forwarded).await, StatusCode::CREATED);
    }
    let claimed = "198.51.100.200, 198.51.100.1".to_owned();
    assert_eq!(register("one more".to_owned(), claimed).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(register("other".to_owned(), "198.51.100.2".to_owned()).await, StatusCode::CREATED);
    for number in 0..5 {
        assert_eq!(register(format!("unknown {number}"), "somebody".to_owned()).await, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn operators_close_and_open_accounts() {
    let world = World::new();
    let session = register(&world, "anna").await;
    let operators = im_runtime::Operators::new(im_runtime::settings::Secret::default());
    let calls = operators_router(Arc::clone(&world.accounts), &operators);
    let ask = async |from: &str, method: &str, path: &str, body: &str| {
        let from: SocketAddr = from.parse().unwrap();
        let request = Request::builder().method(method).uri(path).extension(ConnectInfo(from));
        let answer = calls.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    const HERE: &str = "127.0.0.1:1";
    let (status, shown) = ask(HERE, "GET", "/accounts/anna", "").await;
    assert_eq!((status, &shown["banned"], &shown["generation"]), (StatusCode::OK, &json!(false), &json!("0")));
    let (status, shown) = ask(HERE, "PUT", "/accounts/anna/ban", "").await;
    assert_eq!((status, &shown["banned"], &shown["generation"]), (StatusCode::OK, &json!(true), &json!("1")));
    assert_eq!(login(&world, "anna", PASSWORD).await.refused(403), "ACCOUNT_BANNED");
    assert_eq!(exchange(&world, &session).await.refused(403), "ACCOUNT_BANNED");
    ask(HERE, "DELETE", "/accounts/anna/ban", "").await;
    let session = login(&world, "anna", PASSWORD).await.ok();
    ask(HERE, "DELETE", "/accounts/anna/logins", "").await;
    assert_eq!(exchange(&world, &session).await.refused(401), "REFRESH_TOKEN_INVALID");
    let (status, _) = ask(HERE, "PUT", "/accounts/anna/password", r#"{"password":"operators horse"}"#).await;
    assert_eq!(status, StatusCode::OK);
    login(&world, "anna", "operators horse").await.ok();

    let (status, problem) = ask(HERE, "PUT", "/accounts/nobody/ban", "").await;
    assert_eq!((status, &problem["reason"]), (StatusCode::NOT_FOUND, &json!("ACCOUNT_NO_SUCH_USER")));
    let (status, _) = ask(HERE, "PUT", "/accounts/a:b/ban", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = ask("192.0.2.1:1", "PUT", "/accounts/anna/ban", "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    login(&world, "anna", "operators horse").await.ok();
}
