//! The agreement of keys, from both sides.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| im_secure::fuzzing::handshake(input));
