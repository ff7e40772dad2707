//! The frame: one fixed header, then the body. Twelve bytes, big-endian:
//!
//! ```text
//!  0        4         6       8          12
//! +--------+---------+-------+----------+--------
//! | length | command | flags | sequence | body …
//! +--------+---------+-------+----------+--------
//! ```
//!
//! `length` counts the body alone.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Encode, FrameError};

/// Set in `command` when the frame answers a request; the low bits repeat the request's command.
pub const RESPONSE_BIT: u16 = 0x80;

/// What a frame says beside its command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Nothing set.
    pub const NONE: Self = Self(0);
    /// The body is a refusal instead of the command's answer.
    pub const REFUSED: Self = Self(1);
    /// The body is encrypted, and this header authenticated with it.
    pub const ENCRYPTED: Self = Self(2);
    const KNOWN: u16 = 3;

    /// The flags of a received header; bits that this version does not know are refused.
    pub const fn from_bits(bits: u16) -> Result<Self, FrameError> {
        if bits & !Self::KNOWN == 0 { Ok(Self(bits)) } else { Err(FrameError::UnknownFlags { bits }) }
    }

    /// The field on the wire.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether the body is a refusal.
    pub const fn is_refused(self) -> bool {
        self.0 & Self::REFUSED.0 != 0
    }

    /// Whether the body is encrypted.
    pub const fn is_encrypted(self) -> bool {
        self.0 & Self::ENCRYPTED.0 != 0
    }

    /// These, and that the body is encrypted.
    pub const fn encrypted(self) -> Self {
        Self(self.0 | Self::ENCRYPTED.0)
    }

    /// These, without that the body is encrypted.
    pub const fn decrypted(self) -> Self {
        Self(self.0 & !Self::ENCRYPTED.0)
    }
}

/// The fixed header in front of every body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of body that follow.
    pub length: u32,
    /// What the body is; [`RESPONSE_BIT`] marks an answer.
    pub command: u16,
    /// What else there is to know about the body.
    pub flags: Flags,
    /// Chosen by the requester, repeated in the answer; 0 where nothing is to be answered.
    pub sequence: u32,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 12;

    /// Appends the header.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.to_bytes());
    }

    /// The header as it travels.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut out = &mut bytes[..];
        out.put_u32(self.length);
        out.put_u16(self.command);
        out.put_u16(self.flags.bits());
        out.put_u32(self.sequence);
        bytes
    }

    /// Reads a header and checks its length against `length_max` before anyone reserves it.
    pub fn decode(bytes: &[u8; Self::LEN], length_max: u32) -> Result<Self, FrameError> {
        let mut bytes = &bytes[..];
        let length = bytes.get_u32();
        if length > length_max {
            return Err(FrameError::TooLong { length, max: length_max });
        }
        Ok(Self {
            length,
            command: bytes.get_u16(),
            flags: Flags::from_bits(bytes.get_u16())?,
            sequence: bytes.get_u32(),
        })
    }
}

/// One whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the body is; [`RESPONSE_BIT`] marks an answer.
    pub command: u16,
    /// What else there is to know about the body.
    pub flags: Flags,
    /// Correlates an answer with its request.
    pub sequence: u32,
    /// The body, not decoded yet.
    pub body: Bytes,
}

impl Frame {
    /// The header that travels in front of the body.
    pub fn header(&self) -> Header {
        let length = self.body.len() as u32;
        Header { length, command: self.command, flags: self.flags, sequence: self.sequence }
    }

    /// Appends header and body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(Header::LEN + self.body.len());
        self.header().encode(out);
        out.put_slice(&self.body);
    }

    /// Appends a frame whose body is `message`, writing the body in place and its length behind.
    pub fn encode_message(command: u16, flags: Flags, sequence: u32, message: &impl Encode, out: &mut BytesMut) {
        let start = out.len();
        Header { length: 0, command, flags, sequence }.encode(out);
        message.encode(out);
        let length = (out.len() - start - Header::LEN) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.command & RESPONSE_BIT != 0
    }
}

/// Cuts a stream of bytes into frames. It owns no buffer: what is not a whole frame yet stays in
/// the caller's, so that a connection that says nothing holds nothing.
#[derive(Clone, Copy, Debug)]
pub struct Deframer {
    length_max: u32,
}

impl Deframer {
    /// Frames with bodies of at most `length_max` bytes.
    pub const fn new(length_max: u32) -> Self {
        Self { length_max }
    }

