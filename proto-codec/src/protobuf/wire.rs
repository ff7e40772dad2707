//! The wire of protocol buffers: tags, varints, and the fields of one message.

use bytes::{BufMut, BytesMut};

use crate::DecodeError;

pub(super) const VARINT: u8 = 0;
const FIXED64: u8 = 1;
pub(super) const DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

/// A value as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Delimited(&'a [u8]),
    /// Of a kind that no field of ours has.
    Fixed,
}

/// The fields of one message, in the order of the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(what: &'static str, message: &'a [u8]) -> Self {
        Self { rest: message, what }
    }

    /// The next field's number and value.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let what = self.what;
        let bad = |why| DecodeError::BadValue { what, why };
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or_else(|| bad("a field number that none can have"))?;
        let value = match (tag & 7) as u8 {
            VARINT => Value::Varint(self.varint()?),
            DELIMITED => {
                let length = self.varint()?;
                Value::Delimited(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            FIXED64 => self.take(8).map(|_| Value::Fixed)?,
            FIXED32 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(bad("a wire type that does not exist, or a group")),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Missing { what: self.what })?;
        self.rest = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        varint(self.what, &mut self.rest)
    }
}

/// Takes a varint of at most 64 bits off the front.
pub(super) fn varint(what: &'static str, rest: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for index in 0..10 {
        let (byte, behind) = rest.split_first().ok_or(DecodeError::Missing { what })?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        // Nine bytes hold 63 bits, so the tenth has one.
        if index == 9 && *byte > 1 {
            break;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::BadValue { what, why: "a varint over 64 bits" })
}

pub(super) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(super) fn put_tag(out: &mut BytesMut, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, DecodeError> {
        let mut fields = Fields::new("M", bytes);
        let mut all = Vec::new();
        while let Some(field) = fields.next()? {
            all.push(field);
        }
        Ok(all)
    }

    fn bad(why: &'static str) -> DecodeError {
        DecodeError::BadValue { what: "M", why }
    }

    #[test]
    fn fields_come_with_number_and_value() {
        let bytes = b"\x08\x96\x01\x12\x03abc\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0";
        let fields = [(1, Value::Varint(150)), (2, Value::Delimited(b"abc")), (3, Value::Fixed), (4, Value::Fixed)];
        assert_eq!(all(bytes), Ok(fields.to_vec()));
        // A cut is told where it is not between two fields.
        for cut in (0..bytes.len()).filter(|cut| ![0, 3, 8, 17].contains(cut)) {
            assert_eq!(all(&bytes[..cut]), Err(DecodeError::Missing { what: "M" }), "cut at {cut}");
        }
    }

    #[test]
    fn what_no_message_has_is_refused() {
        let number = bad("a field number that none can have");
        assert_eq!(all(&[0x00, 0x00]), Err(number));
        assert_eq!(all(&[0x80, 0x80, 0x80, 0x80, 0x10, 0]), Err(number), "a number of 30 bits");
        for wire_type in [3, 4, 6, 7] {
            assert_eq!(all(&[0x08 | wire_type]), Err(bad("a wire type that does not exist, or a group")));
        }
        let mut longest = vec![0x08];
        longest.extend([0xff; 9]);
        longest.push(1);
        assert_eq!(all(&longest), Ok(vec![(1, Value::Varint(u64::MAX))]));
        longest[10] = 2;
        assert_eq!(all(&longest), Err(bad("a varint over 64 bits")));
        longest[10] = 0x81;
        assert_eq!(all(&longest), Err(bad("a varint over 64 bits")));
        assert_eq!(all(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Err(DecodeError::Missing { what: "M" }));
    }
}
