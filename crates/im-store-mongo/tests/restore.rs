//! An older state of the database is put back, as `docs/storage.md` tells: it gets a new epoch, and goes
//! on from what it has, whatever Redis remembers.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::AtomicUsize;

use common::{message, open, send, user, verify};
use im_proto::Seq;
use im_servers::{MongoSet, RedisServer};
use im_timeline::Store;
use im_timeline::check::check;
use mongodb::bson::{Document, doc};

/// Copies every collection, as a dump and its restore would.
async fn copy(client: &mongodb::Client, from: &str, to: &str) {
    let (from, to) = (client.database(from), client.database(to));
    for name in from.list_collection_names().await.unwrap() {
        let out = doc! { "$out": { "db": to.name(), "coll": &name } };
        from.collection::<Document>(&name).aggregate([out]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_state_is_another_life_of_the_store() {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let client = mongodb::Client::with_uri_str(mongo.uri()).await.unwrap();
    let refusals = AtomicUsize::new(0);
    let store = open(&mongo.uri(), &redis.url()).await;
    let mut acks = Vec::new();
    for n in 0..8 {
        let append = message("before", 0, n);
        acks.push((append.clone(), send(&store, append, &refusals).await));
    }
    copy(&client, "im", "backup").await;
    for n in 0..8 {
        send(&store, message("lost", 0, n), &refusals).await;
    }
    let (epoch, head) = (store.epoch(), store.head(&user(0)).await.unwrap().head);
    assert_eq!(head, Seq(16));
    store.close().await;

    client.database("im").drop().await.unwrap();
    copy(&client, "backup", "im").await;
    client.database("im").collection::<Document>("chat_store").delete_many(doc! {}).await.unwrap();
    let store = open(&mongo.uri(), &redis.url()).await;
    assert_ne!(store.epoch(), epoch, "clients would not notice");
    assert_eq!(store.head(&user(0)).await.unwrap().head, Seq(8));
    for n in 0..8 {
        let append = message("after", 0, n);
        let placed = send(&store, append.clone(), &refusals).await;
        assert_eq!(placed.sender_seq, Seq(9 + n as u64), "numbers go on from what was restored");
        acks.push((append, placed));
    }
    // What was sent before the backup is still known by its name.
    let (append, placed) = acks[3].clone();
    let again = send(&store, append, &refusals).await;
    assert!(again.repeated && again.seq == placed.seq);
    verify(&store, &acks).await;
    let report = check(&*store).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    store.close().await;
}
