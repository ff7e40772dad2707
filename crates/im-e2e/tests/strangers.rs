//! Clients that are none, and tiers that do not belong to the cluster.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use im_client::{Dial as _, TlsDial};
use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::logs::Allowed;
use im_e2e::person::Person;
use im_e2e::process::Process;
use im_e2e::traffic::{Traffic, Voice};
use im_e2e::verify::{self, Groups};
use im_e2e::{PATIENCE, http, wait_until};
use im_link::BoxIo;
use im_link::certs::ClusterCerts;
use im_link::tls;
use rand::RngCore as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// Connections that never log in.
const SILENT: usize = 500;

/// Memory that they may cost the gate: 32 KiB each. That is a full TLS record in and half a one out,
/// and four times what was measured.
const MEMORY_MAX: u64 = SILENT as u64 * 32 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_none_disturb_nobody() {
    let plan = Plan {
        known_users_only: false,
        // Nobody has to wait for a minute to see silent connections go.
        settings: vec![(Binary::Gate, "login_timeout = \"5s\"".into())],
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan).await.unwrap();
    let address = cluster.address("gate-1").unwrap();
    let people = Person::connect_all(&cluster, &["ann", "ben"], "live").await.unwrap();
    let mut traffic = Traffic::start("talk", Voice::round_table(&people));
    traffic.flow(20).await.unwrap();
    let before = cluster.process("gate-1").unwrap().memory().unwrap();

    let dial = TlsDial::new(&cluster.ca()).unwrap();
    let mut silent: Vec<BoxIo> = Vec::new();
    for number in 0..SILENT {
        if number % 2 == 0 {
            // The first bytes of a TLS handshake, and then nothing.
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
            silent.push(Box::new(stream));
        } else {
            // A whole handshake, and then half a preamble.
            let mut stream = dial.dial(&address.to_string()).await.unwrap();
            stream.write_all(b"SI").await.unwrap();
            stream.flush().await.unwrap();
            silent.push(stream);
        }
    }
    traffic.flow(20).await.unwrap();
    let held = cluster.process("gate-1").unwrap().memory().unwrap();
    println!("gate: {} KiB before, {} KiB with {SILENT} silent connections", before / 1024, held / 1024);
    assert!(held < before + MEMORY_MAX, "{before} bytes before, {held} with {SILENT} silent connections");

    for size in [1, 7, 64, 4096, 100_000] {
        let mut garbage = vec![0; size];
        rand::rng().fill_bytes(&mut garbage);
        // In place of a TLS handshake, and inside TLS. The gate hangs up on both; it may do so while
        // the garbage is still being written.
        let mut plain = TcpStream::connect(address).await.unwrap();
        let _ = plain.write_all(&garbage).await;
        let mut inside = dial.dial(&address.to_string()).await.unwrap();
        let _ = inside.write_all(&garbage).await;
        let _ = inside.flush().await;
        for stream in [&mut (Box::new(plain) as BoxIo), &mut inside] {
            let mut answer = Vec::new();
            // A hang-up may come as an end or as a reset; what counts is that it comes.
            let hung_up = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
            hung_up.expect("the gate hangs up on garbage").ok();
            assert!(answer.len() < 1024, "garbage gets a refusal at most, not {} bytes", answer.len());
        }
    }
    traffic.flow(20).await.unwrap();
    // The gate lets go of the silent ones by itself, at the login timeout.
    for mut stream in silent {
        let mut answer = Vec::new();
        let hung_up = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        hung_up.expect("the gate hangs up on who does not log in").ok();
    }
    let after = cluster.process("gate-1").unwrap().memory().unwrap();
    println!("gate: {} KiB after the garbage", after / 1024);
    assert!(after < before + MEMORY_MAX, "{before} bytes before, {after} after the garbage");

    let ledger = traffic.stop().await.unwrap();
    let online = http::get(cluster.admin("gate-1").unwrap(), "/online").await.unwrap();
    assert!(online.body.contains("\"count\":2"), "{}", online.body);
    verify::talk(&cluster, people, &[], &ledger, &Groups::new()).await.unwrap();
    assert_eq!(cluster.finish().await.unwrap(), ledger.len() as u64);
}

#[tokio::test]
async fn a_tier_of_another_cluster_gets_no_link() {
    let allowed = vec![Allowed { text: "a link was refused", because: "strangers dial the route" }];
    let mut cluster = Cluster::start(Plan { allowed, ..Plan::default() }).await.unwrap();
    let route = cluster.address("route-1").unwrap();

    // A gate and an im-service with certificates of an authority of their own.
    let strangers = Cluster::prepare(Plan::default()).unwrap();
    let mut running = Vec::new();
    for (binary, name) in [(Binary::Gate, "gate-1"), (Binary::ImService, "im-service-1")] {
        let config = strangers.config(name).unwrap();
        let text = std::fs::read_to_string(config).unwrap();
        let text = text.replace(&strangers.address("route-1").unwrap().to_string(), &route.to_string());
        // They trust the cluster, so that it is the cluster that decides.
        let text = text.replace(strangers.ca().to_str().unwrap(), cluster.ca().to_str().unwrap());
        std::fs::write(config, text).unwrap();
        running.push((name, Process::start(binary, config, &strangers.folder().join(format!("{name}.log"))).unwrap()));
    }
    for (name, process) in &mut running {
        strangers.wait_log(name, "link did not come up; trying again").await.unwrap();
        let ready = http::get(strangers.admin(name).unwrap(), "/readyz").await.unwrap();
        assert_eq!(ready.status, 503, "{name}: {}", ready.body);
        process.check_alive().unwrap();
        process.kill().await.unwrap();
    }
    // Who trusts the cluster and has no certificate, or one that is for showing to clients.
    let certs = ClusterCerts::at(cluster.folder().join("keys"));
    for files in [None, Some(certs.gate_server())] {
        let config = tls::client_config(&cluster.ca(), files.as_ref()).unwrap();
        let name = ServerName::try_from(tls::ROUTE_SERVER_NAME).unwrap();
        let stream = TcpStream::connect(route).await.unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let mut answer = Vec::new();
        let refused = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("received fatal alert"), "{refused}");
        assert!(answer.is_empty());
    }

    let refusals = || cluster.log("route-1").unwrap().matches("a link was refused").count();
    wait_until("four refusals in the route's log", || refusals() == 4).await;
    assert_eq!(cluster.log("route-1").unwrap().matches("link is up").count(), 2, "its own gate and im-service alone");
    cluster.process("route-1").unwrap().check_alive().unwrap();
    cluster.finish().await.unwrap();
}
