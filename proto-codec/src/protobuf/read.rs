//! From protocol buffers to binary. Fields may come in any order and again, and the binary codec
//! wants them in its own: one pass over a message notes the last of each number, and a list goes
//! over it once more for its elements. Nothing is allocated but what is written.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::wire::{Fields, Value, varint};
use super::write::is_packed;
use crate::DecodeError;
use crate::schema::Type;
use crate::transcode::{count_one, put_in_front, put_number, put_run};

/// Reads the message that `bytes` are.
pub(super) fn message(what: &'static str, ty: &Type, bytes: &[u8], out: &mut BytesMut) -> Result<(), DecodeError> {
    let fields = Noted::new(Fields::new(ty.name().unwrap_or(what), bytes))?;
    match ty {
        Type::Struct(schema) => {
            let base_len = schema.fields.iter().take_while(|field| !field.is_appended()).count();
            let mut numbered = schema.fields.iter().zip(1..);
            for (field, number) in numbered.by_ref().take(base_len) {
                self::field(&field.ty, field.path, number, &fields, out)?;
            }
            if schema.sealed {
                return Ok(());
            }
            let mut appended = 0;
            for (index, (_, number)) in numbered.clone().enumerate() {
                if fields.last(number)?.is_some() {
                    appended = index + 1;
                }
            }
            out.put_u8(appended as u8);
            for (field, number) in numbered.take(appended) {
                let start = out.len();
                self::field(&field.ty, field.path, number, &fields, out)?;
                put_in_front(out, start, out.len() - start);
            }
            Ok(())
        }
        Type::Union(schema) => {
            let (mut all, mut chosen) = (fields.all, None);
            while let Some((number, _)) = all.next()? {
                let choice = schema.choices.iter().find(|choice| u32::from(choice.number) == number);
                chosen = choice.or(chosen);
            }
            let what = schema.name;
            let choice = chosen.ok_or(DecodeError::BadValue { what, why: "none of its choices is there" })?;
            out.put_u8(choice.number);
            field(&choice.ty, what, choice.number.into(), &fields, out)
        }
        _ => field(ty, what, 1, &fields, out),
    }
}

/// Reads one field out of its message.
fn field(
    ty: &Type,
    what: &'static str,
    number: u32,
    fields: &Noted<'_>,
    out: &mut BytesMut,
) -> Result<(), DecodeError> {
    match ty {
        Type::Option(inner) => {
            let present = fields.last(number)?.is_some();
            out.put_u8(present.into());
            if present { field(inner, what, number, fields, out) } else { Ok(()) }
        }
        Type::List { of, max } => list(of, *max, what, number, fields.all, out),
        Type::Struct(_) | Type::Union(_) => message(what, ty, &fields.merged(what, number)?, out),
        _ => element(ty, what, fields.last(number)?, out),
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

const WIRE_TYPE: &str = "a wire type that is not the field's";

/// Reads one value; `None` is the default.
fn element(ty: &Type, what: &'static str, value: Option<Value<'_>>, out: &mut BytesMut) -> Result<(), DecodeError> {
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

/// Numbers up to this are noted; beyond, the message is looked through each time.
const NOTED: usize = 16;

/// The fields of a message, all well-formed, with the last of each number at hand.
struct Noted<'a> {
    all: Fields<'a>,
    last: [Option<Value<'a>>; NOTED],
    /// Of the numbers noted, a bit for each that came more than once.
    again: u16,
}

impl<'a> Noted<'a> {
    fn new(all: Fields<'a>) -> Result<Self, DecodeError> {
        let mut noted = Self { all, last: [None; NOTED], again: 0 };
        let mut fields = all;
        while let Some((number, value)) = fields.next()? {
            let index = number as usize - 1;
            if let Some(last) = noted.last.get_mut(index) {
                noted.again |= u16::from(last.is_some()) << index;
                *last = Some(value);
            }
        }
        Ok(noted)
    }

    /// The last value of that number.
    fn last(&self, number: u32) -> Result<Option<Value<'a>>, DecodeError> {
        if let Some(last) = self.last.get(number as usize - 1) {
            return Ok(*last);
        }
        let (mut fields, mut last) = (self.all, None);
        while let Some((other, value)) = fields.next()? {
            if other == number {
                last = Some(value);
            }
        }
        Ok(last)
    }

    /// The bytes of an embedded message: several of one number are one, cut in pieces.
    fn merged(&self, what: &'static str, number: u32) -> Result<Cow<'a, [u8]>, DecodeError> {
        let piece = |value| match value {
            Value::Delimited(piece) => Ok(piece),
            _ => Err(DecodeError::BadValue { what, why: WIRE_TYPE }),
        };
        let index = number as usize - 1;
        if index < NOTED && self.again & 1 << index == 0 {
            return Ok(Cow::Borrowed(self.last(number)?.map_or(Ok(&[][..]), piece)?));
        }
        let (mut fields, mut merged) = (self.all, Vec::new());
        while let Some((other, value)) = fields.next()? {
            if other == number {
                merged.extend_from_slice(piece(value)?);
            }
        }
        Ok(Cow::Owned(merged))
    }
}
