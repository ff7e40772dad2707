//! Peers of different versions understand each other. Of every version the layout and the bytes of
//! all messages of a client and its gate are kept beside this file, written once when the version
//! came out (`SIM_KEEP_VERSION=1` writes a file that is not there) and never again.
//!
//! * The old one writes, today's reads: the kept bytes mean today what they meant then, in every codec.
//! * Today's writes, the old one reads: a reader that knows the kept layout alone gets from today's
//!   bytes what it knows of them.
//! * A newer one writes, today's reads: what a later version may append is passed over.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod layout;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use im_proto::commands::Body;
use layout::{Walk, client_bodies, today};
use proto_codec::Codec;
use serde_json::{Value, json};

/// Each version that was, with the fingerprint of its file.
const KEPT: &[(&str, u64)] = &[("v1.json", 0x6c62_8056_e404_78f9)];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/versions").join(name)
}

fn kept(name: &str) -> Value {
    if std::env::var_os("SIM_KEEP_VERSION").is_some() && !path(name).exists() {
        let text = serde_json::to_string_pretty(&json!({ "layout": today(), "bodies": bodies_of_today() })).unwrap();
        fs::write(path(name), text + "\n").unwrap();
    }
    serde_json::from_str(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// FNV-1a: no secret, only a reminder.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn unhex(text: &Value) -> Bytes {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn body_of(message: &Value) -> &'static Body {
    client_bodies().find(|body| body.message == message).unwrap_or_else(|| panic!("{message} is gone"))
}

/// Today's examples of the client's messages, with the values that the layout gives.
fn bodies_of_today() -> Vec<Value> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-codec/testdata/messages-v1.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(vectors).unwrap()).unwrap();
    let layout = today();
    let rows = file["vectors"].as_array().unwrap().iter();
    let rows = rows.filter(|row| client_bodies().any(|body| body.message == row["message"]));
    rows.map(|row| {
        let values = Walk::new(&layout, &unhex(&row["hex"])).body(row["message"].as_str().unwrap());
        json!({
            "message": row["message"], "note": row["note"], "values": values,
            "binary": row["hex"], "json": row["json"], "protobuf": row["protobuf"],
        })
    })
    .collect()
}

#[test]
fn kept_versions_are_never_edited() {
    for (name, expected) in KEPT {
        kept(name);
        let found = fingerprint(&fs::read(path(name)).unwrap());
        assert_eq!(found, *expected, "{name} was edited: {found:#x}. Peers in the field were not");
    }
}

#[test]
fn what_an_older_peer_writes_is_read_today() {
    for (name, _) in KEPT {
        let kept = kept(name);
        let bodies = kept["bodies"].as_array().unwrap();
        assert!(bodies.len() >= 36, "{name} lost rows");
        for row in bodies {
            let body = body_of(&row["message"]);
            let json = Bytes::copy_from_slice(row["json"].as_str().unwrap().as_bytes());
            let codecs = [
                (Codec::Binary, unhex(&row["binary"])),
                (Codec::Json, json),
                (Codec::Protobuf, unhex(&row["protobuf"])),
            ];
            for (codec, bytes) in codecs {
                let read = (body.recode)(codec, &bytes, Codec::Binary);
                let read = read.unwrap_or_else(|error| panic!("{} of {name} in {codec:?}: {error}", body.message));
                let values = Walk::new(&kept["layout"], &read).body(body.message);
                assert_eq!(values, row["values"], "{} of {name} in {codec:?}", body.message);
            }
        }
    }
}

