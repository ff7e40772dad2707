//! kill -9 of a process that writes, with others on the same store: no message of it half there, no
//! number lost, and nobody held up for long.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use common::{Traffic, message, open, send, verify};
use im_proto::Seq;
use im_servers::{MongoSet, RedisServer};
use im_timeline::{Append, Placed};
use mongodb::bson::doc;

const SERVERS: &str = "SIM_TEST_SERVERS";
const SENDERS: usize = 8;
/// Far more acks than a writer says before it is killed.
const ACKS_MAX: usize = 100_000;
/// Kills of the random test.
const ROUNDS: usize = 4;

/// Sends for ever and says what was acked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is the process that the other tests kill"]
async fn writer() {
    let servers = std::env::var(SERVERS).unwrap();
    let [uri, redis, round, senders] = servers.split('#').collect::<Vec<_>>().try_into().unwrap();
    let store = open(uri, redis).await;
    let mut tasks = Vec::new();
    for sender in 0..senders.parse().unwrap() {
        let (store, round) = (store.clone(), round.to_owned());
        tasks.push(tokio::spawn(async move {
            for n in 0.. {
                let placed = send(&store, message(&format!("{round}-{sender}"), sender, n), &AtomicUsize::new(0)).await;
                println!("acked {sender} {n} {} {}", placed.seq, placed.sender_seq);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
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

fn spawn(uri: &str, redis: &str, round: &str, senders: usize) -> Writer {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--ignored", "--nocapture"])
        .env(SERVERS, format!("{uri}#{redis}#{round}#{senders}"))
        .stdout(Stdio::piped())
        .spawn();
    Writer(child.unwrap())
}

/// An ack of the child, as the message that it was given for.
fn parse(round: &str, line: &str) -> Option<(Append, Placed)> {
    let words: Vec<u64> =
        line.split_once("acked ")?.1.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [sender, n, seq, sender_seq] = words.try_into().ok()?;
    let append = message(&format!("{round}-{sender}"), sender as usize, n as usize);
    let placed = Placed {
        seq: Seq(seq),
        sender_seq: Seq(sender_seq),
        receiver_seq: Seq::ZERO,
        time_ms: 0,
        places: Vec::new(),
        repeated: false,
    };
    Some((append, placed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_moment_leaves_nothing_behind() {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let (uri, url) = (mongo.uri(), redis.url());
    let store = open(&uri, &url).await;
    let traffic = Traffic::start(std::slice::from_ref(&store), SENDERS);
    let mut acks = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("r{round}");
        let mut writer = spawn(&uri, &url, &name, SENDERS);
        let lines = BufReader::new(writer.0.stdout.take().unwrap()).lines();
        let (tell, told) = std::sync::mpsc::sync_channel(ACKS_MAX);
        let reader = std::thread::spawn({
            let name = name.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    if let Some(ack) = parse(&name, &line) {
                        tell.send(ack).unwrap();
                    }
                }
            }
        });
        let wanted = acks.len() + 40;
        let told = tokio::task::spawn_blocking(move || {
            let mut early = Vec::new();
            while early.len() < 40 {
                early.push(told.recv_timeout(common::RECOVERY).unwrap());
            }
            (early, told)
        });
        let (early, told) = told.await.unwrap();
        acks.extend(early);
        writer.0.kill().unwrap();
        writer.0.wait().unwrap();
        reader.join().unwrap();
        acks.extend(told.try_iter());
        assert!(acks.len() >= wanted);
        let killed = Instant::now();
        traffic.progress(SENDERS * 2).await;
        println!("round {round}: the other went on after {:?}", killed.elapsed());
    }
    // Whoever was not told sends again, through another process.
    for round in 0..ROUNDS {
        for sender in 0..SENDERS {
            let name = format!("r{round}-{sender}");
            let acked =
                acks.iter().filter(|(append, _)| append.client_msg_id.as_str().starts_with(&format!("{name}-")));
            let append = message(&name, sender, acked.count());
            let placed = send(&store, append.clone(), &AtomicUsize::new(0)).await;
            acks.push((append, placed));
        }
    }
    acks.extend(traffic.stop().await);
    verify(&store, &acks).await;
}

/// The process dies with its transaction open and the timelines' heads locked. The server would keep
/// them for a minute; the others end it sooner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_of_the_dead_is_ended() {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let store = open(&mongo.uri(), &redis.url()).await;
    let refusals = AtomicUsize::new(0);
    let first = message("mine", 0, 0);
    let mut acks = vec![(first.clone(), send(&store, first, &refusals).await)];

    // The first insert is of idempotency rows, then come the heads; the next insert is held up.
    let victim = "sim-victim";
    let hold = doc! {
        "failCommands": ["insert"], "appName": victim, "blockConnection": true, "blockTimeMS": 1000,
    };
    mongo.fail_command(doc! { "skip": 1 }, hold).await.unwrap();
    let writer = spawn(&format!("{}&appName={victim}", mongo.uri()), &redis.url(), "dead", 1);
    let until = Instant::now() + Duration::from_secs(20);
    while !mongo.has_transaction(victim).await.unwrap() {
        assert!(Instant::now() < until, "the writer has no transaction");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(writer);
    let killed = Instant::now();
    mongo.fail_command("off", doc! {}).await.unwrap();

    // The same timelines, and the very message that the dead one was about to store.
    for append in [message("mine", 0, 1), message("dead-0", 0, 0)] {
        acks.push((append.clone(), send(&store, append, &refusals).await));
    }
    let took = killed.elapsed();
    println!("settled after {took:?}");
    assert!(took < Duration::from_secs(15), "settled after {took:?}");
    assert!(!mongo.has_transaction(victim).await.unwrap());
    assert!(took > Duration::from_secs(1), "nothing was in the way: the test tests nothing");
    verify(&store, &acks).await;
}

/// The commit goes through and its answer is lost: the message is there once, whoever asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_found_out() {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let store = open(&format!("{}&appName=sim-deaf", mongo.uri()), &redis.url()).await;
    let refusals = AtomicUsize::new(0);
    let mut acks = HashMap::new();
    let lost = [
        doc! { "closeConnection": true },
        doc! { "errorCode": 91, "errorLabels": ["RetryableWriteError"] },
        doc! { "writeConcernError": { "code": 64, "errmsg": "not in time" } },
    ];
    for (n, how) in lost.into_iter().enumerate() {
        let mut data = doc! { "failCommands": ["commitTransaction"], "appName": "sim-deaf" };
        data.extend(how);
        mongo.fail_command(doc! { "times": 4 }, data).await.unwrap();
        for extra in 0..3 {
            let append = message("deaf", 0, 4 * n + extra);
            let placed = send(&store, append.clone(), &refusals).await;
            acks.insert(append.client_msg_id.clone(), (append, placed));
        }
        mongo.fail_command("off", doc! {}).await.unwrap();
    }
    let acks: Vec<_> = acks.into_values().collect();
    verify(&store, &acks).await;
    assert_eq!(store.mongo_failing(), None);
}
