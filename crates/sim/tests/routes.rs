//! `sim route status` and `sim route switch` against a route that runs.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::BufRead as _;

use serde_json::Value;

use common::{Standalone, json};

#[test]
fn an_operator_sees_the_role_and_moves_it() {
    let standalone = Standalone::start();
    let sim = |arguments: &[&str]| standalone.sim(arguments);
    let route = standalone.admin("route_admin");

    let moved = json(&sim(&["route", "switch", route, "--json"]));
    let seen = json(&sim(&["route", "status", route, "--json"]));
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
