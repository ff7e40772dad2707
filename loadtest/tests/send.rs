//! The real binary against a gate that goes wrong on demand: the tool must see it.
#![allow(clippy::unwrap_used)]

mod fake_gate;

use std::process::Command;

use fake_gate::{FakeGate, Fault};

/// The report, and whether the tool was content.
fn send(fault: Fault, arguments: &[&str]) -> (serde_json::Value, bool) {
    let gate = FakeGate::start(fault);
    let output = Command::new(env!("CARGO_BIN_EXE_sim-loadtest"))
        .args(["send", "--connections", "4", "--seconds", "1", "--warmup", "0", "--rounds", "1", "--json"])
        .arg("--gate")
        .arg(gate.address.to_string())
        .arg("--ca")
        .arg(gate.ca())
        .arg("--token-key")
        .arg(gate.token_key())
        .args(arguments)
        .output()
        .unwrap();
    let stdout = std::str::from_utf8(&output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report = stdout.lines().last().unwrap_or_else(|| panic!("no report: {stderr}"));
    (serde_json::from_str(report).unwrap(), output.status.success())
}

fn faults(json: &serde_json::Value) -> [u64; 3] {
    ["lost", "duplicated", "out_of_order"].map(|field| json[field].as_u64().unwrap())
}

#[test]
fn messages_go_both_ways_and_nothing_is_wrong() {
    let (json, content) = send(Fault::None, &["--in-flight", "3"]);
    assert!(content, "{json}");
    assert_eq!(faults(&json), [0, 0, 0], "{json}");
    let answered = json["answered"].as_u64().unwrap();
    assert!(answered > 100, "{json}");
    assert!(json["acked"].as_u64().unwrap() >= answered, "{json}");
    assert!(json["rows"].as_u64() > json["acked"].as_u64(), "each message stands in two timelines: {json}");
    assert!(json["delivered"].as_u64().unwrap() > 100, "{json}");
    for figure in ["acked_per_second", "relay_per_second", "ratio"] {
        assert!(json[figure].as_f64().unwrap() > 0.0, "{figure} of {json}");
    }
    assert!(json["deliver_ms"]["p50"].as_f64().unwrap() > 0.0, "{json}");
    assert_eq!(json["unanswered"], 0, "{json}");
}

#[test]
fn offline_receivers_get_everything_later() {
    let (json, content) = send(Fault::None, &["--offline", "--rate", "300"]);
    assert!(content, "{json}");
    assert_eq!(faults(&json), [0, 0, 0], "{json}");
    assert_eq!((&json["delivered"], &json["deliver_ms"]), (&0.into(), &serde_json::Value::Null), "{json}");
    assert!((300..=302).contains(&json["acked"].as_u64().unwrap()), "{json}");
}

#[test]
fn a_lost_message_is_seen() {
    let (json, content) = send(Fault::Lost, &[]);
    assert!(!content);
    assert_eq!(faults(&json)[0], 4, "one per sender: {json}");
}

#[test]
fn a_doubled_message_is_seen() {
    let (json, content) = send(Fault::Doubled, &[]);
    assert!(!content);
    assert_eq!(faults(&json)[1], 4, "one per sender: {json}");
}

#[test]
fn a_message_at_another_place_than_acked_is_seen() {
    let (json, content) = send(Fault::Misplaced, &[]);
    assert!(!content);
    assert_eq!(faults(&json), [0, 0, 4], "one per sender: {json}");
}

#[test]
fn a_refused_message_is_told_and_not_missed() {
    let (json, content) = send(Fault::Refused, &[]);
    assert!(content, "{json}");
    assert_eq!(json["refused"], 4, "one per sender: {json}");
    assert_eq!(faults(&json), [0, 0, 0], "{json}");
}
