//! Why bytes were refused. Each enum is closed and comparable, so that a test names the exact
//! refusal it expects. `what` is what was being read: the `Struct.field` where the field has a
//! maximum or was appended, else the name of the field's type, which reads itself.

/// Why a message body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the field does.
    #[error("{what}: the bytes end inside it")]
    Missing {
        /// The field.
        what: &'static str,
    },
    /// Bytes are left over after the last field.
    #[error("{what}: {left} bytes are left over")]
    Trailing {
        /// The message.
        what: &'static str,
        /// How many bytes nobody read.
        left: usize,
    },
    /// Text, bytes or a list say that they are longer than the field's named maximum.
    #[error("{what}: length or count {length} is over the maximum {max}")]
    TooLong {
        /// The field.
        what: &'static str,
        /// What the bytes claim.
        length: u32,
        /// What is allowed.
        max: u32,
    },
    /// Text is not UTF-8.
    #[error("{what}: not UTF-8")]
    BadUtf8 {
        /// The field.
        what: &'static str,
    },
    /// A value that its type does not have: a flag that is neither 0 nor 1, an id with a forbidden
    /// character.
    #[error("{what}: {why}")]
    BadValue {
        /// The field.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A varint over five bytes, over 32 bits, or not in its shortest form.
    #[error("{what}: its length is not a shortest-form varint of at most 32 bits")]
    BadVarint {
        /// The field.
        what: &'static str,
    },
    /// The text of a message is not JSON.
    #[error("{what}: {why}, at line {line}, column {column}")]
    BadText {
        /// The field, as far as it is known.
        what: &'static str,
        /// What is wrong.
        why: &'static str,
        /// Where reading stopped.
        line: u32,
        /// Where in the line.
        column: u32,
    },
}

impl DecodeError {
    /// Its name, which stays as it is: other languages have the same, and the vectors compare them.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "Missing",
            Self::Trailing { .. } => "Trailing",
            Self::TooLong { .. } => "TooLong",
            Self::BadUtf8 { .. } => "BadUtf8",
            Self::BadValue { .. } => "BadValue",
            Self::BadVarint { .. } => "BadVarint",
            Self::BadText { .. } => "BadText",
        }
    }

    /// What was being read.
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Missing { what }
            | Self::Trailing { what, .. }
            | Self::TooLong { what, .. }
            | Self::BadUtf8 { what }
            | Self::BadValue { what, .. }
            | Self::BadVarint { what }
            | Self::BadText { what, .. } => what,
        }
    }
}

/// Why a stream of bytes stopped being a stream of frames. The connection cannot go on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first bytes are not this protocol's.
    #[error("the first bytes are not the sim magic")]
    BadMagic,
    /// The preamble names a hop that is not this listener's, or none at all.
    #[error("the preamble names hop {hop:#04x}, which is not this listener's")]
    BadHop {
        /// The byte that was sent.
        hop: u8,
    },
    /// The preamble names a version that this peer does not speak.
    #[error("protocol version {version} is not spoken here")]
    BadVersion {
        /// The version that was sent.
        version: u8,
    },
    /// The preamble names a codec for the handshake that is not spoken here.
    #[error("codec {codec} is not spoken here")]
    BadCodec {
        /// The byte that was sent.
        codec: u8,
    },
    /// Reserved bytes of the preamble are not zero.
    #[error("reserved bytes of the preamble are not zero")]
    BadReserved,
    /// The header's length is over the maximum of this direction.
    #[error("frame of {length} bytes is over the maximum {max}")]
    TooLong {
        /// What the header claims.
        length: u32,
        /// What is allowed.
        max: u32,
    },
    /// A flag bit that this version does not know.
    #[error("unknown flag bits {bits:#06x}")]
    UnknownFlags {
        /// The whole flags field.
        bits: u16,
    },
}

impl FrameError {
    /// Its name, which stays as it is: other languages have the same, and the vectors compare them.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::BadMagic => "BadMagic",
            Self::BadHop { .. } => "BadHop",
            Self::BadVersion { .. } => "BadVersion",
            Self::BadCodec { .. } => "BadCodec",
            Self::BadReserved => "BadReserved",
            Self::TooLong { .. } => "TooLong",
            Self::UnknownFlags { .. } => "UnknownFlags",
        }
    }
}
