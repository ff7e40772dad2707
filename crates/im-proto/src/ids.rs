//! Who and where. Every id is checked when it is made (1–64 bytes, no `:`, no control characters),
//! so that an id in hand is a valid one.

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use proto_codec::schema::{ChoiceSchema, Describe, IdSchema, NumberSchema, Type, UnionSchema, doc};
use proto_codec::{Decode, DecodeError, Encode, Reader};

use crate::limits::{CONVERSATION_ID_LEN_MAX, ID_LEN_MAX};

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No characters at all.
    #[error("an id has at least one character")]
    Empty,
    /// Over 64 bytes.
    #[error("an id has at most 64 bytes")]
    TooLong,
    /// `:` separates the two users of a conversation id.
    #[error("an id has no ':'")]
    Colon,
    /// A control character, such as a line end or NUL.
    #[error("an id has no control characters")]
    Control,
}

impl IdError {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Empty => "an id has at least one character",
            Self::TooLong => "an id has at most 64 bytes",
            Self::Colon => "an id has no ':'",
            Self::Control => "an id has no control characters",
        }
    }
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_LEN_MAX as usize {
        return Err(IdError::TooLong);
    }
    // Every id of every message comes by here; nearly all are ASCII, in which a byte is a character.
    if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
        return Ok(());
    }
    if text.contains(':') {
        return Err(IdError::Colon);
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    Ok(())
}

fn decode_id(reader: &mut Reader<'_>, what: &'static str) -> Result<Arc<str>, DecodeError> {
    let text = reader.text(what, ID_LEN_MAX)?;
    check(text).map_err(|error| DecodeError::BadValue { what, why: error.sentence() })?;
    Ok(text.into())
}

/// The rules of an id, as clients in other languages are told them.
const ID_RULES: &str =
    "1 to 64 bytes of UTF-8 without ':' and without control characters (U+0000 to U+001F, U+007F to U+009F)";

macro_rules! text_id {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and makes the id.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Describe for $name {
            const TYPE: Type = Type::Id(&IdSchema {
                name: stringify!($name),
                doc: doc(concat!($($doc),*)),
                rules: ID_RULES,
                max: ID_LEN_MAX,
            });
        }

        impl Encode for $name {
            fn encode(&self, out: &mut BytesMut) {
                self.0.encode(out);
            }
        }

        impl Decode for $name {
            const LEN_MIN: usize = 2;

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                decode_id(reader, stringify!($name)).map(Self)
            }
        }
    )+};
}

text_id! {
    /// A person or a program that sends and receives.
    UserId,
    /// A group; also the id of its conversation.
    GroupId,
    /// One installation of a client. A user has one sync position per device.
    DeviceId,
    /// Chosen by the sender, once per message; with the sender's id it makes a send idempotent.
    ClientMsgId,
}

/// A conversation: `smaller:bigger` of two user ids (by bytes), or a group's id. Only the former has a `:`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationId(Arc<str>);

impl ConversationId {
    /// The conversation of two users, in either order. A user's conversation with itself is a notebook.
    pub fn pair(a: &UserId, b: &UserId) -> Self {
        let (smaller, bigger) = if a <= b { (a, b) } else { (b, a) };
        // Not `format!`, which looks at every part as if it needed to be formatted.
        Self([smaller.as_str(), ":", bigger.as_str()].concat().into())
    }

    /// The conversation of a group.
    pub fn group(group: &GroupId) -> Self {
        Self(Arc::clone(&group.0))
    }

    /// Checks the text and makes the id.
    pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
        let text = text.as_ref();
        match text.split_once(':') {
            None => check(text).map(|()| Self(text.into())),
            Some((a, b)) => {
                check(a)?;
                check(b)?;
                Ok(Self(if a <= b { text.into() } else { format!("{b}:{a}").into() }))
            }
        }
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The two users, smaller first; `None` for a group.
    pub fn users(&self) -> Option<(UserId, UserId)> {
        let (a, b) = self.0.split_once(':')?;
        Some((UserId(a.into()), UserId(b.into())))
    }

