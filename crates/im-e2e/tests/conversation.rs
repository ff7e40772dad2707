//! Four people with accounts talk through three processes: live, from a fresh device, and in the
//! histories they see what they should.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use im_client::accounts::Accounts;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::person::Person;
use im_proto::client::{Entry, Message};
use im_proto::{ConversationId, GroupId, Seq, Target, UserId};

const GROUP: &str = "group_a";

/// Who says what to whom, in this order.
const SCRIPT: [(&str, &str, &str); 5] = [
    ("a", "b", "吃了吗？"),
    ("b", "a", "吃了"),
    ("a", GROUP, "大家好"),
    ("c", GROUP, "报三围"),
    ("a", GROUP, "初次见面，多多指教"),
];

/// What each of them sees.
const TIMELINES: [(&str, &[usize]); 4] =
    [("a", &[0, 1, 2, 3, 4]), ("b", &[0, 1]), ("c", &[2, 3, 4]), ("d", &[2, 3, 4])];

#[tokio::test]
async fn four_people_talk_through_three_processes() {
    let cluster = Cluster::start(Plan::default()).await.unwrap();
    let accounts = Accounts::new(cluster.accounts().unwrap().to_string());
    let (mut tokens, mut live) = (BTreeMap::new(), BTreeMap::new());
    for (user, _) in TIMELINES {
        let login = accounts.register(user, "correct horse battery staple").await.unwrap();
        let person = Person::connect_with(&cluster, user, "laptop", login.access_token.clone()).await.unwrap();
        tokens.insert(user, login.access_token);
        live.insert(user, person);
    }
    let members = ["a", "c", "d"].map(|user| UserId::new(user).unwrap()).to_vec();
    live["a"].client().create_group(GroupId::new(GROUP).unwrap(), "Group A".into(), members).await.unwrap();
    for (number, (from, to, text)) in SCRIPT.into_iter().enumerate() {
        live[from].say(&target(to), &format!("line-{number}"), text).await.unwrap();
    }

    for (user, lines) in TIMELINES {
        check(user, &live[user].wait_entries(lines.len()).await.unwrap(), lines);
        let fresh = Person::connect_with(&cluster, user, "telephone", tokens[user].clone()).await.unwrap();
        check(user, &fresh.synced().await.unwrap(), lines);
        fresh.close().await.unwrap();
    }
    let user = |user: &str| UserId::new(user).unwrap();
    for (reader, pair) in [("a", ("a", "b")), ("b", ("b", "a"))] {
        let conversation = ConversationId::pair(&user(pair.0), &user(pair.1));
        check_history(&live[reader].history(&conversation).await.unwrap(), &[0, 1]);
    }
    let group = ConversationId::group(&GroupId::new(GROUP).unwrap());
    check_history(&live["d"].history(&group).await.unwrap(), &[2, 3, 4]);
    live["b"].history(&group).await.expect_err("b is not a member and reads nothing");

    // Nothing came twice or late.
    for (user, lines) in TIMELINES {
        let journal = live.remove(user).unwrap().close().await.unwrap();
        check(user, &journal.entries, lines);
    }
    assert_eq!(cluster.finish().await.unwrap(), SCRIPT.len() as u64);
}

fn target(name: &str) -> Target {
    if name == GROUP { Target::Group(GroupId::new(name).unwrap()) } else { Target::User(UserId::new(name).unwrap()) }
}

fn check(user: &str, entries: &[Entry], lines: &[usize]) {
    let seen: Vec<_> = entries.iter().map(|entry| (entry.seq, said(&entry.message))).collect();
    assert_eq!(seen, expected(lines), "the timeline of {user}");
}

fn check_history(messages: &[Message], lines: &[usize]) {
    let seen: Vec<_> = messages.iter().map(|message| (message.seq, said(message))).collect();
    assert_eq!(seen, expected(lines));
}

fn expected(lines: &[usize]) -> Vec<(Seq, (String, String))> {
    let line = |line: &usize| (SCRIPT[*line].0.to_owned(), SCRIPT[*line].2.to_owned());
    lines.iter().zip(1..).map(|(number, seq)| (Seq(seq), line(number))).collect()
}

fn said(message: &Message) -> (String, String) {
    (message.sender.to_string(), String::from_utf8(message.payload.to_vec()).unwrap())
}
