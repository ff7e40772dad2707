//! Processes that hang instead of dying: nothing tells the others but silence. And when they wake up,
//! they work off what everybody else has long repeated elsewhere.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::logs::ROUTE_DOWN;
use im_e2e::person::Person;
use im_e2e::traffic::{Traffic, Voice};
use im_e2e::verify::{self, Groups};
use im_e2e::wait_until;

/// A link that is silent for two seconds is given up; this allows for a busy machine.
const FAILOVER_MAX: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tier_that_hangs_and_wakes_up_loses_and_doubles_nothing() {
    let plan = Plan {
        routes: 2,
        known_users_only: false,
        // Requests to the hanging tier are given up and repeated while it still has them.
        settings: vec![
            (Binary::Gate, "request_timeout = \"1s\"".into()),
            (Binary::Route, "request_timeout = \"900ms\"".into()),
        ],
        allowed: vec![ROUTE_DOWN],
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan).await.unwrap();
    let people = Person::connect_all(&cluster, &["ann", "ben", "cyd"], "live").await.unwrap();
    let mut traffic = Traffic::start("talk", Voice::round_table(&people));
    traffic.flow(3).await.unwrap();

    cluster.process("route-1").unwrap().signal("STOP").await.unwrap();
    let (first, all) = traffic.flow(3).await.unwrap();
    println!("route-1 hangs; acks flow after {first:.2?}, everybody's after {all:.2?}");
    assert!(all < FAILOVER_MAX, "the standby took over after {all:?}");
    cluster.process("route-1").unwrap().signal("CONT").await.unwrap();
    cluster.wait_ready().await.unwrap();
    traffic.flow(3).await.unwrap();

    let links_lost = |cluster: &Cluster| cluster.log("route-1").unwrap().matches("link is down").count();
    let before = links_lost(&cluster);
    cluster.process("im-service-1").unwrap().signal("STOP").await.unwrap();
    wait_until("the route gives the im-service up", || links_lost(&cluster) > before).await;
    cluster.process("im-service-1").unwrap().signal("CONT").await.unwrap();
    cluster.wait_ready().await.unwrap();
    let (first, _) = traffic.flow(3).await.unwrap();
    println!("im-service-1 woke up; acks flow {first:.2?} later");

    let ledger = traffic.stop().await.unwrap();
    let repeated = ledger.iter().filter_map(|said| said.ack.as_ref()).filter(|ack| ack.repeated).count();
    println!("{} messages were acked, {repeated} of them had been stored by an earlier try", ledger.len());
    verify::talk(&cluster, people, &[], &ledger, &Groups::new()).await.unwrap();
    assert_eq!(cluster.finish().await.unwrap(), ledger.len() as u64);
}
