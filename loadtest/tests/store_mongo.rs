//! `store-mongo` at a small size, against real servers.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

#[test]
fn both_writers_are_measured_and_timelines_read() {
    let line = ["store-mongo", "--in-flight", "32", "--seconds", "1", "--warmup", "0", "--users", "50"];
    let more = ["--rows", "2000", "--reads", "20", "--json"];
    let output = Command::new(env!("CARGO_BIN_EXE_sim-loadtest")).args(line).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let pass = &report["passes"][0];
    for writer in ["naive", "store"] {
        let figures = &pass[writer];
        assert!(figures["acked"].as_u64().unwrap() > 0, "{writer}: {figures}");
        assert!(figures["ack_ms"]["p99"].as_f64().unwrap() > 0.0, "{writer}: {figures}");
        assert!(figures["per_message"]["own_cpu_us"].as_f64().unwrap() > 0.0, "{writer}: {figures}");
    }
    // One INCR and one insert for each of three timelines; the store asks for many messages at once.
    let calls = |writer: &str, which: &str| pass[writer]["per_message"][which].as_f64().unwrap();
    assert!((2.5..4.0).contains(&calls("naive", "redis_round_trips")), "{pass}");
    assert!(calls("naive", "mongo_round_trips") > 2.5, "{pass}");
    assert!(calls("store", "mongo_round_trips") < calls("naive", "mongo_round_trips"), "{pass}");
    assert!(report["inbox"]["rows"].as_u64().unwrap() >= 2000);
    assert!(report["inbox"]["sync_last_50_ms"]["p50"].as_f64().unwrap() > 0.0);
}
