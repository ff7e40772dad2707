//! Every scenario at small size with the real binary and real tiers: what a script and a reader see.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use im_e2e::binaries::program;

/// Runs the tool that stands beside the tiers' programs: it starts those of its own folder.
fn run(arguments: &[&str]) -> Output {
    Command::new(program("sim-loadtest")).args(arguments).output().unwrap()
}

/// The object on the last line, of a run that was content.
fn report(arguments: &[&str]) -> serde_json::Value {
    let output = run(&[arguments, &["--json"]].concat());
    let stdout = std::str::from_utf8(&output.stdout).unwrap();
    assert!(output.status.success(), "{}{stdout}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

fn positive(json: &serde_json::Value, figures: &[&str]) {
    for figure in figures {
        let value = json.pointer(figure).and_then(serde_json::Value::as_f64);
        assert!(value.is_some_and(|value| value > 0.0), "{figure} is {value:?} in {json}");
    }
}

/// Nothing that was acked is missing, doubled, or at another place.
fn nothing_is_wrong(json: &serde_json::Value) {
    for fault in ["lost", "duplicated", "out_of_order", "failed"] {
        assert_eq!(json[fault], 0, "{fault} of {json}");
    }
}

#[test]
fn send_measures_the_tiers_against_the_relay() {
    let json = report(&["send", "--connections", "10", "--in-flight", "2", "--seconds", "1", "--warmup", "0"]);
    positive(&json, &["/acked_per_second", "/relay_per_second", "/ratio", "/server_cpu_us_per_message"]);
    positive(&json, &["/ack_ms/p50", "/ack_ms/p999", "/deliver_ms/p99"]);
    for fault in ["lost", "duplicated", "out_of_order"] {
        assert_eq!(json[fault], 0, "{fault} of {json}");
    }
}

#[test]
fn idle_connections_are_spread_held_weighed_and_all_answer() {
    let json = report(&["idle", "--connections", "300", "--gates", "2", "--workers", "3", "--seconds", "1"]);
    assert_eq!((&json["connections"], &json["answering"]), (&300.into(), &300.into()), "{json}");
    assert_eq!((&json["gates"], &json["workers"]), (&2.into(), &3.into()), "{json}");
    positive(&json, &["/gate_bytes_per_connection", "/kernel_bytes_per_connection", "/worker_bytes_per_connection"]);
    positive(&json, &["/logins_per_second", "/login_cpu_ms", "/gate_login_cpu_ms", "/login_ms/p50", "/answer_ms/p99"]);
    assert_eq!(json["gate_tcp_states"], serde_json::json!({ "ESTABLISHED": 300 }), "{json}");
    assert!(json["tcp_states"]["ESTABLISHED"].as_u64().unwrap() >= 600, "both ends are here: {json}");
    assert_eq!((&json["failed"], &json["lost"], &json["stopped_by"]), (&0.into(), &0.into(), &().into()), "{json}");
}

/// At a million connections the questions take minutes, and workers must not fall silent over them.
#[test]
fn idle_shows_how_many_have_answered_while_it_asks() {
    let output = run(&["idle", "--connections", "40", "--gates", "1", "--seconds", "0", "--questions", "16"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let shown = stderr.lines().filter_map(|line| line.strip_prefix("ask: ")?.split_once("/40, "));
    let answered: Vec<u32> = shown.map(|(answered, _)| answered.parse().unwrap()).collect();
    assert!(answered.iter().any(|&answered| 0 < answered && answered < 40), "{stderr}");
    assert!(answered.is_sorted(), "{stderr}");
}

/// A gate's own bound makes the ramp end early: the tool tells how far it came and why, and is not content.
#[test]
fn idle_tells_what_stopped_it() {
    let setting = "connections_max = 40";
    let output =
        run(&["idle", "--connections", "120", "--gates", "1", "--seconds", "0", "--gate-setting", setting, "--json"]);
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    assert_eq!((&json["connections"], &json["answering"]), (&40.into(), &40.into()), "{json}");
    assert_eq!(json["failed"], 80, "{json}");
    assert!(json["stopped_by"].is_string(), "{json}");
    assert!(stderr.contains("only 40 of 120 connections are held"), "{stderr}");
}

#[test]
fn after_a_killed_gate_everybody_is_back_and_nothing_is_lost() {
    let json = report(&["storm", "--connections", "60", "--seconds", "1"]);
    assert_eq!((&json["left"], &json["returned"], &json["redirected"]), (&60.into(), &60.into(), &0.into()), "{json}");
    nothing_is_wrong(&json);
    positive(&json, &["/acked", "/back_ms/p50", "/synced_ms/all", "/ack_ms/p50"]);
    assert_eq!(json["gate_exit_code"], serde_json::Value::Null, "{json}");
}

#[test]
fn a_drained_gate_sends_everybody_away_without_a_failed_send() {
    let json = report(&["storm", "--drain", "--connections", "60", "--seconds", "1"]);
    assert_eq!((&json["left"], &json["returned"], &json["redirected"]), (&60.into(), &60.into(), &60.into()), "{json}");
    nothing_is_wrong(&json);
    assert_eq!(json["gate_exit_code"], 0, "{json}");
    positive(&json, &["/acked", "/back_ms/all", "/gate_exit_seconds"]);
}

#[test]
fn a_soak_does_what_people_do_and_leaves_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("soak.html");
    let line = ["soak", "--connections", "10", "--minutes", "0.05", "--rate", "400", "--html", page.to_str().unwrap()];
    let json = report(&line);
    nothing_is_wrong(&json);
    positive(&json, &["/acked", "/acts", "/ack_ms/p50", "/processes/gate-1/memory_bytes"]);
    assert_eq!(json["growth"], "unknown", "three seconds tell nothing: {json}");
    let html = std::fs::read_to_string(page).unwrap();
    for chart in ["memory over time", "open files over time", "latency"] {
        assert!(html.contains(&format!("<figcaption>{chart}</figcaption>")), "{chart} is not in the page");
    }
}
