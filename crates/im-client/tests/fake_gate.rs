//! The whole SDK against a gate in memory that breaks connections at the worst moment. Time is
//! paused: waits cost nothing, and nothing depends on how fast the machine is.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use im_client::*;
use im_link::network::BoxFuture;
use im_proto::client::{Address, Command, ContentType, KickReason, Kickout, NewMsg, Redirect};
use im_proto::limits::PAYLOAD_LEN_MAX;
use im_proto::{Epoch, Position, RefusalCode, Seq};
use parking_lot::Mutex;

fn token() -> Arc<StaticToken> {
    Arc::new(StaticToken::new("good"))
}

async fn simple(gate: &FakeGate) -> (Client, Events) {
    start(gate, config(), token(), Arc::new(MemoryPosition::default())).await
}

fn numbered(range: std::ops::RangeInclusive<u64>) -> Vec<(u64, String)> {
    range.map(|n| (n, format!("m{n}"))).collect()
}

#[tokio::test(start_paused = true)]
async fn an_ack_lost_with_its_connection_does_not_double_the_message() {
    let gate = FakeGate::new();
    gate.world.lock().faults = [Some(Fault::DropAfter), None].into();
    let (client, mut events) = simple(&gate).await;
    let ack = in_time(client.send_text(to("b"), "m1")).await.unwrap();
    assert!(ack.repeated);
    assert_eq!(gate.texts(), ["m1"]);
    assert_eq!(gate.world.lock().logins, 2);
    assert_eq!(messages(&mut events, 1).await, numbered(1..=1));
}

