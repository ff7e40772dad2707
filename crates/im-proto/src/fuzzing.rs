//! Bodies of the fuzz targets that decode any message, in any codec.

use bytes::Bytes;
use proto_codec::Codec;

pub use crate::commands::{BODIES, Body, Hop, Role};

/// Decodes `body` as every message there is. What decodes has one spelling: the same bytes come out
/// again, shorter or longer only where the sender's version appended other fields than ours.
pub fn message_body(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    for kind in BODIES {
        if let Ok(again) = kind.reencode(&body) {
            assert!(again.len() != body.len() || again == body, "{}: two spellings of one value", kind.message);
            assert_eq!(
                kind.reencode(&again).as_ref(),
                Ok(&again),
                "{}: its own bytes are no fixed point",
                kind.message
            );
        }
    }
}

/// Decodes `body` as every message there is, in a codec that has several spellings of one value. What
/// decodes is one value whichever way it goes: into this codec and back, into the binary one and back.
pub fn coded_body(codec: Codec, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    for kind in BODIES {
        let Ok(binary) = (kind.recode)(codec, &body, Codec::Binary) else { continue };
        assert_eq!(kind.reencode(&binary).as_ref(), Ok(&binary), "{}: no binary body", kind.message);
        let again = (kind.recode)(Codec::Binary, &binary, codec).expect("what was decoded is encoded");
        let back = (kind.recode)(codec, &again, Codec::Binary);
        assert_eq!(back.as_ref(), Ok(&binary), "{}: read back as something else: {again:?}", kind.message);
    }
}

/// [`coded_body`] in JSON.
pub fn json_body(body: &[u8]) {
    coded_body(Codec::Json, body);
}

/// [`coded_body`] in protocol buffers.
pub fn protobuf_body(body: &[u8]) {
    coded_body(Codec::Protobuf, body);
}
