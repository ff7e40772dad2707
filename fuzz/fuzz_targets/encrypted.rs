//! Sealed frames on a hostile network.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| im_secure::fuzzing::sealed_frames(input));
