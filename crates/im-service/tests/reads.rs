//! Pulls, histories, read positions, the list of conversations.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{EPOCH, World, at, send, session, to, to_group, user, users};
use im_proto::client::{
    Command, ConversationPage, ConversationSummary, Direction, Empty, GetHistory, GetMsg, HeartBeatAck, HistoryPage,
    ListConversations, MsgPage, ReadMsg, RevReadMsg, RevSignal, Signal, SignalKind,
};
use im_proto::{ConversationId, Epoch, Position, RefusalCode as Code, Seq};
use im_service::Retention;
use im_timeline::Table;
use tokio::time::sleep;

fn pair(a: &str, b: &str) -> ConversationId {
    ConversationId::pair(&user(a), &user(b))
}

async fn fill(world: &mut World, from: &str, to_user: &str, count: usize) {
    for n in 0..count {
        world.send(from, &send(to(to_user), &format!("{from}-{to_user}-{n}"), &format!("{n}"))).await.unwrap();
    }
}

async fn read(world: &mut World, who: &str, conversation: &ConversationId, seq: u64) -> Result<Empty, Code> {
    world.call(who, Command::ReadMsg, &ReadMsg { conversation: conversation.clone(), seq: Seq(seq) }).await
}

async fn list(world: &mut World, who: &str) -> Vec<ConversationSummary> {
    let page: ConversationPage =
        world.call(who, Command::ListConversations, &ListConversations { after: None, limit: 0 }).await.unwrap();
    assert!(!page.has_more);
    page.conversations
}

async fn summary(world: &mut World, who: &str, conversation: &ConversationId) -> ConversationSummary {
    let list = list(world, who).await;
    list.into_iter().find(|summary| summary.conversation == *conversation).expect("it is in the list")
}

#[tokio::test(start_paused = true)]
async fn pages_are_dense_and_end_where_the_head_is() {
    let mut world = World::new().await;
    let page = world.pull("b", at(0), 10).await.unwrap();
    assert_eq!((page.head, page.floor, page.entries.len(), page.has_more), (at(0), Seq(0), 0, false));
    fill(&mut world, "a", "b", 25).await;
    let heartbeat: HeartBeatAck = world.call("b", Command::HeartBeat, &Empty {}).await.unwrap();
    assert_eq!(heartbeat.head, Some(at(25)));
    for limit in [1, 7, 25, 30, 200, u16::MAX] {
        let (mut after, mut seen) = (0, 0);
        loop {
            let page = world.pull("b", at(after), limit).await.unwrap();
            assert_eq!(page.head, at(25));
            assert!(page.entries.len() <= usize::from(limit));
            for entry in &page.entries {
                seen += 1;
                assert_eq!(entry.seq, Seq(seen));
                assert_eq!(entry.message.payload, (seen - 1).to_string().as_bytes());
            }
            after = seen;
            assert_eq!(page.has_more, seen < 25);
            if !page.has_more {
                break;
            }
            assert!(!page.entries.is_empty());
        }
        assert_eq!(seen, 25);
    }
    let page = world.pull("b", at(25), 10).await.unwrap();
    assert_eq!((page.entries.len(), page.has_more), (0, false));
}

#[tokio::test(start_paused = true)]
async fn a_position_that_cannot_be_is_told_so() {
    let mut world = World::new().await;
    fill(&mut world, "a", "b", 3).await;
    assert_eq!(world.pull("b", at(4), 10).await, Err(Code::BadPosition));
    assert_eq!(world.pull("nobody", at(1), 10).await, Err(Code::BadPosition));
    // A position of another life of the store: this life's head, and nothing else.
    for seq in [1, 3, 1000] {
        let page = world.pull("b", Position { epoch: Epoch(2), seq: Seq(seq) }, 10).await.unwrap();
        assert_eq!(page, MsgPage { head: at(3), floor: Seq(0), entries: Vec::new(), has_more: true });
    }
    // No position yet: from the beginning, whatever the number.
    let page = world.pull("b", Position::default(), 10).await.unwrap();
    assert_eq!((page.head.epoch, page.entries.len()), (EPOCH, 3));
}

