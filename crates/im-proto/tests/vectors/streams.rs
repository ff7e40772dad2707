//! Frames alone and in streams: `frames-v1.json` and `streams-v1.json`. A stream is kept with the
//! number of frames that are whole after each of its bytes, so that a reader in any language can be
//! tried with every split of it.

use bytes::{Bytes, BytesMut};
use im_proto::client::Command;
use im_proto::limits::{CLIENT_FRAME_LEN_MAX, SERVER_FRAME_LEN_MAX};
use proto_codec::{Deframer, Flags, Frame, FrameError, Header, RESPONSE_BIT};
use serde_json::{Value, json};

use super::describe::hex;
use super::examples::examples;

/// The body of a message's plain example.
fn body(message: &str) -> Bytes {
    let example = examples().into_iter().find(|example| example.message == message && example.note.is_empty());
    example.unwrap_or_else(|| panic!("{message} has no plain example")).bytes
}

fn asks(command: Command, sequence: u32, message: &str) -> Frame {
    Frame { command: command.number(), flags: Flags::NONE, sequence, body: body(message) }
}

fn answers(command: Command, sequence: u32, message: &str) -> Frame {
    Frame { command: command.number() | RESPONSE_BIT, ..asks(command, sequence, message) }
}

fn refuses(command: Command, sequence: u32) -> Frame {
    Frame { flags: Flags::REFUSED, ..answers(command, sequence, "Refusal") }
}

fn lone(command: u16, flags: Flags, sequence: u32, body: &'static [u8]) -> Frame {
    Frame { command, flags, sequence, body: Bytes::from_static(body) }
}

fn encoded(frames: &[Frame]) -> Bytes {
    let mut out = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut out));
    out.freeze()
}

fn told(frame: &Frame) -> Value {
    json!({
        "length": frame.body.len(), "command": frame.command, "flags": frame.flags.bits(),
        "sequence": frame.sequence, "body": hex(&frame.body),
    })
}

pub fn frames_file() -> Value {
    let frames = [
        ("a request", asks(Command::SendMsg, 4, "SendMsg")),
        ("its answer", answers(Command::SendMsg, 4, "SendAck")),
        ("its refusal", refuses(Command::SendMsg, 4)),
        ("unasked, sequence 0", asks(Command::NewMsg, 0, "NewMsg")),
        ("an empty struct", asks(Command::HeartBeat, 9, "Empty")),
        ("no body, a command that nobody knows, the greatest sequence", lone(0x7f7f, Flags::NONE, u32::MAX, b"")),
        ("an encrypted body, which nobody has the key of", lone(5, Flags::NONE.encrypted(), 1, &[0x5a; 20])),
        ("an encrypted refusal", lone(0x85, Flags::REFUSED.encrypted(), 1, &[0xa5; 16])),
        ("a body of 256 bytes", lone(0x1234, Flags::NONE, 0x0102_0304, &[7; 256])),
    ];
    let rows = frames.iter().map(|(what, frame)| {
        let bytes = encoded(std::slice::from_ref(frame));
        let read = drain(CLIENT_FRAME_LEN_MAX, &mut BytesMut::from(&bytes[..]));
        assert_eq!(read, (vec![frame.clone()], None), "{what}");
        let mut row = told(frame);
        row["what"] = (*what).into();
        row["hex"] = hex(&bytes).into();
        row
    });
    let about = "Whole frames: the fields of the header, the body, and hex of both.";
    json!({ "about": about, "vectors": rows.collect::<Vec<_>>() })
}

