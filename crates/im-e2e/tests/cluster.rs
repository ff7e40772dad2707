//! `scripts/dev-cluster` and `sim demo --cluster`: two of everything on real MongoDB and Redis, through
//! haproxy, while one of each is killed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::TcpStream;

use im_e2e::dev::{DevCluster, TIERS};
use im_e2e::logs::{self, Allowed};
use im_e2e::wait_until;

const FOR_DEVELOPMENT: Allowed = Allowed { text: "(timeline_open)", because: "it is for development, and says so" };

/// Four people talk, and `sim` checks what each of them sees.
async fn demo(cluster: &DevCluster, when: &str) {
    let file = cluster.description();
    let played = cluster.sim(["demo".as_ref(), "--cluster".as_ref(), file.as_os_str()]).await.unwrap();
    let (stdout, stderr) = (&played.stdout, &played.stderr);
    assert_eq!(played.code, Some(0), "{when}:\n{stdout}\n{stderr}");
    assert!(stdout.contains("  [seq=1] a -> b: 吃了吗？"), "{when}:\n{stdout}");
    assert!(stdout.ends_with("All of it is as it should be.\n"), "{when}:\n{stdout}");
}

/// Runs `sim`, which must do it.
async fn sim(cluster: &DevCluster, arguments: &[&str]) -> String {
    let ran = cluster.sim(arguments).await.unwrap();
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    ran.stdout
}

/// Logs say what kills bring, and nothing else that a person has to look at.
fn check_logs(cluster: &DevCluster) {
    let mut allowed = vec![FOR_DEVELOPMENT, logs::ROUTE_DOWN, logs::ABANDONED];
    allowed.extend(logs::MONGO_LATE);
    for tier in TIERS {
        let found = logs::unexpected(&cluster.data().join(format!("{tier}.log")), &allowed).unwrap();
        assert!(found.is_empty(), "{tier}:\n{}", found.join("\n"));
    }
}

#[tokio::test]
async fn the_demo_passes_whatever_was_killed_and_a_restart_keeps_all_data() {
    let mut cluster = DevCluster::start().await.unwrap();
    demo(&cluster, "at first").await;
    demo(&cluster, "with names that are taken").await;

    // Somebody whose messages must survive all that follows.
    let described = cluster.described().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let (gate, ca) = (text(&described["gates"][0]), text(&described["ca"]));
    let accounts = format!("http://{}", text(&described["accounts"]));
    for user in ["ann", "ben"] {
        let arguments = ["register", user, "--password", "correct horse", "--gate", &gate];
        sim(&cluster, &[&arguments[..], &["--accounts", &accounts, "--ca", &ca]].concat()).await;
    }
    sim(&cluster, &["--as", "ann", "send", "ben", "before"]).await;

    for killed in ["gate-1", "route-1", "im-service-1", "mongod-1", "redis-1", "haproxy"] {
        let was = cluster.kill(killed).await.unwrap();
        // There is one of it, so it has to be back.
        if killed == "haproxy" {
            cluster.wait_again(killed, was).await.unwrap();
            wait_until("haproxy listens", || TcpStream::connect(text(&described["accounts"])).is_ok()).await;
        }
        demo(&cluster, &format!("while {killed} is away")).await;
        cluster.wait_again(killed, was).await.unwrap();
    }
    sim(&cluster, &["--as", "ann", "send", "ben", "after"]).await;

    let second = cluster.start_second().await.unwrap();
    assert_eq!(second.code, Some(1), "{}", second.stdout);
    assert!(second.stderr.contains("a cluster runs on these ports already"), "{}", second.stderr);
    demo(&cluster, "after a second one was refused").await;

    cluster.interrupt().await.unwrap();
    cluster.start_again().await.unwrap();
    let synced = sim(&cluster, &["--as", "ben", "sync"]).await;
    assert!(synced.contains("[seq=1] ann -> ben: before\n[seq=2] ann -> ben: after\n"), "{synced}");
    demo(&cluster, "after a restart").await;
    check_logs(&cluster);
    cluster.interrupt().await.unwrap();
    for log in fs::read_dir(cluster.data()).unwrap() {
        let path = log.unwrap().path();
        assert!(path.extension().is_none_or(|kind| kind != "pid"), "{}", path.display());
    }
}

#[tokio::test]
async fn where_no_cluster_runs_the_demo_says_who_starts_one() {
    let nowhere = tempfile::tempdir().unwrap();
    let file = nowhere.path().join("cluster.json");
    let arguments = ["demo".as_ref(), "--cluster".as_ref(), file.as_os_str()];
    let ran = im_e2e::process::run_program(&im_e2e::binaries::program("sim"), arguments).await.unwrap();
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("scripts/dev-cluster starts one"), "{}", ran.stderr);
}
