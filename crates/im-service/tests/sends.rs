//! Sends: places, repeats, refusals, order, and who is told.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use common::{EPOCH, World, at, send, session, to, to_group, user};
use im_proto::client::{Command, ContentType, Empty, SendAck, SendMsg};
use im_proto::limits::PAYLOAD_LEN_MAX;
use im_proto::link::UserPlace;
use im_proto::{ConversationId, RefusalCode as Code, Seq};
use im_timeline::{Change, Expect, MemoryStore, Store as _, Table};

fn place(name: &str, seq: u64) -> UserPlace {
    UserPlace { user: user(name), seq: Seq(seq) }
}

#[tokio::test(start_paused = true)]
async fn a_message_between_two_gets_its_places_and_both_are_told() {
    let mut world = World::new().await;
    assert!(world.service.is_ready());
    world.send("b", &send(to("c"), "1", "elsewhere")).await.unwrap();
    world.pushed().await;
    let ack = world.send("a", &send(to("b"), "1", "hello")).await.unwrap();
    let conversation = ConversationId::pair(&user("a"), &user("b"));
    assert_eq!(
        (ack.conversation, ack.seq, ack.position, ack.receiver_seq),
        (conversation.clone(), Seq(1), at(1), Seq(2))
    );
    assert!(!ack.repeated && ack.time_ms > 0);
    let push = world.pushed().await;
    // The sender is among them, for the sake of its other devices; the login that sent is not told.
    assert_eq!(push.targets, [place("a", 1), place("b", 2)]);
    assert_eq!((push.epoch, push.except), (EPOCH, Some(session("a"))));
    let message = push.message.unwrap();
    assert_eq!((message.seq, message.sender, message.time_ms), (Seq(1), user("a"), ack.time_ms));
    assert_eq!(&message.payload[..], b"hello");
    let page = world.pull("b", at(1), 10).await.unwrap();
    assert_eq!(page.entries[0].seq, Seq(2));
    assert_eq!(page.entries[0].message.conversation, conversation);
    assert_eq!(world.timeline("a").await, ["hello"]);
    world.tells_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn a_notebook_is_a_conversation_of_one() {
    let mut world = World::new().await;
    let ack = world.send("a", &send(to("a"), "1", "note")).await.unwrap();
    assert_eq!((ack.seq, ack.position, ack.receiver_seq), (Seq(1), at(1), Seq(1)));
    assert_eq!(world.pushed().await.targets, [place("a", 1)]);
    assert_eq!(world.timeline("a").await, ["note"]);
}

#[tokio::test(start_paused = true)]
async fn a_groups_members_get_it_and_strangers_may_not_send() {
    let mut world = World::new().await;
    world.create("a", "g", &["b", "c"]).await.unwrap();
    let ack = world.send("b", &send(to_group("g"), "1", "all")).await.unwrap();
    assert_eq!((ack.conversation.as_str(), ack.seq, ack.position, ack.receiver_seq), ("g", Seq(1), at(1), Seq(0)));
    assert_eq!(world.pushed().await.targets, [place("a", 1), place("b", 1), place("c", 1)]);
    assert_eq!(world.send("x", &send(to_group("g"), "1", "in")).await, Err(Code::NotAMember));
    assert_eq!(world.send("a", &send(to_group("none"), "2", "x")).await, Err(Code::NoSuchGroup));
    world.tells_nobody().await;
    for member in ["a", "b", "c"] {
        assert_eq!(world.timeline(member).await, ["all"]);
    }
}

#[tokio::test(start_paused = true)]
async fn where_only_known_users_are_served_others_get_nothing() {
    let mut world = World::with(|config| config.service.known_users_only = true).await;
    assert_eq!(world.send("a", &send(to("b"), "1", "x")).await, Err(Code::NoSuchUser));
    assert_eq!(world.create("a", "g", &["b"]).await, Err(Code::NoSuchUser));
    let value = Bytes::from_static(b"account");
    let account = Change::Put { table: Table::Account, key: "b".into(), value, expect: Expect::Any };
    world.store.commit(vec![account]).await.unwrap();
    world.send("a", &send(to("b"), "1", "x")).await.unwrap();
    world.create("a", "g", &["b"]).await.unwrap();
    assert_eq!(world.change("a", "g", &["c"], &[]).await, Err(Code::NoSuchUser));
    assert_eq!(world.timeline("b").await, ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_payload_has_its_maximum() {
    let mut world = World::new().await;
    let of_len = |len: u32| SendMsg { payload: vec![7; len as usize].into(), ..send(to("b"), "1", "") };
    assert_eq!(world.send("a", &of_len(PAYLOAD_LEN_MAX + 1)).await, Err(Code::TooLarge));
    world.tells_nobody().await;
    assert_eq!(world.send("a", &of_len(PAYLOAD_LEN_MAX)).await.unwrap().seq, Seq(1));
    let bad: Result<SendAck, _> = world.call("a", Command::SendMsg, &Empty {}).await;
    assert_eq!(bad, Err(Code::BadBody));
    let unknown: Result<Empty, _> = world.call("a", Command::Unknown(99), &Empty {}).await;
    assert_eq!(unknown, Err(Code::UnknownCommand));
}

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_same_places_and_nobody_is_told_twice() {
    let mut world = World::new().await;
    world.create("a", "g", &["b"]).await.unwrap();
    for target in [to("b"), to_group("g"), to("a")] {
        let id = format!("{target:?}").replace(['(', ')', '"', ' '], "-");
        let first = world.send("a", &send(target.clone(), &id, "once")).await.unwrap();
        world.pushed().await;
        tokio::time::advance(Duration::from_millis(50)).await;
        let again = world.send("a", &send(target.clone(), &id, "once")).await.unwrap();
        assert_eq!(again, SendAck { repeated: true, ..first });
        assert_eq!(world.send("a", &send(target, &id, "other")).await, Err(Code::IdReused));
        assert_eq!(world.send("a", &send(to("c"), &id, "once")).await, Err(Code::IdReused));
        world.tells_nobody().await;
    }
    // Another sender's ids are its own.
    let ack = world.send("b", &send(to("a"), "1", "mine")).await.unwrap();
    assert!(!ack.repeated);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_one_and_the_same_send_is_stored_once() {
    let mut world = World::new().await;
    for _ in 0..100 {
        world.ask("a", "phone", Command::SendMsg, &send(to("b"), "1", "once"));
    }
    let mut first = 0;
    for _ in 0..100 {
        let ack: SendAck = world.answered().await.1.unwrap();
        assert_eq!((ack.seq, ack.position, ack.receiver_seq), (Seq(1), at(1), Seq(1)));
        first += usize::from(!ack.repeated);
    }
    assert_eq!(first, 1);
    world.pushed().await;
    world.tells_nobody().await;
}

/// Many senders at once, each with many sends under way, to users and to groups whose members are
/// not remembered yet: each sender's own timeline shows its sends in the order in which it sent.
#[tokio::test(start_paused = true)]
async fn pipelined_sends_of_a_client_keep_their_order() {
    const SENDERS: usize = 20;
    const SENDS: usize = 60;
    let mut world = World::new().await;
    for g in 0..6 {
        let names: Vec<_> = (0..SENDERS).map(|n| format!("s{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        world.create("s0", &format!("g{g}"), &names).await.unwrap();
    }
    let mut sent: HashMap<String, Vec<String>> = HashMap::new();
    for n in 0..SENDS {
        for s in 0..SENDERS {
            let (who, text) = (format!("s{s}"), format!("s{s} {n}"));
            // Every third one goes to a group, each of which is asked for the first time by somebody.
            let target =
                if n % 3 == 0 { to_group(&format!("g{}", (n / 3 + s) % 6)) } else { to(&format!("r{}", n % 7)) };
            world.ask(&who, "phone", Command::SendMsg, &send(target, &format!("m{n}"), &text));
            sent.entry(who).or_default().push(text);
        }
    }
    for _ in 0..SENDS * SENDERS {
        let (_, ack) = world.answered::<SendAck>().await;
        ack.unwrap();
    }
    for (who, sent) in sent {
        let timeline = world.timeline(&who).await;
        let own: Vec<_> = timeline.iter().filter(|text| text.starts_with(&format!("{who} "))).cloned().collect();
        assert_eq!(own, sent, "the order of {who}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stopped_service_has_acked_is_stored() {
    const SENDS: u64 = 50;
    let mut world = World::new().await;
    for n in 0..SENDS {
        world.ask("a", "phone", Command::SendMsg, &send(to("b"), &format!("m{n}"), "x"));
    }
    // Long enough for all to be taken, too short for the fsync that answers them.
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.service.stop().await;
    assert!(world.store.head(&user("a")).await.is_err(), "the store is closed last");
    let reopened = MemoryStore::open(&world.disk);
    assert_eq!(reopened.head(&user("a")).await.unwrap().head, Seq(SENDS));
    assert_eq!(reopened.head(&user("b")).await.unwrap().head, Seq(SENDS));
}

#[tokio::test(start_paused = true)]
async fn nobody_but_the_server_writes_system_messages() {
    let mut world = World::new().await;
    let forged = SendMsg { content_type: ContentType::System, ..send(to("b"), "1", "b was removed by the owner") };
    assert_eq!(world.send("a", &forged).await, Err(Code::NotAllowed));
    assert_eq!(world.timeline("b").await, [] as [&str; 0]);
}
