//! A body decoded as every message there is.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| im_proto::fuzzing::message_body(body));
