//! A body in protocol buffers.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| im_proto::fuzzing::protobuf_input(input));
