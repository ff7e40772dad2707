//! What operators do to a gate that runs: renew its certificate, change its limits, make mistakes while
//! doing so, and ask what is going on.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use im_client::{Dial as _, TlsDial};
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::logs::Allowed;
use im_e2e::person::Person;
use im_e2e::{http, wait_until};
use im_link::certs::ClusterCerts;
use im_proto::Target;

/// Replaces the gate's certificate and key by those of another authority.
fn renew(cluster: &Cluster, from: &ClusterCerts) {
    let ours = ClusterCerts::at(cluster.folder().join("keys")).gate_server();
    let fresh = from.gate_server();
    fs::copy(fresh.cert, ours.cert).unwrap();
    fs::copy(fresh.key, ours.key).unwrap();
}

/// Whether a client that trusts this authority is let in.
async fn is_trusted(cluster: &Cluster, ca: &Path) -> bool {
    let address = cluster.address("gate-1").unwrap().to_string();
    TlsDial::new(ca).unwrap().dial(&address).await.is_ok()
}

fn count(cluster: &Cluster, text: &str) -> usize {
    cluster.log("gate-1").unwrap().matches(text).count()
}

/// Asks the gate to read again, and waits until it has said so.
async fn hang_up(cluster: &mut Cluster, says: &str) {
    let before = count(cluster, says);
    cluster.process("gate-1").unwrap().signal("HUP").await.unwrap();
    wait_until(says, || count(cluster, says) > before).await;
}

const DONE: &str = "certificates, token keys and limits are read again";
const FAILED: &str = "nothing was reloaded; what was there stays";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_reads_again_what_may_change_and_keeps_what_it_had_on_mistakes() {
    let allowed = vec![Allowed { text: FAILED, because: "mistakes are made" }];
    let mut cluster = Cluster::start(Plan { known_users_only: false, allowed, ..Plan::default() }).await.unwrap();
    let people = Person::connect_all(&cluster, &["ann", "ben"], "live").await.unwrap();
    let to_ben = Target::User(people[1].user().clone());
    let old_ca = cluster.ca();
    let other = tempfile::tempdir().unwrap();
    let fresh = ClusterCerts::load_or_create(other.path(), &[]).unwrap();

    renew(&cluster, &fresh);
    assert!(is_trusted(&cluster, &old_ca).await, "nobody has asked the gate to look");
    let config = cluster.config("gate-1").unwrap().to_owned();
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{good}messages_per_user = \"7/s burst 77\"\nkeep_alive = \"99s\"\n")).unwrap();
    hang_up(&mut cluster, DONE).await;
    assert!(is_trusted(&cluster, &fresh.ca()).await && !is_trusted(&cluster, &old_ca).await);
    cluster.wait_log("gate-1", "other settings have changed too; those take a restart").await.unwrap();

    // Half a certificate, a key of another, no file, wrong settings: each is named, nothing changes.
    let ours = ClusterCerts::at(cluster.folder().join("keys"));
    let whole = fs::read_to_string(ours.gate_server().cert).unwrap();
    let mistakes: [(&dyn Fn(), &str); 4] = [
        (&|| fs::write(ours.gate_server().cert, &whole[..whole.len() / 2]).unwrap(), "gate-server.pem"),
        (&|| assert!(fs::copy(ours.route().cert, ours.gate_server().cert).unwrap() > 0), "gate-server.key.pem"),
        (&|| fs::remove_file(ours.gate_server().cert).unwrap(), "gate-server.pem"),
        (
            &|| {
                fs::write(ours.gate_server().cert, &whole).unwrap();
                fs::write(&config, format!("{good}messages_per_user = \"often\"\n")).unwrap();
            },
            "messages_per_user",
        ),
    ];
    for (mistake, named) in mistakes {
        mistake();
        hang_up(&mut cluster, FAILED).await;
        let log = cluster.log("gate-1").unwrap();
        let line = log.lines().rfind(|line| line.contains(FAILED)).unwrap();
        assert!(line.contains(named), "{named} in {line}");
        assert!(is_trusted(&cluster, &fresh.ca()).await);
    }

    // What holds now is what the last good file said.
    cluster.process("gate-1").unwrap().signal("USR1").await.unwrap();
    cluster.wait_log("gate-1", "diagnostics: gate").await.unwrap();
    cluster.wait_log("gate-1", "diagnostics: process").await.unwrap();
    let log = cluster.log("gate-1").unwrap();
    let told = log.lines().rfind(|line| line.contains("diagnostics: gate")).unwrap();
    for part in ["sessions=2", "connections=", "queued_bytes=0", "in_flight=", "7/s burst 77"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(log.lines().any(|line| line.contains("diagnostics: process") && line.contains("resident_bytes=")));
    let metrics = http::get(cluster.admin("gate-1").unwrap(), "/metrics").await.unwrap().body;
    for line in ["sim_gate_reloads_total{outcome=\"done\"} 1", "sim_gate_reloads_total{outcome=\"failed\"} 4"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }

    // All the while nobody was disturbed.
    people[0].say(&to_ben, "m1", "still here").await.unwrap();
    people[1].wait_entries(1).await.unwrap();
    fs::write(&config, &good).unwrap();
    hang_up(&mut cluster, DONE).await;
    for person in people {
        Arc::into_inner(person).unwrap().close().await.unwrap();
    }
    cluster.finish().await.unwrap();
}
