//! The real binary with real sockets: what a script sees.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn relay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim-loadtest")).arg("relay").args(arguments).output().unwrap()
}

fn report(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = std::str::from_utf8(&output.stdout).unwrap();
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn a_closed_loop_reports_on_its_last_line() {
    let json = report(&relay(&["--connections", "4", "--seconds", "1", "--warmup", "0", "--json"]));
    assert!(json["relay_per_second"].as_f64().unwrap() > 0.0, "{json}");
    assert!(json["server_cpu_us_per_message"].as_f64().unwrap() > 0.0, "{json}");
    assert!(json["ack_ms"]["p50"].as_f64().unwrap() > 0.0, "{json}");
    assert_eq!(json["unanswered"], 0, "{json}");
    assert_eq!(json["connections"], 4);
    assert_eq!(json["in_flight"], 1);
}

#[test]
fn an_open_loop_sends_what_was_due_and_no_more() {
    let arguments = ["--connections", "3", "--seconds", "1", "--warmup", "0", "--rate", "500", "--durable", "--json"];
    let json = report(&relay(&arguments));
    assert_eq!(json["unanswered"], 0, "{json}");
    assert_eq!(json["rate"], 500);
    // Each of the two workers rounds its share up to a whole message. How many of them are answered
    // within the second is the disk's affair.
    assert!((1.0..=502.0).contains(&json["relay_per_second"].as_f64().unwrap()), "{json}");
}

#[test]
fn too_many_connections_are_refused_with_the_reason() {
    let output = relay(&["--connections", "15001"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("15000 connections at most"));
}
