//! From protocol buffers to binary. Fields may come in any order and again, and the binary codec
//! wants them in its own: each field of a struct looks the message through for itself. Messages have
//! few fields, so that is cheaper than a table, and it allocates nothing.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::wire::{Fields, Value, varint};
use super::write::is_packed;
use crate::DecodeError;
use crate::schema::Type;
use crate::transcode::{count_one, put_in_front, put_number, put_run};

/// Reads the message that `bytes` are.
pub(super) fn message(what: &'static str, ty: &Type, bytes: &[u8], out: &mut BytesMut) -> Result<(), DecodeError> {
    let fields = Fields::new(ty.name().unwrap_or(what), bytes);
    match ty {
        Type::Struct(schema) => {
            // Only what none of our fields is needs this: it is not looked at again.
            let mut all = fields;
            while all.next()?.is_some() {}

            let base_len = schema.fields.iter().take_while(|field| !field.is_appended()).count();
            let mut numbered = schema.fields.iter().zip(1..);
            for (field, number) in numbered.by_ref().take(base_len) {
                self::field(&field.ty, field.path, number, fields, out)?;
            }
            if schema.sealed {
                return Ok(());
            }
            let mut appended = 0;
            for (index, (_, number)) in numbered.clone().enumerate() {
                if last(fields, number)?.is_some() {
                    appended = index + 1;
                }
            }
            out.put_u8(appended as u8);
            for (field, number) in numbered.take(appended) {
                let start = out.len();
                self::field(&field.ty, field.path, number, fields, out)?;
                put_in_front(out, start, out.len() - start);
            }
            Ok(())
        }
        Type::Union(schema) => {
            let (mut all, mut chosen) = (fields, None);
            while let Some((number, _)) = all.next()? {
                let choice = schema.choices.iter().find(|choice| u32::from(choice.number) == number);
                chosen = choice.or(chosen);
            }
            let what = schema.name;
            let choice = chosen.ok_or(DecodeError::BadValue { what, why: "none of its choices is there" })?;
            out.put_u8(choice.number);
            field(&choice.ty, what, choice.number.into(), fields, out)
        }
        _ => field(ty, what, 1, fields, out),
    }
}

/// Reads one field out of its message.
fn field(
    ty: &Type,
    what: &'static str,
    number: u32,
    fields: Fields<'_>,
    out: &mut BytesMut,
) -> Result<(), DecodeError> {
    match ty {
        Type::Option(inner) => {
            let present = last(fields, number)?.is_some();
            out.put_u8(present.into());
            if present { field(inner, what, number, fields, out) } else { Ok(()) }
        }
        Type::List { of, max } => list(of, *max, what, number, fields, out),
        Type::Struct(_) | Type::Union(_) => message(what, ty, &merged(what, fields, number)?, out),
        _ => element(ty, what, last(fields, number)?, out),
    }
}

fn list(
    of: &Type,
    max: u32,
    what: &'static str,
    number: u32,
    mut fields: Fields<'_>,
    out: &mut BytesMut,
) -> Result<(), DecodeError> {
    let (start, mut count) = (out.len(), 0);
    while let Some((other, value)) = fields.next()? {
        if other != number {
            continue;
        }
        match value {
            Value::Delimited(mut packed) if is_packed(of) => {
                while !packed.is_empty() {
                    count = count_one(count, what, max)?;
                    element(of, what, Some(Value::Varint(varint(what, &mut packed)?)), out)?;
                }
            }
            value => {
                count = count_one(count, what, max)?;
                element(of, what, Some(value), out)?;
            }
        }
    }
    put_in_front(out, start, count);
    Ok(())
}

/// Reads one value; `None` is the default.
fn element(ty: &Type, what: &'static str, value: Option<Value<'_>>, out: &mut BytesMut) -> Result<(), DecodeError> {
    const WIRE_TYPE: &str = "a wire type that is not the field's";
    let run = |value| match value {
        None => Ok(&[][..]),
        Some(Value::Delimited(run)) => Ok(run),
        Some(_) => Err(DecodeError::BadValue { what, why: WIRE_TYPE }),
    };
    match ty {
        Type::Text { max } => put_run(out, what, utf8(what, run(value)?)?, *max),
        Type::Id(schema) => put_run(out, schema.name, utf8(schema.name, run(value)?)?, schema.max),
        Type::Bytes { max } => put_run(out, what, run(value)?, *max),
        Type::Struct(_) | Type::Union(_) => message(what, ty, run(value)?, out),
        _ => match value {
            None => put_number(ty, what, 0, out),
            // Any varint but zero is true, as in the standard.
            Some(Value::Varint(number)) if *ty == Type::Bool => put_number(ty, what, u64::from(number != 0), out),
            Some(Value::Varint(number)) => put_number(ty, what, number, out),
            Some(_) => Err(DecodeError::BadValue { what, why: WIRE_TYPE }),
        },
    }
}

fn utf8<'a>(what: &'static str, run: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    std::str::from_utf8(run).map(str::as_bytes).map_err(|_| DecodeError::BadUtf8 { what })
}

/// The last value of that number.
fn last(mut fields: Fields<'_>, number: u32) -> Result<Option<Value<'_>>, DecodeError> {
    let mut last = None;
    while let Some((other, value)) = fields.next()? {
        if other == number {
            last = Some(value);
        }
    }
    Ok(last)
}

/// The bytes of an embedded message: several of one number are one, cut in pieces.
fn merged<'a>(what: &'static str, mut fields: Fields<'a>, number: u32) -> Result<Cow<'a, [u8]>, DecodeError> {
    let mut merged = Cow::Borrowed(&[][..]);
    while let Some((other, value)) = fields.next()? {
        if other != number {
            continue;
        }
        let Value::Delimited(piece) = value else {
            return Err(DecodeError::BadValue { what, why: "a wire type that is not the field's" });
        };
        if merged.is_empty() {
            merged = Cow::Borrowed(piece);
        } else {
            merged.to_mut().extend_from_slice(piece);
        }
    }
    Ok(merged)
}
