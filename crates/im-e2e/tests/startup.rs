//! Starts that must not succeed: each says in one line what is wrong and where, and exits with the
//! number that says whose fault it is. And the settings that `--print-config` prints.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::logs::is_alarming;
use im_e2e::process::{Output, run, run_with};

/// The settings are wrong; nothing was started.
const USAGE: i32 = 64;
/// The start failed.
const FAILURE: i32 = 1;

fn prepare() -> Cluster {
    Cluster::prepare(Plan::default()).unwrap()
}

/// Adds lines to a tier's settings.
fn append(cluster: &Cluster, name: &str, lines: &str) -> PathBuf {
    let path = cluster.config(name).unwrap().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{lines}")).unwrap();
    path
}

/// Replaces the value of a key in a tier's settings.
fn set(cluster: &Cluster, name: &str, key: &str, value: &str) -> PathBuf {
    let path = cluster.config(name).unwrap().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    let is_key = |line: &str| line.split(" = ").next() == Some(key);
    assert!(text.lines().any(is_key), "{key} is in {text}");
    let lines = text.lines().map(|line| if is_key(line) { format!("{key} = {value}") } else { line.to_owned() });
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    path
}

async fn start(binary: Binary, config: &Path) -> Output {
    run(binary, [OsString::from("--config"), config.into()]).await.unwrap()
}

/// The one line that a person gets to see.
fn the_line(output: &Output) -> &str {
    let alarming: Vec<_> = output.stderr.lines().filter(|line| is_alarming(line)).collect();
    assert_eq!(alarming.len(), 1, "one line says what is wrong:\n{}", output.stderr);
    alarming[0]
}

/// The start failed with one line that says all of this.
fn assert_failed(output: &Output, says: &[&str]) {
    let line = the_line(output);
    for text in says {
        assert!(line.contains(text), "{text:?} is missing in: {line}");
    }
    assert_eq!(output.code, Some(FAILURE), "{line}");
}

#[tokio::test]
async fn an_unknown_key_is_named_with_file_line_and_the_nearest_known_one() {
    let cluster = prepare();
    for (binary, name, key, nearest) in [
        (Binary::Gate, "gate-1", "login_time_out", "login_timeout"),
        (Binary::Route, "route-1", "link_max", "links_max"),
        (Binary::ImService, "im-service-1", "keep_entrys", "keep_entries"),
    ] {
        let path = append(&cluster, name, &format!("{key} = \"7d\"\n"));
        let number = fs::read_to_string(&path).unwrap().lines().count();
        let output = start(binary, &path).await;
        let expected = format!(
            "{}: {}:{number}: [{}] has no setting \"{key}\"; did you mean {nearest}?\n",
            binary.name(),
            path.display(),
            binary.section()
        );
        assert_eq!((output.stderr, output.code), (expected, Some(USAGE)));
    }
}

#[tokio::test]
async fn every_bad_value_of_every_layer_is_told_at_once() {
    let cluster = prepare();
    let line = fs::read_to_string(cluster.config("gate-1").unwrap()).unwrap().lines().count();
    let path = append(&cluster, "gate-1", "login_timeout = \"soon\"\nconnections_max = 0\n[gates]\nname = \"g\"\n");
    let arguments = [OsString::from("--config"), path.into(), "--outbound-bytes-max".into(), "plenty".into()];
    let variables = [("SIM_GATE_HEARTBEAT", "never"), ("SIM_GATE_KEEP_ALIFE", "9s")];
    let output = run_with(Binary::Gate, arguments, &variables).await.unwrap();
    assert_eq!(output.code, Some(USAGE));
    let lines: Vec<_> = output.stderr.lines().collect();
    for told in [
        &format!("gate-1.toml:{}: [gate] login_timeout: ", line + 1),
        &format!("gate-1.toml:{}: [gate] connections_max: ", line + 2),
        "unknown table [gates]; did you mean [gate]?",
        "environment SIM_GATE_HEARTBEAT: [gate] heartbeat: ",
        "environment SIM_GATE_KEEP_ALIFE: no such setting; did you mean SIM_GATE_KEEP_ALIVE?",
        "flag --outbound-bytes-max: [gate] outbound_bytes_max: ",
    ] {
        assert_eq!(lines.iter().filter(|line| line.contains(told)).count(), 1, "{told:?} in:\n{}", output.stderr);
    }
    assert_eq!(lines.len(), 6, "{}", output.stderr);
}

#[tokio::test]
async fn a_settings_file_that_is_not_there_is_named() {
    let output = run(Binary::Route, ["--config", "/nowhere/route.toml"]).await.unwrap();
    assert!(output.stderr.starts_with("sim-route: /nowhere/route.toml: cannot be read: "), "{}", output.stderr);
    assert_eq!((output.stderr.lines().count(), output.code), (1, Some(USAGE)));
}

