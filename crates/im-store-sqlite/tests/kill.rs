//! kill -9 in the middle of traffic: what was acked is there, and the store is sound.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use im_proto::client::ContentType;
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};
use im_store_sqlite::{SqliteOptions, SqliteStore};
use im_timeline::check::check;
use im_timeline::{Append, Store};

const FOLDER: &str = "SIM_TEST_STORE";
const SENDERS: usize = 8;
/// Kills, each on what the one before left.
const ROUNDS: u64 = 5;

fn message(sender: usize, id: &str) -> Append {
    let (from, to) = (UserId::new(format!("s{sender}")).unwrap(), UserId::new("receiver").unwrap());
    Append {
        conversation: ConversationId::pair(&from, &to),
        recipients: [from.clone(), to].into(),
        sender: from,
        client_msg_id: ClientMsgId::new(id).unwrap(),
        time_ms: 1,
        content_type: ContentType::Text,
        payload: Bytes::from_static(b"hello"),
    }
}

async fn send_for_ever(store: &SqliteStore, sender: usize, round: u64) {
    for n in 0u64.. {
        let id = format!("{round}-{n}");
        let placed = store.append(message(sender, &id)).await.unwrap();
        println!("acked {sender} {id} {} {}", placed.seq, placed.receiver_seq);
    }
}

#[test]
#[ignore = "it is the process that the other test kills"]
fn writer() {
    let folder = std::env::var(FOLDER).unwrap();
    let (folder, round) = folder.split_once('#').unwrap();
    let store = SqliteStore::open(Path::new(folder), SqliteOptions::default()).unwrap();
    let round = round.parse().unwrap();
    let senders = (0..SENDERS).map(|sender| send_for_ever(&store, sender, round));
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async { futures_util::future::join_all(senders).await });
}

/// A child that dies with the test.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn spawn(folder: &Path, round: u64) -> Writer {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, format!("{}#{round}", folder.display()))
        .stdout(Stdio::piped())
        .spawn();
    Writer(child.unwrap())
}

/// Sender, id, place in the conversation, place in the receiver's timeline.
fn parse(line: String) -> Option<(usize, String, u64, u64)> {
    let mut words = line.strip_prefix("acked ")?.split(' ');
    let sender = words.next()?.parse().ok()?;
    let id = words.next()?.to_owned();
    Some((sender, id, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn acked_messages_survive_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let mut acked: Vec<(usize, String, u64, u64)> = Vec::new();
    for round in 1..=ROUNDS {
        let mut writer = spawn(home.path(), round);
        let mut lines = BufReader::new(writer.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        acked.extend(lines.by_ref().filter_map(parse).take(100 * round as usize));
        writer.0.kill().unwrap();
        // What it could still print was acked as well; the last line may be cut.
        let mut rest: Vec<String> = lines.collect();
        rest.pop();
        acked.extend(rest.into_iter().filter_map(parse));
        writer.0.wait().unwrap();

        let store = SqliteStore::open(home.path(), SqliteOptions::default()).unwrap();
        let report = check(&store).await.unwrap();
        assert_eq!(report.findings, []);
        assert!(report.rows.messages >= acked.len() as u64, "{} of {}", report.rows.messages, acked.len());
        for (sender, id, seq, receiver_seq) in &acked {
            let again = store.append(message(*sender, id)).await.unwrap();
            assert!(again.repeated, "s{sender}'s {id} was lost");
            assert_eq!((again.seq, again.receiver_seq), (Seq(*seq), Seq(*receiver_seq)));
        }
        store.close().await;
    }
    assert!(acked.len() as u64 >= 100 * ROUNDS);
}
