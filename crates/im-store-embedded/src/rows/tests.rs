#![allow(clippy::unwrap_used)]

use super::*;

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const UUID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

fn message(conversation: &ConversationId, sender: &str, id: &str) -> Message {
    Message {
        conversation: conversation.clone(),
        seq: Seq(7),
        sender: user(sender),
        client_msg_id: ClientMsgId::new(id).unwrap(),
        time_ms: 1_700_000_000_123,
        content_type: ContentType::Image,
        payload: Bytes::from_static(b"hi"),
    }
}

fn encode(message: &Message) -> Vec<u8> {
    let mut out = vec![0xEE];
    HistoryRow {
        conversation: &message.conversation,
        sender: &message.sender,
        client_msg_id: &message.client_msg_id,
        time_ms: message.time_ms,
        content_type: message.content_type,
        payload: &message.payload,
    }
    .encode(&mut out);
    out
}

fn pair() -> ConversationId {
    ConversationId::pair(&user("al"), &user("bo"))
}

#[test]
fn golden_keys() {
    let mut key = KeyBuf::default();
    let cases = [
        (hex(key.history(&pair(), Seq(1))), "68616c3a626f000101"),
        (hex(key.history(&pair(), Seq(0x1234))), "68616c3a626f00021234"),
        (hex(key.entry(&user("al"), Seq(u64::MAX))), "74616c0008ffffffffffffffff"),
        (hex(key.floor(&user("al"))), "74616c00"),
        (hex(key.sent(&user("al"), &ClientMsgId::new("m1").unwrap())), "73616c006d31"),
        (hex(key.sent(&user("al"), &ClientMsgId::new(UUID).unwrap())), "73616c00010190163d8694739baea5966c26f8ad91"),
        (hex(key.record(Table::Member, "a\0b")), "7204610062"),
        (hex(&epoch_key()), "6d65706f6368"),
    ];
    for (got, golden) in cases {
        assert_eq!(got, golden);
    }
}

#[test]
fn golden_values() {
    let group = ConversationId::group(&im_proto::GroupId::new("g").unwrap());
    let cases = [
        (hex(&encode(&message(&pair(), "al", "m1"))), "10026d31fbd095ffbc31026869"),
        (hex(&encode(&message(&pair(), "bo", UUID))), "11000190163d8694739baea5966c26f8ad91fbd095ffbc31026869"),
        (hex(&encode(&message(&group, "al", "m1"))), "1202616c026d31fbd095ffbc31026869"),
        (hex(&encode_floor(Seq(300))), "10ac02"),
    ];
    for (got, golden) in cases {
        assert_eq!(got, golden);
    }
    let mut out = Vec::new();
    EntryRow::encode(&user("bo"), &pair(), Seq(5), 300, &mut out);
    assert_eq!(hex(&out), "1002616c05ac02");
    EntryRow::encode(&user("bo"), &group, Seq(5), 300, &mut out);
    assert_eq!(hex(&out), "11016705ac02");
    sent().encode(&user("al"), &mut out);
    assert_eq!(hex(&out), "1002626f010203ac02");
}

fn sent() -> SentRow {
    SentRow { conversation: pair(), seq: Seq(1), sender_seq: Seq(2), receiver_seq: Seq(3), time_ms: 300 }
}

#[test]
fn values_come_back() {
    let group = ConversationId::group(&im_proto::GroupId::new("g").unwrap());
    let notebook = ConversationId::pair(&user("al"), &user("al"));
    for conversation in [pair(), group, notebook] {
        for sender in ["al", "bo", "somebody-else"] {
            for id in ["m1", UUID, "0190163D-8694-739B-AEA5-966C26F8AD91", &"x".repeat(64)] {
                let message = message(&conversation, sender, id);
                assert_eq!(HistoryRow::decode(conversation.clone(), Seq(7), &encode(&message)), Ok(message));
            }
            let mut out = Vec::new();
            EntryRow::encode(&user(sender), &conversation, Seq(5), 300, &mut out);
            let row = EntryRow { conversation: conversation.clone(), conversation_seq: Seq(5), time_ms: 300 };
            assert_eq!(EntryRow::decode(&user(sender), &out), Ok(row));
            let row = SentRow { conversation: conversation.clone(), ..sent() };
            row.encode(&user(sender), &mut out);
            assert_eq!(SentRow::decode(&user(sender), &out), Ok(row));
        }
    }
}

#[test]
fn keys_come_back() {
    let mut key = KeyBuf::default();
    let id = |text: &str| ClientMsgId::new(text).unwrap();
    for seq in [1, 255, 256, 65_535, 65_536, u64::MAX] {
        let seq = Seq(seq);
        assert_eq!(Key::decode(key.history(&pair(), seq)), Ok(Key::History(pair(), seq)));
        assert_eq!(Key::decode(key.entry(&user("al"), seq)), Ok(Key::Entry(user("al"), seq)));
        assert_eq!(seq_of(key.entry(&user("al"), seq), 4), Ok(seq));
    }
    assert_eq!(Key::decode(key.floor(&user("al"))), Ok(Key::Floor(user("al"))));
    for text in ["m1", UUID, "0190163D-8694-739B-AEA5-966C26F8AD91"] {
        assert_eq!(Key::decode(key.sent(&user("al"), &id(text))), Ok(Key::Sent(user("al"), id(text))));
    }
    for table in Table::ALL {
        assert_eq!(Key::decode(key.record(table, "k\0é")), Ok(Key::Record(table, "k\0é".to_owned())));
    }
}

/// Every shorter row is damage, told and not a panic, except where a payload just gets shorter.
#[test]
fn cut_rows_are_damage() {
    let row = encode(&message(&pair(), "al", UUID));
    for len in 0..row.len() - 2 {
        assert!(matches!(HistoryRow::decode(pair(), Seq(7), &row[..len]), Err(StoreError::Damaged(_))), "{len}");
    }
    let mut row = Vec::new();
    sent().encode(&user("al"), &mut row);
    for len in 0..row.len() {
        assert!(matches!(SentRow::decode(&user("al"), &row[..len]), Err(StoreError::Damaged(_))), "{len}");
    }
    row.push(0);
    assert!(SentRow::decode(&user("al"), &row).is_err(), "bytes behind the end");
    row[0] = 0x20;
    assert!(SentRow::decode(&user("al"), &row).is_err(), "an unknown row format");
}

#[test]
fn keys_sort_as_their_numbers_do() {
    let numbers = [0, 1, 2, 127, 128, 255, 256, 257, 65_535, 65_536, 1 << 24, 1 << 32, 1 << 56, u64::MAX];
    let keys: Vec<Vec<u8>> =
        numbers.iter().map(|&number| KeyBuf::default().entry(&user("al"), Seq(number)).to_vec()).collect();
    assert!(keys.is_sorted());
    let range = KeyRange::timeline(&user("al"));
    for key in &keys {
        assert!(*key >= range.start && *key < range.end);
    }
}

/// A user whose id begins like another's has rows of its own.
#[test]
fn ranges_of_users_do_not_touch() {
    let range = KeyRange::timeline(&user("al"));
    let mut key = KeyBuf::default();
    for other in ["a", "ala", "al ", "am", "al\u{a0}"] {
        for seq in [1, u64::MAX] {
            let key = key.entry(&user(other), Seq(seq));
            assert!(key < &range.start[..] || key >= &range.end[..], "{other:?}");
        }
    }
}
