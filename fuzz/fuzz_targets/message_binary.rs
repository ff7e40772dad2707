//! A body in the binary codec.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| im_proto::fuzzing::binary_input(input));
