//! A client's connection, from the gate's first bytes on.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| im_session::fuzzing::client_connection(std::time::Instant::now(), input));
