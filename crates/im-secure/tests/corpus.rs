//! The kept inputs of the fuzz targets `agreement` and `encrypted`, replayed by an ordinary test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use im_secure::fuzzing;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 5, "the inputs of {target} are gone");
    inputs.iter().for_each(|input| check(input));
}

#[test]
fn kept_inputs_hold() {
    replay("agreement", fuzzing::handshake);
    replay("encrypted", fuzzing::sealed_frames);
}
