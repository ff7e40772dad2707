//! Properties of a stream of frames: how it is split never matters, and garbage never panics.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proto_codec::{Flags, Frame, fuzzing};

fn frame() -> impl Strategy<Value = Frame> {
    (any::<u16>(), any::<bool>(), any::<u32>(), vec(any::<u8>(), 0..=96)).prop_map(
        |(command, refused, sequence, body)| Frame {
            command,
            flags: if refused { Flags::REFUSED } else { Flags::NONE },
            sequence,
            body: Bytes::from(body),
        },
    )
}

fn encode(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut out));
    out
}

proptest! {
    #[test]
    fn any_split_gives_the_same_frames(frames in vec(frame(), 0..8), splits in vec(any::<u8>(), 0..8)) {
        prop_assert_eq!(fuzzing::frame_stream(&encode(&frames), &splits), frames);
    }

    #[test]
    fn garbage_behind_good_frames_takes_none_of_them(
        frames in vec(frame(), 0..4),
        garbage in vec(any::<u8>(), 0..64),
        splits in vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = encode(&frames);
        bytes.extend_from_slice(&garbage);
        let found = fuzzing::frame_stream(&bytes, &splits);
        prop_assert!(found.starts_with(&frames));
    }

    #[test]
    fn a_changed_byte_never_panics(frames in vec(frame(), 1..4), at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = encode(&frames);
        let at = at.index(bytes.len());
        bytes[at] = to;
        fuzzing::frame_stream(&bytes, &[3, 0, 50]);
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..256), splits in vec(any::<u8>(), 0..8)) {
        fuzzing::frame_stream(&bytes, &splits);
    }
}

#[test]
fn kept_seeds_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/frame_stream");
    let mut seeds = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        fuzzing::frame_stream_input(&bytes);
        seeds += 1;
    }
    assert!(seeds >= 5, "the seeds are gone");
}
