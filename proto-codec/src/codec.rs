//! [`Encode`] and [`Decode`], what the basic types do with them, and the seam at which a
//! connection's codec is chosen.

use bytes::{BufMut, Bytes, BytesMut};

use crate::json::Json;
use crate::protobuf::Protobuf;
use crate::schema::{Describe, Type};
use crate::transcode::Transcode;
use crate::{DecodeError, Reader, wire_enum};

/// Writes itself in the compact binary layout. Encoding cannot fail: limits are the reader's to
/// enforce, and a sender checks the named maximum of a field before it fills it.
pub trait Encode {
    /// Appends this value to `out`.
    fn encode(&self, out: &mut BytesMut);
}

/// Reads itself from the compact binary layout.
#[diagnostic::on_unimplemented(
    note = "text, bytes and lists need `#[wire(max = …)]`; a struct needs `#[derive(Decode)]`"
)]
pub trait Decode: Describe + Sized {
    /// The least number of bytes a value takes; bounds what a claimed count may reserve.
    const LEN_MIN: usize;

    /// Reads one value and leaves the reader behind it.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Reads a value whose length or count has a maximum of its own. Text, bytes and lists have only
/// this, so a field of such a type without `#[wire(max = …)]` does not compile.
#[diagnostic::on_unimplemented(note = "only text, bytes and lists take `#[wire(max = …)]`")]
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
    let start = out.len();
    value.encode(out);
    let length = out.len() - start;
    // Only now is the length known: it is written behind the bytes and turned to their front.
    put_varint(out, length as u32);
    out[start..].rotate_left(length);
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
        let mut items = Self::with_capacity(capacity_for::<T>(count, reader.left()));
        for _ in 0..count {
            items.push(T::decode(reader)?);
        }
        Ok(items)
    }
}

/// A claimed count reserves no more than the bytes at hand could hold.
fn capacity_for<T: Decode>(count: usize, left: usize) -> usize {
    count.min(left / T::LEN_MIN.max(1))
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
        /// The compact binary layout.
        Binary = 0,
        /// JSON text, for debugging and scripts.
        Json = 1,
        /// Protocol buffers.
        Protobuf = 2,
    }
}

/// A codec that is available in this build: the factory's product.
///
/// To add one: a number in [`CodecId`], a variant here with its number in [`Codec::ALL`], and its
/// translation in `Codec::transcoder`. Nothing outside this file knows how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// [`CodecId::Binary`].
    Binary,
    /// [`CodecId::Json`].
    Json,
    /// [`CodecId::Protobuf`].
    Protobuf,
}

impl Codec {
    /// Every codec of this build.
    pub const ALL: &'static [Self] = &[Self::Binary, Self::Json, Self::Protobuf];

    /// The codec of that id, if this build has it.
    pub fn from_id(id: CodecId) -> Option<Self> {
        Self::ALL.iter().copied().find(|codec| codec.id() == id)
    }

    /// The id to name in a handshake.
    pub const fn id(self) -> CodecId {
        match self {
            Self::Binary => CodecId::Binary,
            Self::Json => CodecId::Json,
            Self::Protobuf => CodecId::Protobuf,
        }
    }

