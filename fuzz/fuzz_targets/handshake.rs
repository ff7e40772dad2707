//! A gate's session, from the first bytes on.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| im_session::fuzzing::gate_session(std::time::Instant::now(), input));
