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
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
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
