//! Protocol buffers, version 3, for those who have their generators: the messages of the `.proto`
//! file that [`proto_file`] writes from the same schemas.
//!
//! * A field's number is its place in the definition, from 1; appended fields count on.
//! * Numbers, enums and `bool` are varints; text, ids, bytes and structs are length-delimited; an
//!   option is `optional`; a union is a message with a `oneof`; a list is `repeated`, packed where
//!   its elements are varints.
//! * What is absent is the default, as everywhere in proto3; an id has none, so it is refused.
//! * Unknown fields are skipped. Of a field that comes again the last counts, and structs are merged.
//! * Groups, varints over 64 bits, field number 0 and text that is not UTF-8 are refused, and so is a
//!   field of another wire type than its own.

mod proto_file;
mod read;
mod wire;
mod write;

use bytes::{Bytes, BytesMut};

pub use proto_file::proto_file;

use crate::schema::Type;
use crate::transcode::Transcode;
use crate::{DecodeError, Reader};

pub(crate) struct Protobuf;

impl Transcode for Protobuf {
    fn decode(&self, what: &'static str, ty: &Type, body: &Bytes, out: &mut BytesMut) -> Result<(), DecodeError> {
        read::message(what, ty, body, out)
    }

    fn encode(&self, ty: &Type, reader: &mut Reader<'_>, out: &mut BytesMut) -> Result<(), DecodeError> {
        write::message(ty, reader, out)
    }
}
