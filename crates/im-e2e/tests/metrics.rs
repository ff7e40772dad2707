//! docs/metrics.md names every metric there is, and none that is not.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use im_e2e::cluster::{Cluster, Plan};
use im_e2e::person::Person;
use im_e2e::{PATIENCE, http};
use im_proto::Target;
use tokio::time::sleep;

/// Who may stand behind `sim_` in a name.
const WHO: [&str; 5] = ["process", "gate", "route", "service", "store"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Name, kind, and meaning of every row of the page.
fn page() -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `sim_")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, meaning] = cells[..] else { panic!("three columns in {line}") };
        let name = name.trim_matches('`').split('{').next().unwrap().to_owned();
        let twice = rows.insert(name, (kind.to_owned(), meaning.to_owned()));
        assert!(twice.is_none(), "twice: {line}");
    }
    rows
}

/// Names of metrics in the code of the crates that processes are made of, wherever they stand in it.
fn in_code() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["tests", "im-e2e", "im-sim", "examples", "benches"].contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(
                    fs::read_to_string(&path).unwrap().split('"').filter(|text| is_name(text)).map(str::to_owned),
                );
            }
        }
    }
    names
}

fn is_name(text: &str) -> bool {
    let mut parts = text.split('_');
    parts.next() == Some("sim")
        && parts.next().is_some_and(|who| WHO.contains(&who))
        && parts.next().is_some()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn the_page_names_what_the_code_counts() {
    let (page, code) = (page(), in_code());
    assert!(code.len() > 40, "the code was found: {code:?}");
    let missing: Vec<_> = code.iter().filter(|name| !page.contains_key(*name)).collect();
    assert!(missing.is_empty(), "docs/metrics.md does not tell of {missing:?}");
    let gone: Vec<_> = page.keys().filter(|name| !code.contains(*name)).collect();
    assert!(gone.is_empty(), "docs/metrics.md tells of {gone:?}, which nobody counts");
    for (name, (kind, meaning)) in &page {
        assert!(meaning.len() > 10, "{name} has a meaning");
        assert!(["counter", "gauge", "histogram", "summary"].contains(&&**kind), "{name}: {kind}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} has buckets for seconds");
    }
}

#[tokio::test]
async fn running_tiers_tell_what_the_page_names() {
    let cluster = Cluster::start(Plan { known_users_only: false, ..Plan::default() }).await.unwrap();
    let (ann, ben) =
        (Person::connect(&cluster, "ann", "a").await.unwrap(), Person::connect(&cluster, "ben", "b").await.unwrap());
    ann.say(&Target::User(ben.user().clone()), "m1", "hello").await.unwrap();
    ben.wait_entries(1).await.unwrap();
    let page = page();
    for tier in ["gate-1", "route-1", "im-service-1"] {
        let told = http::get(cluster.admin(tier).unwrap(), "/metrics").await.unwrap().body;
        let kinds = told.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut count = 0;
        for (name, kind) in kinds.map(|kind| kind.split_once(' ').unwrap()) {
            let (said, _) = page.get(name).unwrap_or_else(|| panic!("{tier} tells of {name}, the page does not"));
            assert_eq!(said, kind, "{tier}: {name}");
            count += 1;
        }
        println!("{tier}: {count} metrics");
        assert!(count >= 7, "{tier}:\n{told}");
    }
    let expected = [
        ("gate-1", "sim_gate_sessions", 2.0),
        ("gate-1", "sim_gate_connections", 2.0),
        ("gate-1", "sim_gate_logins_total", 2.0),
        ("route-1", "sim_route_logins", 2.0),
        ("im-service-1", "sim_store_appends_total", 1.0),
    ];
    for (tier, name, value) in expected {
        let begun = Instant::now();
        // Gauges are looked at ten times a second.
        while http::metric(cluster.admin(tier).unwrap(), name, "").await.unwrap() != value {
            assert!(begun.elapsed() < PATIENCE, "{tier}: {name} is never {value}");
            sleep(Duration::from_millis(20)).await;
        }
    }
    ann.close().await.unwrap();
    ben.close().await.unwrap();
    cluster.finish().await.unwrap();
}