#[tokio::test]
async fn a_missing_certificate_is_named() {
    let cluster = prepare();
    for (binary, name) in [(Binary::Gate, "gate-1"), (Binary::Route, "route-1"), (Binary::ImService, "im-service-1")] {
        let path = set(&cluster, name, "link_cert", "\"/nowhere/link.pem\"");
        assert_failed(&start(binary, &path).await, &["load the link certificate", "/nowhere/link.pem", "No such file"]);
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let cluster = prepare();
    for (binary, name, key) in [
        (Binary::Gate, "gate-1", "client_listen"),
        (Binary::Route, "route-1", "listen"),
        (Binary::ImService, "im-service-1", "http_listen"),
    ] {
        let address = cluster.address(name).unwrap();
        let _taken = TcpListener::bind(address).unwrap();
        let output = start(binary, cluster.config(name).unwrap()).await;
        assert_failed(&output, &[&format!("bind {key} {address}"), "in use"]);
    }
}

#[tokio::test]
async fn accounts_over_plain_http_stay_on_the_machine() {
    let cluster = prepare();
    let open = cluster.address("im-service-1").unwrap().to_string().replace("127.0.0.1", "0.0.0.0");
    let path = set(&cluster, "im-service-1", "http_listen", &format!("{open:?}"));
    assert_failed(&start(Binary::ImService, &path).await, &["http_listen", &open, "http_behind_tls"]);
}

#[tokio::test]
async fn a_store_has_one_owner() {
    let cluster = Cluster::start(Plan::default()).await.unwrap();
    let other = prepare();
    let path = set(&other, "im-service-1", "data", &format!("{:?}", cluster.data()));
    let output = start(Binary::ImService, &path).await;
    assert_failed(&output, &[cluster.data().to_str().unwrap(), "in use by another process"]);
    // The owner did not notice.
    cluster.finish().await.unwrap();
}

/// What a file's content becomes; `None`: the file is gone.
type Damage = fn(&[u8]) -> Option<Vec<u8>>;

/// One bit in the middle is another.
fn flip(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

#[tokio::test]
async fn a_damaged_store_stops_the_start_and_stays_as_it_is() {
    let mut cluster = Cluster::start(Plan::default()).await.unwrap();
    cluster.kill("im-service-1").await.unwrap();
    let (data, config) = (cluster.data(), cluster.config("im-service-1").unwrap().to_owned());
    let format = data.join("store/FORMAT");
    let version = data.join("store/tree/version");
    assert!(format.is_file() && version.is_file(), "this test knows the store's files");
    let damages: [(&Path, Damage); 6] = [
        (&format, |_| None),
        (&format, |_| Some(Vec::new())),
        (&format, |bytes| Some(flip(bytes))),
        (&version, |_| None),
        (&version, |_| Some(Vec::new())),
        (&version, |bytes| Some(flip(bytes))),
    ];
    for (number, (file, damage)) in damages.into_iter().enumerate() {
        let whole = fs::read(file).unwrap();
        let damaged = damage(&whole);
        match &damaged {
            Some(bytes) => fs::write(file, bytes).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        println!("damage {number}: {}", file.display());
        assert_failed(&start(Binary::ImService, &config).await, &[data.to_str().unwrap(), "damaged", "backup"]);
        assert_eq!(fs::read(file).ok(), damaged, "nobody writes to a damaged store");
        fs::write(file, whole).unwrap();
    }

    let epoch = fs::read_to_string(&format).unwrap().lines().nth(1).unwrap().to_owned();
    let whole = fs::read(&format).unwrap();
    let newer = format!("sim embedded store, format 99\n{epoch}\n");
    fs::write(&format, format!("{newer}checksum {:016x}\n", fnv_1a(newer.as_bytes()))).unwrap();
    let output = start(Binary::ImService, &config).await;
    assert_failed(&output, &[data.to_str().unwrap(), "has format 99", "use a newer version"]);

    // Put back, it is as good as before.
    fs::write(&format, whole).unwrap();
    cluster.restart("im-service-1").unwrap();
    cluster.wait_ready().await.unwrap();
    cluster.finish().await.unwrap();
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[tokio::test]
async fn printed_settings_load_back() {
    let cluster = prepare();
    for (binary, name) in [(Binary::Gate, "gate-1"), (Binary::Route, "route-1"), (Binary::ImService, "im-service-1")] {
        let mut config = append(&cluster, name, "[runtime]\nlog = \"info,gate=debug\"\n");
        let mut prints = Vec::new();
        for print in ["first.toml", "second.toml"] {
            let output =
                run(binary, [OsString::from("--config"), config.into(), "--print-config".into()]).await.unwrap();
            assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{name}");
            assert!(output.stdout.contains("log = \"info,gate=debug\""), "{}", output.stdout);
            config = cluster.folder().join(print);
            fs::write(&config, &output.stdout).unwrap();
            // Which file set a value is not part of it.
            let values = output.stdout.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
            prints.push(values.collect::<Vec<_>>());
        }
        assert_eq!(prints[0], prints[1]);
    }
}

#[tokio::test]
async fn the_examples_are_what_the_binaries_print() {
    for binary in Binary::ALL {
        let example = format!("{}/../../deploy/{}.toml", env!("CARGO_MANIFEST_DIR"), binary.section());
        let output = run(binary, ["--print-config"]).await.unwrap();
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let name = binary.name();
        assert!(
            fs::read_to_string(&example).unwrap() == output.stdout,
            "deploy/{0}.toml is old; make it new with: {name} --print-config > deploy/{0}.toml",
            binary.section()
        );
        let loaded = run(binary, ["--config", &example, "--print-config"]).await.unwrap();
        assert_eq!((loaded.code, &*loaded.stderr), (Some(0), ""));
    }
}
