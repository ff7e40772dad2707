//! The agreement inside the handshake.
//!
//! ```text
//! ClientHello ── HandShake { suites, key_share } ────────────────────────► ServerHello
//! ClientWaiting ◄─ HandShakeAck { signature, encryption, key_share, … } ── answer
//!       └─ Agreed                                                Agreed ──────┘
//! ```
//!
//! Each step consumes the one before, so an ephemeral key serves one agreement.

use std::fmt;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use bytes::{Bytes, BytesMut};
use im_proto::client::{Command, Encryption, HandShake, HandShakeAck};
use im_proto::limits::{KEY_SHARE_LEN, SIGNATURE_LEN};
use proto_codec::{Codec, DecodeError, Encode, Flags, Frame, Header, PREAMBLE_LEN, RESPONSE_BIT};
use zeroize::Zeroizing;

use crate::identity::{IdentityKey, IdentityPublicKey};
use crate::schedule::{Agreed, Side};
use crate::suite::Suite;
use crate::transcript::Said;

/// Bytes of the ack's first field: one of length, then the signature. 64 takes one byte as a varint.
const SIGNATURE_FIELD_LEN: usize = 1 + SIGNATURE_LEN as usize;

/// An X25519 private key for one connection.
pub struct EphemeralKey(PrivateKey);

impl EphemeralKey {
    /// From 32 bytes of good randomness.
    pub fn from_bytes(bytes: impl Into<Zeroizing<[u8; 32]>>) -> Self {
        let bytes = bytes.into();
        Self(PrivateKey::from_private_key(&X25519, &bytes[..]).expect("any 32 bytes are an X25519 private key"))
    }

    /// What the peer gets.
    pub fn public(&self) -> Bytes {
        let public = self.0.compute_public_key().expect("an X25519 private key has a public one");
        Bytes::copy_from_slice(public.as_ref())
    }

    /// What only the two sides know. A peer's key of small order would make it known to all: refused.
    fn agree(&self, peer: &[u8]) -> Result<Zeroizing<[u8; 32]>, BadKeyShare> {
        agree(&self.0, UnparsedPublicKey::new(&X25519, peer), BadKeyShare, |secret| {
            let secret: [u8; 32] = secret.try_into().map_err(|_| BadKeyShare)?;
            if secret == [0; 32] { Err(BadKeyShare) } else { Ok(Zeroizing::new(secret)) }
        })
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralKey")
    }
}

/// Why a gate cannot take a client's offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// It names no suite that this build speaks.
    #[error("none of the offered body encryptions is spoken here")]
    NoSuite,
    /// Its key share has another length than 32, or is a point of small order.
    #[error(transparent)]
    BadKeyShare(#[from] BadKeyShare),
}

/// A key share that no key can be agreed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key share that no key can be agreed with")]
pub struct BadKeyShare;

/// Why a client does not take a gate's answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The gate's key share has another length than 32, or is a point of small order.
    #[error(transparent)]
    BadKeyShare(#[from] BadKeyShare),
    /// The gate answered without encryption.
    #[error("the gate answered without encryption")]
    NotEncrypted,
    /// The gate chose what was not offered.
    #[error("the gate chose an encryption that was not offered")]
    NotOffered,
    /// The gate is not the one that was pinned, or somebody changed what was said.
    #[error("the handshake is not signed by the pinned identity")]
    BadSignature,
    /// The gate's answer does not decode.
    #[error("the answer does not decode: {0}")]
    Body(#[from] DecodeError),
}

/// The client before it has said anything.
#[derive(Debug)]
pub struct ClientHello {
    ephemeral: EphemeralKey,
    identity: IdentityPublicKey,
}

/// The client until the gate has answered.
pub struct ClientWaiting {
    hello: ClientHello,
    said: Said,
}

impl ClientHello {
    /// Wants to speak to the gate of that identity, and to no other.
    pub fn new(ephemeral: EphemeralKey, identity: IdentityPublicKey) -> Self {
        Self { ephemeral, identity }
    }

    /// `handshake` with the offer in it.
    #[must_use]
    pub fn offer(&self, handshake: HandShake) -> HandShake {
        HandShake { suites: Suite::ALL.map(Suite::wire).to_vec(), key_share: self.ephemeral.public(), ..handshake }
    }

    /// `bytes` is all that was written so far: the preamble, and the frame with the offer.
    pub fn sent(self, bytes: &[u8]) -> ClientWaiting {
        ClientWaiting { said: Said::sent(bytes), hello: self }
    }
}

impl ClientWaiting {
    /// The gate has answered. Nothing else of the answer may be believed before this.
    pub fn finish(self, answer: &Frame) -> Result<Agreed, HelloError> {
        let ack: HandShakeAck = Codec::Binary.decode("HandShakeAck", &answer.body)?;
        let suite = match ack.encryption {
            Encryption::None => return Err(HelloError::NotEncrypted),
            chosen => Suite::from_wire(chosen).ok_or(HelloError::NotOffered)?,
        };
        let behind_signature = match answer.body.get(SIGNATURE_FIELD_LEN..) {
            Some(rest) if ack.signature.len() == SIGNATURE_LEN as usize => rest,
            _ => return Err(HelloError::BadSignature),
        };
        let transcript_hash = self.said.by_gate(answer.header(), behind_signature);
        let Self { hello: ClientHello { ephemeral, identity }, .. } = self;
        if !identity.has_signed(&transcript_hash, &ack.signature) {
            return Err(HelloError::BadSignature);
        }
        let shared = ephemeral.agree(&ack.key_share)?;
        Ok(Agreed::new(Side::Client, suite, &transcript_hash, &shared[..]))
    }
}

impl fmt::Debug for ClientWaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientWaiting").field(&self.hello).finish()
    }
}

