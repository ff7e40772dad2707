//! Bodies of fuzz targets: they take bytes and panic when a rule is broken. The targets under `fuzz/`
//! call those that take an input; tests call all of them, over kept inputs, vectors and random bytes.

use bytes::{Bytes, BytesMut};
use proto_codec::{Codec, Decode, Deframer, Hop as Connection, PREAMBLE_LEN, Preamble, Reader};

use crate::client::Command;
pub use crate::commands::{BODIES, Body, Hop, Role};
use crate::ids::Target;

/// The message of the fault that [`canary`] has in it.
pub const PLANTED: &str = "the planted fault was found";

/// What stands in front of a body in an input of the targets for messages: the frame that carries it
/// and the command's number, so that an input means the same after a message was added.
pub fn carrier(kind: &Body) -> [u8; 2] {
    let frame = match (kind.hop, kind.role) {
        (_, Role::Refusal) => b'r',
        (Hop::Client, Role::Request) => b'q',
        (Hop::Client, Role::Answer) => b'a',
        (Hop::Link, Role::Request) => b'Q',
        (Hop::Link, Role::Answer) => b'A',
    };
    // Commands are numbered below the bit of an answer.
    [frame, kind.number as u8]
}

/// The message that an input is for, and its body; `None` where there is no such message.
pub fn carried(input: &[u8]) -> Option<(&'static Body, Bytes)> {
    let (front, body) = input.split_first_chunk()?;
    let kind = BODIES.iter().find(|kind| carrier(kind) == *front)?;
    Some((kind, Bytes::copy_from_slice(body)))
}

/// The target `message_binary`.
pub fn binary_input(input: &[u8]) {
    if let Some((kind, body)) = carried(input) {
        one_spelling(kind, &body);
    }
}

/// The target `message_json`.
pub fn json_input(input: &[u8]) {
    if let Some((kind, body)) = carried(input) {
        one_value(kind, Codec::Json, &body);
    }
}

/// The target `message_protobuf`.
pub fn protobuf_input(input: &[u8]) {
    if let Some((kind, body)) = carried(input) {
        one_value(kind, Codec::Protobuf, &body);
    }
}

/// A body that decodes has one spelling: the same bytes come out again, shorter or longer only where
/// the sender's version appended other fields than ours.
fn one_spelling(kind: &Body, body: &Bytes) {
    let Ok(again) = kind.reencode(body) else { return };
    assert!(again.len() != body.len() || again == *body, "{}: two spellings of one value", kind.message);
    assert_eq!(kind.reencode(&again).as_ref(), Ok(&again), "{}: its own bytes are no fixed point", kind.message);
}

/// A body that decodes, in a codec that has several spellings of one value, is one value whichever way
/// it goes: into every codec and back, and as a tier translates it that has no message for it.
fn one_value(kind: &Body, codec: Codec, body: &Bytes) {
    let Ok(binary) = (kind.recode)(codec, body, Codec::Binary) else { return };
    assert_eq!(kind.reencode(&binary).as_ref(), Ok(&binary), "{}: no binary body", kind.message);
    for other in Codec::ALL {
        let again = (kind.recode)(Codec::Binary, &binary, *other).expect("what was decoded is encoded");
        let back = (kind.recode)(*other, &again, Codec::Binary);
        assert_eq!(back.as_ref(), Ok(&binary), "{}: read back as something else: {again:?}", kind.message);
        let untyped = other.encode_binary(kind.message, kind.ty, &binary);
        assert_eq!(untyped.as_ref(), Ok(&again), "{}: written otherwise without its type", kind.message);
    }
    let untyped = codec.decode_binary(kind.message, kind.ty, body).expect("what decodes can be translated");
    assert_eq!(kind.reencode(&untyped), Ok(binary), "{}: read otherwise without its type", kind.message);
}

/// A binary body as every message there is; see the target.
pub fn message_body(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    BODIES.iter().for_each(|kind| one_spelling(kind, &body));
}

/// A body in any codec as every message there is; see the targets.
pub fn coded_body(codec: Codec, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    BODIES.iter().for_each(|kind| one_value(kind, codec, &body));
}

/// [`coded_body`] in JSON.
pub fn json_body(body: &[u8]) {
    coded_body(Codec::Json, body);
}

/// [`coded_body`] in protocol buffers.
pub fn protobuf_body(body: &[u8]) {
    coded_body(Codec::Protobuf, body);
}

/// The target `canary`, which has a fault on purpose: a fuzzer that does not find it finds nothing. It
/// stands behind the magic, an honest length, a command and the first field of a message, where chance
/// does not get.
pub fn canary(stream: &[u8]) {
    let Some((preamble, rest)) = stream.split_first_chunk::<PREAMBLE_LEN>() else { return };
    if Preamble::decode(*preamble, Connection::Client).is_err() {
        return;
    }
    let mut buffer = BytesMut::from(rest);
    while let Some(Ok(frame)) = Deframer::new(4096).next(&mut buffer) {
        if Command::from_number(frame.command) == Command::SendMsg
            && let Ok(Target::Group(_)) = Target::decode(&mut Reader::over(&frame.body))
        {
            panic!("{PLANTED}");
        }
    }
}