pub fn streams_file() -> Value {
    use Command::{Auth, GetMsg, HandShake, HeartBeat, NewMsg, SendMsg};
    let client = [
        asks(HandShake, 1, "HandShake"),
        asks(Auth, 2, "Auth"),
        asks(GetMsg, 3, "GetMsg"),
        asks(SendMsg, 4, "SendMsg"),
        asks(HeartBeat, 5, "Empty"),
    ];
    let gate = [
        answers(HandShake, 1, "HandShakeAck"),
        answers(Auth, 2, "AuthAck"),
        asks(NewMsg, 0, "NewMsg"),
        answers(GetMsg, 3, "MsgPage"),
        refuses(SendMsg, 4),
        answers(HeartBeat, 5, "HeartBeatAck"),
    ];
    let empty = [lone(4, Flags::NONE, 1, b""), lone(4, Flags::NONE, 2, b""), lone(4, Flags::NONE, 3, b"\0")];
    let few = &client[3..];
    let behind = |bad: [u8; Header::LEN]| [&encoded(few)[..], &bad, b"never read"].concat().into();
    let header = |length: u32, flags: u16| {
        let mut bytes = [0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 9];
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes[6..8].copy_from_slice(&flags.to_be_bytes());
        bytes
    };
    let rows = [
        row("what a client says behind its preamble", CLIENT_FRAME_LEN_MAX, encoded(&client), &client, None),
        row("what a gate says", SERVER_FRAME_LEN_MAX, encoded(&gate), &gate, None),
        row("bodies of nothing", CLIENT_FRAME_LEN_MAX, encoded(&empty), &empty, None),
        row("no byte", CLIENT_FRAME_LEN_MAX, Bytes::new(), &[], None),
        row(
            "two frames, then a length over the maximum",
            CLIENT_FRAME_LEN_MAX,
            behind(header(CLIENT_FRAME_LEN_MAX + 1, 0)),
            few,
            Some("TooLong"),
        ),
        row(
            "two frames, then a flag that nobody knows",
            CLIENT_FRAME_LEN_MAX,
            behind(header(0, 4)),
            few,
            Some("UnknownFlags"),
        ),
    ];
    let about = "Streams of frames. complete[n] is how many frames are whole after the first n bytes, whatever pieces they came in; error is what the stream ends with, if anything.";
    json!({ "about": about, "vectors": rows })
}

/// One stream, split at every point.
fn row(what: &str, length_max: u32, bytes: Bytes, frames: &[Frame], error: Option<&str>) -> Value {
    let kind = |error: &FrameError| error.kind();
    let mut complete = Vec::new();
    for split in 0..=bytes.len() {
        let mut buffer = BytesMut::from(&bytes[..split]);
        let (first, ended) = drain(length_max, &mut buffer);
        complete.push(first.len());
        if let Some(ended) = ended {
            assert_eq!((&first[..], error), (frames, Some(kind(&ended))), "{what}, {split} bytes of it");
            continue;
        }
        buffer.extend_from_slice(&bytes[split..]);
        let (second, ended) = drain(length_max, &mut buffer);
        assert_eq!([first, second].concat(), frames, "{what}, split at {split}");
        assert_eq!(ended.as_ref().map(kind), error, "{what}, split at {split}");
    }
    assert_eq!(byte_by_byte(length_max, &bytes), complete, "{what}, byte by byte");
    let frames: Vec<_> = frames.iter().map(told).collect();
    json!({
        "what": what, "length_max": length_max, "hex": hex(&bytes), "frames": frames, "complete": complete,
        "error": error,
    })
}

/// The frames that are whole, and what ends the stream.
fn drain(length_max: u32, buffer: &mut BytesMut) -> (Vec<Frame>, Option<FrameError>) {
    let (deframer, mut frames) = (Deframer::new(length_max), Vec::new());
    loop {
        match deframer.next(buffer) {
            None => return (frames, None),
            Some(Ok(frame)) => frames.push(frame),
            Some(Err(error)) => return (frames, Some(error)),
        }
    }
}

fn byte_by_byte(length_max: u32, bytes: &[u8]) -> Vec<usize> {
    let (mut buffer, mut whole) = (BytesMut::new(), vec![0]);
    let (mut found, mut over) = (0, false);
    for byte in bytes {
        buffer.extend_from_slice(&[*byte]);
        if !over {
            let (frames, error) = drain(length_max, &mut buffer);
            found += frames.len();
            over = error.is_some();
        }
        whole.push(found);
    }
    whole
}
