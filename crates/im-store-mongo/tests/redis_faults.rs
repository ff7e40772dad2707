//! Whatever happens to Redis during traffic from two instances costs no message, no number, no order,
//! and no service.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{Traffic, message, open, options, verify};
use im_servers::{MongoSet, RedisGroup, RedisServer};
use im_store_mongo::MongoStore;
use im_timeline::Store;

const SENDERS: usize = 8;
/// Acks of each store between two faults.
const BETWEEN: usize = 40;

async fn wait_redis(store: &MongoStore, is_failing: bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while store.redis_failing().is_some() != is_failing {
        assert!(Instant::now() < until, "redis failing: {:?}", store.redis_failing());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_flushed_killed_emptied_and_rewound() {
    let (mongo, mut redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let mut stores = vec![open(&mongo.uri(), &redis.url()).await, open(&mongo.uri(), &redis.url()).await];
    let traffic = Traffic::start(&stores, SENDERS);
    traffic.progress(BETWEEN).await;
    let keys: u64 = redis.command(&["DBSIZE"]).await.unwrap();
    assert!(keys > 0, "no head was ever told to Redis");

    let _: String = redis.command(&["FLUSHALL"]).await.unwrap();
    traffic.progress(BETWEEN).await;

    // Gone: the store says so by name, and serves.
    redis.kill().unwrap();
    wait_redis(&stores[0], true).await;
    traffic.progress(BETWEEN).await;
    let old = redis.snapshot().unwrap();
    redis.restart().await.unwrap();
    wait_redis(&stores[0], false).await;
    traffic.progress(BETWEEN).await;

    // Stopped where it stands: connections stay open and nothing is answered.
    redis.signal("STOP").unwrap();
    traffic.progress(BETWEEN).await;
    redis.signal("CONT").unwrap();
    wait_redis(&stores[0], false).await;

    // Another one, empty, at the same address; and then one that is back in its own past. An
    // instance that is new has nothing but Redis to go by.
    for rewound in [false, true] {
        redis.kill().unwrap();
        if rewound {
            redis.rewind(&old).unwrap()
        } else {
            redis.empty_folder().unwrap()
        }
        redis.restart().await.unwrap();
        let new = open(&mongo.uri(), &redis.url()).await;
        wait_redis(&new, false).await;
        let refusals = std::sync::atomic::AtomicUsize::new(0);
        let name = format!("new{rewound}");
        for n in 0..20 {
            common::send(&new, message(&name, n, n), &refusals).await;
        }
        stores.push(new);
        traffic.progress(BETWEEN).await;
    }
    assert_eq!(traffic.refusals.load(Ordering::Relaxed), 0, "without Redis somebody was refused");
    let acks = traffic.stop().await;
    verify(&stores[0], &acks).await;
}

/// Numbers that are too great, which no Redis of ours would hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_in_redis_are_not_believed() {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let refusals = std::sync::atomic::AtomicUsize::new(0);
    let mut acks = Vec::new();
    for round in 0..3 {
        let store = open(&mongo.uri(), &redis.url()).await;
        wait_redis(&store, false).await;
        let name = format!("round{round}");
        for n in 0..12 {
            let append = message(&name, n, n);
            acks.push((append.clone(), common::send(&store, append, &refusals).await));
        }
        store.close().await;
        let keys: Vec<String> = redis.command(&["KEYS", "*"]).await.unwrap();
        assert!(!keys.is_empty());
        for (index, key) in keys.iter().enumerate() {
            let lie = ["1000000", "-7", "no number", "18446744073709551615"][(index + round) % 4];
            let _: String = redis.command(&["SET", key, lie]).await.unwrap();
        }
    }
    let store = open(&mongo.uri(), &redis.url()).await;
    verify(&store, &acks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_fails_over_during_traffic() {
    let (mongo, mut group) = (MongoSet::start(1).await.unwrap(), RedisGroup::start().await.unwrap());
    let stores = [open(&mongo.uri(), &group.url()).await, open(&mongo.uri(), &group.url()).await];
    wait_redis(&stores[0], false).await;
    let traffic = Traffic::start(&stores, SENDERS);
    traffic.progress(BETWEEN).await;
    group.servers[0].kill().unwrap();
    wait_redis(&stores[0], true).await;
    traffic.progress(BETWEEN).await;
    group.wait_master(1).await.unwrap();
    for store in &stores {
        wait_redis(store, false).await;
    }
    traffic.progress(BETWEEN).await;
    // Heads arrive at the new master.
    let key = loop {
        let keys: Vec<String> = group.servers[1].command(&["KEYS", "*sync/u0"]).await.unwrap();
        if let Some(key) = keys.into_iter().next() {
            break key;
        }
    };
    let before: u64 = group.servers[1].command(&["GET", &key]).await.unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while group.servers[1].command::<u64>(&["GET", &key]).await.unwrap() <= before {
        assert!(Instant::now() < until, "the new master is told nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let acks = traffic.stop().await;
    verify(&stores[0], &acks).await;
}

#[tokio::test]
async fn a_wrong_address_is_told_at_once() {
    let mongo = MongoSet::start(1).await.unwrap();
    let refused = MongoStore::open(options(&mongo.uri(), "http://127.0.0.1")).await.err().unwrap();
    assert!(refused.to_string().starts_with("the address of Redis: "), "{refused}");
    let _: Option<Arc<MongoStore>> = None;
}