#[tokio::test(start_paused = true)]
async fn sends_keep_their_order_and_show_up_once_through_every_fault() {
    let gate = FakeGate::new();
    let faults = [
        None,
        Some(Fault::DropBefore),
        Some(Fault::Refuse(RefusalCode::Busy)),
        Some(Fault::DropAfter),
        None,
        Some(Fault::Swallow),
        Some(Fault::Refuse(RefusalCode::RateLimited)),
        Some(Fault::DropAfter),
        Some(Fault::DropAfter),
    ];
    gate.world.lock().faults = faults.into();
    let (client, mut events) = simple(&gate).await;
    for n in 1..=20 {
        client.send_nowait(to("b"), ContentType::Text, Bytes::from(format!("m{n}"))).await.unwrap();
    }
    assert_eq!(messages(&mut events, 20).await, numbered(1..=20));
    assert_eq!(gate.texts(), numbered(1..=20).into_iter().map(|(_, text)| text).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn notifies_that_come_twice_late_or_never_show_every_message_once() {
    let gate = FakeGate::new();
    let (client, mut events) = simple(&gate).await;
    client.online().await.unwrap();
    let first = gate.append("m1");
    gate.push(Command::NewMsg, &first);
    gate.push(Command::NewMsg, &first);
    assert_eq!(messages(&mut events, 1).await, numbered(1..=1));
    let _lost = gate.append("m2");
    let third = gate.append("m3");
    gate.push(Command::NewMsg, &third);
    gate.push(Command::NewMsg, &first);
    assert_eq!(messages(&mut events, 2).await, numbered(2..=3));
    // Nobody is told of this one: the next heartbeat tells.
    gate.append("m4");
    assert_eq!(messages(&mut events, 1).await, numbered(4..=4));
}

#[tokio::test(start_paused = true)]
async fn caught_up_is_told_behind_the_last_message_of_every_connection() {
    let gate = FakeGate::new();
    (1..=7).for_each(|n| drop(gate.append(&format!("m{n}"))));
    let (_client, mut events) = simple(&gate).await;
    assert_eq!(messages(&mut events, 7).await, numbered(1..=7));
    assert_eq!(next(&mut events).await, Event::CaughtUp(gate.head()));
    gate.break_connections();
    assert_eq!(next(&mut events).await, Event::CaughtUp(gate.head()));
}

#[tokio::test(start_paused = true)]
async fn a_live_message_needs_no_pull() {
    let gate = FakeGate::new();
    let (client, mut events) = simple(&gate).await;
    client.online().await.unwrap();
    gate.push(Command::NewMsg, &gate.append("m1"));
    messages(&mut events, 1).await;
    let pulls = gate.world.lock().pulls.len();
    gate.push(Command::NewMsg, &gate.append("m2"));
    messages(&mut events, 1).await;
    assert_eq!(gate.world.lock().pulls.len(), pulls);
}

#[tokio::test(start_paused = true)]
async fn an_own_message_shows_up_without_a_pull() {
    let gate = FakeGate::new();
    let (client, mut events) = simple(&gate).await;
    gate.push(Command::NewMsg, &gate.append("m1"));
    assert_eq!(messages(&mut events, 1).await, numbered(1..=1));
    let pulls = gate.world.lock().pulls.len();
    in_time(client.send_text(to("b"), "m2")).await.unwrap();
    assert_eq!(messages(&mut events, 1).await, numbered(2..=2));
    assert_eq!(gate.world.lock().pulls.len(), pulls);
}

#[tokio::test(start_paused = true)]
async fn a_restart_resumes_behind_what_the_application_was_done_with() {
    let gate = FakeGate::new();
    (1..=5).for_each(|n| drop(gate.append(&format!("m{n}"))));
    let positions = Arc::new(MemoryPosition::default());
    let (client, mut events) = start(&gate, config(), token(), positions.clone()).await;
    assert_eq!(messages(&mut events, 3).await, numbered(1..=3));
    client.close().await;
    assert_eq!(positions.get().seq, Seq(2), "the application was still busy with 3");
    assert_eq!(gate.world.lock().logouts, 1);

    let (_client, mut events) = start(&gate, config(), token(), positions.clone()).await;
    assert_eq!(messages(&mut events, 3).await, numbered(3..=5));
}

#[tokio::test(start_paused = true)]
async fn a_slow_application_costs_a_page_and_confirms_only_what_it_took() {
    let gate = FakeGate::new();
    (1..=100).for_each(|n| drop(gate.append(&format!("m{n}"))));
    let (client, mut events) = simple(&gate).await;
    client.online().await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 100 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let asked = gate.world.lock().pulls.last().copied().unwrap_or_default();
        assert!(asked.seq.0 as usize <= seen.len(), "pulled behind {asked:?} when {} were taken", seen.len());
        seen.extend(messages(&mut events, 1).await);
    }
    assert_eq!(seen, numbered(1..=100));
    assert_eq!(gate.world.lock().logins, 1, "slowness does not cost the connection");
}

#[tokio::test(start_paused = true)]
async fn a_restored_store_is_told_and_synced_from_its_beginning() {
    let gate = FakeGate::new();
    (1..=3).for_each(|n| drop(gate.append(&format!("m{n}"))));
    let (_client, mut events) = simple(&gate).await;
    assert_eq!(messages(&mut events, 3).await, numbered(1..=3));
    {
        let mut world = gate.world.lock();
        world.epoch = Epoch(2);
        world.timeline.truncate(2);
    }
    gate.break_connections();
    assert_eq!(next_change(&mut events).await, Event::Restored { epoch: Epoch(2) });
    assert_eq!(messages(&mut events, 2).await, numbered(1..=2));
}

#[tokio::test(start_paused = true)]
async fn a_kick_ends_the_client_and_tells_everybody_why() {
    let gate = FakeGate::new();
    gate.world.lock().faults = [Some(Fault::Swallow)].into();
    let (client, mut events) = simple(&gate).await;
    client.online().await.unwrap();
    let sender = client.clone();
    let send = tokio::spawn(async move { sender.send_text(to("b"), "m1").await });
    while !gate.world.lock().faults.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let kick = Kickout { reason: KickReason::LoggedInElsewhere, detail: String::new() };
    gate.push(Command::Kickout, &kick);
    let cause = EndCause::Kicked(kick);
    assert_eq!(send.await.unwrap(), Err(SendError::Ended(cause.clone())));
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::State(State::Ended(cause.clone()))));
    assert_eq!(client.groups(None, 0).await, Err(CallError::Ended(cause)));
    assert_eq!(gate.world.lock().logins, 1, "it does not come back by itself");
}

