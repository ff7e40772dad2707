//! Bodies of fuzz targets: they take bytes and panic when a rule is broken. The targets under
//! `fuzz/` call them, and so do tests, over kept seeds and random bytes.

use bytes::BytesMut;

use crate::{Deframer, Frame, FrameError, Header};

/// Small, so that random bytes meet the limit from both sides.
const LENGTH_MAX: u32 = 96;

/// What a stream came to: its frames, and the refusal that ended it or the bytes that are left.
type Stream = (Vec<Frame>, Result<usize, FrameError>);

/// A stream gives the same frames in one piece and in the pieces of any `splits`, and the buffer
/// never holds more than one frame of the greatest length.
pub fn frame_stream(bytes: &[u8], splits: &[u8]) -> Vec<Frame> {
    let whole = in_one_piece(bytes);
    assert_eq!(whole, in_pieces(bytes, splits), "the split changed the frames");
    assert_eq!(whole, as_asked_for(bytes), "reading what is missing changed the frames");

    // What came out goes back in as the bytes it came from.
    let mut again = BytesMut::new();
    whole.0.iter().for_each(|frame| frame.encode(&mut again));
    assert_eq!(again, bytes[..again.len()]);
    if let Ok(left) = whole.1 {
        assert_eq!(again.len() + left, bytes.len(), "bytes were lost");
    }
    whole.0
}

/// [`frame_stream`] from one input: the first byte says how many splits follow, the rest is the stream.
pub fn frame_stream_input(input: &[u8]) {
    let Some((count, rest)) = input.split_first() else { return };
    let (splits, bytes) = rest.split_at(usize::from(*count).min(rest.len()));
    frame_stream(bytes, splits);
}

fn drain(deframer: Deframer, buffer: &mut BytesMut, frames: &mut Vec<Frame>) -> Result<(), FrameError> {
    while let Some(next) = deframer.next(buffer) {
        frames.push(next?);
    }
    assert!(buffer.len() < Header::LEN + LENGTH_MAX as usize, "a whole frame was left in the buffer");
    Ok(())
}

fn in_one_piece(bytes: &[u8]) -> Stream {
    let (mut buffer, mut frames) = (BytesMut::from(bytes), Vec::new());
    let end = drain(Deframer::new(LENGTH_MAX), &mut buffer, &mut frames);
    (frames, end.map(|()| buffer.len()))
}

fn in_pieces(mut bytes: &[u8], splits: &[u8]) -> Stream {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    let mut splits = splits.iter().cycle();
    while !bytes.is_empty() {
        // Without splits, byte by byte; a split of 0 is a wake-up without bytes.
        let length = splits.next().map_or(1, |split| usize::from(*split)).min(bytes.len());
        buffer.extend_from_slice(&bytes[..length]);
        bytes = &bytes[length..];
        if let Err(error) = drain(Deframer::new(LENGTH_MAX), &mut buffer, &mut frames) {
            return (frames, Err(error));
        }
        if length == 0 {
            // All splits may be 0: go on by one byte.
            buffer.extend_from_slice(&bytes[..1]);
            bytes = &bytes[1..];
        }
    }
    let end = drain(Deframer::new(LENGTH_MAX), &mut buffer, &mut frames);
    (frames, end.map(|()| buffer.len()))
}

/// Reads no more than [`Deframer::missing`] says, into a buffer that reserves exactly that.
fn as_asked_for(mut bytes: &[u8]) -> Stream {
    let deframer = Deframer::new(LENGTH_MAX);
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    loop {
        if let Err(error) = drain(deframer, &mut buffer, &mut frames) {
            return (frames, Err(error));
        }
        let missing = deframer.missing(&buffer);
        assert!(missing >= 1, "a reader that asks for nothing waits for ever");
        assert!(buffer.len() + missing <= Header::LEN + LENGTH_MAX as usize, "asks for more than a frame");
        if bytes.is_empty() {
            return (frames, Ok(buffer.len()));
        }
        let length = missing.min(bytes.len());
        buffer.extend_from_slice(&bytes[..length]);
        bytes = &bytes[length..];
    }
}
