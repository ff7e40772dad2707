//! kill -9 at random moments: what was acked is there, at its place, once; and every timeline is dense.
//!
//! The test runs itself as a child (the test named [`child`]), reads the acks that the child prints,
//! kills it, and opens the folder. `STORE_KILL_ROUNDS` asks for more rounds than the default.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_proto::client::{ContentType, Direction};
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};
use im_store_embedded::{EmbeddedStore, Options};
use im_timeline::{Append, HistoryRange, Store};

const DIR: &str = "STORE_KILL_DIR";
const OVERLAY: &str = "STORE_KILL_OVERLAY";
/// In turn: as it ships, so that a kill leaves everything in the log; and so small that rows are always
/// on their way into the tree.
const OVERLAY_BYTES: [usize; 2] = [64 * 1024 * 1024, 100_000];
const USERS: u64 = 8;
const SENDERS: u64 = 16;
const ROUNDS: u64 = 6;

fn user(number: u64) -> UserId {
    UserId::new(format!("u{number}")).unwrap()
}

/// The message of that sender and number: always the same, so that it can be sent again.
fn message(sender: u64, number: u64) -> Append {
    let (a, b) = (user(sender % USERS), user((sender + number) % USERS));
    let mut recipients = vec![a.clone()];
    if a != b {
        recipients.push(b.clone());
    }
    Append {
        conversation: ConversationId::pair(&a, &b),
        sender: a,
        client_msg_id: ClientMsgId::new(format!("{sender}-{number}")).unwrap(),
        time_ms: 1,
        content_type: ContentType::Text,
        payload: format!("{sender}-{number} {}", "x".repeat((number % 500) as usize)).into(),
        recipients: recipients.into(),
    }
}

/// Not a test of its own: the process that gets killed. Sends from where its sender stands and prints
/// `sender number seq sender_seq receiver_seq` for every ack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let overlay_bytes = std::env::var(OVERLAY).unwrap().parse().unwrap();
    let options = Options { overlay_bytes, ..Options::default() };
    let store = Arc::new(EmbeddedStore::open(dir, &options).unwrap());
    let mut tasks = Vec::new();
    for sender in 0..SENDERS {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            // From the first on: the ones that are there already come back as repeats.
            for number in 0.. {
                let placed = store.append(message(sender, number)).await.unwrap();
                let line =
                    format!("ack {sender} {number} {} {} {}\n", placed.seq, placed.sender_seq, placed.receiver_seq);
                // One write per line, so that a kill cannot mix two.
                if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

type Acks = BTreeMap<(u64, u64), [u64; 3]>;

#[test]
fn acked_messages_survive_kill_9() {
    let rounds = std::env::var("STORE_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let mut acks = Acks::new();
    // Any odd multiplier spreads the moments; the seed is the process, printed when something fails.
    let mut random = u64::from(std::process::id()) | 1;
    println!("seed {random}");
    for round in 0..rounds as usize {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let more = 50 + (random >> 33) % 2_000;
        run_and_kill(home.path(), OVERLAY_BYTES[round % 2], more, &mut acks);
        check(home.path(), &acks);
    }
    assert!(!acks.is_empty());
}

/// Lets a child run until it has acked `more` messages, then kills it in the middle of whatever it does.
fn run_and_kill(dir: &Path, overlay_bytes: usize, more: u64, acks: &mut Acks) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(OVERLAY, overlay_bytes.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let begin = Instant::now();
    let mut fresh = 0;
    let mut killed = false;
    // After the kill the pipe still holds acks; they count like all others.
    for line in lines {
        let Ok(line) = line else { break };
        let Some(at) = line.find("ack ") else { continue };
        let fields: Vec<u64> = line[at + 4..].split(' ').filter_map(|field| field.parse().ok()).collect();
        let [sender, number, seq, sender_seq, receiver_seq] = fields[..] else { continue };
        let places = [seq, sender_seq, receiver_seq];
        match acks.insert((sender, number), places) {
            None => fresh += 1,
            Some(before) => assert_eq!(before, places, "message {sender}-{number} moved"),
        }
        if !killed && (fresh >= more || begin.elapsed() > Duration::from_secs(10)) {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(fresh > 0, "the child acked nothing");
}

#[tokio::main]
async fn check(dir: &Path, acks: &Acks) {
    let store = EmbeddedStore::open(dir, &Options::default()).unwrap();
    let mut timelines: BTreeMap<UserId, Vec<(ConversationId, Seq)>> = BTreeMap::new();
    let mut sent = 0;
    for number in 0..USERS {
        let user = user(number);
        let timeline = timelines.entry(user.clone()).or_default();
        loop {
            let after = Seq(timeline.len() as u64);
            let page = store.sync(&user, after, 200).await.unwrap();
            for entry in page.entries {
                timeline.push((entry.message.conversation, entry.message.seq));
                assert_eq!(entry.seq.0, timeline.len() as u64, "the timeline of {user} is dense");
            }
            if !page.has_more {
                assert_eq!(page.head.head.0, timeline.len() as u64, "and reaches its head");
                break;
            }
        }
    }
    let mut histories: BTreeMap<ConversationId, Vec<ClientMsgId>> = BTreeMap::new();
    for conversation in timelines.values().flatten().map(|(conversation, _)| conversation) {
        if histories.contains_key(conversation) {
            continue;
        }
        let mut ids = Vec::new();
        loop {
            let range = HistoryRange { from: Seq(ids.len() as u64), direction: Direction::Forward, limit: 200 };
            let page = store.history(conversation, range).await.unwrap();
            for message in page.messages {
                ids.push(message.client_msg_id);
                assert_eq!(message.seq.0, ids.len() as u64, "the history of {conversation} is dense");
            }
            if !page.has_more {
                break;
            }
        }
        sent += ids.len();
        histories.insert(conversation.clone(), ids);
    }
    let mut all: Vec<_> = histories.values().flatten().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), sent, "no message is there twice");

    for (&(sender, number), &[seq, sender_seq, receiver_seq]) in acks {
        let append = message(sender, number);
        let history = &histories[&append.conversation];
        assert_eq!(history[seq as usize - 1], append.client_msg_id, "acked {sender}-{number} is at its place");
        let at = |user: &UserId, place: u64| &timelines[user][place as usize - 1];
        assert_eq!(*at(&append.sender, sender_seq), (append.conversation.clone(), Seq(seq)));
        let peer = append.conversation.peer_of(&append.sender).unwrap();
        assert_eq!(*at(&peer, receiver_seq), (append.conversation.clone(), Seq(seq)));
    }
    // Sending the latest of each sender again gives the same place.
    for sender in 0..SENDERS {
        let Some((&(_, number), &places)) = acks.range((sender, 0)..(sender + 1, 0)).next_back() else { continue };
        let placed = store.append(message(sender, number)).await.unwrap();
        assert!(placed.repeated);
        assert_eq!([placed.seq.0, placed.sender_seq.0, placed.receiver_seq.0], places);
    }
    store.close().await;
}
