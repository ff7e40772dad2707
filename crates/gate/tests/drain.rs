//! A gate that lets go of its clients: everybody is asked, nobody loses an answer, all are gone in time.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Client, FakeRoute, World};
use gate::DrainConfig;
use im_proto::RefusalCode;
use im_proto::client::{Command, Empty, Redirect};
use im_proto::link::LinkCommand;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_secs(25);

fn config(rate: u32) -> DrainConfig {
    DrainConfig { rate, gates: Vec::new() }
}

/// Drains in the background; says how long it took.
fn drain(world: &Arc<World>, config: DrainConfig, time_left: Duration) -> JoinHandle<Duration> {
    let world = Arc::clone(world);
    let begun = Instant::now();
    tokio::spawn(async move {
        world.gate.drain(&config, time_left).await;
        begun.elapsed()
    })
}

async fn logins(world: &World, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(world.login("a").await);
    }
    clients
}

#[tokio::test(start_paused = true)]
async fn clients_are_asked_to_leave_at_the_rate_and_the_gate_ends_with_the_last() {
    let world = Arc::new(World::new().await);
    let clients = logins(&world, 25).await;
    let gates = vec!["gate-9.example:8910".to_owned()];
    let drained = drain(&world, DrainConfig { rate: 10, gates: gates.clone() }, DEADLINE);
    let begun = Instant::now();
    let mut leaving = Vec::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        leaving.push(tokio::spawn(async move {
            let redirect: Redirect = client.told(Command::Redirect).await;
            let named: Vec<_> = redirect.gates.iter().map(|gate| gate.text.clone()).collect();
            assert_eq!(named, ["gate-9.example:8910"]);
            // Ten a second: the batch, and the place in it.
            let told = begun.elapsed().as_secs();
            assert_eq!((told, redirect.after_ms), (number as u64 / 10, number as u32 % 10 * 100));
            sleep(Duration::from_millis(redirect.after_ms.into())).await;
        }));
    }
    for left in leaving {
        left.await.unwrap();
    }
    let took = drained.await.unwrap();
    // The last of 25 goes 2.4 s after the first.
    assert!((Duration::from_millis(2400)..Duration::from_millis(2600)).contains(&took), "{took:?}");
    assert_eq!(world.gate.sessions_len(), 0);
    world.network.dial("gate").await.err().expect("nobody is accepted any more");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_listen_is_let_go_once_its_answers_are_there() {
    let world = World::with(|config| {
        config.routes = vec!["r1".into()];
        config.request_timeout = Duration::from_secs(10);
    });
    let world = Arc::new(world.await);
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    route.events.up().await;
    let (mut idle, mut busy) = (world.login("idle").await, world.login("busy").await);
    route.session_up().await;
    route.session_up().await;
    let asked = busy.ask(Command::GetMsg, &Empty {}).await;
    let (link, sequence, _) = route.forward().await;
    let begun = Instant::now();
    let drained = drain(&world, config(1000), DEADLINE);
    for client in [&mut idle, &mut busy] {
        client.told::<Redirect>(Command::Redirect).await;
    }
    idle.refused(0, 0, RefusalCode::Draining).await;
    idle.ended().await;
    let let_go = begun.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(7)).contains(&let_go), "{let_go:?}");
    // The other one still waits for its answer, well behind the time at which the first had to go, but
    // within the time that a request has.
    link.answer_body(LinkCommand::Forward, sequence, b"the answer").unwrap();
    let answer = busy.hear().await;
    assert_eq!((answer.sequence, &answer.body[..]), (asked, &b"the answer"[..]));
    busy.refused(0, 0, RefusalCode::Draining).await;
    busy.ended().await;
    drop((idle, busy));
    assert!(drained.await.unwrap() < Duration::from_secs(10));
    // The route was told that they are gone, before its link went.
    route.session_down().await;
    route.session_down().await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_drain_whatever_the_clients_do() {
    let world = Arc::new(
        World::with(|config| {
            config.routes = vec!["r1".into()];
            config.request_timeout = Duration::from_secs(3600);
        })
        .await,
    );
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    route.events.up().await;
    let mut stubborn = world.login("a").await;
    route.session_up().await;
    stubborn.ask(Command::GetMsg, &Empty {}).await;
    route.forward().await;
    let silent = world.dial().await;
    let took = drain(&world, config(1000), DEADLINE).await.unwrap();
    assert!((DEADLINE - Duration::from_secs(4)..=DEADLINE).contains(&took), "{took:?}");
    stubborn.told::<Redirect>(Command::Redirect).await;
    stubborn.refused(0, 0, RefusalCode::Draining).await;
    stubborn.ended().await;
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_would_take_too_long_gives_way() {
    let world = Arc::new(World::new().await);
    let clients = logins(&world, 60).await;
    let drained = drain(&world, config(1), DEADLINE);
    let mut told = Vec::new();
    for mut client in clients {
        told.push(tokio::spawn(async move {
            client.told::<Redirect>(Command::Redirect).await;
        }));
    }
    for told in told {
        told.await.unwrap();
    }
    let took = drained.await.unwrap();
    // Half of the time serves for asking.
    assert!((Duration::from_secs(8)..Duration::from_secs(12)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_was_accepted_before_logs_in_and_is_sent_on_and_who_says_nothing_holds_nobody_up() {
    let world = Arc::new(World::new().await);
    let mut late = world.greeted().await;
    let silent = world.dial().await;
    let drained = drain(&world, config(1000), DEADLINE);
    sleep(Duration::from_millis(500)).await;
    late.login(&world.token("a"), "first").await;
    late.told::<Redirect>(Command::Redirect).await;
    late.is_well().await;
    drop(late);
    let took = drained.await.unwrap();
    assert!(took < Duration::from_secs(8), "{took:?}");
    drop(silent);
}
