//! An im-service registers in a real etcd, and is found there as long as it serves.
#![allow(clippy::unwrap_used)]

use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::etcd::Etcd;
use im_e2e::logs::Allowed;
use serde_json::json;

const KEY: &str = "/microservices/timeline/im-service-1";

#[tokio::test]
async fn an_im_service_is_found_in_etcd_while_it_serves() {
    let mut etcd = Etcd::start().await.unwrap();
    let setting = format!("etcd = [\"http://{}\"]", etcd.address());
    let lost = Allowed { text: "not registered; trying again", because: "etcd was killed" };
    let plan = Plan { settings: vec![(Binary::ImService, setting)], allowed: vec![lost], ..Plan::default() };
    let mut cluster = Cluster::start(plan).await.unwrap();
    let instance = etcd.wait_for(KEY).await.unwrap();
    let endpoints = instance["endpoints"].as_array().unwrap();
    assert_eq!(endpoints[0], json!(format!("http://{}", cluster.accounts().unwrap())));
    assert!(endpoints[1].as_str().unwrap().starts_with("grpc://127.0.0.1:"), "{instance}");
    assert_eq!((&instance["id"], &instance["name"]), (&json!("im-service-1"), &json!("timeline")));

    // An etcd that comes back without what it knew is told again.
    etcd.kill().await.unwrap();
    etcd.run("second").await.unwrap();
    assert_eq!(etcd.value(KEY).await.unwrap(), None);
    etcd.wait_for(KEY).await.unwrap();

    // Whoever stops in order is gone with its process, not when its lease runs out.
    cluster.terminate("im-service-1").await.unwrap();
    assert_eq!(etcd.value(KEY).await.unwrap(), None);
    cluster.restart("im-service-1").unwrap();
    etcd.wait_for(KEY).await.unwrap();
    cluster.finish().await.unwrap();
}
