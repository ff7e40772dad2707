//! The seam for codecs that are not binary. Each turns a body into the binary codec's bytes and
//! back, guided by the schema alone, so there is one decoder of messages: whatever the codec, the
//! same limits, the same rules of ids and the same [`DecodeError`] hold, and a tier that only passes
//! a body on needs no message for it.

use bytes::{Bytes, BytesMut};

use crate::schema::{FieldSchema, Type};
use crate::{DecodeError, Reader, codec};

/// A codec as a translation from and to the binary one.
pub(crate) trait Transcode: Sync {
    /// Appends the binary form of `body`. It need not be right in every respect: it is decoded next.
    fn decode(&self, what: &'static str, ty: &Type, body: &Bytes, out: &mut BytesMut) -> Result<(), DecodeError>;

    /// Reads one binary value and appends this codec's form of it.
    fn encode(&self, ty: &Type, reader: &mut Reader<'_>, out: &mut BytesMut) -> Result<(), DecodeError>;
}

/// No maximum of its own: what is written was checked when it was made or read.
pub(crate) const ANY: u32 = u32::MAX;

/// Puts a count or length in front of what was written since `start`.
pub(crate) fn put_in_front(out: &mut BytesMut, start: usize, number: usize) {
    let end = out.len();
    codec::put_varint(out, number as u32);
    let length = out.len() - end;
    out[start..].rotate_right(length);
}

/// Hands each field of a binary struct to `visit`, with a reader at its value: all of the first
/// version, and as many of the appended ones as are there.
pub(crate) fn each_field<'a>(
    schema: &crate::schema::StructSchema,
    reader: &mut Reader<'a>,
    mut visit: impl FnMut(usize, &'static FieldSchema, &mut Reader<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let base_len = schema.fields.iter().take_while(|field| !field.is_appended()).count();
    let (base, appended) = schema.fields.split_at(base_len);
    for (index, field) in base.iter().enumerate() {
        visit(index, field, reader)?;
    }
    if schema.sealed {
        return Ok(());
    }
    let count = reader.u8(schema.name)?;
    let known = appended.iter().take(usize::from(count));
    let unknown = count.saturating_sub(appended.len() as u8);
    for (index, field) in known.enumerate() {
        reader.appended(field.path, |reader| visit(base_len + index, field, reader))?;
    }
    reader.skip_appended(schema.name, unknown)
}

/// Reads a number of any width.
pub(crate) fn number(ty: &Type, reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    Ok(match ty {
        Type::Bool => reader.flag("bool")?.into(),
        Type::U8 => reader.u8("u8")?.into(),
        Type::U16 => reader.u16("u16")?.into(),
        Type::U32 => reader.u32("u32")?.into(),
        Type::U64 => reader.u64("u64")?,
        Type::Number(schema) => reader.u64(schema.name)?,
        Type::Enum(schema) => number(&schema.repr, reader)?,
        _ => return Err(NO_NUMBER),
    })
}

/// Writes a number in its type's width, if it fits.
pub(crate) fn put_number(ty: &Type, what: &'static str, value: u64, out: &mut BytesMut) -> Result<(), DecodeError> {
    let width = match ty {
        Type::Bool | Type::U8 => 1,
        Type::U16 => 2,
        Type::U32 => 4,
        Type::U64 | Type::Number(_) => 8,
        Type::Enum(schema) => return put_number(&schema.repr, what, value, out),
        _ => return Err(NO_NUMBER),
    };
    let bytes = value.to_be_bytes();
    let (over, bytes) = bytes.split_at(bytes.len() - width);
    if over.iter().any(|byte| *byte != 0) {
        return Err(DecodeError::BadValue { what, why: "a number that its type does not hold" });
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// Puts in a length-prefixed run that meets its maximum here already, before anything is made of it.
pub(crate) fn put_run(out: &mut BytesMut, what: &'static str, bytes: &[u8], max: u32) -> Result<(), DecodeError> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if length > max {
        return Err(DecodeError::TooLong { what, length, max });
    }
    codec::put_varint(out, length);
    out.extend_from_slice(bytes);
    Ok(())
}

/// Writes what stands for a field that is not there.
pub(crate) fn put_default(ty: &Type, what: &'static str, out: &mut BytesMut) -> Result<(), DecodeError> {
    match ty {
        Type::Text { .. } | Type::Bytes { .. } | Type::List { .. } | Type::Option(_) => out.extend_from_slice(&[0]),
        Type::Struct(schema) => {
            for field in schema.fields.iter().take_while(|field| !field.is_appended()) {
                put_default(&field.ty, field.path, out)?;
            }
            if !schema.sealed {
                out.extend_from_slice(&[0]);
            }
        }
        // Neither has a value that means nothing.
        Type::Id(_) | Type::Union(_) => return Err(DecodeError::Missing { what }),
        _ => put_number(ty, what, 0, out)?,
    }
    Ok(())
}

/// Counts one more element of a list.
pub(crate) fn count_one(count: usize, what: &'static str, max: u32) -> Result<usize, DecodeError> {
    if count >= max as usize {
        return Err(DecodeError::TooLong { what, length: max.saturating_add(1), max });
    }
    Ok(count + 1)
}

/// Cannot happen: only types with a number are asked for one.
const NO_NUMBER: DecodeError = DecodeError::BadValue { what: "number", why: "the type is no number" };