#[test]
fn what_is_written_today_is_read_by_an_older_peer() {
    for (name, _) in KEPT {
        let layout = &kept(name)["layout"];
        let mut read = 0;
        for row in bodies_of_today() {
            let message = row["message"].as_str().unwrap();
            // A message of a later version comes with a command that the older peer passes over.
            let Some(then) = layout["structs"].get(message) else { continue };
            let mut walk = Walk::new(layout, &unhex(&row["binary"])).body(message);
            let values = walk.as_object_mut().unwrap();
            assert_eq!(values.len(), then["fields"].as_array().unwrap().len(), "{message} of {name}");
            for (field, value) in values {
                assert!(
                    knows(&row["values"][field], value),
                    "{message}.{field}: {value}, not {}",
                    row["values"][field]
                );
            }
            read += 1;
        }
        assert!(read >= 36, "{name} was hardly tried");
    }
}

/// Whether the older value is the newer one, but for fields that came later.
fn knows(newer: &Value, older: &Value) -> bool {
    match (newer, older) {
        (Value::Object(newer), Value::Object(older)) => {
            older.iter().all(|(name, value)| newer.get(name).is_some_and(|newer| knows(newer, value)))
        }
        (Value::Array(newer), Value::Array(older)) => {
            newer.len() == older.len() && newer.iter().zip(older).all(|(newer, older)| knows(newer, older))
        }
        _ => newer == older,
    }
}

#[test]
fn what_a_newer_peer_appends_is_passed_over() {
    let layout = today();
    for row in bodies_of_today() {
        let (body, bytes) = (body_of(&row["message"]), unhex(&row["binary"]));
        let mut walk = Walk::new(&layout, &bytes).grow();
        walk.body(body.message);
        let grown: Bytes = walk.out.into();
        assert!(grown.len() > bytes.len(), "{} cannot grow", body.message);
        let read = (body.recode)(Codec::Binary, &grown, Codec::Binary);
        assert_eq!(read.as_ref(), Ok(&bytes), "{}", body.message);

        // An unknown key in front, and an unknown field behind: number 2047, three bytes.
        let text = row["json"].as_str().unwrap().replacen('{', r#"{"sooner":{"or":["later",null]},"#, 1);
        let text = text.replace(",}", "}");
        let read = (body.recode)(Codec::Json, &text.into(), Codec::Binary);
        assert_eq!(read.as_ref(), Ok(&bytes), "{} in JSON", body.message);
        let grown = [&unhex(&row["protobuf"])[..], &[0xfa, 0x7f, 3, 1, 2, 3]].concat().into();
        let read = (body.recode)(Codec::Protobuf, &grown, Codec::Binary);
        assert_eq!(read.as_ref(), Ok(&bytes), "{} in protobuf", body.message);
    }
}

#[test]
fn definitions_only_grow() {
    let today = today();
    for (name, _) in KEPT {
        let then = &kept(name)["layout"];
        for table in ["enums", "unions"] {
            for (what, numbers) in then[table].as_object().unwrap() {
                assert!(knows(&today[table][what], numbers), "{what} of {name}: {numbers}");
            }
        }
        for table in ["commands", "refusals"] {
            assert!(knows(&today[table], &then[table]), "{table} of {name}");
        }
        for (what, schema) in then["structs"].as_object().unwrap() {
            let now = &today["structs"][what];
            assert_eq!(now["sealed"], schema["sealed"], "{what} of {name}");
            let (now, then) = (now["fields"].as_array().unwrap(), schema["fields"].as_array().unwrap());
            assert!(now.len() >= then.len(), "{what} of {name} lost a field");
            for (now, then) in now.iter().zip(then) {
                assert_eq!((&now["name"], &now["since"]), (&then["name"], &then["since"]), "{what} of {name}");
                assert!(holds(&now["type"], &then["type"]), "{what} of {name}: {now} was {then}");
            }
            assert!(now[then.len()..].iter().all(|field| field["since"].as_u64() > Some(1)), "{what}: not appended");
        }
    }
}

/// The same type, with room for as much.
fn holds(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Number(now), Value::Number(then)) => now.as_u64() >= then.as_u64(),
        (Value::Object(now), Value::Object(then)) => {
            now.len() == then.len() && then.iter().all(|(key, then)| now.get(key).is_some_and(|now| holds(now, then)))
        }
        _ => now == then,
    }
}
