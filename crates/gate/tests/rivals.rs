//! Logins of one device on a real route: the later one stays.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Client, World, auth, user};
use im_link::tls::LinkTls;
use im_link::{LinkConfig, Network};
use im_proto::client::{Auth, AuthAck, Command, Empty, KickReason, Kickout, Platform, RevSignal, Signal, SignalKind};
use im_proto::{BootId, Target};
use proto_codec::Bytes;
use route::{Devices, LoginPolicy, Peers, Route, RouteConfig};
use tokio::time::sleep;

async fn start() -> (World, Route) {
    let world = World::with(|config| config.routes = vec!["r1".into()]).await;
    let route = start_route(&world.network, "r1", LoginPolicy::default()).await;
    while !world.gate.is_ready() {
        sleep(Duration::from_millis(1)).await;
    }
    (world, route)
}

async fn start_route(network: &Arc<dyn Network>, name: &str, logins: LoginPolicy) -> Route {
    let config = RouteConfig {
        name: name.into(),
        region: "here".into(),
        boot: BootId(1),
        listen: name.into(),
        link_tls: LinkTls::Plain,
        link: LinkConfig::default(),
        link_in_flight_max: 100,
        request_timeout: Duration::from_secs(5),
        logins,
        lease: None,
        peers: Peers::default(),
    };
    Route::start(config, Arc::clone(network)).await.unwrap()
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

/// Two gates, both linked with a master and a standby that have this policy.
async fn two_gates(devices: Devices) -> ([World; 2], [Route; 2]) {
    let names = || vec!["r1".to_owned(), "r2".to_owned()];
    let first = World::with(|config| config.routes = names()).await;
    let second = first.beside(|config| config.routes = names()).await;
    let policy = LoginPolicy { devices, ..LoginPolicy::default() };
    let master = start_route(&first.network, "r1", policy).await;
    let standby = start_route(&first.network, "r2", policy).await;
    ([first, second], [master, standby])
}

async fn login_as(world: &World, device: &str, platform: Platform) -> Client {
    let mut client = world.greeted().await;
    let auth = Auth { platform, ..auth(&world.token("a"), device) };
    let sequence = client.ask(Command::Auth, &auth).await;
    client.answer::<AuthAck>(Command::Auth, sequence).await;
    // Further apart than the fastest frame, as people are.
    sleep(Duration::from_millis(200)).await;
    client
}

async fn lost(client: &mut Client) {
    let kickout: Kickout = client.told(Command::Kickout).await;
    assert_eq!(kickout.reason, KickReason::LoggedInElsewhere);
    assert!(kickout.detail.contains("a later login"), "{}", kickout.detail);
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn one_login_per_user_at_whatever_gate_and_through_the_standby() {
    let ([here, there], [master, standby]) = two_gates(Devices::One).await;
    let mut first = login_as(&here, "phone", Platform::Mobile).await;
    let mut friend = here.login("friend").await;
    let mut second = login_as(&there, "desk", Platform::Desktop).await;
    lost(&mut first).await;
    master.stop().await;
    // Nothing but the standby is left to judge.
    let mut third = login_as(&here, "tablet", Platform::Mobile).await;
    lost(&mut second).await;
    let master = start_route(&here.network, "r1", LoginPolicy { devices: Devices::One, ..Default::default() }).await;
    logins(&master, 2).await;
    // The new master was told of the login by its gate, and judges the next.
    standby.stop().await;
    let mut fourth = login_as(&there, "desk", Platform::Desktop).await;
    lost(&mut third).await;
    friend.ask(Command::HeartBeat, &Empty {}).await;
    assert_eq!((here.gate.sessions_len(), there.gate.sessions_len()), (1, 1), "the friend, and the last one");
    let asked = fourth.ask(Command::Logout, &Empty {}).await;
    fourth.answer::<Empty>(Command::Logout, asked).await;
    logins(&master, 1).await;
}

#[tokio::test(start_paused = true)]
async fn one_login_per_kind_of_device() {
    let ([here, there], _routes) = two_gates(Devices::OnePerKind).await;
    let mut phone = login_as(&here, "phone", Platform::Mobile).await;
    let _desk = login_as(&there, "desk", Platform::Desktop).await;
    let _page = login_as(&here, "page", Platform::Web).await;
    assert_eq!(here.gate.sessions_len() + there.gate.sessions_len(), 3);
    let _tablet = login_as(&there, "tablet", Platform::Mobile).await;
    lost(&mut phone).await;
    assert_eq!((here.gate.sessions_len(), there.gate.sessions_len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn any_number_of_devices_up_to_a_bound() {
    let ([here, there], _routes) = two_gates(Devices::All).await;
    let mut clients = Vec::new();
    for number in 0..103 {
        let gate = if number % 2 == 0 { &here } else { &there };
        clients.push(login_as(gate, &format!("device-{number}"), Platform::Bot).await);
    }
    for client in &mut clients[..3] {
        lost(client).await;
    }
    assert_eq!(here.gate.sessions_len() + there.gate.sessions_len(), 100);
}