/// The gate with a client's offer that it can answer.
pub struct ServerHello {
    suite: Suite,
    key_share: Bytes,
    sequence: u32,
    said: Said,
}

impl ServerHello {
    /// From the connection's first bytes, the frame behind them, and what the frame says.
    pub fn new(preamble: &[u8; PREAMBLE_LEN], frame: &Frame, handshake: &HandShake) -> Result<Self, OfferError> {
        let suite = handshake.suites.iter().find_map(|offered| Suite::from_wire(*offered));
        let suite = suite.ok_or(OfferError::NoSuite)?;
        if handshake.key_share.len() != KEY_SHARE_LEN as usize {
            return Err(BadKeyShare.into());
        }
        let key_share = handshake.key_share.clone();
        Ok(Self { suite, key_share, sequence: frame.sequence, said: Said::received(preamble, frame) })
    }

    /// The sequence of the client's frame, which the answer repeats.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// `ack`, completed and signed. It has to be sent as the binary codec writes it, without flags.
    pub fn answer(
        self,
        identity: &IdentityKey,
        ephemeral: &EphemeralKey,
        ack: HandShakeAck,
    ) -> Result<(HandShakeAck, Agreed), OfferError> {
        let shared = ephemeral.agree(&self.key_share)?;
        let mut ack = HandShakeAck {
            signature: Bytes::from_static(&[0; SIGNATURE_LEN as usize]),
            encryption: self.suite.wire(),
            key_share: ephemeral.public(),
            ..ack
        };
        let mut body = BytesMut::new();
        ack.encode(&mut body);
        let header = Header {
            length: body.len() as u32,
            command: Command::HandShake.number() | RESPONSE_BIT,
            flags: Flags::NONE,
            sequence: self.sequence,
        };
        let transcript_hash = self.said.by_gate(header, &body[SIGNATURE_FIELD_LEN..]);
        ack.signature = identity.sign(&transcript_hash).into();
        Ok((ack, Agreed::new(Side::Gate, self.suite, &transcript_hash, &shared[..])))
    }
}

impl fmt::Debug for ServerHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHello").field("suite", &self.suite).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proto_codec::CodecId;

    use super::*;

    /// A gate that signs a point of small order is the pinned one, and still not believed.
    #[test]
    fn a_client_refuses_a_signed_key_share_that_gives_no_secret() {
        let identity = IdentityKey::from_seed(&[9; 32]).unwrap();
        let mut one = [0; 32];
        one[0] = 1;
        for (key_share, refused) in [(&[0; 32][..], true), (&one, true), (&[9; 31], true), (&[9; 32], false)] {
            let client = ClientHello::new(EphemeralKey::from_bytes([1; 32]), identity.public()).sent(b"words");
            let mut ack = HandShakeAck {
                signature: Bytes::from_static(&[0; SIGNATURE_LEN as usize]),
                version: 1,
                codec: CodecId::Binary,
                encryption: Encryption::ChaCha20Poly1305,
                frame_len_max: 1,
                key_share: Bytes::copy_from_slice(key_share),
            };
            let frame = |ack: &HandShakeAck| {
                let mut body = BytesMut::new();
                ack.encode(&mut body);
                Frame { command: 0x81, flags: Flags::NONE, sequence: 1, body: body.freeze() }
            };
            let unsigned = frame(&ack);
            let hash = Said::sent(b"words").by_gate(unsigned.header(), &unsigned.body[SIGNATURE_FIELD_LEN..]);
            ack.signature = identity.sign(&hash).into();
            let error = client.finish(&frame(&ack)).err();
            assert_eq!(error, refused.then_some(HelloError::BadKeyShare(BadKeyShare)), "{key_share:02x?}");
        }
    }
}
