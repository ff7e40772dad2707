//! Several processes on one store, as several stores in one process: the same conversations at the
//! same moment.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Traffic, open, verify};
use im_servers::{MongoSet, RedisServer};
use im_timeline::Store;
use im_timeline::check::check;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_serve_the_same_conversations() {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let stores = [open(&mongo.uri(), &redis.url()).await, open(&mongo.uri(), &redis.url()).await];
    assert_eq!(stores[0].epoch(), stores[1].epoch());
    let traffic = Traffic::start(&stores, 16);
    traffic.progress(150).await;
    let acks = traffic.stop().await;
    verify(&stores[1], &acks).await;
    let report = check(&*stores[0]).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}
