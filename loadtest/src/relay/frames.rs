//! Walking over whole frames in a buffer. A hop looks at each header, as a real tier must, but
//! neither copies nor counts references where it need not.

use proto_codec::{FrameError, Header, RESPONSE_BIT};

/// How many bytes at the front of `bytes` are whole frames.
pub(super) fn whole_len(bytes: &[u8], body_max: u32) -> Result<usize, FrameError> {
    let mut at = 0;
    while let Some(header) = bytes[at..].first_chunk() {
        let frame_len = Header::LEN + Header::decode(header, body_max)?.length as usize;
        if bytes.len() - at < frame_len {
            break;
        }
        at += frame_len;
    }
    Ok(at)
}

/// The frames of a buffer that [`whole_len`] has measured.
pub(super) fn whole_frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
        let (frame, rest) = bytes.split_at_checked(Header::LEN + length)?;
        bytes = rest;
        Some(frame)
    })
}

/// The sequence in a frame's header.
pub(super) fn sequence(frame: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&frame[8..Header::LEN]);
    u32::from_be_bytes(bytes)
}

/// Marks a frame as the answer to itself.
pub(super) fn mark_response(frame: &mut [u8]) {
    let [high, low] = RESPONSE_BIT.to_be_bytes();
    frame[4] |= high;
    frame[5] |= low;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::{Bytes, BytesMut};
    use proto_codec::{Deframer, Flags, Frame};

    use super::*;

    fn stream() -> BytesMut {
        let mut out = BytesMut::new();
        for (sequence, body) in [(7, &b"first"[..]), (8, b""), (9, b"the third")] {
            Frame { command: 1, flags: Flags::NONE, sequence, body: Bytes::copy_from_slice(body) }.encode(&mut out);
        }
        out
    }

    /// Cut anywhere, the walk sees the same frames as the codec's own deframer.
    #[test]
    fn the_walk_agrees_with_the_deframer_at_every_cut() {
        for cut in 0..=stream().len() {
            let mut bytes = BytesMut::from(&stream()[..cut]);
            let whole = bytes[..whole_len(&bytes, 64).unwrap()].to_vec();
            let walked: Vec<_> = whole_frames(&whole).map(|frame| (sequence(frame), frame.len())).collect();
            let mut wanted = Vec::new();
            while let Some(frame) = Deframer::new(64).next(&mut bytes) {
                let frame = frame.unwrap();
                wanted.push((frame.sequence, Header::LEN + frame.body.len()));
            }
            assert_eq!(walked, wanted, "cut at {cut}");
        }
    }

    #[test]
    fn a_body_over_the_maximum_is_refused() {
        assert_eq!(whole_len(&stream(), 8), Err(FrameError::TooLong { length: 9, max: 8 }));
    }

    #[test]
    fn a_marked_frame_is_a_response() {
        let mut bytes = stream();
        mark_response(&mut bytes);
        assert!(Deframer::new(64).next(&mut bytes).unwrap().unwrap().is_response());
    }
}
