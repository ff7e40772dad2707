//! Clients that want more than they may have: they are told, or closed, and others do not notice.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Client, FakeRoute, OUTBOUND_MAX, PIPE, World, auth, encoded, frame, unlimited};
use gate::{GateConfig, Limits, Rate};
use im_proto::client::{Command, Empty, KickReason, Kickout};
use im_proto::link::{LinkCommand, PushSessions, SessionPlace};
use im_proto::{Epoch, Refusal, RefusalCode, Seq};
use im_session::GateSessionConfig;
use proto_codec::{BytesMut, Header, RESPONSE_BIT};
use tokio::time::{Instant, sleep, timeout};

/// Limits that one test sets; addresses are those of the loopback, and count here.
fn limited(change: impl FnOnce(&mut Limits)) -> impl FnOnce(&mut GateConfig) {
    move |config| {
        config.limits = Limits { exempt: Vec::new(), ..unlimited() };
        change(&mut config.limits);
        config.connections_max = 100_000;
    }
}

/// The gate closed a connection before anything could be said.
async fn shut_out(client: &mut Client) {
    let refused = timeout(Duration::from_secs(1), client.io.read_frame()).await.expect("the gate closes at once");
    assert!(refused.is_err(), "{refused:?}");
}

/// The wait that the next frame, a refusal, asks for.
async fn told_to_wait(client: &mut Client, command: Command) -> Duration {
    let frame = client.hear().await;
    assert_eq!((frame.command, frame.flags.is_refused()), (command.number() | RESPONSE_BIT, true));
    let refusal: Refusal = common::decoded(&frame);
    assert_eq!(refusal.code, RefusalCode::RateLimited);
    Duration::from_millis(refusal.retry_after_ms.into())
}

