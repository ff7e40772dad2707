//! From binary to protocol buffers.

use bytes::{BufMut, BytesMut};

use super::wire::{DELIMITED, VARINT, put_tag, put_varint};
use crate::schema::Type;
use crate::transcode::{ANY, each_field, number, put_in_front};
use crate::{DecodeError, Reader};

/// Appends the fields of a struct or union.
pub(super) fn message(ty: &Type, reader: &mut Reader<'_>, out: &mut BytesMut) -> Result<(), DecodeError> {
    match ty {
        Type::Struct(schema) => each_field(schema, reader, |index, field, reader| {
            self::field(&field.ty, index as u32 + 1, false, reader, out)
        }),
        Type::Union(schema) => {
            let number = reader.u8(schema.name)?;
            let choice = schema.choices.iter().find(|choice| choice.number == number);
            let choice = choice.ok_or(DecodeError::BadValue { what: schema.name, why: "none of its choices" })?;
            field(&choice.ty, number.into(), true, reader, out)
        }
        // A lone value has no form of its own here: it is a message of one field.
        _ => field(ty, 1, false, reader, out),
    }
}

/// Appends a field. Where `explicit`, the default is written too: its being there says something.
fn field(
    ty: &Type,
    number: u32,
    explicit: bool,
    reader: &mut Reader<'_>,
    out: &mut BytesMut,
) -> Result<(), DecodeError> {
    match ty {
        Type::Option(inner) => {
            if reader.flag("Option")? {
                field(inner, number, true, reader, out)?;
            }
        }
        Type::List { of, .. } if is_packed(of) => {
            let count = reader.length("list", ANY)?;
            if count > 0 {
                put_tag(out, number, DELIMITED);
                let start = out.len();
                for _ in 0..count {
                    put_varint(out, self::number(of, reader)?);
                }
                put_in_front(out, start, out.len() - start);
            }
        }
        Type::List { of, .. } => {
            for _ in 0..reader.length("list", ANY)? {
                field(of, number, true, reader, out)?;
            }
        }
        Type::Text { .. } | Type::Bytes { .. } | Type::Id(_) => {
            let run = reader.run("text or bytes", ANY)?;
            if explicit || !run.is_empty() {
                put_tag(out, number, DELIMITED);
                put_varint(out, run.len() as u64);
                out.put_slice(run);
            }
        }
        Type::Struct(_) | Type::Union(_) => {
            put_tag(out, number, DELIMITED);
            let start = out.len();
            message(ty, reader, out)?;
            put_in_front(out, start, out.len() - start);
        }
        _ => {
            let value = self::number(ty, reader)?;
            if explicit || value != 0 {
                put_tag(out, number, VARINT);
                put_varint(out, value);
            }
        }
    }
    Ok(())
}

/// Whether a list of this is one run of varints.
pub(super) const fn is_packed(of: &Type) -> bool {
    matches!(of, Type::Bool | Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::Number(_) | Type::Enum(_))
}
