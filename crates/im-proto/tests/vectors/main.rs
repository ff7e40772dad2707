//! The vectors under `proto-codec/testdata`, which clients in other languages test against: they are
//! written from the definitions here, and a difference fails. `SIM_WRITE_VECTORS=1` writes them anew;
//! do that for a new message, never for one that peers already speak.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod describe;
mod examples;
mod refused;
mod refused_json;
mod refused_protobuf;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::hash::Hash;
use std::path::Path;

use bytes::Bytes;
use describe::hex;
use examples::{Example, examples};
use im_proto::RefusalCode;
use im_proto::client::Command;
use im_proto::fuzzing::{BODIES, Hop, Role};
use im_proto::link::LinkCommand;
use proto_codec::{Codec, DecodeError, RESPONSE_BIT};
use serde_json::{Value, json};

/// Compares `value` with the kept file, or writes it where that is asked for.
fn compare_or_write(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-codec/testdata").join(name);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("SIM_WRITE_VECTORS").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    if kept == *value {
        return;
    }
    // The first difference says more than two whole files.
    for (kept, now) in rows(&kept).iter().zip(rows(value)) {
        assert_eq!(kept, now, "{name} differs; SIM_WRITE_VECTORS=1 writes it anew");
    }
    panic!("{name} has other rows than before; SIM_WRITE_VECTORS=1 writes it anew");
}

fn rows(file: &Value) -> &Vec<Value> {
    file["vectors"].as_array().unwrap()
}

fn carriers(message: &str) -> Vec<Value> {
    let carriers = BODIES.iter().filter(|body| body.message == message);
    carriers
        .map(|body| match body.role {
            Role::Refusal => json!({ "hop": "Client", "role": "Refusal" }),
            role => json!({
                "hop": format!("{:?}", body.hop),
                "role": format!("{role:?}"),
                "command": body.command,
                "number": if role == Role::Answer { body.number | RESPONSE_BIT } else { body.number },
            }),
        })
        .collect()
}

/// The example in another codec, which must lead back to the same.
fn recoded(message: &str, bytes: &Bytes, codec: Codec) -> Bytes {
    let kind = BODIES.iter().find(|body| body.message == message).unwrap();
    let recoded = (kind.recode)(Codec::Binary, bytes, codec).unwrap();
    assert_eq!((kind.recode)(codec, &recoded, Codec::Binary).as_ref(), Ok(bytes), "{message} in {codec:?}");
    recoded
}

#[test]
fn messages_have_the_bytes_that_are_kept() {
    let vectors: Vec<Value> = examples()
        .iter()
        .map(|Example { message, note, fields, bytes, .. }| {
            json!({
                "message": message, "note": note, "frames": carriers(message), "fields": fields, "hex": hex(bytes),
                "json": String::from_utf8(recoded(message, bytes, Codec::Json).to_vec()).unwrap(),
                "protobuf": hex(&recoded(message, bytes, Codec::Protobuf)),
            })
        })
        .collect();
    let about = "Bodies: hex is the binary codec, json the text of the JSON codec, protobuf the hex of that. In fields, 64-bit numbers are decimal strings, byte strings are {\"hex\"}, enums are number and name.";
    compare_or_write("messages-v1.json", &json!({ "about": about, "vectors": vectors }));
    kept_bytes_decode_to_the_kept_fields();
}

fn kept_bytes_decode_to_the_kept_fields() {
    let by_message: BTreeMap<_, _> = examples().into_iter().map(|e| (e.message, e.describe)).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-codec/testdata/messages-v1.json");
    let kept: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for row in rows(&kept) {
        let bytes = unhex(row["hex"].as_str().unwrap());
        let fields = by_message[row["message"].as_str().unwrap()](&bytes.into());
        assert_eq!(fields.as_ref(), Ok(&row["fields"]), "{}", row["message"]);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_body_has_an_example() {
    let told: BTreeSet<_> = examples().iter().map(|example| example.message).collect();
    let all: BTreeSet<_> = BODIES.iter().map(|body| body.message).collect();
    assert_eq!(told, all);
}

#[test]
fn every_command_has_a_body() {
    let commands = |hop| -> BTreeSet<u16> {
        BODIES.iter().filter(|b| b.hop == hop && b.role == Role::Request).map(|b| b.number).collect()
    };
    assert_eq!(commands(Hop::Client), Command::KNOWN.iter().map(|c| c.number()).collect());
    assert_eq!(commands(Hop::Link), LinkCommand::KNOWN.iter().map(|c| c.number()).collect());
}

#[test]
fn every_number_is_there_once_and_leaves_the_answer_bit_alone() {
    unique(Command::KNOWN, |c| c.number());
    unique(LinkCommand::KNOWN, |c| c.number());
    unique(RefusalCode::KNOWN, |c| c.number());
    let commands = Command::KNOWN.iter().map(|c| c.number()).chain(LinkCommand::KNOWN.iter().map(|c| c.number()));
    for number in commands {
        assert_eq!(number & RESPONSE_BIT, 0, "{number:#x} looks like an answer");
    }
}

fn unique<T: Copy + Debug, K: Eq + Hash + Ord>(all: &[T], key: impl Fn(T) -> K) {
    let mut seen = BTreeMap::new();
    for item in all {
        if let Some(other) = seen.insert(key(*item), *item) {
            panic!("{other:?} and {item:?} share a number");
        }
    }
}

#[test]
fn every_message_cut_at_every_length_is_refused() {
    for Example { message, bytes, describe, .. } in examples() {
        for cut in 0..bytes.len() {
            let refusal = describe(&bytes.slice(..cut)).unwrap_err();
            assert!(matches!(refusal, DecodeError::Missing { .. }), "{message} cut at {cut}: {refusal:?}");
        }
        let longer = [&bytes[..], &[0]].concat().into();
        assert_eq!(describe(&longer), Err(DecodeError::Trailing { what: "message", left: 1 }), "{message}");
    }
}

#[test]
fn refused_bytes_get_the_error_that_is_kept() {
    compare_or_write("refused-v1.json", &refused::file());
}

#[test]
fn frames_have_the_bytes_that_are_kept() {
    compare_or_write("frames-v1.json", &streams::frames_file());
}

#[test]
fn streams_give_the_same_frames_however_they_are_split() {
    compare_or_write("streams-v1.json", &streams::streams_file());
}
