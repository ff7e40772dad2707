//! The kept inputs of the fuzz target `handshake`, replayed by an ordinary test, and random ones.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use im_session::fuzzing::gate_session;
use proptest::collection::vec;
use proptest::prelude::*;

fn kept() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/handshake");
    fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn kept_inputs_hold() {
    let inputs = kept();
    assert!(inputs.len() >= 10, "the inputs are gone");
    inputs.iter().for_each(|input| gate_session(Instant::now(), input));
}

proptest! {
    #[test]
    fn changed_inputs_hold(
        mut input in prop::sample::select(kept()),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (at, to) in changes {
            if !input.is_empty() {
                let at = at.index(input.len());
                input[at] = to;
            }
        }
        gate_session(Instant::now(), &input);
    }
}
