#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use im_proto::client::ContentType;
use im_proto::{Epoch, GroupId};

use super::*;
use crate::{Disk, MemoryStore, Record, Table};

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn pair() -> ConversationId {
    ConversationId::pair(&user("a"), &user("b"))
}

fn group() -> ConversationId {
    ConversationId::group(&GroupId::new("g").unwrap())
}

fn message(conversation: ConversationId, seq: u64) -> DumpRow {
    DumpRow::Message(Message {
        client_msg_id: id(&conversation, seq),
        conversation,
        seq: Seq(seq),
        sender: user("a"),
        time_ms: seq,
        content_type: ContentType::Text,
        payload: Bytes::from_static(b"hello"),
    })
}

fn id(conversation: &ConversationId, seq: u64) -> ClientMsgId {
    ClientMsgId::new(format!("{}-{seq}", conversation.as_str().len())).unwrap()
}

fn entry(name: &str, seq: u64, conversation: ConversationId, at: u64) -> DumpRow {
    DumpRow::Entry { user: user(name), seq: Seq(seq), conversation, conversation_seq: Seq(at), time_ms: at }
}

fn sent(conversation: ConversationId, seq: u64, sender_seq: u64, receiver_seq: u64) -> DumpRow {
    DumpRow::Sent {
        sender: user("a"),
        client_msg_id: id(&conversation, seq),
        conversation,
        seq: Seq(seq),
        sender_seq: Seq(sender_seq),
        receiver_seq: Seq(receiver_seq),
        time_ms: seq,
    }
}

/// Two messages of a pair and one of a group; b's timeline is trimmed up to its first place.
fn sound() -> Vec<DumpRow> {
    vec![
        message(pair(), 1),
        message(pair(), 2),
        message(group(), 1),
        DumpRow::Floor { user: user("b"), floor: Seq(1) },
        entry("a", 1, pair(), 1),
        entry("a", 2, pair(), 2),
        entry("a", 3, group(), 1),
        entry("b", 2, pair(), 2),
        entry("b", 3, group(), 1),
        sent(pair(), 1, 1, 1),
        sent(pair(), 2, 2, 2),
        sent(group(), 1, 3, 0),
        DumpRow::Record { table: Table::Service, record: Record { key: "k".into(), value: Bytes::new() } },
    ]
}

async fn checked(rows: Vec<DumpRow>) -> Report {
    let store = MemoryStore::open(&Disk::new(Epoch(1)));
    Store::load(&store, rows).await.unwrap();
    check(&store).await.unwrap()
}

/// What is found after one row of the sound ones was replaced, or removed.
async fn findings(remove: DumpRow, add: impl IntoIterator<Item = DumpRow>) -> Vec<Finding> {
    let mut rows = sound();
    let at = rows.iter().position(|row| *row == remove).expect("the row is one of the sound ones");
    rows.splice(at..=at, add);
    checked(rows).await.findings
}

#[tokio::test]
async fn a_sound_store_is_clean() {
    let report = checked(sound()).await;
    assert_eq!(report.findings, []);
    assert_eq!(report.rows, RowCounts { messages: 3, entries: 5, floors: 1, sent: 3, records: 1 });
    assert!(report.is_clean());
}

#[tokio::test]
async fn a_lost_message_is_found_from_every_side() {
    let gap = Finding::HistoryGap { conversation: pair(), expected: Seq(1), found: Seq(2) };
    let found = findings(message(pair(), 1), []).await;
    let entry =
        Finding::EntryWithoutMessage { user: user("a"), seq: Seq(1), conversation: pair(), conversation_seq: Seq(1) };
    let sent =
        Finding::SentOther { sender: user("a"), client_msg_id: id(&pair(), 1), conversation: pair(), seq: Seq(1) };
    assert_eq!(found, [gap, entry, sent]);
}

