//! [`Encode`] and [`Decode`], what the basic types do with them, and the seam at which a
//! connection's codec is chosen.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{DecodeError, Reader, wire_enum};

/// Writes itself in the compact binary layout. Encoding cannot fail: limits are the reader's to
/// enforce, and a sender checks the named maximum of a field before it fills it.
pub trait Encode {
    /// Appends this value to `out`.
    fn encode(&self, out: &mut BytesMut);
}

/// Reads itself from the compact binary layout.
pub trait Decode: Sized {
    /// The least number of bytes a value takes; bounds what a claimed count may reserve.
    const LEN_MIN: usize;

    /// Reads one value and leaves the reader behind it.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Reads a value whose length or count has a maximum of its own. Text, bytes and lists have only
/// this, so a field of such a type without `#[wire(max = …)]` does not compile.
pub trait DecodeLimited: Sized {
    /// The least number of bytes a value takes.
    const LEN_MIN: usize;

    /// Reads one value of at most `max` bytes or elements.
    fn decode_limited(reader: &mut Reader<'_>, what: &'static str, max: u32) -> Result<Self, DecodeError>;
}

/// Appends a varint.
#[doc(hidden)]
pub fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends one appended field: its length, then its bytes.
#[doc(hidden)]
pub fn put_appended(out: &mut BytesMut, value: &dyn Encode) {
    let mut bytes = BytesMut::new();
    value.encode(&mut bytes);
    put_run(out, &bytes);
}

fn put_run(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u32);
    out.put_slice(bytes);
}

macro_rules! integer {
    ($($ty:ident $put:ident),*) => {$(
        impl Encode for $ty {
            fn encode(&self, out: &mut BytesMut) {
                out.$put(*self);
            }
        }

        impl Decode for $ty {
            const LEN_MIN: usize = size_of::<$ty>();

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.$ty(stringify!($ty))
            }
        }
    )*};
}

integer!(u8 put_u8, u16 put_u16, u32 put_u32, u64 put_u64);

impl Encode for bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }
}

impl Decode for bool {
    const LEN_MIN: usize = 1;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.flag("bool")
    }
}

impl Encode for str {
    fn encode(&self, out: &mut BytesMut) {
        put_run(out, self.as_bytes());
    }
}

impl Encode for String {
    fn encode(&self, out: &mut BytesMut) {
        self.as_str().encode(out);
    }
}

impl DecodeLimited for String {
    const LEN_MIN: usize = 1;

    fn decode_limited(reader: &mut Reader<'_>, what: &'static str, max: u32) -> Result<Self, DecodeError> {
        reader.text(what, max).map(Self::from)
    }
}

impl Encode for Bytes {
    fn encode(&self, out: &mut BytesMut) {
        put_run(out, self);
    }
}

impl DecodeLimited for Bytes {
    const LEN_MIN: usize = 1;

    fn decode_limited(reader: &mut Reader<'_>, what: &'static str, max: u32) -> Result<Self, DecodeError> {
        reader.bytes(what, max)
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut BytesMut) {
        put_varint(out, self.len() as u32);
        self.iter().for_each(|item| item.encode(out));
    }
}

impl<T: Decode> DecodeLimited for Vec<T> {
    const LEN_MIN: usize = 1;

    fn decode_limited(reader: &mut Reader<'_>, what: &'static str, max: u32) -> Result<Self, DecodeError> {
        let count = reader.length(what, max)?;
        // A claimed count reserves no more than the bytes at hand could hold.
        let mut items = Self::with_capacity(count.min(reader.left() / T::LEN_MIN.max(1)));
        for _ in 0..count {
            items.push(T::decode(reader)?);
        }
        Ok(items)
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut BytesMut) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    const LEN_MIN: usize = 1;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(if reader.flag("Option")? { Some(T::decode(reader)?) } else { None })
    }
}

impl<T: DecodeLimited> DecodeLimited for Option<T> {
    const LEN_MIN: usize = 1;

    fn decode_limited(reader: &mut Reader<'_>, what: &'static str, max: u32) -> Result<Self, DecodeError> {
        Ok(if reader.flag(what)? { Some(T::decode_limited(reader, what, max)?) } else { None })
    }
}

wire_enum! {
    /// Which codec a client chose in its handshake. Every codec carries the same messages.
    pub enum CodecId: u8 {
        /// The compact binary layout of this crate.
        Binary = 0,
        /// JSON text, for debugging and scripts.
        Json = 1,
        /// Protocol buffers.
        Protobuf = 2,
    }
}

/// A codec that is available in this build: the factory's product. A further codec is a further
/// variant, and the compiler then names every place that has to learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// [`CodecId::Binary`].
    Binary,
}

impl Codec {
    /// The codec of that id, if this build has it.
    pub fn from_id(id: CodecId) -> Option<Self> {
        match id {
            CodecId::Binary => Some(Self::Binary),
            _ => None,
        }
    }

    /// The id to name in a handshake.
    pub fn id(self) -> CodecId {
        match self {
            Self::Binary => CodecId::Binary,
        }
    }

    /// Appends a whole message.
    pub fn encode(self, message: &impl Encode, out: &mut BytesMut) {
        match self {
            Self::Binary => message.encode(out),
        }
    }

    /// Reads a whole message, which must end where `body` ends.
    pub fn decode<M: Decode>(self, what: &'static str, body: &Bytes) -> Result<M, DecodeError> {
        match self {
            Self::Binary => {
                let mut reader = Reader::over(body);
                let message = M::decode(&mut reader)?;
                reader.finish(what)?;
                Ok(message)
            }
        }
    }
}