#[tokio::test(start_paused = true)]
async fn rows_go_when_every_device_has_them_and_not_before() {
    let retention = Retention { trim_when_fetched: true, ..Retention::default() };
    let mut world = World::with(|config| config.retention = retention).await;
    fill(&mut world, "a", "b", 10).await;
    let pull = |seq: u64| GetMsg { after: at(seq), limit: 5 };
    for (device, seq, floor) in
        [("phone", 0, 0), ("phone", 3, 3), ("desk", 0, 3), ("phone", 8, 3), ("desk", 7, 7), ("desk", 9, 8)]
    {
        let page: Result<MsgPage, _> = world.call_from("b", device, Command::GetMsg, &pull(seq)).await;
        page.unwrap();
        sleep(Duration::from_secs(3)).await;
        let head = world.store.head(&user("b")).await.unwrap();
        assert_eq!(head.floor, Seq(floor), "after {device} has {seq}");
    }
    // Who comes with less gets what is left, and is told where that begins.
    let page: MsgPage = world.call_from("b", "new", Command::GetMsg, &pull(0)).await.unwrap();
    assert_eq!((page.floor, page.entries[0].seq), (Seq(8), Seq(9)));
    assert_eq!(world.store.head(&user("a")).await.unwrap().floor, Seq(0));
    let history = GetHistory { conversation: pair("a", "b"), from: Seq(0), direction: Direction::Forward, limit: 50 };
    let history: HistoryPage = world.call("b", Command::GetHistory, &history).await.unwrap();
    assert_eq!(history.messages.len(), 10, "histories keep what timelines forget");
}

#[tokio::test(start_paused = true)]
async fn rows_stay_where_fetching_does_not_trim() {
    let mut world = World::new().await;
    fill(&mut world, "a", "b", 10).await;
    world.pull("b", at(10), 5).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.store.head(&user("b")).await.unwrap().floor, Seq(0));
    let record = world.store.record(Table::Fetched, "b\0phone").await.unwrap();
    assert_eq!(record.as_deref(), Some(&10u64.to_be_bytes()[..]));
}

