//! The one way to read: a cursor that checks every length against its maximum before it touches
//! memory, and that cuts [`Bytes`] out of the frame without copying them.

use bytes::Bytes;

use crate::DecodeError;

/// Bytes that a varint may take at most: five times seven bits cover a `u32`.
const VARINT_LEN_MAX: usize = 5;

/// A cursor over one message's bytes.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The frame's buffer, when there is one: byte fields are then slices of it.
    backing: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads from plain bytes; byte fields are copied out.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, backing: None }
    }

    /// Reads from a frame's buffer; byte fields share it.
    pub fn over(bytes: &'a Bytes) -> Self {
        Self { rest: bytes, backing: Some(bytes) }
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes.
    pub fn take(&mut self, what: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Missing { what })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Missing { what })?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// A byte that must be 0 or 1.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::BadValue { what, why: "a flag is 0 or 1" }),
        }
    }

    /// A shortest-form varint of at most 32 bits.
    pub fn varint(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0u64;
        for index in 0..VARINT_LEN_MAX {
            let byte = self.u8(what)?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                // A last byte of zero behind others is the same number written longer.
                if byte == 0 && index > 0 {
                    return Err(DecodeError::BadVarint { what });
                }
                return u32::try_from(value).map_err(|_| DecodeError::BadVarint { what });
            }
        }
        Err(DecodeError::BadVarint { what })
    }

    /// A varint that meets its maximum before anything is done with it.
    pub fn length(&mut self, what: &'static str, max: u32) -> Result<usize, DecodeError> {
        let length = self.varint(what)?;
        if length > max {
            return Err(DecodeError::TooLong { what, length, max });
        }
        Ok(length as usize)
    }

    /// A length-prefixed run of bytes.
    pub fn run(&mut self, what: &'static str, max: u32) -> Result<&'a [u8], DecodeError> {
        let length = self.length(what, max)?;
        self.take(what, length)
    }

    /// A length-prefixed run as [`Bytes`], shared with the frame where there is one.
    pub fn bytes(&mut self, what: &'static str, max: u32) -> Result<Bytes, DecodeError> {
        let run = self.run(what, max)?;
        Ok(self.backing.map_or_else(|| Bytes::copy_from_slice(run), |backing| backing.slice_ref(run)))
    }

    /// A length-prefixed run of UTF-8.
    pub fn text(&mut self, what: &'static str, max: u32) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.run(what, max)?).map_err(|_| DecodeError::BadUtf8 { what })
    }

    /// A reader over the next `length` bytes only; this one goes on behind them.
    pub fn sub(&mut self, what: &'static str, length: usize) -> Result<Self, DecodeError> {
        Ok(Self { rest: self.take(what, length)?, backing: self.backing })
    }

    /// Refuses bytes that nobody read.
    pub fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { what, left }),
        }
    }

    /// One appended field (see the crate's layout rules): a length, and bytes that it must fill.
    #[doc(hidden)]
    pub fn appended<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let length = self.varint(what)? as usize;
        let mut sub = self.sub(what, length)?;
        let value = read(&mut sub)?;
        sub.finish(what)?;
        Ok(value)
    }

    /// Skips appended fields that this version does not know.
    #[doc(hidden)]
    pub fn skip_appended(&mut self, what: &'static str, count: u8) -> Result<(), DecodeError> {
        for _ in 0..count {
            let length = self.varint(what)? as usize;
            self.take(what, length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const WHAT: &str = "Test.field";
    const MISSING: DecodeError = DecodeError::Missing { what: WHAT };
    const BAD_VARINT: DecodeError = DecodeError::BadVarint { what: WHAT };

    /// Reads `bytes` whole, and then every shorter front of them, which must be refused as missing.
    fn whole_and_cut<T: PartialEq + std::fmt::Debug>(
        bytes: &[u8],
        value: T,
        read: impl for<'a> Fn(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) {
        let mut reader = Reader::new(bytes);
        assert_eq!(read(&mut reader), Ok(value));
        assert_eq!(reader.finish(WHAT), Ok(()));
        for cut in 0..bytes.len() {
            assert_eq!(read(&mut Reader::new(&bytes[..cut])), Err(MISSING), "{bytes:02x?} cut at {cut}");
        }
    }

    #[test]
    fn every_method_reads_a_whole_value_and_misses_a_cut_one() {
        whole_and_cut(&[0xfe], 0xfe, |r| r.u8(WHAT));
        whole_and_cut(&[1, 2], 0x0102, |r| r.u16(WHAT));
        whole_and_cut(&[1, 2, 3, 4], 0x0102_0304, |r| r.u32(WHAT));
        whole_and_cut(&[1, 2, 3, 4, 5, 6, 7, 8], 0x0102_0304_0506_0708, |r| r.u64(WHAT));
        whole_and_cut(&[0], false, |r| r.flag(WHAT));
        whole_and_cut(&[1], true, |r| r.flag(WHAT));
        whole_and_cut(&[0xff, 0xff, 0xff, 0xff, 0x0f], u32::MAX, |r| r.varint(WHAT));
        whole_and_cut(&[0xac, 0x02], 300, |r| r.length(WHAT, 300));
        whole_and_cut(b"abc", b"abc".to_vec(), |r| r.take(WHAT, 3).map(<[u8]>::to_vec));
        whole_and_cut(b"\x03abc", b"abc".to_vec(), |r| r.run(WHAT, 3).map(<[u8]>::to_vec));
        whole_and_cut(b"\x03abc", Bytes::from_static(b"abc"), |r| r.bytes(WHAT, 3));
        whole_and_cut("\u{3}é!".as_bytes(), "é!".to_owned(), |r| r.text(WHAT, 3).map(str::to_owned));
        whole_and_cut(&[9, 8], 0x0908, |r| r.sub(WHAT, 2).and_then(|mut sub| sub.u16(WHAT)));
        whole_and_cut(&[2, 9, 8], 0x0908, |r| r.appended(WHAT, |sub| sub.u16(WHAT)));
        whole_and_cut(&[2, 9, 8, 0, 1, 7], (), |r| r.skip_appended(WHAT, 3));
    }

    #[test]
    fn a_refused_read_leaves_the_reader_where_it_was() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(WHAT), Err(MISSING));
        assert!(reader.sub(WHAT, 4).is_err());
        assert_eq!(reader.left(), 3);
    }

    #[test]
    fn a_flag_is_zero_or_one() {
        for byte in 2..=u8::MAX {
            let refusal = DecodeError::BadValue { what: WHAT, why: "a flag is 0 or 1" };
            assert_eq!(Reader::new(&[byte]).flag(WHAT), Err(refusal));
        }
    }

    #[test]
    fn varints_have_one_form() {
        let forms: [(&[u8], u32); 8] = [
            (&[0x00], 0),
            (&[0x7f], 127),
            (&[0x80, 0x01], 128),
            (&[0xff, 0x7f], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0x80, 0x80, 0x80, 0x01], 1 << 21),
            (&[0x80, 0x80, 0x80, 0x80, 0x01], 1 << 28),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], u32::MAX),
        ];
        for (bytes, value) in forms {
            whole_and_cut(bytes, value, |r| r.varint(WHAT));
            let mut written = bytes::BytesMut::new();
            crate::codec::put_varint(&mut written, value);
            assert_eq!(written, bytes);
        }
    }

    #[test]
    fn overlong_and_oversized_varints_are_refused() {
        let refused: [&[u8]; 8] = [
            &[0x80, 0x00],
            &[0xff, 0x00],
            &[0x80, 0x80, 0x00],
            &[0xff, 0xff, 0xff, 0xff, 0x00],
            // 33 bits and more.
            &[0xff, 0xff, 0xff, 0xff, 0x10],
            &[0x80, 0x80, 0x80, 0x80, 0x7f],
            // Five bytes, and not done yet.
            &[0x80, 0x80, 0x80, 0x80, 0x80],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ];
        for bytes in refused {
            assert_eq!(Reader::new(bytes).varint(WHAT), Err(BAD_VARINT), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_length_meets_its_maximum_before_the_bytes_behind_it() {
        // Nothing stands behind the length: a reader that went for the bytes first would say Missing.
        let claims = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let refusal = DecodeError::TooLong { what: WHAT, length: u32::MAX, max: 4 };
        assert_eq!(Reader::new(&claims).length(WHAT, 4), Err(refusal));
        assert_eq!(Reader::new(&claims).run(WHAT, 4), Err(refusal));
        assert_eq!(Reader::new(&claims).bytes(WHAT, 4), Err(refusal));
        assert_eq!(Reader::new(&claims).text(WHAT, 4), Err(refusal));
        assert_eq!(Reader::new(b"\x05abcde").run(WHAT, 4), Err(DecodeError::TooLong { what: WHAT, length: 5, max: 4 }));
        assert_eq!(Reader::new(b"\x04abcde").run(WHAT, 4), Ok(&b"abcd"[..]));
    }

    #[test]
    fn text_is_utf8() {
        for bytes in [&b"\x01\xff"[..], b"\x02\xc3\x28", b"\x02\xc0\x80", b"\x03\xed\xa0\x80", b"\x01\xc3"] {
            assert_eq!(Reader::new(bytes).text(WHAT, 9), Err(DecodeError::BadUtf8 { what: WHAT }), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_sub_reader_ends_at_its_length_and_the_outer_goes_on_behind() {
        let mut outer = Reader::new(&[1, 2, 3]);
        let mut sub = outer.sub(WHAT, 2).unwrap();
        assert_eq!(sub.u8(WHAT), Ok(1));
        assert_eq!(sub.finish(WHAT), Err(DecodeError::Trailing { what: WHAT, left: 1 }));
        assert_eq!(sub.u8(WHAT), Ok(2));
        assert_eq!(sub.u8(WHAT), Err(MISSING));
        assert_eq!(sub.finish(WHAT), Ok(()));
        assert_eq!(outer.u8(WHAT), Ok(3));
        assert_eq!(outer.finish(WHAT), Ok(()));
    }

    #[test]
    fn an_appended_field_fills_its_length_exactly() {
        let read = |bytes: &[u8]| Reader::new(bytes).appended(WHAT, |sub| sub.u16(WHAT));
        assert_eq!(read(&[3, 9, 8, 7]), Err(DecodeError::Trailing { what: WHAT, left: 1 }));
        // The bytes are there, but behind the field's own end.
        assert_eq!(read(&[1, 9, 8, 7]), Err(MISSING));
    }

    #[test]
    fn bytes_are_slices_of_the_frame() {
        let frame = Bytes::from(b"\x00\x03abc\x02de".to_vec());
        let mut reader = Reader::over(&frame);
        reader.u8(WHAT).unwrap();
        let first = reader.bytes(WHAT, 3).unwrap();
        let second = reader.sub(WHAT, 3).and_then(|mut sub| sub.bytes(WHAT, 3)).unwrap();
        assert_eq!((&first[..], &second[..]), (&b"abc"[..], &b"de"[..]));
        assert_eq!(first.as_ptr(), frame[2..].as_ptr());
        assert_eq!(second.as_ptr(), frame[6..].as_ptr());

        let copied = Reader::new(&frame[1..]).bytes(WHAT, 3).unwrap();
        assert!(!frame.as_ptr_range().contains(&copied.as_ptr()), "plain bytes cannot be shared");
    }

    #[test]
    fn empty_byte_fields_are_fine_in_a_frame() {
        let frame = Bytes::from_static(b"\x00");
        assert_eq!(Reader::over(&frame).bytes(WHAT, 0), Ok(Bytes::new()));
    }
}
