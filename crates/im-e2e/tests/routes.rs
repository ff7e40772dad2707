//! The role of master: seen, moved by an operator, taken over from a dead route, not taken back, and named
//! by a lease in Redis that nothing hangs on.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::http;
use im_e2e::logs::{Allowed, ROUTE_DOWN};
use im_e2e::person::Person;
use im_proto::Target;
use im_servers::RedisServer;
use serde_json::Value;

/// Two gates and the im-service.
const SENDERS: u64 = 3;

/// How long it may take from the kill of the master until a message is acked and seen. It takes some
/// hundredths of a second; the rest is for a machine that is busy with other tests. On a simulated clock,
/// im-sim holds it to a second.
const TAKEN_OVER_MAX: Duration = Duration::from_secs(10);

async fn wait_status(route: SocketAddr, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
    http::wait_json(route, "/status", what, reached).await.unwrap()
}

/// Sends from one to the other and waits until it is there; everybody's `count`th.
async fn talk(from: &Person, to: &Person, count: usize) {
    let target = Target::User(to.user().clone());
    from.say(&target, &format!("m{count}"), "hello").await.unwrap();
    to.wait_entries(count).await.unwrap();
}

#[tokio::test]
async fn the_role_is_seen_taken_over_kept_and_moved() {
    let plan = Plan { routes: 2, gates: 2, known_users_only: false, allowed: vec![ROUTE_DOWN], ..Plan::default() };
    let mut cluster = Cluster::start(plan).await.unwrap();
    let (first, second) = (cluster.admin("route-1").unwrap(), cluster.admin("route-2").unwrap());
    let ann = Person::connect(&cluster, "ann", "phone").await.unwrap();
    let ben = Person::connect(&cluster, "ben", "phone").await.unwrap();
    let settled = |status: &Value| status["senders_here"] == SENDERS && status["logins"] == 2;
    let seen = wait_status(first, "everybody sends to the first", settled).await;
    assert_eq!((&seen["role"], &seen["master"], &seen["term"]), (&"master".into(), &"route-1".into(), &0.into()));
    let seen = wait_status(second, "the standby knows everybody", |status| status["logins"] == 2).await;
    assert_eq!((&seen["role"], &seen["senders_here"]), (&"standby".into(), &0.into()));
    talk(&ann, &ben, 1).await;

    cluster.kill("route-1").await.unwrap();
    let killed = Instant::now();
    talk(&ann, &ben, 2).await;
    let taken_over = killed.elapsed();
    println!("the master is dead; acked and seen {taken_over:.2?} later");
    assert!(taken_over < TAKEN_OVER_MAX, "{taken_over:?}");
    let seen = wait_status(second, "the standby is master", |status| status["role"] == "master").await;
    assert_eq!((&seen["term"], &seen["logins"]), (&1.into(), &2.into()), "nobody went offline");

    cluster.restart("route-1").unwrap();
    cluster.wait_ready().await.unwrap();
    let back = wait_status(first, "who comes back knows everybody", |status| status["logins"] == 2).await;
    assert_eq!((&back["role"], &back["master"]), (&"standby".into(), &"route-2".into()));
    for count in 3..8 {
        talk(&ann, &ben, count).await;
    }
    let seen = http::get_json(second, "/status").await.unwrap();
    assert_eq!((&seen["senders_here"], &seen["term"]), (&SENDERS.into(), &1.into()), "nobody moved back");

    let moved = http::put(first, "/master").await.unwrap();
    assert_eq!(moved.status, 200);
    let seen = wait_status(first, "everybody follows", settled).await;
    assert_eq!((&seen["role"], &seen["term"]), (&"master".into(), &2.into()));
    wait_status(second, "the other one knows", |status| status["role"] == "standby" && status["senders_here"] == 0)
        .await;
    talk(&ann, &ben, 8).await;

    drop((ann, ben));
    assert_eq!(cluster.finish().await.unwrap(), 8);
}

/// What a Redis that is away brings into the logs.
const REDIS_DOWN: Allowed = Allowed { text: "Redis does not tell who has the lease", because: "Redis is killed" };

/// The lease's time here.
const LEASE: &str = "1s";

#[tokio::test]
async fn a_lease_names_the_master_and_nothing_hangs_on_it() {
    let mut redis = RedisServer::start().await.unwrap();
    let lease = format!("lease_redis = {:?}\nlease_time = {LEASE:?}", redis.url());
    let plan = Plan {
        routes: 2,
        known_users_only: false,
        settings: vec![(Binary::Route, lease)],
        allowed: vec![ROUTE_DOWN, REDIS_DOWN],
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan).await.unwrap();
    let (first, second) = (cluster.admin("route-1").unwrap(), cluster.admin("route-2").unwrap());
    let ann = Person::connect(&cluster, "ann", "phone").await.unwrap();
    let ben = Person::connect(&cluster, "ben", "phone").await.unwrap();
    let held = |name: &'static str, mine: bool| {
        move |status: &Value| status["lease"]["holder"] == name && status["lease"]["mine"] == mine
    };
    wait_status(first, "the master has the lease", held("route-1", true)).await;
    wait_status(second, "the standby knows", held("route-1", false)).await;
    for (route, has_it) in [(first, 200), (second, 409)] {
        assert_eq!(http::get(route, "/lease").await.unwrap().status, has_it);
    }
    talk(&ann, &ben, 1).await;

    // Neither the master nor its death asks Redis.
    redis.kill().unwrap();
    for route in [first, second] {
        wait_status(route, "that Redis is away is told", |status| status["lease"]["trouble"].is_string()).await;
        let nobody = |status: &Value| status["lease"]["holder"].is_null() && status["lease"]["mine"] == false;
        wait_status(route, "nobody has the lease any more", nobody).await;
        let ready = http::get(route, "/readyz").await.unwrap();
        assert!(ready.status == 200 && ready.body.contains("route: lease"), "{ready:?}");
    }
    talk(&ann, &ben, 2).await;
    cluster.kill("route-1").await.unwrap();
    talk(&ann, &ben, 3).await;
    wait_status(second, "the standby is master", |status| status["role"] == "master").await;

    redis.restart().await.unwrap();
    wait_status(second, "the new master has the lease", held("route-2", true)).await;
    let key = redis.command::<String>(&["GET", "sim:local:master"]).await.unwrap();
    assert!(key.starts_with("route-2 "), "{key}");
    cluster.restart("route-1").unwrap();
    cluster.wait_ready().await.unwrap();
    wait_status(first, "who comes back sees that", held("route-2", false)).await;
    http::put(first, "/master").await.unwrap();
    wait_status(first, "the lease goes along with the role", held("route-1", true)).await;
    talk(&ann, &ben, 4).await;

    drop((ann, ben));
    assert_eq!(cluster.finish().await.unwrap(), 4);
}
