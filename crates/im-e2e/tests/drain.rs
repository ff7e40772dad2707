//! A gate that ends while people talk through it: nobody notices more than a short move.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::logs::Allowed;
use im_e2e::person::Person;
use im_e2e::traffic::{Traffic, Voice};
use im_e2e::verify::{self, Groups};
use im_e2e::{PATIENCE, http, wait_until};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const USERS: [&str; 8] = ["ann", "ben", "cyd", "dan", "eve", "fay", "gil", "hal"];

/// Two gates, and people at them: those of the first are few at a time asked to leave, so that a drain
/// can be watched.
fn plan(drain_rate: u32) -> Plan {
    Plan {
        gates: 2,
        known_users_only: false,
        settings: vec![(Binary::Gate, format!("drain_rate = {drain_rate}"))],
        ..Plan::default()
    }
}

/// How many people are connected to a gate.
async fn online(cluster: &Cluster, gate: &str) -> u64 {
    let answer = http::get(cluster.admin(gate).unwrap(), "/online").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str::<Value>(&answer.body).unwrap()["count"].as_u64().unwrap()
}

/// Waits until that many are.
async fn wait_online(cluster: &Cluster, gate: &str, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while online(cluster, gate).await != count as u64 {
        assert!(Instant::now() < deadline, "{count} people at {gate}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_who_talk_through_a_draining_gate_lose_no_send_and_repeat_none() {
    let mut cluster = Cluster::start(plan(4)).await.unwrap();
    let people = Person::connect_all(&cluster, &USERS, "live").await.unwrap();
    let mut traffic = Traffic::start("talk", Voice::round_table(&people));
    traffic.flow(3).await.unwrap();
    // Everybody starts at a gate of their own choice, and moves twice at most.
    for (gate, other) in [("gate-1", "gate-2"), ("gate-2", "gate-1")] {
        let here = online(&cluster, gate).await;
        let began = Instant::now();
        cluster.terminate(gate).await.unwrap();
        println!("{gate}: {here} people left in {:.2?}", began.elapsed());
        wait_online(&cluster, other, USERS.len()).await;
        traffic.flow(3).await.unwrap();
        cluster.restart(gate).unwrap();
        cluster.wait_ready().await.unwrap();
    }
    let ledger = traffic.stop().await.unwrap();
    let repeated = ledger.iter().filter_map(|said| said.ack.as_ref()).filter(|ack| ack.repeated).count();
    assert_eq!(repeated, 0, "every send was answered where it was asked");
    for person in &people {
        assert_eq!(person.journal().ended, None);
    }
    println!("{} messages", ledger.len());
    verify::talk(&cluster, people, &[], &ledger, &Groups::new()).await.unwrap();
    assert_eq!(cluster.finish().await.unwrap(), ledger.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_gate_says_so_takes_nobody_in_and_ends_at_once_when_told_twice() {
    let allowed = vec![Allowed { text: "second signal: ending without a drain", because: "it is sent" }];
    let mut cluster = Cluster::start(Plan { allowed, ..plan(1) }).await.unwrap();
    // So many that the drain would take its time.
    let mut people: Vec<Arc<Person>> = Vec::new();
    while online(&cluster, "gate-1").await < 20 {
        people.push(Arc::new(Person::connect(&cluster, &format!("p{}", people.len()), "live").await.unwrap()));
    }
    let (address, admin) = (cluster.address("gate-1").unwrap(), cluster.admin("gate-1").unwrap());
    cluster.process("gate-1").unwrap().signal("TERM").await.unwrap();
    cluster.wait_log("gate-1", "letting go of the clients").await.unwrap();

    let ready = http::get(admin, "/readyz").await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("draining"), "{}", ready.body);
    let metrics = http::get(admin, "/metrics").await.unwrap().body;
    assert!(metrics.contains("sim_gate_draining 1"), "{metrics}");
    TcpStream::connect(address).await.expect_err("the gate accepts nobody");
    // Who has not been asked yet is served as ever.
    let logins = |cluster: &Cluster| cluster.log("gate-2").unwrap().matches("logged in").count();
    let before = logins(&cluster);
    wait_until("the first people to have moved", || logins(&cluster) > before).await;
    assert!(online(&cluster, "gate-1").await > 0);

    let second = Instant::now();
    let process = cluster.process("gate-1").unwrap();
    process.signal("TERM").await.unwrap();
    assert_eq!(process.ended().await.unwrap().code(), Some(1));
    assert!(second.elapsed() < Duration::from_secs(4), "ended after {:?}", second.elapsed());
    // Even so, everybody comes back at the other gate.
    wait_online(&cluster, "gate-2", people.len()).await;
    cluster.check_logs().unwrap();
}
