//! The language of bytes: frames, [`Reader`], limits, [`DecodeError`], and the derives that
//! write encoder and decoder from a struct's definition. No IO, no clock, no message of its own.
//!
//! Layout rules, the whole of them (`docs/protocol.md` says the same for other languages):
//!
//! * Integers are fixed-width and big-endian. `bool` and the presence of an `Option` are one byte,
//!   0 or 1.
//! * Text, byte strings and lists carry their length or count in front as a *varint*: seven bits
//!   per byte, low bits first, the top bit says that more follows, shortest form only, at most
//!   five bytes.
//! * A struct is its fields in order, then one byte that counts *appended* fields, then each
//!   appended field as varint length and bytes. A reader that knows fewer fields skips the rest by
//!   their lengths; one that knows more fills what is missing with the default.
//!   A `sealed` struct has no such tail and may never grow.
//! * A message must end exactly where its bytes end.
//!
//! Three answers have three shapes: a value, "need more" ([`None`] from [`Deframer::next`]), and
//! a refusal ([`DecodeError`], [`FrameError`]). Need-more is never an error.

mod codec;
mod error;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod json;
mod preamble;
pub mod protobuf;
mod reader;
pub mod schema;
mod transcode;
mod wire_enum;

pub use bytes::{Bytes, BytesMut};
pub use codec::{Codec, CodecId, Decode, DecodeLimited, Encode};
pub use error::{DecodeError, FrameError};
pub use frame::{Deframer, Flags, Frame, Header, RESPONSE_BIT};
pub use preamble::{Hop, PREAMBLE_LEN, PROTOCOL_VERSION, Preamble};
pub use proto_codec_derive::{Decode, Encode};
pub use reader::Reader;
pub use schema::Describe;

/// What the derives call; not for use by hand.
#[doc(hidden)]
pub mod derive_support {
    pub use crate::codec::{put_appended, put_varint};
    pub use bytes::{BufMut, BytesMut};
}
