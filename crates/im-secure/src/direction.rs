//! One direction of a connection: frames sealed on one side and opened on the other, in one order.
//!
//! The nonce is the direction's iv with the frame's number (64 bits, big-endian, from 0) XORed onto
//! its end; the associated data is the frame's header as it travels, whose length counts the tag and
//! whose flags say "encrypted". Nothing of the number is sent: a frame that is repeated, left out, out
//! of place, from the other direction or from another connection does not open.

use std::fmt;

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::BytesMut;
use proto_codec::{Frame, Header};

use crate::schedule::{Secret, derive};
use crate::suite::Suite;

/// Bytes that sealing adds to a body.
pub const TAG_LEN: usize = 16;

/// Why a frame does not open. The stream has no next frame: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not marked as encrypted.
    #[error("a frame that is not encrypted")]
    NotEncrypted,
    /// It is marked as encrypted, and no keys were agreed.
    #[error("an encrypted frame before keys were agreed")]
    NotAgreed,
    /// It has no room for a tag.
    #[error("an encrypted body of {length} bytes has no room for its tag")]
    TooShort {
        /// Bytes of its body.
        length: usize,
    },
    /// It was not sealed by the peer for this place: changed, repeated, left out or moved.
    #[error("a frame that the peer did not seal for this place")]
    NotAuthentic,
}

/// Seals what one side sends.
#[derive(Debug)]
pub struct Sealer(Direction);

/// Opens what the other side sealed.
#[derive(Debug)]
pub struct Opener(Direction);

impl Sealer {
    pub(crate) fn new(suite: Suite, secret: Secret, rekey_after: u64) -> Self {
        Self(Direction::new(suite, secret, rekey_after))
    }

    /// Seals the plain frame that is the end of `out` from `start` on, in place.
    pub fn seal(&mut self, out: &mut BytesMut, start: usize) {
        let direction = &mut self.0;
        let (header, body) = out[start..]
            .split_first_chunk_mut::<{ Header::LEN }>()
            .expect("the caller has just written a whole frame there");
        let mut sealed = Header::decode(header, u32::MAX).expect("the caller has just written this header");
        sealed.length = (body.len() + TAG_LEN) as u32;
        sealed.flags = sealed.flags.encrypted();
        *header = sealed.to_bytes();
        let tag = direction
            .key
            .seal_in_place_separate_tag(direction.nonce(), Aad::from(&*header), body)
            .expect("a body is far shorter than what a cipher takes");
        out.extend_from_slice(tag.as_ref());
        direction.advance();
    }

    /// Appends a plain frame, sealed.
    pub fn seal_frame(&mut self, frame: &Frame, out: &mut BytesMut) {
        let start = out.len();
        out.reserve(Header::LEN + frame.body.len() + TAG_LEN);
        frame.encode(out);
        self.seal(out, start);
    }
}

impl Opener {
    pub(crate) fn new(suite: Suite, secret: Secret, rekey_after: u64) -> Self {
        Self(Direction::new(suite, secret, rekey_after))
    }

    /// The plain frame in a sealed one.
    pub fn open(&mut self, frame: Frame) -> Result<Frame, OpenError> {
        if !frame.flags.is_encrypted() {
            return Err(OpenError::NotEncrypted);
        }
        let Some((sealed, tag)) = frame.body.split_last_chunk::<TAG_LEN>() else {
            return Err(OpenError::TooShort { length: frame.body.len() });
        };
        let direction = &mut self.0;
        let header = frame.header().to_bytes();
        let mut body = BytesMut::zeroed(sealed.len());
        direction
            .key
            .open_separate_gather(direction.nonce(), Aad::from(&header), sealed, tag, &mut body)
            .map_err(|_| OpenError::NotAuthentic)?;
        direction.advance();
        Ok(Frame { flags: frame.flags.decrypted(), body: body.freeze(), ..frame })
    }
}

/// The current key of one direction, and the number of its next frame.
struct Direction {
    suite: Suite,
    secret: Secret,
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// Frames under this key so far. Never more than `rekey_after`, so it cannot run over.
    frames: u64,
    rekey_after: u64,
}

impl Direction {
    fn new(suite: Suite, secret: Secret, rekey_after: u64) -> Self {
        let (key, iv) = (key(suite, &secret), *derive(&secret, "iv", &[]));
        Self { suite, secret, key, iv, frames: 0, rekey_after }
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(self.frames.to_le_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// One frame is done: the next has the next number, or a new key and number 0. Both sides count,
    /// so nothing has to be said about it.
    fn advance(&mut self) {
        self.frames += 1;
        if self.frames == self.rekey_after {
            *self = Self::new(self.suite, derive(&self.secret, "rekey", &[]), self.rekey_after);
        }
    }
}

fn key(suite: Suite, secret: &Secret) -> LessSafeKey {
    let key = match suite {
        Suite::ChaCha20Poly1305 => UnboundKey::new(suite.algorithm(), &derive::<32>(secret, "key", &[])[..]),
        Suite::Aes128Gcm => UnboundKey::new(suite.algorithm(), &derive::<16>(secret, "key", &[])[..]),
    };
    LessSafeKey::new(key.expect("the key has the length that its cipher wants"))
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direction").field("suite", &self.suite).field("frames", &self.frames).finish_non_exhaustive()
    }
}
