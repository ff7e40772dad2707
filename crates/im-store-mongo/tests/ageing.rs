//! Rows that the server removes by their age: numbers go on, readers begin where the rows do.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use common::{message, options, send, user};
use im_proto::Seq;
use im_servers::{MongoSet, RedisServer};
use im_store_mongo::{MongoOptions, MongoStore};
use im_timeline::{DumpRow, Store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_grow_old_and_numbers_go_on() {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let open = async |keep| {
        let keep = Some(Duration::from_secs(keep));
        let options = MongoOptions { keep_entries: keep, keep_sent: keep, ..options(&mongo.uri(), &redis.url()) };
        MongoStore::open(options).await.unwrap()
    };
    let store = open(3600).await;
    let refusals = AtomicUsize::new(0);
    for n in 0..5 {
        let placed = send(&store, message("m", 0, 4 * n + 3), &refusals).await;
        assert_eq!(placed.seq, Seq(n as u64 + 1));
    }
    assert_eq!(store.sync(&user(0), Seq::ZERO, 10).await.unwrap().entries.len(), 5);
    store.close().await;

    // Opened with another age, the indexes follow.
    let store = open(1).await;
    let until = Instant::now() + Duration::from_secs(20);
    let page = loop {
        let page = store.sync(&user(0), Seq(2), 10).await.unwrap();
        if page.entries.is_empty() {
            break page;
        }
        assert!(Instant::now() < until, "the server removes nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((page.head.head, page.head.floor, page.has_more), (Seq(5), Seq(5), false));
    store.close().await;

    let store = open(3600).await;
    let placed = send(&store, message("m", 0, 4 * 5 + 3), &refusals).await;
    assert_eq!((placed.seq, placed.sender_seq), (Seq(6), Seq(6)));
    let page = store.sync(&user(0), Seq::ZERO, 10).await.unwrap();
    assert_eq!((page.head.head, page.head.floor, page.entries.len()), (Seq(6), Seq(5), 1));
    assert_eq!(page.entries[0].seq, Seq(6));
    let rows = store.dump(None, 100).await.unwrap().rows;
    assert!(rows.contains(&DumpRow::Floor { user: user(0), floor: Seq(5) }), "{rows:?}");
    let report = im_timeline::check::check(&store).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.rows.messages, 6, "histories keep the messages");
}