    /// How it differs from the binary codec; `None` for that one.
    fn transcoder(self) -> Option<&'static dyn Transcode> {
        match self {
            Self::Binary => None,
            Self::Json => Some(&Json),
            Self::Protobuf => Some(&Protobuf),
        }
    }

    /// Appends a whole message.
    pub fn encode<M: Encode + Describe>(self, message: &M, out: &mut BytesMut) {
        let Some(transcoder) = self.transcoder() else { return message.encode(out) };
        let mut binary = BytesMut::new();
        message.encode(&mut binary);
        transcoder
            .encode(&M::TYPE, &mut Reader::new(&binary), out)
            .expect("encoder and description of a message come from one definition");
    }

    /// Reads a whole message, which must end where `body` ends.
    pub fn decode<M: Decode>(self, what: &'static str, body: &Bytes) -> Result<M, DecodeError> {
        let binary;
        let body = match self.transcoder() {
            None => body,
            Some(_) => {
                binary = self.decode_binary(what, &M::TYPE, body)?;
                &binary
            }
        };
        let mut reader = Reader::over(body);
        let message = M::decode(&mut reader)?;
        reader.finish(what)?;
        Ok(message)
    }

    /// The binary codec's form of a body in this codec. Lengths and counts are within their limits
    /// then; whether ids and the like are right, decoding tells.
    pub fn decode_binary(self, what: &'static str, ty: &Type, body: &Bytes) -> Result<Bytes, DecodeError> {
        let Some(transcoder) = self.transcoder() else { return Ok(body.clone()) };
        let mut out = BytesMut::with_capacity(body.len());
        transcoder.decode(what, ty, body, &mut out)?;
        Ok(out.freeze())
    }

    /// This codec's form of a binary body. Appended fields that the schema does not know are left out.
    pub fn encode_binary(self, what: &'static str, ty: &Type, body: &Bytes) -> Result<Bytes, DecodeError> {
        let Some(transcoder) = self.transcoder() else { return Ok(body.clone()) };
        let (mut reader, mut out) = (Reader::over(body), BytesMut::with_capacity(body.len()));
        transcoder.encode(ty, &mut reader, &mut out)?;
        reader.finish(what)?;
        Ok(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const WHAT: &str = "Test.list";

    #[test]
    fn a_claimed_count_reserves_no_more_than_the_bytes_at_hand_hold() {
        assert_eq!(capacity_for::<u64>(usize::MAX, 80), 10);
        assert_eq!(capacity_for::<u64>(usize::MAX, 79), 9);
        assert_eq!(capacity_for::<u64>(usize::MAX, 0), 0);
        assert_eq!(capacity_for::<u64>(2, 80), 2);
        assert_eq!(capacity_for::<Nothing>(usize::MAX, 80), 80);

        let mut bytes = BytesMut::new();
        put_varint(&mut bytes, 3);
        bytes.put_slice(&[0; 24 + 8]);
        let items = Vec::<u64>::decode_limited(&mut Reader::new(&bytes), WHAT, u32::MAX).unwrap();
        assert_eq!((items.len(), items.capacity()), (3, 3));
    }

    /// Takes no bytes.
    struct Nothing;

    impl Describe for Nothing {
        const TYPE: Type = Type::U8;
    }

    impl Decode for Nothing {
        const LEN_MIN: usize = 0;

        fn decode(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
            Ok(Self)
        }
    }

    #[test]
    fn a_count_over_the_maximum_is_refused_before_its_elements() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let refusal = DecodeError::TooLong { what: WHAT, length: u32::MAX, max: 8 };
        assert_eq!(Vec::<u64>::decode_limited(&mut Reader::new(&bytes), WHAT, 8), Err(refusal));
    }

    #[test]
    fn options_have_one_spelling() {
        let read = |bytes: &[u8]| Option::<u8>::decode(&mut Reader::new(bytes));
        assert_eq!(read(&[0]), Ok(None));
        assert_eq!(read(&[1, 9]), Ok(Some(9)));
        assert_eq!(read(&[2, 9]), Err(DecodeError::BadValue { what: "Option", why: "a flag is 0 or 1" }));
    }

    #[test]
    fn appended_fields_are_length_and_bytes_at_every_size() {
        for length in [0usize, 1, 125, 126, 127, 128, 16_380, 16_384, 70_000] {
            let value = Bytes::from(vec![0xab; length]);
            let mut inner = BytesMut::new();
            value.encode(&mut inner);
            let mut expected = BytesMut::from("before");
            put_run(&mut expected, &inner);

            let mut out = BytesMut::from("before");
            put_appended(&mut out, &value);
            assert_eq!(out, expected, "length {length}");
        }
    }

    #[test]
    fn the_factory_knows_what_it_builds() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_id(codec.id()), Some(*codec));
        }
        assert_eq!(Codec::ALL.len(), CodecId::KNOWN.len());
        assert_eq!(Codec::from_id(CodecId::Unknown(9)), None);
    }

    #[test]
    fn a_message_ends_where_its_bytes_end() {
        let mut out = BytesMut::new();
        Codec::Binary.encode(&7u16, &mut out);
        assert_eq!(Codec::Binary.decode("M", &out.clone().freeze()), Ok(7u16));
        out.put_u8(0);
        let refusal = DecodeError::Trailing { what: "M", left: 1 };
        assert_eq!(Codec::Binary.decode::<u16>("M", &out.freeze()), Err(refusal));
    }
}