    /// The next frame at the front of `buffer`; `None` when more bytes are needed. After an error
    /// the stream has no next frame: close it.
    pub fn next(&self, buffer: &mut BytesMut) -> Option<Result<Frame, FrameError>> {
        let header = match Header::decode(buffer.first_chunk()?, self.length_max) {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let frame_len = Header::LEN + header.length as usize;
        if buffer.len() < frame_len {
            return None;
        }
        let mut frame = buffer.split_to(frame_len);
        frame.advance(Header::LEN);
        Some(Ok(Frame {
            command: header.command,
            flags: header.flags,
            sequence: header.sequence,
            body: frame.freeze(),
        }))
    }

    /// Bytes still missing until the next frame is whole, as far as the front of `buffer` tells; at
    /// least 1. Never more than a header and the maximum, because a longer claim is refused by
    /// [`next`](Self::next).
    pub fn missing(&self, buffer: &[u8]) -> usize {
        let whole = match buffer.first_chunk().map(|chunk| Header::decode(chunk, self.length_max)) {
            Some(Ok(header)) => Header::LEN + header.length as usize,
            _ => Header::LEN,
        };
        whole.saturating_sub(buffer.len()).max(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LENGTH_MAX: u32 = 64;
    const GOLDEN: [u8; 12] = [0, 0, 0, 3, 0x12, 0x85, 0, 1, 0xde, 0xad, 0xbe, 0xef];

    fn golden() -> Frame {
        Frame { command: 0x1285, flags: Flags::REFUSED, sequence: 0xdead_beef, body: Bytes::from_static(b"abc") }
    }

    fn golden_bytes() -> BytesMut {
        let mut bytes = BytesMut::from(&GOLDEN[..]);
        bytes.extend_from_slice(b"abc");
        bytes
    }

    #[test]
    fn the_header_is_these_twelve_bytes() {
        let header = Header { length: 3, command: 0x1285, flags: Flags::REFUSED, sequence: 0xdead_beef };
        let mut out = BytesMut::new();
        header.encode(&mut out);
        assert_eq!(out, &GOLDEN[..]);
        assert_eq!(Header::decode(&GOLDEN, LENGTH_MAX), Ok(header));
    }

    #[test]
    fn frame_and_message_write_the_same_bytes() {
        let (mut whole, mut in_place) = (BytesMut::from("before"), BytesMut::from("before"));
        let message = Bytes::from_static(b"ab");
        Frame { body: Bytes::from_static(b"\x02ab"), ..golden() }.encode(&mut whole);
        Frame::encode_message(0x1285, Flags::REFUSED, 0xdead_beef, &message, &mut in_place);
        assert_eq!(whole, in_place);
        assert_eq!(&whole[6..18], &GOLDEN[..]);
    }

    #[test]
    fn a_length_over_the_maximum_is_refused_from_the_header_alone() {
        for length in [LENGTH_MAX + 1, u32::MAX] {
            let mut bytes = GOLDEN;
            bytes[..4].copy_from_slice(&length.to_be_bytes());
            let refusal = FrameError::TooLong { length, max: LENGTH_MAX };
            assert_eq!(Header::decode(&bytes, LENGTH_MAX), Err(refusal));

            let mut buffer = BytesMut::from(&bytes[..]);
            let capacity = buffer.capacity();
            let deframer = Deframer::new(LENGTH_MAX);
            assert_eq!(deframer.missing(&buffer), 1, "a refused claim asks for nothing");
            assert_eq!(deframer.next(&mut buffer), Some(Err(refusal)));
            assert_eq!(buffer.capacity(), capacity);
        }
        let mut longest = BytesMut::new();
        Frame { body: Bytes::from(vec![7; LENGTH_MAX as usize]), ..golden() }.encode(&mut longest);
        assert!(Deframer::new(LENGTH_MAX).next(&mut longest).unwrap().is_ok(), "the maximum itself is allowed");
    }

    #[test]
    fn every_unknown_flag_bit_is_refused() {
        assert_eq!(Flags::from_bits(0), Ok(Flags::NONE));
        assert_eq!(Flags::from_bits(1), Ok(Flags::REFUSED));
        assert_eq!(Flags::from_bits(3), Ok(Flags::REFUSED.encrypted()));
        for bit in 2..16 {
            let bits = 1u16 << bit | 1;
            let mut bytes = GOLDEN;
            bytes[6..8].copy_from_slice(&bits.to_be_bytes());
            assert_eq!(Header::decode(&bytes, LENGTH_MAX), Err(FrameError::UnknownFlags { bits }));
        }
    }

    #[test]
    fn a_frame_cut_anywhere_needs_exactly_what_is_missing() {
        let (whole, deframer) = (golden_bytes(), Deframer::new(LENGTH_MAX));
        for cut in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..cut]);
            assert_eq!(deframer.next(&mut buffer), None, "cut at {cut}");
            assert_eq!(buffer, whole[..cut], "need-more consumes nothing");
            let end = if cut < Header::LEN { Header::LEN } else { whole.len() };
            assert_eq!(deframer.missing(&buffer), end - cut, "cut at {cut}");
        }
    }

    #[test]
    fn frames_come_off_the_front_one_by_one() {
        let mut buffer = golden_bytes();
        buffer.extend_from_slice(&golden_bytes());
        buffer.extend_from_slice(b"tail");
        let deframer = Deframer::new(LENGTH_MAX);
        assert_eq!(deframer.next(&mut buffer), Some(Ok(golden())));
        assert_eq!(deframer.next(&mut buffer), Some(Ok(golden())));
        assert_eq!(deframer.next(&mut buffer), None);
        assert_eq!(buffer, "tail");
        assert_eq!(deframer.missing(&buffer), 8);
    }

    #[test]
    fn a_body_is_a_slice_of_the_buffer() {
        let mut buffer = golden_bytes();
        let body_at = buffer[Header::LEN..].as_ptr();
        let frame = Deframer::new(LENGTH_MAX).next(&mut buffer).unwrap().unwrap();
        assert_eq!(frame.body.as_ptr(), body_at);
    }

    #[test]
    fn an_answer_is_told_by_its_bit() {
        assert!(golden().is_response());
        assert!(!Frame { command: 0x1205, ..golden() }.is_response());
    }
}