async fn ask(client: &mut Client, count: usize) {
    for _ in 0..count {
        client.ask(Command::HeartBeat, &Empty {}).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_too_often_is_told_how_long_to_wait() {
    let world = World::with(limited(|limits| limits.messages_per_connection = Rate::per_second(10, 5))).await;
    let (mut greedy, mut other) = (world.login("a").await, world.login("a").await);
    for _ in 0..5 {
        greedy.is_well().await;
    }
    ask(&mut greedy, 1).await;
    let wait = told_to_wait(&mut greedy, Command::HeartBeat).await;
    assert_eq!(wait, Duration::from_millis(100));
    other.is_well().await;
    // Who waits is served, again and again.
    for _ in 0..20 {
        sleep(wait).await;
        greedy.is_well().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_has_one_limit_for_all_its_connections() {
    let world = World::with(limited(|limits| limits.messages_per_user = Rate::per_second(10, 5))).await;
    let (mut first, mut second) = (world.login("a").await, world.greeted().await);
    second.login(&world.token("a"), "second").await;
    let mut other = world.login("b").await;
    for _ in 0..2 {
        first.is_well().await;
        second.is_well().await;
    }
    first.is_well().await;
    ask(&mut second, 1).await;
    told_to_wait(&mut second, Command::HeartBeat).await;
    other.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn who_never_heeds_a_refusal_is_let_go() {
    let world = World::with(limited(|limits| limits.messages_per_connection = Rate::per_second(1, 1))).await;
    let mut deaf = world.login("a").await;
    let mut other = world.login("b").await;
    deaf.is_well().await;
    let mut flood = BytesMut::new();
    (1..2000u32).for_each(|sequence| {
        flood.extend_from_slice(&frame(Command::HeartBeat.number(), sequence, &encoded(&Empty {})));
    });
    // The gate takes a part of it.
    let _ = timeout(Duration::from_secs(5), deaf.io.write(&flood)).await;
    let mut refused = 0;
    let last = loop {
        let frame = deaf.hear().await;
        if frame.sequence == 0 {
            break frame;
        }
        refused += 1;
    };
    assert_eq!(common::decoded::<Refusal>(&last).code, RefusalCode::RateLimited);
    assert_eq!(refused, 1000);
    deaf.ended().await;
    other.is_well().await;
    // Coming back is no crime.
    drop(deaf);
    world.login("a").await.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_never_log_in_take_no_place_of_those_who_did() {
    const SILENT: usize = 2000;
    let world = World::with(limited(|limits| {
        limits.unauthenticated_max = 100;
        limits.unauthenticated_per_address_max = 1_000_000;
        limits.handshakes_per_address = Rate::OFF;
    }))
    .await;
    let mut there = world.login("a").await;
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(world.dial().await);
    }
    // Beyond the limit the door is shut at once.
    for client in &mut silent[100..] {
        shut_out(client).await;
    }
    there.is_well().await;
    // Those inside have the time to log in and no more.
    let begun = Instant::now();
    for client in &mut silent[..100] {
        client.refused(0, 0, RefusalCode::TooSlow).await;
        client.ended().await;
    }
    assert!(begun.elapsed() <= GateSessionConfig::default().login_timeout);
    drop(silent);
    there.is_well().await;
    // Who logs in makes room in the door: two hundred one after the other.
    let mut logins = Vec::new();
    for _ in 0..200 {
        logins.push(world.login("b").await);
    }
    world.sessions(201).await;
}

#[tokio::test(start_paused = true)]
async fn one_address_takes_a_part_of_the_door_and_comes_so_often() {
    // Every address of this network is the same.
    let few = World::with(limited(|limits| limits.unauthenticated_per_address_max = 3)).await;
    let mut guests = vec![few.dial().await, few.dial().await, few.greeted().await];
    shut_out(&mut few.dial().await).await;
    let (token, mut third) = (few.token("a"), guests.pop().unwrap());
    third.login(&token, "first").await;
    // A guest that has gone, and one that has logged in, make room for one each.
    drop(guests.pop());
    sleep(Duration::from_millis(1)).await;
    few.greeted().await.login(&token, "second").await;
    third.is_well().await;

    let seldom = World::with(limited(|limits| limits.handshakes_per_address = Rate::per_second(1, 3))).await;
    for _ in 0..3 {
        seldom.login("a").await;
    }
    shut_out(&mut seldom.dial().await).await;
    sleep(Duration::from_secs(1)).await;
    seldom.login("a").await;
    shut_out(&mut seldom.dial().await).await;
}

#[tokio::test(start_paused = true)]
async fn forged_tokens_shut_their_address_out_and_old_ones_do_not() {
    let world = World::with(limited(|limits| {
        limits.login_failures_per_address = Rate::per_second(1, 3);
        limits.login_failures_per_user = Rate::per_second(1, 2);
    }))
    .await;
    let old = world.token_at("a", std::time::SystemTime::now() - Duration::from_secs(3600));
    let try_login = async |token: &str| {
        let mut client = world.greeted().await;
        let sequence = client.ask(Command::Auth, &auth(token, "first")).await;
        (client, sequence)
    };
    for _ in 0..2 {
        let (mut client, sequence) = try_login(&old).await;
        client.refused(Command::Auth.number(), sequence, RefusalCode::ExpiredToken).await;
    }
    let (mut client, _) = try_login(&old).await;
    assert!(told_to_wait(&mut client, Command::Auth).await > Duration::ZERO);
    client.ended().await;
    // A good token of the same user is welcome all the while.
    world.login("a").await.is_well().await;
    for _ in 0..3 {
        let (mut client, sequence) = try_login("a.b.c").await;
        client.refused(Command::Auth.number(), sequence, RefusalCode::BadToken).await;
    }
    shut_out(&mut world.dial().await).await;
    sleep(Duration::from_secs(3)).await;
    world.login("a").await.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn a_user_with_a_thousand_devices_gets_so_many_logins() {
    let world = World::with(limited(|limits| {
        limits.logins_per_user = Rate::per_second(5, 100);
        limits.handshakes_per_address = Rate::OFF;
        limits.unauthenticated_per_address_max = 10_000;
    }))
    .await;
    let mut other = world.login("b").await;
    let token = world.token("a");
    let (mut inside, mut outside) = (Vec::new(), 0);
    for number in 0..1000 {
        let mut client = world.greeted().await;
        let sequence = client.ask(Command::Auth, &auth(&token, &format!("device-{number}"))).await;
        let answer = client.hear().await;
        assert_eq!(answer.sequence, sequence);
        if answer.flags.is_refused() {
            let refusal: Refusal = common::decoded(&answer);
            assert_eq!(refusal.code, RefusalCode::RateLimited);
            assert!((1..=200).contains(&refusal.retry_after_ms), "{refusal:?}");
            client.ended().await;
            outside += 1;
        } else {
            inside.push(client);
        }
    }
    assert_eq!((inside.len(), outside), (100, 900));
    world.sessions(101).await;
    other.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_gains_no_time_and_silence_ends() {
    let world = World::new().await;
    let begun = Instant::now();
    let mut slow = world.dial().await;
    let mut hello = common::preamble();
    hello.extend_from_slice(&frame(Command::HandShake.number(), 1, &encoded(&common::hello(vec![]))));
    for byte in hello {
        if slow.io.write(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
        if begun.elapsed() > Duration::from_secs(12) {
            break;
        }
    }
    slow.refused(0, 0, RefusalCode::TooSlow).await;
    slow.ended().await;

    // Once logged in, the bytes of a frame that never ends are no sign of life either. Half-open peers
    // look the same from here: nothing comes.
    let (mut trickle, mut gone) = (world.login("a").await, world.login("a").await);
    let begun = Instant::now();
    let endless = frame(Command::SendMsg.number(), 2, &[0; 60_000]);
    for byte in endless {
        if begun.elapsed() > Duration::from_secs(185) || trickle.io.write(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    for client in [&mut trickle, &mut gone] {
        assert_eq!(client.told::<Kickout>(Command::Kickout).await.reason, KickReason::Idle);
        client.ended().await;
    }
    world.sessions(0).await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_costs_so_many_bytes_and_is_let_go() {
    let world = World::with(|config| config.routes = vec!["r1".into()]).await;
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    let link = route.events.up().await;
    let mut deaf = world.login("deaf").await;
    let session = route.session_up().await.session;
    let mut other = world.login("other").await;
    route.session_up().await;
    // Hints beyond its bound are lost, and harm nobody: it is still there.
    let targets = vec![SessionPlace { session, seq: Seq(1) }];
    for _ in 0..20_000 {
        let push = PushSessions { epoch: Epoch(1), targets: targets.clone(), message: None };
        while link.tell(LinkCommand::PushSessions, &push).is_err() {
            sleep(Duration::from_millis(1)).await;
        }
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.gate.sessions_len(), 2);
    // An answer that finds no room ends it.
    deaf.ask(Command::GetMsg, &Empty {}).await;
    let (link, sequence, _) = route.forward().await;
    link.answer_body(LinkCommand::Forward, sequence, &[0; 1000]).unwrap();
    world.sessions(1).await;
    assert_eq!(route.session_down().await.session, session);
    let asked = other.ask(Command::GetMsg, &Empty {}).await;
    let (link, sequence, _) = route.forward().await;
    link.answer_body(LinkCommand::Forward, sequence, b"well").unwrap();
    assert_eq!(other.hear().await.sequence, asked);
    // What was kept for it: its bound once in the buffer and once on the way out, beside what the pipe holds.
    let mut bytes = 0;
    while let Ok(frame) = deaf.io.read_frame().await {
        bytes += Header::LEN + frame.body.len();
    }
    assert!(bytes > PIPE && bytes < PIPE + 2 * OUTBOUND_MAX + 1024, "{bytes} bytes");
}
