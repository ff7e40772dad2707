//! JSON, for people, scripts and debugging: objects with the fields' names as keys. `docs/protocol.md`
//! has the rules for other languages; in short:
//!
//! * Numbers of 64 bits are written as strings of digits, because many readers lose bits over 2^53;
//!   every number is accepted either way.
//! * A known number of an enum is its name, an unknown one the number; either is accepted.
//! * Bytes are a string where that says them in UTF-8 and no longer than base64, else
//!   `{"base64":"…"}`; either is accepted.
//! * An absent option is left out or `null`. A field of the first version must be there, an appended
//!   one may be missing; unknown fields are skipped; a field that stands twice is refused.

mod read;
mod write;

use bytes::{Bytes, BytesMut};

use crate::schema::Type;
use crate::transcode::Transcode;
use crate::{DecodeError, Reader};

/// The key of bytes that are no text.
const BASE64_KEY: &str = "base64";

pub(crate) struct Json;

impl Transcode for Json {
    fn decode(&self, what: &'static str, ty: &Type, body: &Bytes, out: &mut BytesMut) -> Result<(), DecodeError> {
        read::document(what, ty, body, out)
    }

    fn encode(&self, ty: &Type, reader: &mut Reader<'_>, out: &mut BytesMut) -> Result<(), DecodeError> {
        write::value(ty, reader, out)
    }
}
