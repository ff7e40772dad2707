//! The body of the fuzz target that decodes any message.

use bytes::Bytes;

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
