//! Logins of one device on a real route: the later one stays.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{World, user};
use im_link::LinkConfig;
use im_link::tls::LinkTls;
use im_proto::client::{Command, Empty, KickReason, Kickout, RevSignal, Signal, SignalKind};
use im_proto::{BootId, Target};
use proto_codec::Bytes;
use route::{LoginPolicy, Peers, Route, RouteConfig};
use tokio::time::sleep;

async fn start() -> (World, Route) {
    let world = World::with(|config| config.routes = vec!["r1".into()]).await;
    let config = RouteConfig {
        name: "r1".into(),
        region: "here".into(),
        boot: BootId(1),
        listen: "r1".into(),
        link_tls: LinkTls::Plain,
        link: LinkConfig::default(),
        link_in_flight_max: 100,
        request_timeout: Duration::from_secs(5),
        logins: LoginPolicy::default(),
        peers: Peers::default(),
        lease: None,
    };
    let route = Route::start(config, Arc::clone(&world.network)).await.unwrap();
    while !world.gate.is_ready() {
        sleep(Duration::from_millis(1)).await;
    }
    (world, route)
}

async fn logins(route: &Route, count: usize) {
    for _ in 0..1000 {
        if route.logins_len() == count {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("the route holds {} logins instead of {count}", route.logins_len());
}

#[tokio::test(start_paused = true)]
async fn the_same_device_again_ends_the_older_login_whose_goodbye_harms_nobody() {
    let (world, route) = start().await;
    let mut old = world.login("a").await;
    let mut elsewhere = world.greeted().await;
    elsewhere.login(&world.token("a"), "second").await;
    logins(&route, 2).await;
    let mut new = world.login("a").await;
    let kickout: Kickout = old.told(Command::Kickout).await;
    assert_eq!(kickout.reason, KickReason::LoggedInElsewhere);
    old.ended().await;
    drop(old);
    world.sessions(2).await;
    logins(&route, 2).await;
    // Well after the goodbye of the old one has reached the route, the new one is still told.
    sleep(Duration::from_secs(5)).await;
    let mut friend = world.login("friend").await;
    let signal = Signal { to: Target::User(user("a")), kind: SignalKind::Typing, payload: Bytes::from_static(b"hi") };
    let asked = friend.ask(Command::Signal, &signal).await;
    friend.answer::<Empty>(Command::Signal, asked).await;
    for login in [&mut new, &mut elsewhere] {
        let told: RevSignal = login.told(Command::RevSignal).await;
        assert_eq!((told.sender, &told.payload[..]), (user("friend"), &b"hi"[..]));
    }
    drop((new, elsewhere, friend));
    logins(&route, 0).await;
}

#[tokio::test(start_paused = true)]
async fn of_many_logins_of_one_device_exactly_the_last_one_stays() {
    let (world, route) = start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(world.login("a").await);
    }
    let mut last = clients.pop().unwrap();
    for client in &mut clients {
        assert_eq!(client.told::<Kickout>(Command::Kickout).await.reason, KickReason::LoggedInElsewhere);
        client.ended().await;
    }
    logins(&route, 1).await;
    let asked = last.ask(Command::Logout, &Empty {}).await;
    last.answer::<Empty>(Command::Logout, asked).await;
    logins(&route, 0).await;
}
