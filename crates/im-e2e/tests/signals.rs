//! Orderly ends while people talk: exit code 0, nothing acked is lost, and the talk goes on.

#![allow(clippy::unwrap_used)]

use im_e2e::cluster::{Cluster, Plan};
use im_e2e::logs::{Allowed, ROUTE_DOWN};
use im_e2e::person::Person;
use im_e2e::traffic::{Traffic, Voice};
use im_e2e::verify::{self, Groups};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tier_that_is_told_to_end_drains_and_loses_nothing() {
    let plan = Plan { routes: 2, gates: 2, known_users_only: false, allowed: vec![ROUTE_DOWN], ..Plan::default() };
    let mut cluster = Cluster::start(plan).await.unwrap();
    let people = Person::connect_all(&cluster, &["ann", "ben", "cyd"], "live").await.unwrap();
    let mut traffic = Traffic::start("talk", Voice::round_table(&people));
    traffic.flow(3).await.unwrap();
    for tier in ["gate-1", "gate-2", "im-service-1", "route-1", "route-2"] {
        let began = Instant::now();
        cluster.terminate(tier).await.unwrap();
        println!("{tier} ended in {:.2?}", began.elapsed());
        cluster.restart(tier).unwrap();
        cluster.wait_ready().await.unwrap();
        traffic.flow(3).await.unwrap();
    }
    let ledger = traffic.stop().await.unwrap();
    verify::talk(&cluster, people, &[], &ledger, &Groups::new()).await.unwrap();
    assert_eq!(cluster.finish().await.unwrap(), ledger.len() as u64);
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_at_once() {
    let allowed = vec![Allowed { text: "second signal: ending without a drain", because: "it is sent" }];
    let mut cluster = Cluster::start(Plan { allowed, ..Plan::default() }).await.unwrap();
    // Half a request: the drain waits for the other half.
    let mut half = TcpStream::connect(cluster.accounts().unwrap()).await.unwrap();
    let head = "POST /user/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 99\r\n";
    half.write_all(format!("{head}expect: 100-continue\r\n\r\n").as_bytes()).await.unwrap();
    // The answer to the expectation says that the request is being worked on.
    half.readable().await.unwrap();

    cluster.process("im-service-1").unwrap().signal("TERM").await.unwrap();
    cluster.wait_log("im-service-1", "draining; a second signal ends at once").await.unwrap();
    let process = cluster.process("im-service-1").unwrap();
    process.check_alive().unwrap();
    let second = Instant::now();
    process.signal("TERM").await.unwrap();
    assert_eq!(process.ended().await.unwrap().code(), Some(1));
    // The drain itself would have waited for five seconds.
    assert!(second.elapsed() < Duration::from_secs(4), "ended after {:?}", second.elapsed());
    assert!(!cluster.log("im-service-1").unwrap().contains("drained"));
    cluster.check_logs().unwrap();
}
