//! From binary to JSON.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};

use super::BASE64_KEY;
use crate::schema::Type;
use crate::transcode::{ANY, each_field, number};
use crate::{DecodeError, Reader};

/// Appends one value.
pub(super) fn value(ty: &Type, reader: &mut Reader<'_>, out: &mut BytesMut) -> Result<(), DecodeError> {
    match ty {
        Type::Bool => out.put_slice(if reader.flag("bool")? { b"true" } else { b"false" }),
        Type::U8 | Type::U16 | Type::U32 => digits(number(ty, reader)?, out),
        Type::U64 | Type::Number(_) => {
            out.put_u8(b'"');
            digits(number(ty, reader)?, out);
            out.put_u8(b'"');
        }
        Type::Enum(schema) => {
            let number = number(ty, reader)?;
            match u16::try_from(number).ok().and_then(|number| schema.name_of(number)) {
                Some(name) => string(name, out),
                None => digits(number, out),
            }
        }
        Type::Text { .. } => string(reader.text("text", ANY)?, out),
        Type::Id(schema) => string(reader.text(schema.name, ANY)?, out),
        Type::Bytes { .. } => bytes(reader.run("bytes", ANY)?, out),
        Type::Option(inner) => {
            if reader.flag("Option")? {
                value(inner, reader, out)?;
            } else {
                out.put_slice(b"null");
            }
        }
        Type::List { of, .. } => {
            out.put_u8(b'[');
            for index in 0..reader.length("list", ANY)? {
                if index > 0 {
                    out.put_u8(b',');
                }
                value(of, reader, out)?;
            }
            out.put_u8(b']');
        }
        Type::Struct(schema) => {
            out.put_u8(b'{');
            let mut first = true;
            each_field(schema, reader, |_, field, reader| {
                let ty = match field.ty {
                    Type::Option(inner) => {
                        if !reader.flag(field.path)? {
                            return Ok(());
                        }
                        inner
                    }
                    ref ty => ty,
                };
                if !std::mem::take(&mut first) {
                    out.put_u8(b',');
                }
                key(field.name, out);
                value(ty, reader, out)
            })?;
            out.put_u8(b'}');
        }
        Type::Union(schema) => {
            let number = reader.u8(schema.name)?;
            let choice = schema.choices.iter().find(|choice| choice.number == number);
            let choice = choice.ok_or(DecodeError::BadValue { what: schema.name, why: "none of its choices" })?;
            out.put_u8(b'{');
            key(choice.name, out);
            value(&choice.ty, reader, out)?;
            out.put_u8(b'}');
        }
    }
    Ok(())
}

/// Names of fields have no character that wants escaping.
fn key(name: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    out.put_slice(name.as_bytes());
    out.put_slice(b"\":");
}

fn digits(number: u64, out: &mut BytesMut) {
    write!(out, "{number}").expect("a BytesMut grows as it is written to");
}

fn string(text: &str, out: &mut BytesMut) {
    serde_json::to_writer(out.writer(), text).expect("a BytesMut grows as it is written to");
}

/// The shorter of the two spellings, so that no payload grows by more than a third.
fn bytes(run: &[u8], out: &mut BytesMut) {
    let base64_len = base64::encoded_len(run.len(), true).unwrap_or(usize::MAX) + BASE64_KEY.len() + 5;
    match std::str::from_utf8(run) {
        Ok(text) if escaped_len(run) <= base64_len => string(text, out),
        _ => {
            out.put_u8(b'{');
            key(BASE64_KEY, out);
            string(&STANDARD.encode(run), out);
            out.put_u8(b'}');
        }
    }
}

fn escaped_len(text: &[u8]) -> usize {
    let len = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.iter().map(len).sum()
}
