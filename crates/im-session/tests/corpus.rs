//! The kept inputs of the fuzz targets `handshake` and `client`, replayed by an ordinary test, and
//! changed ones.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use im_session::fuzzing::{client_connection, gate_session};
use proptest::collection::vec;
use proptest::prelude::*;

fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn kept_inputs_hold() {
    for (target, check) in [("handshake", gate_session as fn(Instant, &[u8])), ("client", client_connection)] {
        let inputs = kept(target);
        assert!(inputs.len() >= 10, "the inputs of {target} are gone");
        inputs.iter().for_each(|input| check(Instant::now(), input));
    }
}

/// An input with some bytes set to others.
fn changed(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    (prop::sample::select(kept(target)), changes).prop_map(|(mut input, changes)| {
        for (at, to) in changes {
            if !input.is_empty() {
                let at = at.index(input.len());
                input[at] = to;
            }
        }
        input
    })
}

proptest! {
    #[test]
    fn changed_inputs_hold_at_the_gate(input in changed("handshake")) {
        gate_session(Instant::now(), &input);
    }

    #[test]
    fn changed_inputs_hold_at_the_client(input in changed("client")) {
        client_connection(Instant::now(), &input);
    }
}
