//! The kept `.proto` file: equal to what the definitions give, taken by a standard compiler, and a
//! standard implementation reads and writes the same bytes by it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use im_proto::commands::{self, BODIES, Hop};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use proto_codec::Codec;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

/// `SIM_WRITE_PROTO=1` writes it anew.
#[test]
fn the_kept_file_is_what_the_definitions_give() {
    let path = folder().join("sim.proto");
    if std::env::var_os("SIM_WRITE_PROTO").is_some() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, commands::proto_file()).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept == commands::proto_file(), "proto/sim.proto differs; SIM_WRITE_PROTO=1 writes it anew");
}

fn pool() -> DescriptorPool {
    let files = protox::compile(["sim.proto"], [folder()]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap()
}

#[test]
fn a_standard_implementation_reads_and_writes_the_same_bytes() {
    let pool = pool();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-codec/testdata/messages-v1.json");
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut seen = 0;
    for row in file["vectors"].as_array().unwrap() {
        let kind = BODIES.iter().find(|kind| kind.message == row["message"].as_str().unwrap()).unwrap();
        if kind.hop == Hop::Link {
            continue;
        }
        let hex = row["hex"].as_str().unwrap();
        let binary: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let binary = Bytes::from(binary);
        let ours = (kind.recode)(Codec::Binary, &binary, Codec::Protobuf).unwrap();
        let descriptor = pool.get_message_by_name(&format!("sim.v1.{}", kind.message)).unwrap();
        let theirs = DynamicMessage::decode(descriptor, ours.clone()).unwrap();
        assert_eq!(theirs.unknown_fields().count(), 0, "{}: a field is not in the file", kind.message);
        let again = Bytes::from(theirs.encode_to_vec());
        assert_eq!(again, ours, "{}", kind.message);
        assert_eq!((kind.recode)(Codec::Protobuf, &again, Codec::Binary), Ok(binary));
        seen += 1;
    }
    assert!(seen > 30, "the vectors are gone");
}
