//! Ids are valid where they exist: any text is an id exactly when the rules hold, and a conversation
//! has one spelling.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use im_proto::{ClientMsgId, ConversationId, DeviceId, GroupId, IdError, Seq, Target, UserId};
use proptest::prelude::*;
use proto_codec::{Codec, Decode, DecodeError, Encode};

fn encode(value: &(impl Encode + ?Sized)) -> Bytes {
    let mut out = BytesMut::new();
    value.encode(&mut out);
    out.freeze()
}

fn decode<M: Decode>(bytes: &Bytes) -> Result<M, DecodeError> {
    Codec::Binary.decode("test", bytes)
}

fn user(text: &str) -> UserId {
    UserId::new(text).unwrap()
}

/// The rules once more, in other words than the code's.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.chars().all(|c| !(c == ':' || c <= '\u{1f}' || ('\u{7f}'..='\u{9f}').contains(&c)))
}

/// Text near the edges of the rules.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,70}",
        "[a-c:]{0,6}",
        "[é😀\u{0}\u{1f} \u{7e}\u{7f}\u{80}\u{9f}\u{a0}]{0,8}",
        "[a-z]{60,70}",
        "[吃了吗]{20,23}",
    ]
}

fn id() -> impl Strategy<Value = UserId> {
    "[a-zA-Z0-9é吃_.@ -]{1,8}".prop_map(|text| user(&text))
}

proptest! {
    #[test]
    fn a_text_is_an_id_exactly_when_the_rules_hold(text in text()) {
        let valid = is_id(&text);
        prop_assert_eq!(UserId::new(&text).is_ok(), valid);
        prop_assert_eq!(GroupId::new(&text).is_ok(), valid);
        prop_assert_eq!(DeviceId::new(&text).is_ok(), valid);
        prop_assert_eq!(ClientMsgId::new(&text).is_ok(), valid);
        prop_assert_eq!(text.parse::<UserId>().is_ok(), valid);
        // The wire has the same rules as the constructor.
        let decoded = decode::<UserId>(&encode(&text));
        prop_assert_eq!(decoded.is_ok(), valid);
        if let Ok(id) = decoded {
            prop_assert_eq!(id.as_str(), &text);
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn a_text_is_a_conversation_exactly_when_its_parts_are_ids(text in text()) {
        let parts: Vec<_> = text.split(':').collect();
        let valid = parts.len() <= 2 && parts.iter().all(|part| is_id(part));
        prop_assert_eq!(ConversationId::new(&text).is_ok(), valid);
        let in_order = valid && parts.is_sorted();
        prop_assert_eq!(decode::<ConversationId>(&encode(&text)).is_ok(), in_order);
    }

    #[test]
    fn a_pair_is_the_same_from_both_ends(a in id(), b in id()) {
        let pair = ConversationId::pair(&a, &b);
        prop_assert_eq!(&pair, &ConversationId::pair(&b, &a));
        prop_assert_eq!(&pair, &ConversationId::new(format!("{a}:{b}")).unwrap());
        prop_assert_eq!(&pair, &ConversationId::new(format!("{b}:{a}")).unwrap());
        prop_assert_eq!(decode::<ConversationId>(&encode(&pair)), Ok(pair.clone()));

        let (smaller, bigger) = pair.users().unwrap();
        prop_assert!(smaller.as_str().as_bytes() <= bigger.as_str().as_bytes());
        prop_assert_eq!(pair.peer_of(&a), Some(b.clone()));
        prop_assert_eq!(pair.peer_of(&b), Some(a.clone()));
        prop_assert_eq!(pair.as_group(), None);
        prop_assert_eq!(Target::User(b.clone()).conversation(&a), pair);
    }
}

#[test]
fn each_broken_rule_is_named() {
    assert_eq!(UserId::new(""), Err(IdError::Empty));
    assert_eq!(UserId::new("x".repeat(65)), Err(IdError::TooLong));
    assert_eq!(UserId::new("吃".repeat(22)), Err(IdError::TooLong), "bytes count, not characters");
    assert_eq!(UserId::new("a:b"), Err(IdError::Colon));
    assert_eq!(UserId::new("a\nb"), Err(IdError::Control));
    assert!(UserId::new("x".repeat(64)).is_ok());
    assert_eq!(ConversationId::new("a:b:c"), Err(IdError::Colon));
    assert_eq!(ConversationId::new(":"), Err(IdError::Empty));
    assert_eq!(ConversationId::new(format!("{}:b", "x".repeat(65))), Err(IdError::TooLong));
}

#[test]
fn the_longest_conversation_fits_on_the_wire() {
    let pair = ConversationId::pair(&user(&"a".repeat(64)), &user(&"b".repeat(64)));
    assert_eq!(pair.as_str().len(), 129);
    assert_eq!(decode::<ConversationId>(&encode(&pair)), Ok(pair));
}

#[test]
fn a_notebook_is_a_conversation_with_oneself() {
    let me = user("me");
    let notebook = ConversationId::pair(&me, &me);
    assert_eq!(notebook.as_str(), "me:me");
    assert_eq!(notebook.peer_of(&me), Some(me.clone()));
    assert_eq!(notebook.peer_of(&user("you")), None);
    assert_eq!(notebook.users(), Some((me.clone(), me)));
    assert_eq!(decode::<ConversationId>(&encode(&notebook)), Ok(notebook));
}

#[test]
fn a_group_has_no_peer() {
    let group = GroupId::new("lunch").unwrap();
    let conversation = ConversationId::group(&group);
    assert_eq!(conversation.as_group(), Some(group.clone()));
    assert_eq!((conversation.users(), conversation.peer_of(&user("lunch"))), (None, None));
    assert_eq!(Target::Group(group).conversation(&user("a")), conversation);
}

#[test]
fn a_stranger_has_no_peer_in_a_pair() {
    assert_eq!(ConversationId::pair(&user("a"), &user("b")).peer_of(&user("c")), None);
}

#[test]
fn the_wrong_order_is_refused_on_the_wire_alone() {
    let refusal = DecodeError::BadValue { what: "ConversationId", why: "the smaller user id comes first" };
    assert_eq!(decode::<ConversationId>(&encode("b:a")), Err(refusal));
    assert_eq!(ConversationId::new("b:a").unwrap().as_str(), "a:b", "a person may write it either way");
}

#[test]
fn places_follow_each_other() {
    assert_eq!(Seq::ZERO.next(), Seq(1));
    assert!(Seq(9) < Seq(10), "places compare as numbers");
}
