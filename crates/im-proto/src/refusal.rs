//! Refusals: what a peer is told when it does not get what it asked for. One table of number, name,
//! sentence, fault and retry; the log gets the reason in full, the peer gets the code and a detail.

use proto_codec::{Decode, Encode};

use crate::limits::TEXT_LEN_MAX;

/// Whether asking again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request will be refused again.
    Never,
    /// The same request may succeed, on this connection, after a while.
    Later,
    /// Log in first, with a fresh token.
    AfterLogin,
    /// Connect again; another gate may be named by a redirect.
    Reconnect,
}

macro_rules! refusals {
    ($( $number:literal $name:ident $retry:ident $sentence:literal; )+) => {
        proto_codec::wire_enum! {
            /// Why a request or a connection was refused.
            pub enum RefusalCode: u16 {
                $( #[doc = $sentence] $name = $number, )+
            }
        }

        impl RefusalCode {
            /// One sentence for a person.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $( Self::$name => $sentence, )+
                    Self::Unknown(_) => "a refusal that this version does not know",
                }
            }

            /// Its name in logs and in JSON.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => stringify!($name), )+
                    Self::Unknown(_) => "Unknown",
                }
            }

            /// Whether asking again may help. Codes from 500 on are the server's fault, so one that
            /// this version does not know is worth another try exactly there.
            pub const fn retry(self) -> Retry {
                match self {
                    $( Self::$name => Retry::$retry, )+
                    Self::Unknown(500..) => Retry::Later,
                    Self::Unknown(_) => Retry::Never,
                }
            }
        }
    };
}

refusals! {
    100 BadMagic Never "the first bytes are not this protocol's";
    101 BadVersion Never "this protocol version is not spoken here";
    102 BadFrame Never "a frame that breaks the framing rules";
    103 FrameTooLong Never "a frame over the maximum length";
    104 BadBody Never "a body that does not decode";
    105 UnknownCommand Never "a command that is not known here";
    106 OutOfOrder Never "a command that does not belong at this step";
    107 NoCodec Never "none of the offered codecs is spoken here";
    108 NoEncryption Never "encrypted bodies are not offered here";
    109 EncryptionRequired Never "only encrypted bodies are taken here";
    110 NoSuite Never "none of the offered body encryptions is spoken here";
    111 BadKeyShare Never "a key share that no key can be agreed with";
    112 NotAuthentic Reconnect "a frame that does not open with the agreed keys";
    200 BadToken AfterLogin "the token is malformed, or signed by no known key";
    201 ExpiredToken AfterLogin "the token has expired";
    202 NotLoggedIn AfterLogin "a command that needs a login first";
    203 TooSlow Reconnect "the step took longer than it may";
    204 LoggedInElsewhere Never "this device logged in on another connection";
    205 Banned Never "this account is banned";
    300 BadId Never "an id that is empty, too long, or has a forbidden character";
    301 TooLarge Never "a payload or list over its maximum";
    302 IdReused Never "the same message id was sent before with other content";
    303 NoSuchGroup Never "there is no such group";
    304 NotAMember Never "only members may do this";
    305 NotAllowed Never "the role does not allow this";
    306 NoSuchConversation Never "there is no such conversation";
    307 GroupExists Never "a group of that id exists";
    308 BadPosition Never "a position beyond the head of the timeline";
    309 NoSuchUser Never "there is no such user";
    400 RateLimited Later "too many requests";
    401 TooManyConnections Later "too many connections";
    500 Busy Later "the server has no room for the request right now";
    501 Unavailable Later "a part of the server cannot be reached";
    502 DeadlineExceeded Later "no answer in time; the request may or may not have happened";
    503 Draining Reconnect "this server is going away";
    504 Internal Later "the server failed; its log says why";
}

/// A refusal with what the peer may want to know beside the code.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{} ({}): {detail}", .code.name(), .code.number())]
pub struct Refusal {
    /// Which row of the table.
    pub code: RefusalCode,
    /// For a person; never parsed.
    #[wire(max = TEXT_LEN_MAX)]
    pub detail: String,
    /// Milliseconds to wait before a retry; 0 leaves it to the peer.
    pub retry_after_ms: u32,
}

impl Refusal {
    /// A refusal that leaves the time of a retry to the peer.
    pub fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        while detail.len() > TEXT_LEN_MAX as usize {
            detail.pop();
        }
        Self { code, detail, retry_after_ms: 0 }
    }
}

impl From<RefusalCode> for Refusal {
    fn from(code: RefusalCode) -> Self {
        Self::new(code, code.sentence())
    }
}
