//! What the page says of the servers as they are: their times and limits, against the printed settings in
//! `deploy/`, which tests of the tiers hold equal to the code; numbers, against the constants; and which
//! refusals are sent at all, against the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use im_proto::RefusalCode;
use im_proto::limits::{CLIENT_FRAME_LEN_MAX, GROUP_MEMBERS_MAX, PAGE_BYTES_MAX, PAGE_ROWS_MAX, server_frame_len_max};
use proto_codec::{Codec, Header, PREAMBLE_LEN};

use super::page_path;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A tier's settings with their defaults, without the quotes of text.
fn settings(tier: &str) -> Vec<(String, String)> {
    let file = fs::read_to_string(root().join(format!("deploy/{tier}.toml"))).unwrap();
    let lines = file.lines().filter(|line| !line.starts_with(['#', '[']));
    lines.filter_map(|line| line.split_once(" = ")).map(|(key, value)| (key.into(), value.replace('"', ""))).collect()
}

fn setting(tier: &str, key: &str) -> String {
    settings(tier).into_iter().find(|(name, _)| name == key).unwrap_or_else(|| panic!("{tier} has no {key}")).1
}

/// The cells of the table behind a mark.
fn table(page: &str, mark: &str) -> Vec<Vec<String>> {
    let (_, behind) = page.split_once(mark).unwrap_or_else(|| panic!("no {mark}"));
    let rows = behind.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Every limit that a gate has by default is in the table, with its default.
#[test]
fn limits_are_those_that_gates_have() {
    let page = fs::read_to_string(page_path()).unwrap();
    let rows = table(&page, "<!-- limits -->\n");
    let told: BTreeSet<_> = rows.iter().map(|row| (row[1].replace('`', ""), row[2].clone())).collect();
    let is_limit = |key: &str| {
        let starts = ["messages_", "unauthenticated_", "handshakes_", "logins_", "login_failures_"];
        starts.iter().any(|start| key.starts_with(start)) || (key.ends_with("_max") && key != "link_in_flight_max")
    };
    let held: BTreeSet<_> = settings("gate").into_iter().filter(|(key, _)| is_limit(key)).collect();
    assert_eq!(told, held);
    assert_eq!((setting("route", "devices"), setting("route", "logins_per_user_max")), ("all".into(), "100".into()));
    assert!(page.contains("all of them (the default)") && page.contains("of more than 100 (a\nsetting) the eldest"));
}

#[test]
fn times_are_those_that_gates_have() {
    let page = fs::read_to_string(page_path()).unwrap();
    let rows = table(&page, "**Times** of a gate, by default; all but the last are settings:\n");
    let told: Vec<_> = rows.iter().map(|row| row[1].clone()).collect();
    let held =
        ["login_timeout", "heartbeat", "keep_alive", "request_timeout"].map(|key| seconds(&setting("gate", key)));
    assert_eq!(told[..4], held);
    assert_eq!(told.len(), 5);
}

fn seconds(value: &str) -> String {
    let (number, factor) = match value.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (value.strip_suffix('s').unwrap(), 1),
    };
    format!("{} s", number.parse::<u64>().unwrap() * factor)
}

/// `65536` as the page writes it.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let threes: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|three| str::from_utf8(three).unwrap()).collect();
    threes.join(",")
}

#[test]
fn numbers_are_those_of_the_definitions() {
    let page = fs::read_to_string(page_path()).unwrap();
    let client_max = u64::from(CLIENT_FRAME_LEN_MAX);
    for (words, number) in [
        ("a frame from a client is at most {}", client_max),
        ("most {} where the connection's codec is binary", server_frame_len_max(Codec::Binary).into()),
        ("at most {} (four times that) in every other", server_frame_len_max(Codec::Json).into()),
        ("at most {} (four times that) in every other", server_frame_len_max(Codec::Protobuf).into()),
        ("message from a client has at most {} bytes", client_max + (Header::LEN + PREAMBLE_LEN) as u64),
        ("the plain body of a client's frame has at most {} bytes", client_max - 16),
        ("`frame` with a maximum of {}", client_max),
        ("at `limit`, at {} rows", PAGE_ROWS_MAX.into()),
        ("at `limit`, {} rows", PAGE_ROWS_MAX.into()),
        ("rows or at about {} KiB", PAGE_BYTES_MAX as u64 / 1024),
        ("rows or about {} KiB", PAGE_BYTES_MAX as u64 / 1024),
        ("a group of more than {}", GROUP_MEMBERS_MAX.into()),
    ] {
        let words = words.replace("{}", &grouped(number));
        let one_line = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line.contains(&words), "the page does not say: {words}");
    }
}

/// Exactly those refusals are *reserved* that no server says.
#[test]
fn refusals_that_are_reserved_are_sent_by_nobody() {
    let mut sources = String::new();
    for folder in ["gate/src", "im-service/src", "im-auth/src", "route/src", "im-session/src/gate_session.rs"] {
        gather(&root().join("crates").join(folder), &mut sources);
    }
    let page = fs::read_to_string(page_path()).unwrap();
    for (row, code) in table(&page, "<!-- causes -->\n").iter().zip(RefusalCode::KNOWN) {
        assert_eq!(row[0], format!("`{}`", code.name()));
        let name = format!("RefusalCode::{}", code.name());
        let is_sent = sources
            .match_indices(&name)
            .any(|(at, _)| !sources[at + name.len()..].starts_with(|next: char| next.is_ascii_alphanumeric()));
        assert_eq!(row[1].starts_with("*reserved*"), !is_sent, "{name}");
    }
}

/// What stands in the files of a folder before their tests.
fn gather(path: &Path, into: &mut String) {
    if path.is_dir() {
        let inside = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        inside.filter(|path| !path.ends_with("tests")).for_each(|path| gather(&path, into));
    } else if path.extension().is_some_and(|ending| ending == "rs") {
        let source = fs::read_to_string(path).unwrap();
        into.push_str(source.split("#[cfg(test)]").next().unwrap());
    }
}
