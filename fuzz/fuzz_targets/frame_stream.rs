//! The same stream in one piece, in pieces, and as the deframer asks for it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| proto_codec::fuzzing::frame_stream_input(input));