    /// The group; `None` for two users.
    pub fn as_group(&self) -> Option<GroupId> {
        (!self.0.contains(':')).then(|| GroupId(Arc::clone(&self.0)))
    }

    /// The other user of a conversation of two: the user itself in its notebook, `None` for a group
    /// or when the user is neither of the two.
    pub fn peer_of(&self, user: &UserId) -> Option<UserId> {
        let (a, b) = self.users()?;
        match (a == *user, b == *user) {
            (true, _) => Some(b),
            (_, true) => Some(a),
            _ => None,
        }
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::borrow::Borrow<str> for ConversationId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Describe for ConversationId {
    const TYPE: Type = Type::Id(&IdSchema {
        name: "ConversationId",
        doc: "A conversation: the two user ids with a ':' between them, or a group's id. Only the former has a ':'.",
        rules: "a group id; or two user ids with ':' between them, the smaller by bytes first",
        max: CONVERSATION_ID_LEN_MAX,
    });
}

impl Encode for ConversationId {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }
}

impl Decode for ConversationId {
    const LEN_MIN: usize = 2;

    /// Refuses a pair in the wrong order: an id has one spelling on the wire.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let what = "ConversationId";
        let text = reader.text(what, CONVERSATION_ID_LEN_MAX)?;
        let id = Self::new(text).map_err(|error| DecodeError::BadValue { what, why: error.sentence() })?;
        if id.as_str() != text {
            return Err(DecodeError::BadValue { what, why: "the smaller user id comes first" });
        }
        Ok(id)
    }
}

/// To whom a message goes: one byte (1 a user, 2 a group), then the id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A user.
    User(UserId),
    /// A group.
    Group(GroupId),
}

impl Target {
    /// The conversation that `sender` and this target share.
    pub fn conversation(&self, sender: &UserId) -> ConversationId {
        match self {
            Self::User(user) => ConversationId::pair(sender, user),
            Self::Group(group) => ConversationId::group(group),
        }
    }
}

impl Describe for Target {
    const TYPE: Type = Type::Union(&UnionSchema {
        name: "Target",
        doc: "To whom a message goes: one byte (1 a user, 2 a group), then the id.",
        choices: &[
            ChoiceSchema { name: "user", number: 1, doc: "A user.", ty: UserId::TYPE },
            ChoiceSchema { name: "group", number: 2, doc: "A group.", ty: GroupId::TYPE },
        ],
    });
}

impl Encode for Target {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::User(user) => {
                1u8.encode(out);
                user.encode(out);
            }
            Self::Group(group) => {
                2u8.encode(out);
                group.encode(out);
            }
        }
    }
}

impl Decode for Target {
    const LEN_MIN: usize = 3;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8("Target")? {
            1 => UserId::decode(reader).map(Self::User),
            2 => GroupId::decode(reader).map(Self::Group),
            _ => Err(DecodeError::BadValue { what: "Target", why: "a target is a user (1) or a group (2)" }),
        }
    }
}

macro_rules! number {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Describe for $name {
            const TYPE: Type =
                Type::Number(&NumberSchema { name: stringify!($name), doc: doc(concat!($($doc),*)) });
        }

        impl Encode for $name {
            fn encode(&self, out: &mut BytesMut) {
                self.0.encode(out);
            }
        }

        impl Decode for $name {
            const LEN_MIN: usize = 8;

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.u64(stringify!($name)).map(Self)
            }
        }
    )+};
}

number! {
    /// A place in one timeline. The first is 1; 0 stands before the first.
    Seq,
    /// Which life of a store a position belongs to. A store restored from an older state gets a new
    /// one; 0 says that the client has no position yet.
    Epoch,
    /// One run of a process, drawn when it starts.
    BootId,
    /// One login. Unique within the gate's [`BootId`], so the two together fence a late goodbye.
    SessionId,
}

impl Seq {
    /// Before the first place.
    pub const ZERO: Self = Self(0);

    /// The place behind this one. A peer may say any number, and so the last of them is its own
    /// next; no timeline gets there by appending.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// How far a user's timeline has been read, or reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[wire(sealed)]
pub struct Position {
    /// The store's life.
    pub epoch: Epoch,
    /// The place within it.
    pub seq: Seq,
}
