//! The lease in a real Redis: who has it, and what becomes of it when Redis dies, hangs or fails over.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use im_link::LinkConfig;
use im_link::testing::MemoryNetwork;
use im_link::tls::LinkTls;
use im_proto::BootId;
use im_servers::{PATIENCE, RedisGroup, RedisServer};
use route::{LeaseConfig, LeaseServer, LoginPolicy, Peers, Route, RouteConfig};
use tokio::time::{Instant, sleep};

const TIME: Duration = Duration::from_secs(1);
const KEY: &str = "sim:here:master";

/// A route that no gate and no im-service is linked with: it is master as soon as it is told to be.
async fn route(name: &str, boot: u64, redis: &str) -> Route {
    let config = RouteConfig {
        name: name.into(),
        region: "here".into(),
        boot: BootId(boot),
        listen: name.into(),
        link_tls: LinkTls::Plain,
        link: LinkConfig::default(),
        link_in_flight_max: 1,
        request_timeout: TIME,
        logins: LoginPolicy::default(),
        peers: Peers::default(),
        lease: Some(LeaseConfig { redis: LeaseServer::parse(redis).unwrap(), time: TIME }),
    };
    Route::start(config, MemoryNetwork::new() as Arc<_>).await.unwrap()
}

async fn wait(what: &str, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn of_two_masters_one_has_the_lease_and_it_goes_on_when_it_is_given_back() {
    let redis = RedisServer::start().await.unwrap();
    let (first, second) = (route("r1", 1, &redis.url()).await, route("r2", 2, &redis.url()).await);
    first.take_role();
    wait("a master takes it at once", || first.holds_lease()).await;
    assert_eq!(redis.command::<String>(&["GET", KEY]).await.unwrap(), "r1 0000000000000001");
    let asked = Instant::now();
    second.take_role();
    while asked.elapsed() < 3 * TIME {
        assert!(first.is_master() && second.is_master());
        assert!(!second.holds_lease(), "the first one has renewed it");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(first.holds_lease());
    first.stop().await;
    wait("given back, the other one gets it", || second.holds_lease()).await;
    assert_eq!(redis.command::<String>(&["GET", KEY]).await.unwrap(), "r2 0000000000000002");
    second.stop().await;
    assert_eq!(redis.command::<Option<String>>(&["GET", KEY]).await.unwrap(), None);
}

#[tokio::test]
async fn without_redis_the_lease_is_over_in_time_and_comes_back_by_itself() {
    let mut redis = RedisServer::start().await.unwrap();
    let route = route("r1", 1, &redis.url()).await;
    route.take_role();
    for how in ["killed", "hangs", "forgets"] {
        wait("it has the lease", || route.holds_lease()).await;
        let since = Instant::now();
        match how {
            "killed" => redis.kill().unwrap(),
            "hangs" => redis.signal("STOP").unwrap(),
            _ => {
                redis.command::<()>(&["FLUSHALL"]).await.unwrap();
                redis.command::<()>(&["SET", KEY, "somebody 1", "PX", "1500"]).await.unwrap();
            }
        }
        wait("it says that it has it no more", || !route.holds_lease()).await;
        assert!(since.elapsed() < 2 * TIME, "{how}: {:?}", since.elapsed());
        assert!(route.is_master(), "the role does not hang on it");
        match how {
            "killed" => redis.restart().await.unwrap(),
            "hangs" => redis.signal("CONT").unwrap(),
            _ => {}
        }
    }
    wait("it has the lease again", || route.holds_lease()).await;
    route.stop().await;
}

#[tokio::test]
async fn the_lease_goes_along_when_sentinels_move_the_master() {
    let mut group = RedisGroup::start().await.unwrap();
    let route = route("r1", 1, &group.url()).await;
    route.take_role();
    wait("it has the lease", || route.holds_lease()).await;
    group.servers[0].kill().unwrap();
    wait("it loses the lease", || !route.holds_lease()).await;
    group.wait_master(1).await.unwrap();
    wait("it has the lease again", || route.holds_lease()).await;
    assert_eq!(group.servers[1].command::<String>(&["GET", KEY]).await.unwrap(), "r1 0000000000000001");
    route.stop().await;
}
