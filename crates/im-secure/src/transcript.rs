//! The hash over everything that a handshake says, in the order of the wire:
//!
//! ```text
//! client:  preamble (8)  HandShake header (12)  HandShake body
//! gate:                  HandShakeAck header (12)  HandShakeAck body behind its first field
//! ```
//!
//! The first field of the ack is the signature over this hash, so it cannot be part of it; its
//! length is, by the header. Bytes are hashed as they travelled, never as they would be encoded
//! again: fields that a newer peer appended count too.

use aws_lc_rs::digest::{Context, SHA256};
use proto_codec::{Frame, Header, PREAMBLE_LEN};

/// Half-way: what the client has said.
pub(crate) struct Said(Context);

impl Said {
    /// Takes up the client's part, as the client wrote it.
    pub(crate) fn sent(bytes: &[u8]) -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(bytes);
        Self(hash)
    }

    /// Takes up the client's part, as it was received.
    pub(crate) fn received(preamble: &[u8; PREAMBLE_LEN], handshake: &Frame) -> Self {
        let mut said = Self::sent(preamble);
        said.0.update(&handshake.header().to_bytes());
        said.0.update(&handshake.body);
        said
    }

    /// Takes up the gate's part and gives the hash of the whole.
    pub(crate) fn by_gate(self, header: Header, body_behind_signature: &[u8]) -> [u8; 32] {
        let mut hash = self.0;
        hash.update(&header.to_bytes());
        hash.update(body_behind_signature);
        hash.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes")
    }
}