#[tokio::test]
async fn a_lost_entry_is_found() {
    let gap = Finding::TimelineGap { user: user("a"), expected: Seq(2), found: Seq(3) };
    let place = Finding::SentPlace { sender: user("a"), client_msg_id: id(&pair(), 2), user: user("a"), seq: Seq(2) };
    assert_eq!(findings(entry("a", 2, pair(), 2), []).await, [gap, place]);
    let start = Finding::TimelineStart { user: user("a"), first: Seq(2), floor: Seq::ZERO };
    let found = findings(entry("a", 1, pair(), 1), []).await;
    assert_eq!(found.last(), Some(&start));
}

#[tokio::test]
async fn a_lost_floor_is_found() {
    let floor = DumpRow::Floor { user: user("b"), floor: Seq(1) };
    let found = findings(floor, []).await;
    assert!(found.contains(&Finding::TimelineStart { user: user("b"), first: Seq(2), floor: Seq::ZERO }), "{found:?}");
}

#[tokio::test]
async fn wrong_places_of_an_idempotency_row_are_found() {
    let place = |name: &str, seq| Finding::SentPlace {
        sender: user("a"),
        client_msg_id: id(&pair(), 2),
        user: user(name),
        seq: Seq(seq),
    };
    let first = sent(pair(), 2, 2, 2);
    assert_eq!(findings(first.clone(), [sent(pair(), 2, 1, 2)]).await, [place("a", 1)]);
    assert_eq!(findings(first.clone(), [sent(pair(), 2, 9, 2)]).await, [place("a", 9)]);
    assert_eq!(findings(first.clone(), [sent(pair(), 2, 2, 3)]).await, [place("b", 3)]);
    assert_eq!(findings(first, [sent(pair(), 2, 2, 0)]).await, [place("b", 0)]);
    let receiver = Finding::SentReceiver { sender: user("a"), client_msg_id: id(&group(), 1), seq: Seq(3) };
    assert_eq!(findings(sent(group(), 1, 3, 0), [sent(group(), 1, 3, 3)]).await, [receiver]);
}

#[tokio::test]
async fn strangers_and_wrong_times_are_found() {
    let DumpRow::Message(mut stranger) = message(pair(), 2) else { unreachable!("a message was made") };
    stranger.sender = user("c");
    stranger.payload = Bytes::from(vec![0; PAYLOAD_LEN_MAX as usize + 1]);
    let found = findings(message(pair(), 2), [DumpRow::Message(stranger)]).await;
    let len = PAYLOAD_LEN_MAX as usize + 1;
    assert_eq!(
        found,
        [
            Finding::SenderNotPart { conversation: pair(), seq: Seq(2), sender: user("c") },
            Finding::PayloadTooLong { conversation: pair(), seq: Seq(2), len },
            Finding::SentOther { sender: user("a"), client_msg_id: id(&pair(), 2), conversation: pair(), seq: Seq(2) },
        ]
    );

    let mut rows = sound();
    rows.push(entry("c", 1, pair(), 1));
    let part = Finding::EntryNotPart { user: user("c"), seq: Seq(1), conversation: pair() };
    assert_eq!(checked(rows).await.findings, [part]);

    let wrong =
        DumpRow::Entry { user: user("b"), seq: Seq(3), conversation: group(), conversation_seq: Seq(1), time_ms: 77 };
    let time = Finding::EntryTime { user: user("b"), seq: Seq(3), time_ms: 77, message_ms: 1 };
    assert_eq!(time.to_string(), "entry 3 of b says 77 ms where its message says 1 ms");
    assert_eq!(findings(entry("b", 3, group(), 1), [wrong]).await, [time]);
}

#[tokio::test]
async fn a_report_has_a_bound() {
    let rows = (1..=FINDINGS_MAX as u64 + 5).map(|n| message(pair(), 2 * n)).collect();
    let report = checked(rows).await;
    assert_eq!((report.findings.len(), report.omitted), (FINDINGS_MAX, 5));
}
