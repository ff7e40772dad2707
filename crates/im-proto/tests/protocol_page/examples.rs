//! The byte examples of the page: the preamble, and whole frames whose bodies are kept vectors.

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use im_proto::client::Command;
use proto_codec::{Flags, Frame, Hop, Preamble, RESPONSE_BIT};
use serde_json::Value;

use super::reading;

/// A whole frame.
pub struct Example {
    /// Its name on the page: that of the message in its body.
    pub name: &'static str,
    command: u16,
    flags: Flags,
    sequence: u32,
}

const fn asks(name: &'static str, command: Command, sequence: u32) -> Example {
    Example { name, command: command.number(), flags: Flags::NONE, sequence }
}

const fn answers(name: &'static str, command: Command, sequence: u32) -> Example {
    Example { name, command: command.number() | RESPONSE_BIT, flags: Flags::NONE, sequence }
}

/// Every example that the page has beside the preamble.
pub const EXAMPLES: &[Example] = &[
    asks("HandShake", Command::HandShake, 1),
    answers("HandShakeAck", Command::HandShake, 1),
    asks("Auth", Command::Auth, 2),
    answers("AuthAck", Command::Auth, 2),
    answers("HeartBeatAck", Command::HeartBeat, 9),
    asks("SendMsg", Command::SendMsg, 4),
    answers("SendAck", Command::SendMsg, 4),
    asks("NewMsg", Command::NewMsg, 0),
    asks("GetMsg", Command::GetMsg, 3),
    answers("MsgPage", Command::GetMsg, 3),
    Example { name: "Refusal", command: Command::SendMsg.number() | RESPONSE_BIT, flags: Flags::REFUSED, sequence: 4 },
];

/// The bytes of an example.
pub fn bytes(name: &str) -> Bytes {
    if name == "preamble" {
        return Bytes::copy_from_slice(&Preamble::current(Hop::Client).encode());
    }
    let Example { command, flags, sequence, .. } = *example(name);
    let mut out = BytesMut::new();
    Frame { command, flags, sequence, body: vector(name) }.encode(&mut out);
    out.freeze()
}

fn example(name: &str) -> &'static Example {
    EXAMPLES.iter().find(|example| example.name == name).unwrap_or_else(|| panic!("{name} is no example"))
}

/// The kept vector of a message with that note.
pub fn row(message: &str, note: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-codec/testdata/messages-v1.json");
    let mut file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut rows = file["vectors"].as_array_mut().unwrap().iter_mut();
    let row = rows.find(|row| row["message"] == message && row["note"] == note);
    row.unwrap_or_else(|| panic!("{message} has no vector {note:?}")).take()
}

/// The plain vector of a message.
fn vector(message: &str) -> Bytes {
    let row = row(message, "");
    let hex = row["hex"].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Bytes in hex.
pub fn hex(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

/// The bytes, and what each of them means.
pub fn with_reading(name: &str) -> String {
    let bytes = bytes(name);
    let lines: Vec<_> = bytes.chunks(24).map(|line| hex(line, " ")).collect();
    format!("\n```hex {name}\n{}\n```\n\n{}\n", lines.join("\n"), reading::table(example(name).flags, &bytes))
}
