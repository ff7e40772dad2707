//! `docs/protocol.md` and the definitions say the same: what stands between `begin` and `end` marks
//! is written from the definitions, every byte example comes from the kept vectors, and a difference
//! fails. `SIM_WRITE_DOCS=1` writes the page anew.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod examples;
mod reading;
mod server;
mod tables;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use examples::EXAMPLES;
use im_proto::RefusalCode;
use tables::Tables;

fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md")
}

/// The page with everything between marks as the definitions give it.
fn rewritten(page: &str) -> String {
    let mut tables = Tables::default();
    let mut out = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some(what) = mark(line, "begin") else { continue };
        let end = lines.by_ref().find(|line| mark(line, "end").is_some());
        let end = end.unwrap_or_else(|| panic!("{what:?} has no end"));
        assert_eq!(mark(end, "end"), Some(what), "the end of {what:?} names something else");
        let words: Vec<_> = what.split_whitespace().collect();
        let text = match words[..] {
            ["commands"] => tables::commands(),
            ["fields", ..] => tables.fields(&words[1..]),
            ["refusals"] => tables::refusals(),
            ["example", name] => examples::with_reading(name),
            _ => panic!("nothing is known about {what:?}"),
        };
        out.push_str(&text);
        out.push_str(end);
        out.push('\n');
    }
    out
}

/// What a mark is about.
fn mark<'a>(line: &'a str, which: &str) -> Option<&'a str> {
    line.strip_prefix("<!-- ")?.strip_prefix(which)?.strip_prefix(' ')?.strip_suffix(" -->")
}

/// The words behind `begin what`, for every such mark.
fn marked<'a>(page: &'a str, what: &str) -> Vec<&'a str> {
    let marks = page.lines().filter_map(|line| mark(line, "begin")?.strip_prefix(what));
    marks.flat_map(str::split_whitespace).collect()
}

#[test]
fn the_page_says_what_the_definitions_say() {
    let page = fs::read_to_string(page_path()).unwrap();
    let now = rewritten(&page);
    if std::env::var_os("SIM_WRITE_DOCS").is_some() {
        fs::write(page_path(), &now).unwrap();
        return;
    }
    for (number, (kept, now)) in page.lines().zip(now.lines()).enumerate() {
        assert_eq!(kept, now, "line {}; SIM_WRITE_DOCS=1 writes it anew", number + 1);
    }
    assert_eq!(page.len(), now.len(), "SIM_WRITE_DOCS=1 writes the page anew");
}

#[test]
fn every_message_is_on_the_page_once() {
    let page = fs::read_to_string(page_path()).unwrap();
    let told = marked(&page, "fields ");
    let all: BTreeSet<_> = tables::structs().iter().map(|schema| schema.name).collect();
    assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), all);
    assert_eq!(told.len(), all.len(), "a message stands twice");
}

#[test]
fn every_example_is_on_the_page() {
    let page = fs::read_to_string(page_path()).unwrap();
    let told: BTreeSet<_> = marked(&page, "example ").into_iter().collect();
    assert_eq!(told, EXAMPLES.iter().map(|example| example.name).collect());
    assert!(!marked(&page, "commands").is_empty() || page.contains("<!-- begin commands -->"));
    assert!(page.contains("<!-- begin refusals -->"));
}

/// Bytes that stand outside the marks, written by hand, are examples too.
#[test]
fn bytes_outside_the_marks_are_those_of_an_example() {
    let page = fs::read_to_string(page_path()).unwrap();
    let mut lines = page.lines();
    let mut seen = 0;
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex") else { continue };
        let hex: String = lines.by_ref().take_while(|line| *line != "```").collect();
        assert_eq!(hex.replace(' ', ""), examples::hex(&examples::bytes(name.trim()), ""), "{name}");
        seen += 1;
    }
    assert!(seen >= EXAMPLES.len());
}

/// Bodies in the other codecs, each a kept vector: ```` ```json SendMsg note ````.
#[test]
fn bodies_in_other_codecs_are_kept_vectors() {
    let page = fs::read_to_string(page_path()).unwrap();
    let mut lines = page.lines();
    let mut seen = BTreeSet::new();
    while let Some(line) = lines.next() {
        let fence = line.strip_prefix("```").and_then(|rest| rest.split_once(' '));
        let Some((codec @ ("json" | "protobuf"), which)) = fence else { continue };
        let (message, note) = which.split_once(' ').unwrap_or((which, ""));
        let told: String = lines.by_ref().take_while(|line| *line != "```").collect();
        let told = if codec == "json" { told } else { told.replace(' ', "") };
        assert_eq!(told, examples::row(message, note)[codec], "{line}");
        seen.insert(codec);
    }
    assert_eq!(seen.len(), 2, "the page shows a body in each codec");
}

/// Every refusal has a row that tells its cause, and none that is gone has one.
#[test]
fn every_refusal_has_its_cause_on_the_page() {
    let page = fs::read_to_string(page_path()).unwrap();
    let (_, causes) = page.split_once("<!-- causes -->\n").unwrap();
    let rows = causes.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    let told: Vec<_> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    let all: Vec<_> = RefusalCode::KNOWN.iter().map(|code| code.name()).collect();
    assert_eq!(told, all);
}
