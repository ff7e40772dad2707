//! The kept inputs of the fuzz targets for messages, replayed by an ordinary test, with the bound on
//! what decoding allocates. `SIM_WRITE_SEEDS=1` writes the inputs that hold one body of each message.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use im_proto::fuzzing::{self, BODIES, Body};
use proto_codec::Codec;

/// What may be kept of a target: tests replay it, and everybody fetches it.
const KEPT_FILES_MAX: usize = 200;
const KEPT_BYTES_MAX: u64 = 64 * 1024;

/// A target for messages: its codec, its body, and what decoding may allocate in all, freed or not:
/// for each byte of the body, and beside.
struct Target {
    name: &'static str,
    codec: Codec,
    check: fn(&[u8]),
    allocated_per_byte_max: u64,
    allocated_beside_max: u64,
}

const TARGETS: [Target; 3] = [
    // The worst byte is one of a list of two-byte ids: see the bodies' own test.
    Target {
        name: "message_binary",
        codec: Codec::Binary,
        check: fuzzing::binary_input,
        allocated_per_byte_max: 24,
        allocated_beside_max: 128,
    },
    // Beside the binary form, which grows by doubling: the place of each field that an object can have.
    Target {
        name: "message_json",
        codec: Codec::Json,
        check: fuzzing::json_input,
        allocated_per_byte_max: 32,
        allocated_beside_max: 1024,
    },
    // A row that says nothing takes two bytes here, 32 in the binary form, which grows by doubling, and
    // 140 in the list that is reserved for it. A page has 200 rows at most, so it ends at 64 KiB.
    Target {
        name: "message_protobuf",
        codec: Codec::Protobuf,
        check: fuzzing::protobuf_input,
        allocated_per_byte_max: 128,
        allocated_beside_max: 1024,
    },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Every kept body with its message and what the vectors say about it.
fn vectors() -> Vec<(&'static Body, String, Bytes)> {
    let path = root().join("../proto-codec/testdata/messages-v1.json");
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let rows = file["vectors"].as_array().unwrap().iter();
    rows.map(|row| {
        let kind = BODIES.iter().find(|kind| kind.message == row["message"].as_str().unwrap()).unwrap();
        (kind, row["note"].as_str().unwrap_or_default().to_owned(), unhex(row["hex"].as_str().unwrap()))
    })
    .collect()
}

fn unhex(hex: &str) -> Bytes {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn input(kind: &Body, codec: Codec, binary: &Bytes) -> Vec<u8> {
    let body = (kind.recode)(Codec::Binary, binary, codec).unwrap();
    [&fuzzing::carrier(kind)[..], &body[..]].concat()
}

/// The first, plainest vector of each message, as inputs of a target.
fn seeds(codec: Codec) -> impl Iterator<Item = (String, Vec<u8>)> {
    let mut seen = BTreeSet::new();
    let first = vectors().into_iter().filter(move |(kind, _, _)| seen.insert(kind.message));
    first.map(move |(kind, _, binary)| (kind.message.to_owned(), input(kind, codec, &binary)))
}

fn assert_bounded(target: &Target, kind: &Body, body: &Bytes) {
    let allocated = allocation_counter::measure(|| {
        let _ = (kind.decode)(target.codec, body);
    });
    let max = target.allocated_per_byte_max * body.len() as u64 + target.allocated_beside_max;
    let (allocated, length) = (allocated.bytes_total, body.len());
    assert!(allocated <= max, "{} in {:?}: {allocated} bytes for {length} of body", kind.message, target.codec);
}

#[test]
fn kept_inputs_hold() {
    for target in &TARGETS {
        let folder = root().join("corpus").join(target.name);
        for (name, bytes) in seeds(target.codec) {
            if std::env::var_os("SIM_WRITE_SEEDS").is_some() {
                fs::write(folder.join(&name), &bytes).unwrap();
            }
            let kept = fs::read(folder.join(&name)).unwrap_or_default();
            assert_eq!(kept, bytes, "{}/{name} differs; SIM_WRITE_SEEDS=1 writes it anew", target.name);
        }
        for name in names(&folder) {
            let input = fs::read(folder.join(name)).unwrap();
            (target.check)(&input);
            if let Some((kind, body)) = fuzzing::carried(&input) {
                assert_bounded(target, kind, &body);
            }
        }
    }
}

#[test]
fn every_target_has_inputs_and_not_too_many() {
    let mut targets = names(&root().join("fuzz_targets"));
    assert!(targets.remove("canary.rs"), "the canary begins with nothing");
    let folders = names(&root().join("corpus")).into_iter().map(|name| name + ".rs").collect();
    assert_eq!(targets, folders);
    for folder in names(&root().join("corpus")) {
        let folder = root().join("corpus").join(folder);
        let files = names(&folder);
        assert!((5..=KEPT_FILES_MAX).contains(&files.len()), "{}: {} files", folder.display(), files.len());
        let bytes: u64 = files.iter().map(|name| fs::metadata(folder.join(name)).unwrap().len()).sum();
        assert!(bytes <= KEPT_BYTES_MAX, "{}: {bytes} bytes", folder.display());
    }
}

#[test]
fn a_carrier_names_one_message() {
    for kind in BODIES {
        let (carried, body) = fuzzing::carried(&[&fuzzing::carrier(kind)[..], b"body"].concat()).unwrap();
        assert_eq!((carried.message, carried.role, carried.number), (kind.message, kind.role, kind.number));
        assert_eq!(&body[..], b"body");
    }
    assert!(fuzzing::carried(b"q\x7f").is_none() && fuzzing::carried(b"q").is_none());
}

/// The bodies that cost the most: rows that say as little as they can, as many as a list may have.
#[test]
fn the_dearest_bodies_stay_within_the_bounds() {
    for target in &TARGETS {
        for (kind, _, binary) in vectors() {
            let body = Bytes::from(input(kind, target.codec, &binary)).slice(2..);
            assert_bounded(target, kind, &body);
        }
        for kind in BODIES {
            let lists = kind.schema.fields.len() as u8;
            for number in 1..=lists {
                for count in [1, 30, 200, 1000] {
                    assert_bounded(target, kind, &[number << 3 | 2, 0].repeat(count).into());
                    assert_bounded(target, kind, &[number << 3].repeat(count).into());
                    let field = kind.schema.fields[usize::from(number) - 1].name;
                    for element in [r#""""#, "0", "{}", r#""u""#, r#"{"user":"a"}"#] {
                        let elements = vec![element; count].join(",");
                        assert_bounded(target, kind, &format!(r#"{{"{field}":[{elements}]}}"#).into());
                    }
                }
            }
        }
    }
}

/// A client's stream up to the planted fault.
const CANARY: &[u8] = b"SIM!C\x01\0\0\0\0\0\x03\0\x05\0\0\0\0\0\x01\x02\x01g";

#[test]
fn the_canary_is_quiet_before_its_fault() {
    (0..CANARY.len()).for_each(|cut| fuzzing::canary(&CANARY[..cut]));
}

#[test]
#[should_panic(expected = "the planted fault was found")]
fn the_canary_has_its_fault() {
    fuzzing::canary(CANARY);
}

/// What a later version adds is skipped, in every codec.
#[test]
fn unknown_fields_are_skipped() {
    for (kind, note, binary) in vectors() {
        // A vector that has unknown fields already, or whose message has appended ones, has another tail.
        if binary.last() != Some(&0) || kind.schema.sealed {
            continue;
        }
        let longer = [&binary[..binary.len() - 1], b"\x02\x03new\0"].concat();
        assert_eq!(kind.reencode(&longer.into()), Ok(binary.clone()), "{} ({note})", kind.message);
        let json = (kind.recode)(Codec::Binary, &binary, Codec::Json).unwrap();
        let comma = if &json[..] == b"{}" { "" } else { "," };
        let longer = [br#"{"new":[{"a":null},"\"",1e400]"#, comma.as_bytes(), &json[1..]].concat();
        assert_eq!((kind.recode)(Codec::Json, &longer.into(), Codec::Binary), Ok(binary.clone()), "{}", kind.message);
        let protobuf = (kind.recode)(Codec::Binary, &binary, Codec::Protobuf).unwrap();
        let longer = [b"\xfa\x7d\x03new\xfd\x7d1234\xf8\x7d\x01".as_slice(), &protobuf, b"\xf9\x7d12345678"].concat();
        let read = (kind.recode)(Codec::Protobuf, &longer.into(), Codec::Binary);
        assert_eq!(read, Ok(binary.clone()), "{}", kind.message);
    }
}

/// Protocol buffers leave the end of a message to the frame's length: what is cut between two fields is
/// a message again, of the fields that are left. Cut anywhere else it is refused, and never another one.
#[test]
fn protobuf_cut_anywhere_is_refused_or_what_is_left() {
    let (mut refused, mut left) = (0, 0);
    for (kind, _, binary) in vectors() {
        let whole = (kind.recode)(Codec::Binary, &binary, Codec::Protobuf).unwrap();
        for cut in 0..whole.len() {
            let cut = whole.slice(..cut);
            match (kind.recode)(Codec::Protobuf, &cut, Codec::Protobuf) {
                Ok(again) => {
                    // What is not there is the default, which is an empty message where it is one.
                    let (front, behind) = again.split_at(cut.len());
                    assert_eq!(front, cut, "{}: a cut message is read as another", kind.message);
                    assert!(behind.chunks(2).all(|field| field[1..] == [0]), "{}: {behind:?}", kind.message);
                    left += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 4 * left && left > 50, "{refused} refused, {left} left");
}
