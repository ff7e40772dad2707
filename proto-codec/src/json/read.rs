//! From JSON to binary, in one pass: each value is written where it is met, and the fields of a
//! struct are put in order at its end where they did not come so.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::BASE64_KEY;
use crate::DecodeError;
use crate::schema::{StructSchema, Type, UnionSchema};
use crate::transcode::{count_one, put_default, put_in_front, put_number, put_run};

/// Reads the one value that `text` is.
pub(super) fn document(what: &'static str, ty: &Type, text: &[u8], out: &mut BytesMut) -> Result<(), DecodeError> {
    let refusal = Refusal::default();
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = Value { ty, what, refusal: &refusal, out }.deserialize(&mut json);
    let error = match read.and_then(|()| json.end()) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let refused = refusal.0.get();
    let why = match (error.classify(), refused) {
        // Only what was refused here is an error of data.
        (Category::Data | Category::Io, Some(refused)) => return Err(refused),
        (Category::Eof, _) => "the text ends inside a value",
        (Category::Syntax, None) => "more text behind the message",
        _ => "not JSON",
    };
    let what = if why == "more text behind the message" { what } else { refused.map_or(what, |error| error.what()) };
    Err(DecodeError::BadText { what, why, line: error.line() as u32, column: error.column() as u32 })
}

/// Why a value was refused: serde's own errors are words, ours are to be compared.
#[derive(Default)]
struct Refusal(Cell<Option<DecodeError>>);

impl Refusal {
    fn set<E: Error>(&self, error: DecodeError) -> E {
        self.0.set(Some(error));
        E::custom("")
    }
}

/// One value to come.
struct Value<'a> {
    ty: &'a Type,
    what: &'static str,
    refusal: &'a Refusal,
    out: &'a mut BytesMut,
}

impl<'a> Value<'a> {
    fn refuse<E: Error>(&self, why: &'static str) -> E {
        self.refusal.set(DecodeError::BadValue { what: self.what, why })
    }

    fn done<E: Error>(&self, outcome: Result<(), DecodeError>) -> Result<(), E> {
        outcome.map_err(|error| self.refusal.set(error))
    }