/// Gives `tokens` one after another, each until it is rejected.
struct Tokens(Mutex<Vec<&'static str>>);

impl TokenSource for Tokens {
    fn token<'a>(&'a self, rejected: Option<&'a str>) -> BoxFuture<'a, Result<String, TokenError>> {
        let mut tokens = self.0.lock();
        if rejected.is_some_and(|rejected| tokens.first() == Some(&rejected)) {
            tokens.remove(0);
        }
        let token = tokens.first().map(|&token| token.to_owned());
        Box::pin(async move { token.ok_or_else(|| TokenError::LoginNeeded("no token is left".into())) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_exchanged_and_the_last_one_ends_it() {
    let gate = FakeGate::new();
    let tokens = Arc::new(Tokens(Mutex::new(vec!["expired", "good"])));
    let (client, _events) = start(&gate, config(), tokens, Arc::new(MemoryPosition::default())).await;
    assert_eq!(client.online().await.unwrap(), user("a"));
    gate.world.lock().good_token = "another".into();
    gate.break_connections();
    let mut ended = Err(EndCause::Closed);
    while !matches!(ended, Err(EndCause::LoginNeeded(_))) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ended = client.online().await;
    }
}

#[tokio::test(start_paused = true)]
async fn gates_take_turns_and_a_redirect_is_followed() {
    let gate = FakeGate::new();
    let (client, _events) = simple(&gate).await;
    client.online().await.unwrap();
    let redirect = Redirect { gates: vec![Address { text: "gate-9:1".into() }], after_ms: 500 };
    gate.push(Command::Redirect, &redirect);
    while gate.world.lock().logins < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    gate.break_connections();
    while gate.world.lock().logins < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let dialled = gate.world.lock().dialled.clone();
    assert_eq!(dialled[1], "gate-9:1");
    assert_ne!(dialled[0], dialled[2]);
    assert!(dialled[0].starts_with("gate-") && dialled[2].starts_with("gate-"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_sent_on_waits_for_its_answers_but_not_for_ever() {
    let gate = FakeGate::new();
    gate.world.lock().faults = [Some(Fault::Swallow)].into();
    let (client, mut events) = simple(&gate).await;
    client.online().await.unwrap();
    client.send_nowait(to("b"), ContentType::Text, Bytes::from_static(b"m1")).await.unwrap();
    while !gate.world.lock().faults.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let asked = tokio::time::Instant::now();
    gate.push(Command::Redirect, &Redirect { gates: vec![], after_ms: 500 });
    // Half a second of delay, two for the answer that never comes; then the next gate has the message.
    assert_eq!(messages(&mut events, 1).await, numbered(1..=1));
    let took = asked.elapsed();
    assert!((Duration::from_millis(2500)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert_eq!(gate.texts(), ["m1"]);
    assert_eq!(gate.world.lock().logins, 2);
}

#[tokio::test(start_paused = true)]
async fn gates_that_send_a_client_to_and_fro_see_it_less_and_less() {
    let gate = FakeGate::new();
    let (client, _events) = simple(&gate).await;
    client.online().await.unwrap();
    let mut times = Vec::new();
    for login in 2..=8 {
        gate.push(Command::Redirect, &Redirect { gates: vec![], after_ms: 0 });
        let asked = tokio::time::Instant::now();
        while gate.world.lock().logins < login {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The login is known to the gate a little before the client takes what comes behind it.
        client.online().await.unwrap();
        times.push(asked.elapsed());
    }
    assert!(times[0] < Duration::from_millis(20), "the first is followed at once: {times:?}");
    assert!(times[2..].iter().all(|time| *time > Duration::from_millis(100)), "{times:?}");
    assert!(times[5..].iter().max() > Some(&Duration::from_secs(1)), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_survives_a_lost_connection_and_refusals_come_back() {
    let gate = FakeGate::new();
    let (client, _events) = simple(&gate).await;
    client.online().await.unwrap();
    gate.break_connections();
    assert!(client.groups(None, 0).await.unwrap().groups.is_empty());
    let refused = client.read(to("b").conversation(&user("a")), Seq(1)).await;
    assert_eq!(refused, Err(CallError::Refused(RefusalCode::UnknownCommand.into())));
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_sent_is_refused_at_once() {
    let gate = FakeGate::new();
    gate.world.lock().faults = [Some(Fault::Refuse(RefusalCode::NotAMember))].into();
    let (client, _events) = simple(&gate).await;
    let refused = in_time(client.send_text(to("b"), "m1")).await;
    assert_eq!(refused, Err(SendError::Refused(RefusalCode::NotAMember.into())));
    let payload = Bytes::from(vec![0; PAYLOAD_LEN_MAX as usize + 1]);
    assert_eq!(client.send(to("b"), ContentType::File, payload).await, Err(SendError::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_so() {
    let gate = FakeGate::new();
    gate.world.lock().good_token = "nobody has it".into();
    let config = ClientConfig { send_queue_max: 2, ..config() };
    let unavailable = Arc::new(NoToken);
    let (client, mut events) = start(&gate, config, unavailable, Arc::new(MemoryPosition::default())).await;
    for _ in 0..3 {
        client.send_nowait(to("b"), ContentType::Text, Bytes::new()).await.unwrap();
    }
    assert!(matches!(next(&mut events).await, Event::Sent { outcome: Err(SendError::QueueFull), .. }));
}

struct NoToken;

impl TokenSource for NoToken {
    fn token<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<String, TokenError>> {
        Box::pin(async { Err(TokenError::Unavailable("not now".into())) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_server_asks_for_is_kept() {
    let gate = FakeGate::new();
    let (client, mut events) = simple(&gate).await;
    client.online().await.unwrap();
    gate.push(Command::NewMsg, &gate.append("m1"));
    messages(&mut events, 1).await;
    events.confirm();
    let began = tokio::time::Instant::now();
    let notify = NewMsg { entry: None, query_after_ms: 3000, ..gate.append("m2") };
    gate.push(Command::NewMsg, &notify);
    assert_eq!(messages(&mut events, 1).await, numbered(2..=2));
    let waited = began.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(4)).contains(&waited), "{waited:?}");
    assert_eq!(gate.head(), Position { epoch: Epoch(1), seq: Seq(2) });
}
