//! MongoDB's primary dies during traffic from two instances; all members are away; one does not answer.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{Traffic, message, open, options, verify};
use im_servers::{MongoSet, RedisServer};
use im_store_mongo::{MongoOptions, MongoStore};
use im_timeline::{AppendError, Store, StoreError};

const SENDERS: usize = 8;
const BETWEEN: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_killed_during_traffic() {
    let (mut mongo, mut redis) = (MongoSet::start(3).await.unwrap(), RedisServer::start().await.unwrap());
    let stores = [open(&mongo.uri(), &redis.url()).await, open(&mongo.uri(), &redis.url()).await];
    let traffic = Traffic::start(&stores, SENDERS);
    traffic.progress(BETWEEN).await;
    // Once alone, and once together with Redis.
    for both in [false, true] {
        let primary = mongo.primary().await.unwrap();
        let killed = Instant::now();
        mongo.kill(primary).unwrap();
        if both {
            redis.kill().unwrap();
        }
        traffic.progress(BETWEEN).await;
        println!(
            "both {both}: served again after {:?}, {} refusals so far",
            killed.elapsed(),
            traffic.refusals.load(Ordering::Relaxed)
        );
        mongo.restart(primary).await.unwrap();
        if both {
            redis.empty_folder().unwrap();
            redis.restart().await.unwrap();
        }
        traffic.progress(BETWEEN).await;
    }
    let acks = traffic.stop().await;
    println!("{} acks", acks.len());
    verify(&stores[0], &acks).await;
    assert_eq!(stores[0].mongo_failing(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_mongodb_senders_are_refused_in_time() {
    let (mut mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let patience = Duration::from_secs(2);
    let options = MongoOptions { patience, ..options(&mongo.uri(), &redis.url()) };
    let store = MongoStore::open(options).await.unwrap();
    let first = store.append(message("a", 0, 0)).await.unwrap();
    assert_eq!(store.mongo_failing(), None);
    let refused_in_time = async |round: &str| {
        let sent = Instant::now();
        let refused = store.append(message(round, 1, 0)).await;
        let took = sent.elapsed();
        assert!(matches!(refused, Err(AppendError::Store(StoreError::Unavailable(_)))), "{refused:?}");
        assert!(took < patience * 3, "refused after {took:?}");
        let head = store.head(&common::user(0)).await;
        assert!(matches!(head, Err(StoreError::Unavailable(_))), "{head:?}");
        let failing = store.mongo_failing().unwrap();
        assert!(failing.why.contains("MongoDB"), "{failing:?}");
    };

    // Gone: connections are refused.
    mongo.kill(0).unwrap();
    refused_in_time("gone").await;
    mongo.restart(0).await.unwrap();
    mongo.primary().await.unwrap();
    let refusals = std::sync::atomic::AtomicUsize::new(0);
    common::send(&store, message("a", 0, 1), &refusals).await;
    assert_eq!(store.mongo_failing(), None);

    // Stopped where it stands: connections stay open, and nothing is answered.
    mongo.signal(0, "STOP").unwrap();
    refused_in_time("stopped").await;
    mongo.signal(0, "CONT").unwrap();
    let third = common::send(&store, message("a", 0, 2), &refusals).await;

    // What was refused was stored wholly or not at all, and its retry tells.
    let mut acks = vec![(message("a", 0, 0), first), (message("a", 0, 2), third)];
    for round in ["gone", "stopped"] {
        let placed = common::send(&store, message(round, 1, 0), &refusals).await;
        acks.push((message(round, 1, 0), placed));
    }
    verify(&store, &acks).await;
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_not_opened() {
    let options = MongoOptions {
        patience: Duration::from_millis(500),
        ..MongoOptions::new("mongodb://127.0.0.1:9/?replicaSet=rs0")
    };
    let refused = MongoStore::open(options).await.err().unwrap();
    assert!(refused.to_string().starts_with("MongoDB: "), "{refused}");
    let refused = MongoStore::open(MongoOptions::new("no address")).await.err().unwrap();
    assert!(refused.to_string().starts_with("the address of MongoDB: "), "{refused}");
}