    fn inner<'b>(&'b mut self, ty: &'b Type, what: &'static str) -> Value<'b> {
        Value { ty, what, refusal: self.refusal, out: self.out }
    }

    /// What the type wants to see.
    const fn wanted(&self) -> &'static str {
        match self.ty {
            Type::Bool => "not true or false",
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::Number(_) => "not a number, or a string of digits",
            Type::Text { .. } | Type::Id(_) => "not a string",
            Type::Bytes { .. } => "not a string or {\"base64\":\"…\"}",
            Type::List { .. } => "not a list",
            Type::Enum(_) => "not a name or a number",
            Type::Struct(_) => "not an object",
            Type::Union(_) => "not an object with the one key that says which",
            Type::Option(_) => "neither the value nor null",
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let (refusal, wanted) = (self.refusal, DecodeError::BadValue { what: self.what, why: self.wanted() });
        let read = match self.ty {
            Type::Option(_) => json.deserialize_option(self),
            _ => json.deserialize_any(self),
        };
        if read.is_err() && refusal.0.get().is_none() {
            refusal.0.set(Some(wanted));
        }
        read
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the schema says")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.out.put_u8(0);
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(mut self, json: D) -> Result<(), D::Error> {
        let (Type::Option(inner), what) = (self.ty, self.what) else { return Err(self.refuse(self.wanted())) };
        self.out.put_u8(1);
        self.inner(inner, what).deserialize(json)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.ty {
            Type::Bool => self.out.put_u8(value.into()),
            _ => return Err(self.refuse(self.wanted())),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match self.ty {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::Number(_) | Type::Enum(_) => {
                let put = put_number(self.ty, self.what, value, self.out);
                self.done(put)
            }
            _ => Err(self.refuse(self.wanted())),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let put = match self.ty {
            Type::Text { max } | Type::Bytes { max } => put_run(self.out, self.what, text.as_bytes(), *max),
            Type::Id(schema) => put_run(self.out, schema.name, text.as_bytes(), schema.max),
            Type::Enum(schema) => match schema.number_of(text).map(u64::from).or_else(|| digits(text)) {
                Some(number) => put_number(self.ty, self.what, number, self.out),
                None => return Err(self.refuse("a name that is not known; a number would do")),
            },
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::Number(_) => match digits(text) {
                Some(number) => put_number(self.ty, self.what, number, self.out),
                None => return Err(self.refuse(self.wanted())),
            },
            _ => return Err(self.refuse(self.wanted())),
        };
        self.done(put)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let (Type::List { of, max }, what) = (self.ty, self.what) else { return Err(self.refuse(self.wanted())) };
        let (start, mut count) = (self.out.len(), 0);
        while list.next_element_seed(self.inner(of, what))?.is_some() {
            count = count_one(count, what, *max).map_err(|error| self.refusal.set::<A::Error>(error))?;
        }
        put_in_front(self.out, start, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.ty {
            Type::Struct(schema) => self.object(schema, map),
            Type::Union(schema) => self.choice(schema, map),
            Type::Bytes { max } => self.base64(*max, map),
            _ => Err(self.refuse(self.wanted())),
        }
    }
}

impl Value<'_> {
    fn object<'de, A: MapAccess<'de>>(mut self, schema: &StructSchema, mut map: A) -> Result<(), A::Error> {
        let start = self.out.len();
        let mut places: Vec<Option<Range<usize>>> = vec![None; schema.fields.len()];
        // Whether the fields of the first version came in order, and nothing else.
        let mut in_order = 0;
        let index = |name: &str| schema.fields.iter().position(|field| field.name == name);
        while let Some(index) = map.next_key_seed(Key(index))? {
            let Some((index, field)) = index.and_then(|index| Some((index, schema.fields.get(index)?))) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            self.what = field.path;
            if places[index].is_some() {
                return Err(self.refuse("a field that stands twice"));
            }
            let from = self.out.len();
            map.next_value_seed(self.inner(&field.ty, field.path))?;
            places[index] = Some(from - start..self.out.len() - start);
            in_order += usize::from(index == in_order && !field.is_appended());
        }
        let base_len = schema.fields.iter().take_while(|field| !field.is_appended()).count();
        if in_order < base_len || places[base_len..].iter().any(Option::is_some) {
            let written = self.out[start..].to_vec();
            self.out.truncate(start);
            let outcome = in_schema_order(schema, base_len, &places, &written, self.out);
            self.done(outcome)
        } else {
            if !schema.sealed {
                self.out.put_u8(0);
            }
            Ok(())
        }
    }

    fn choice<'de, A: MapAccess<'de>>(mut self, schema: &UnionSchema, mut map: A) -> Result<(), A::Error> {
        let mut chosen = false;
        let index = |name: &str| schema.choices.iter().position(|choice| choice.name == name);
        while let Some(index) = map.next_key_seed(Key(index))? {
            let Some(choice) = index.and_then(|index| schema.choices.get(index)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut chosen, true) {
                return Err(self.refuse(self.wanted()));
            }
            self.out.put_u8(choice.number);
            map.next_value_seed(self.inner(&choice.ty, schema.name))?;
        }
        if chosen { Ok(()) } else { Err(self.refuse(self.wanted())) }
    }

    fn base64<'de, A: MapAccess<'de>>(self, max: u32, mut map: A) -> Result<(), A::Error> {
        let index = |name: &str| (name == BASE64_KEY).then_some(0);
        let Some(Some(_)) = map.next_key_seed(Key(index))? else { return Err(self.refuse(self.wanted())) };
        let text: std::borrow::Cow<'_, str> = map.next_value()?;
        let Ok(bytes) = STANDARD.decode(text.as_bytes()) else { return Err(self.refuse("not base64")) };
        if map.next_key_seed(Key(index))?.is_some() {
            return Err(self.refuse(self.wanted()));
        }
        let put = put_run(self.out, self.what, &bytes, max);
        self.done(put)
    }
}

/// Puts the fields of a struct where they belong. An option may be missing, and so may appended
/// fields behind the last that is there.
fn in_schema_order(
    schema: &StructSchema,
    base_len: usize,
    places: &[Option<Range<usize>>],
    written: &[u8],
    out: &mut BytesMut,
) -> Result<(), DecodeError> {
    for (field, place) in schema.fields.iter().zip(places).take(base_len) {
        match (place, field.ty) {
            (Some(place), _) => out.put_slice(&written[place.clone()]),
            (None, Type::Option(_)) => out.put_u8(0),
            (None, _) => return Err(DecodeError::Missing { what: field.path }),
        }
    }
    let appended = places.iter().rposition(Option::is_some).map_or(0, |last| (last + 1).saturating_sub(base_len));
    if !schema.sealed {
        out.put_u8(appended as u8);
        for (field, place) in schema.fields.iter().zip(places).skip(base_len).take(appended) {
            let start = out.len();
            match place {
                Some(place) => out.put_slice(&written[place.clone()]),
                None => put_default(&field.ty, field.path, out)?,
            }
            put_in_front(out, start, out.len() - start);
        }
    }
    Ok(())
}

/// Decimal digits and nothing else.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A key, as the index that the function finds for it; `None` for an unknown one.
struct Key<F>(F);

impl<'de, F: Fn(&str) -> Option<usize>> DeserializeSeed<'de> for Key<F> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<F: Fn(&str) -> Option<usize>> Visitor<'_> for Key<F> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok((self.0)(name))
    }
}