#[tokio::test(start_paused = true)]
async fn a_history_is_for_those_who_are_part_of_it() {
    let mut world = World::new().await;
    fill(&mut world, "a", "b", 12).await;
    world.create("a", "g", &["b"]).await.unwrap();
    world.send("a", &send(to_group("g"), "g1", "in the group")).await.unwrap();
    let get = |conversation: ConversationId, from: u64, direction, limit| GetHistory {
        conversation,
        from: Seq(from),
        direction,
        limit,
    };
    let group = ConversationId::group(&common::group_id("g"));
    for (who, conversation, code) in [
        ("c", pair("a", "b"), Code::NotAMember),
        ("c", group.clone(), Code::NotAMember),
        ("a", ConversationId::group(&common::group_id("none")), Code::NoSuchGroup),
    ] {
        let refused: Result<HistoryPage, _> =
            world.call(who, Command::GetHistory, &get(conversation.clone(), 0, Direction::Forward, 5)).await;
        assert_eq!(refused, Err(code), "{who} {conversation}");
        assert_eq!(read(&mut world, who, &conversation, 0).await, Err(code), "{who} {conversation}");
    }
    for (from, direction, limit, seqs, more) in [
        (0, Direction::Forward, 5, (1..=5).collect::<Vec<u64>>(), true),
        (10, Direction::Forward, 5, vec![11, 12], false),
        (0, Direction::Backward, 3, vec![12, 11, 10], true),
        (3, Direction::Backward, 5, vec![2, 1], false),
    ] {
        let page: HistoryPage =
            world.call("b", Command::GetHistory, &get(pair("a", "b"), from, direction, limit)).await.unwrap();
        assert_eq!(page.messages.iter().map(|message| message.seq.0).collect::<Vec<_>>(), seqs);
        assert_eq!((page.head, page.has_more), (Seq(12), more));
    }
    let page: HistoryPage = world.call("b", Command::GetHistory, &get(group, 0, Direction::Forward, 5)).await.unwrap();
    assert_eq!(page.messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn read_positions_rise_and_never_pass_the_head() {
    let mut world = World::new().await;
    fill(&mut world, "a", "b", 5).await;
    world.create("a", "g", &["b", "c"]).await.unwrap();
    world.send("a", &send(to_group("g"), "g1", "x")).await.unwrap();
    world.forget_told().await;
    let conversation = pair("a", "b");
    assert_eq!(read(&mut world, "b", &conversation, 6).await, Err(Code::BadPosition));
    read(&mut world, "b", &conversation, 4).await.unwrap();
    read(&mut world, "b", &conversation, 2).await.unwrap();
    // The route has told the peer of a conversation of two already.
    world.tells_nobody().await;
    let seen = summary(&mut world, "b", &conversation).await;
    assert_eq!((seen.read_seq, seen.unread, seen.head), (Seq(4), 1, Seq(5)));
    let group = ConversationId::group(&common::group_id("g"));
    read(&mut world, "b", &group, 1).await.unwrap();
    let (relay, told) = world.relayed::<RevReadMsg>(Command::RevReadMsg).await;
    assert_eq!((relay.users, relay.except), (users(&["a", "b", "c"]), Some(session("b"))));
    assert_eq!(told, RevReadMsg { conversation: group, reader: user("b"), seq: Seq(1) });
}

#[tokio::test(start_paused = true)]
async fn own_messages_are_not_unread_and_a_long_tail_counts_whole() {
    let mut world = World::new().await;
    fill(&mut world, "a", "b", 3).await;
    fill(&mut world, "b", "a", 2).await;
    fill(&mut world, "a", "b", 0).await;
    let conversation = pair("a", "b");
    assert_eq!(summary(&mut world, "a", &conversation).await.unread, 2);
    assert_eq!(summary(&mut world, "b", &conversation).await.unread, 3);
    read(&mut world, "b", &conversation, 5).await.unwrap();
    assert_eq!(summary(&mut world, "b", &conversation).await.unread, 0);
    // 150 of the peer, then 50 of b's own behind them: the first 100 are looked at one by one.
    for n in 0..150 {
        world.send("a", &send(to("b"), &format!("x{n}"), "x")).await.unwrap();
    }
    for n in 0..50 {
        world.send("b", &send(to("a"), &format!("y{n}"), "y")).await.unwrap();
    }
    assert_eq!(summary(&mut world, "b", &conversation).await.unread, 200);
    read(&mut world, "b", &conversation, 105).await.unwrap();
    assert_eq!(summary(&mut world, "b", &conversation).await.unread, 50);
}

#[tokio::test(start_paused = true)]
async fn the_list_merges_pairs_and_groups_page_by_page() {
    let mut world = World::new().await;
    let mut expected = Vec::new();
    for n in 0..9 {
        let peer = format!("p{n}");
        world.send("m", &send(to(&peer), &format!("to-{peer}"), &format!("to {peer}"))).await.unwrap();
        expected.push(pair("m", &peer));
        // Some groups sort before the pairs, some between, some behind.
        let group = ["a", "m", "p", "z"][n % 4].to_owned() + &n.to_string();
        world.create("m", &group, &["p1"]).await.unwrap();
        expected.push(ConversationId::group(&common::group_id(&group)));
    }
    world.send("x", &send(to("y"), "1", "of others")).await.unwrap();
    world.send("m", &send(to("m"), "note", "note")).await.unwrap();
    expected.push(pair("m", "m"));
    expected.sort();
    for limit in [1, 2, 5, 19, 20, 0] {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page: ConversationPage =
                world.call("m", Command::ListConversations, &ListConversations { after, limit }).await.unwrap();
            seen.extend(page.conversations.into_iter().map(|summary| summary.conversation));
            assert_eq!(page.has_more, seen.len() < expected.len(), "limit {limit}, {} seen", seen.len());
            if !page.has_more {
                break;
            }
            after = seen.last().cloned();
        }
        assert_eq!(seen, expected, "limit {limit}");
    }
    let row = summary(&mut world, "p1", &pair("m", "p1")).await;
    assert_eq!((row.name.as_str(), row.head, row.unread), ("", Seq(1), 1));
    assert_eq!(&row.last.unwrap().payload[..], b"to p1");
    let row = summary(&mut world, "p1", &ConversationId::group(&common::group_id("m1"))).await;
    assert_eq!((row.name.as_str(), row.head, row.last), ("the m1", Seq(0), None));
    assert!(list(&mut world, "nobody").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_groups_signal_reaches_the_other_members() {
    let mut world = World::new().await;
    world.create("a", "g", &["b", "c"]).await.unwrap();
    let signal = Signal { to: to_group("g"), kind: SignalKind::Typing, payload: b"...".to_vec().into() };
    world.call::<Empty>("b", Command::Signal, &signal).await.unwrap();
    let (relay, told) = world.relayed::<RevSignal>(Command::RevSignal).await;
    assert_eq!((relay.users, relay.except), (users(&["a", "c"]), Some(session("b"))));
    assert_eq!((told.sender, told.conversation.as_str()), (user("b"), "g"));
    assert_eq!(world.call::<Empty>("x", Command::Signal, &signal).await, Err(Code::NotAMember));
    world.tells_nobody().await;
    assert!(world.timeline("a").await.is_empty(), "a signal is not stored");
}

#[tokio::test(start_paused = true)]
async fn having_read_nothing_leaves_no_row() {
    let mut world = World::new().await;
    for n in 0..3 {
        read(&mut world, "a", &pair("a", &format!("nobody{n}")), 0).await.unwrap();
    }
    let rows = world.store.records(Table::Read, "", "", 10).await.unwrap();
    assert!(rows.records.is_empty(), "{:?}", rows.records);
}
