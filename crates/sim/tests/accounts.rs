//! `sim account` against an im-service that runs: what an operator does with the account of somebody who
//! is logged in.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
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

fn sim(home: &Path, arguments: &[&str]) -> Output {
    Command::new(SIM).args(arguments).env("SIM_HOME", home).env("SIM_PASSWORD", "correct horse").output().unwrap()
}

fn account(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_operator_closes_an_account_and_opens_it_again() {
    let (data, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut command = Command::new(SIM);
    command.args(["standalone", "--free-ports", "--json", "--data"]).arg(data.path()).stdout(Stdio::piped());
    let mut server = Standalone(command.env("SIM_HOME", home.path()).spawn().unwrap());
    let mut told = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let word = |key: &str| told[key].as_str().unwrap_or_else(|| panic!("{key} in {told}"));
    let (accounts, at) = (word("accounts"), word("im_service_admin").strip_prefix("http://").unwrap());
    let sim = |arguments: &[&str]| sim(home.path(), arguments);
    let gate = word("clients");
    let server = ["--gate", gate, "--accounts", accounts, "--ca", word("ca")];
    let made = sim(&[&["register", "ann b"][..], &server].concat());
    assert!(made.status.success(), "{made:?}");
    assert!(sim(&["send", "ann b", "a note"]).status.success());

    let banned = account(&sim(&["account", "ban", "ann b", "--at", at, "--json"]));
    assert_eq!((&banned["user"], &banned["banned"]), (&"ann b".into(), &true.into()));
    // Neither the token that she has, nor another one.
    assert!(!sim(&["send", "ann b", "another"]).status.success());
    assert!(!sim(&[&["login", "ann b"][..], &server].concat()).status.success());
    let shown = sim(&["account", "show", "ann b", "--at", at]);
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), "ann b: banned; all logins were ended once\n");

    let opened = account(&sim(&["account", "unban", "ann b", "--at", at, "--json"]));
    assert_eq!(opened["banned"], false);
    let password = ["account", "set-password", "ann b", "--password", "operators horse", "--at", at];
    assert!(sim(&password).status.success());
    let login = [&["login", "ann b", "--password", "operators horse"][..], &server].concat();
    assert!(sim(&login).status.success());
    assert!(sim(&["send", "ann b", "back again"]).status.success());

    let nobody = sim(&["account", "ban", "nobody", "--at", at]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("there is no such user"));
    assert_eq!(sim(&["account", "show", "ann b", "--at", "127.0.0.1:1"]).status.code(), Some(4));
}
