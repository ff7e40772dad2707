//! `sim account` against an im-service that runs: what an operator does with the account of somebody who
//! is logged in.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Standalone, json};

#[test]
fn an_operator_closes_an_account_and_opens_it_again() {
    let standalone = Standalone::start();
    let sim = |arguments: &[&str]| standalone.sim(arguments);
    let at = standalone.admin("im_service_admin");
    let [gate, accounts, ca] = ["clients", "accounts", "ca"].map(|key| standalone.told(key));
    let server = ["--gate", gate, "--accounts", accounts, "--ca", ca];
    let made = sim(&[&["register", "ann b"][..], &server].concat());
    assert!(made.status.success(), "{made:?}");
    assert!(sim(&["send", "ann b", "a note"]).status.success());

    let banned = json(&sim(&["account", "ban", "ann b", "--at", at, "--json"]));
    assert_eq!((&banned["user"], &banned["banned"]), (&"ann b".into(), &true.into()));
    // Neither the token that she has, nor another one.
    assert!(!sim(&["send", "ann b", "another"]).status.success());
    assert!(!sim(&[&["login", "ann b"][..], &server].concat()).status.success());
    let shown = sim(&["account", "show", "ann b", "--at", at]);
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), "ann b: banned; all logins were ended once\n");

    let opened = json(&sim(&["account", "unban", "ann b", "--at", at, "--json"]));
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
