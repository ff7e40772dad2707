//! A body in JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| im_proto::fuzzing::json_input(input));
