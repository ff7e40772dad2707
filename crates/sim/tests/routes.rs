//! `sim route status` and `sim route switch` against a route that runs.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const SIM: &str = env!("CARGO_BIN_EXE_sim");

/// Killed on drop.
struct Standalone(Child);

impl Drop for Standalone {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn sim(arguments: &[&str]) -> Output {
    Command::new(SIM).args(arguments).output().unwrap()
}

fn status(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_operator_sees_the_role_and_moves_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(SIM);
    command.args(["standalone", "--free-ports", "--json", "--data"]).arg(folder.path()).stdout(Stdio::piped());
    let mut server = Standalone(command.spawn().unwrap());
    let mut told = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let route = told["route_admin"].as_str().unwrap().strip_prefix("http://").unwrap();

    let moved = status(&sim(&["route", "switch", route, "--json"]));
    let seen = status(&sim(&["route", "status", route, "--json"]));
    for status in [&moved, &seen] {
        assert_eq!((&status["role"], &status["term"], &status["at"]), (&"master".into(), &1.into(), &route.into()));
        assert_eq!((&status["senders_here"], &status["senders"]), (&2.into(), &2.into()), "gate and im-service");
    }
    let shown = sim(&["route", "status", route]);
    let line = String::from_utf8(shown.stdout).unwrap();
    assert!(line.starts_with(&format!("{route}  route-1 (local) is master for ")), "{line}");

    // One that is not there: its own exit code, and the others are shown all the same.
    let nobody = "127.0.0.1:1";
    assert_eq!(sim(&["route", "status", nobody]).status.code(), Some(4));
    let both = sim(&["route", "status", nobody, route, "--json"]);
    assert_eq!(both.status.code(), Some(4));
    let lines: Vec<Value> = both.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(lines[0]["error"].is_string() && lines[1]["role"] == "master", "{lines:?}");
}
