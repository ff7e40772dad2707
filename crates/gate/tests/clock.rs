//! Times of a connection, on a clock that jumps.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{World, auth, encoded, frame, hello, preamble};
use im_proto::RefusalCode as Code;
use im_proto::client::{Command, Empty, KickReason, Kickout};
use proto_codec::CodecId;
use tokio::time::{Instant, sleep};

fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_gains_no_time_for_the_login() {
    let world = World::new().await;
    let mut bytes = preamble();
    bytes.extend_from_slice(&frame(Command::HandShake.number(), 1, &encoded(&hello(vec![CodecId::Binary]))));
    let mut client = world.dial().await;
    let since = Instant::now();
    for byte in bytes.iter().take(10) {
        client.say(&[*byte]).await;
        sleep(s(1)).await;
    }
    client.refused(0, 0, Code::TooSlow).await;
    client.ended().await;
    assert_eq!(since.elapsed().as_secs(), 10);
    // Neither does each step by itself: ten seconds are for all of them.
    let mut client = world.dial().await;
    let since = Instant::now();
    sleep(s(6)).await;
    client.greet().await;
    sleep(s(3)).await;
    client.say(&frame(Command::Auth.number(), 2, &encoded(&auth(&world.token("a"), "x")))[..30]).await;
    client.refused(0, 0, Code::TooSlow).await;
    assert_eq!(since.elapsed().as_secs(), 10);
    // And who is just in time is in.
    let mut client = world.dial().await;
    sleep(s(9)).await;
    client.greet().await;
    client.login(&world.token("a"), "x").await;
    sleep(s(60)).await;
    client.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_login_and_heartbeats_keep_it() {
    let world = World::new().await;
    let (mut silent, mut lively) = (world.login("silent").await, world.login("lively").await);
    let since = Instant::now();
    let lively = tokio::spawn(async move {
        for _ in 0..20 {
            sleep(s(30)).await;
            lively.is_well().await;
        }
        lively
    });
    let kickout: Kickout = silent.told(Command::Kickout).await;
    assert_eq!(kickout.reason, KickReason::Idle);
    silent.ended().await;
    assert_eq!(since.elapsed().as_secs(), 180);
    lively.await.unwrap().is_well().await;
    assert!(since.elapsed() >= s(600));
    assert_eq!(world.gate.sessions_len(), 1);
}

/// Whoever falls silent, and whenever: the end comes with its keep-alive, and hardly later.
#[tokio::test(start_paused = true)]
async fn everybody_is_let_go_in_time() {
    const KEEP_ALIVE: Duration = Duration::from_secs(100);
    let world = World::with(|config| {
        config.session.keep_alive = KEEP_ALIVE;
        config.connections_max = 1000;
    })
    .await;
    let mut silences = Vec::new();
    for number in 0..400_u64 {
        let mut client = world.login(&format!("user-{number}")).await;
        let last_word = Duration::from_millis(number * 7919 % 250_000);
        if number % 7 == 0 {
            // Some are gone before, and leave nothing that harms others.
            continue;
        }
        silences.push(tokio::spawn(async move {
            let since = Instant::now();
            while since.elapsed() < last_word {
                sleep((last_word - since.elapsed()).min(s(90))).await;
                client.is_well().await;
            }
            let silent = Instant::now();
            assert_eq!(client.told::<Kickout>(Command::Kickout).await.reason, KickReason::Idle);
            let waited = silent.elapsed();
            assert!((KEEP_ALIVE..KEEP_ALIVE + s(1)).contains(&waited), "{number}: {waited:?}");
        }));
    }
    for silence in silences {
        silence.await.unwrap();
    }
    world.sessions(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_shorter_than_the_login_timeout_is_kept() {
    let world = World::with(|config| config.session.keep_alive = s(3)).await;
    let mut client = world.login("a").await;
    let since = Instant::now();
    assert_eq!(client.told::<Kickout>(Command::Kickout).await.reason, KickReason::Idle);
    assert_eq!(since.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_route_heartbeats_are_answered_and_requests_refused() {
    let world = World::with(|config| config.routes = vec!["nowhere".into()]).await;
    assert!(!world.gate.is_ready());
    let mut client = world.login("a").await;
    for _ in 0..100 {
        client.is_well().await;
        let sequence = client.ask(Command::SendMsg, &Empty {}).await;
        client.refused(Command::SendMsg.number(), sequence, Code::Unavailable).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_logout_is_answered_and_then_nothing_is() {
    let world = World::new().await;
    let mut bystander = world.login("bystander").await;
    let mut client = world.login("a").await;
    world.sessions(2).await;
    let mut bytes = frame(Command::Logout.number(), 50, &encoded(&Empty {}));
    bytes.extend_from_slice(&frame(Command::HeartBeat.number(), 51, &encoded(&Empty {})));
    client.say(&bytes).await;
    client.answer::<Empty>(Command::Logout, 50).await;
    client.ended().await;
    world.sessions(1).await;
    bystander.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_is_forgotten_at_once() {
    let world = World::new().await;
    let since = Instant::now();
    for _ in 0..10 {
        drop(world.login("a").await);
        drop(world.greeted().await);
        drop(world.dial().await);
    }
    world.sessions(0).await;
    assert!(since.elapsed() < s(1));
}

#[tokio::test(start_paused = true)]
async fn connections_over_the_bound_are_closed_and_room_comes_back() {
    let world = World::with(|config| config.connections_max = 3).await;
    let (mut first, second, third) = (world.login("a").await, world.dial().await, world.greeted().await);
    for _ in 0..5 {
        let mut over = world.dial().await;
        let _ = over.io.write(&preamble()).await;
        over.ended().await;
        first.is_well().await;
    }
    drop(second);
    drop(third);
    sleep(Duration::from_millis(10)).await;
    world.login("b").await.is_well().await;
    first.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_gate_ends_its_connections() {
    let world = World::new().await;
    let (mut client, mut guest, mut late) = (world.login("a").await, world.dial().await, world.greeted().await);
    // Its token is on the way when the gate looks whom to end.
    late.say(&frame(Command::Auth.number(), 2, &encoded(&auth(&world.token("late"), "x")))).await;
    let since = Instant::now();
    world.gate.stop().await;
    client.ended().await;
    guest.ended().await;
    while late.io.read_frame().await.is_ok() {}
    assert!(since.elapsed() < s(1));
    assert!(world.network.dial("gate").await.is_err(), "nobody listens any more");
}
