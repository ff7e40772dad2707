//! Properties of every body: one spelling per value, no panic, and memory bounded by the bytes at hand.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use im_proto::fuzzing::{self, BODIES, Body};
use proptest::collection::vec;
use proptest::prelude::*;
use proto_codec::Codec;

/// What decoding may allocate, all in all, for each byte of the body. The worst byte is one of a list
/// of two-byte ids: 16 bytes of pointer and 24 of shared text for each, which is 20.
const ALLOCATED_PER_BYTE_MAX: u64 = 24;
/// What it may allocate beside: bodies of a few bytes hold an id or two, rounded up.
const ALLOCATED_BESIDE_MAX: u64 = 128;

/// Bodies that are right, from the kept vectors: random bytes alone rarely get past the first field.
fn kept(file: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-codec/testdata").join(file);
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let rows = file["vectors"].as_array().unwrap().iter();
    rows.map(|row| {
        let hex = row["hex"].as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    })
    .collect()
}

/// A kept body with some bytes set to others, and cut or lengthened.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(kept("messages-v1.json")), changes, vec(any::<u8>(), 0..8)).prop_map(
        |(mut body, changes, tail)| {
            for (at, to) in changes {
                let at = at.index(body.len());
                body[at] = to;
            }
            body.extend(tail);
            body
        },
    )
}

/// Bytes that decoding `body` as `kind` allocates in all, freed or not, without what re-encoding takes.
fn allocated(kind: &Body, body: &Bytes) -> u64 {
    allocation_counter::measure(|| {
        let _ = (kind.decode)(Codec::Binary, body);
    })
    .bytes_total
}

fn assert_bounded(body: &[u8]) {
    let bytes = Bytes::copy_from_slice(body);
    for kind in BODIES {
        let allocated = allocated(kind, &bytes);
        let max = ALLOCATED_PER_BYTE_MAX * body.len() as u64 + ALLOCATED_BESIDE_MAX;
        assert!(allocated <= max, "{}: {allocated} bytes for {} of body", kind.message, body.len());
    }
}

proptest! {
    #[test]
    fn changed_bodies_have_one_spelling_or_none(body in changed()) {
        fuzzing::message_body(&body);
        assert_bounded(&body);
    }

    #[test]
    fn garbage_has_one_spelling_or_none(body in vec(any::<u8>(), 0..200)) {
        fuzzing::message_body(&body);
        assert_bounded(&body);
    }
}

#[test]
fn kept_vectors_hold_as_every_message() {
    let bodies: Vec<_> = kept("messages-v1.json").into_iter().chain(kept("refused-v1.json")).collect();
    assert!(bodies.len() > 100, "the vectors are gone");
    for body in bodies {
        fuzzing::message_body(&body);
        assert_bounded(&body);
    }
}

#[test]
fn kept_bodies_come_back_as_they_were() {
    for body in kept("messages-v1.json") {
        let body = Bytes::from(body);
        assert!(BODIES.iter().any(|kind| kind.reencode(&body).as_ref() == Ok(&body)));
    }
}

/// The bodies that cost the most: as many of the smallest elements as a list may have.
#[test]
fn the_dearest_lists_stay_within_the_bound() {
    let members = |count: usize, element: &[u8]| -> Vec<u8> {
        let count = [(count & 0x7f) as u8 | 0x80, (count >> 7) as u8];
        [&b"\x01g\x00\x01o"[..], &count, &element.repeat(1000), &[0]].concat()
    };
    let group = members(1000, b"\x01u");
    let kind = BODIES.iter().find(|kind| kind.message == "Group").unwrap();
    assert_eq!(kind.reencode(&Bytes::from(group.clone())), Ok(Bytes::from(group.clone())), "the list is a real one");
    assert_bounded(&group);
    // The same without its last bytes: the list is read in vain.
    assert_bounded(&group[..group.len() - 2]);
    // Counts without elements.
    assert_bounded(&group[..7]);
}

#[test]
fn a_payload_is_not_copied_out_of_its_frame() {
    let payload = vec![7; 16 * 1024];
    let body = Bytes::from([&b"\x01\x01b\x03m-1\x00\x01\x80\x80\x01"[..], &payload, &[0]].concat());
    let kind = BODIES.iter().find(|kind| kind.message == "SendMsg").unwrap();
    assert!((kind.decode)(Codec::Binary, &body).is_ok());
    assert!(allocated(kind, &body) < 256, "{} bytes", allocated(kind, &body));
}

/// Every message names its conversation, so reading one is on the way of everything.
#[test]
fn a_conversation_id_is_one_allocation() {
    let body = Bytes::from_static(b"\x03a:b\0\0\0\0\0\0\0\x03\0");
    let kind = BODIES.iter().find(|kind| kind.message == "ReadMsg").unwrap();
    let info = allocation_counter::measure(|| (kind.decode)(Codec::Binary, &body).unwrap());
    assert_eq!(info.count_total, 1);
}
