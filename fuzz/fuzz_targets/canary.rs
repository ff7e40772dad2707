//! A fault on purpose, which must be found.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| im_proto::fuzzing::canary(input));
