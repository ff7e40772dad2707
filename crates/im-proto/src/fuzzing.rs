//! Every body of every hop as one table, and the body of the fuzz target that decodes any of them.
//! Tests read the table to see that nothing was left out.

use bytes::{Bytes, BytesMut};
use proto_codec::{Codec, Decode, DecodeError, Encode};

use crate::client::{self, Command};
use crate::link::{self, LinkCommand};
use crate::refusal::Refusal;

/// Who speaks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// A client and its gate.
    Client,
    /// Two tiers.
    Link,
}

/// Which frame of a command carries the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that asks, or that wants no answer.
    Request,
    /// The one that answers.
    Answer,
    /// The one that refuses, whatever the command.
    Refusal,
}

/// One kind of body.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// Where it travels.
    pub hop: Hop,
    /// In which frame.
    pub role: Role,
    /// The command's name.
    pub command: &'static str,
    /// The command's number, without the bit of an answer.
    pub number: u16,
    /// The message's name.
    pub message: &'static str,
    /// Decodes the bytes and drops what was read.
    pub decode: fn(&Bytes) -> Result<(), DecodeError>,
    /// Decodes the bytes, and encodes what was read; panics when reading that again gives another value.
    pub reencode: fn(&Bytes) -> Result<Bytes, DecodeError>,
}

macro_rules! bodies {
    ($( $hop:ident $commands:ident::$command:ident $role:ident $module:ident::$message:ident; )+) => {
        /// Every body that a frame can carry.
        pub const BODIES: &[Body] = &[
            $( Body {
                hop: Hop::$hop,
                role: Role::$role,
                command: stringify!($command),
                number: $commands::$command.number(),
                message: stringify!($message),
                decode: |body| decode::<$module::$message>(stringify!($message), body),
                reencode: |body| reencode::<$module::$message>(stringify!($message), body),
            }, )+
            Body {
                hop: Hop::Client,
                role: Role::Refusal,
                command: "any",
                number: 0,
                message: "Refusal",
                decode: |body| decode::<Refusal>("Refusal", body),
                reencode: |body| reencode::<Refusal>("Refusal", body),
            },
        ];
    };
}

bodies! {
    Client Command::HandShake Request client::HandShake;
    Client Command::HandShake Answer client::HandShakeAck;
    Client Command::Auth Request client::Auth;
    Client Command::Auth Answer client::AuthAck;
    Client Command::Logout Request client::Empty;
    Client Command::Logout Answer client::Empty;
    Client Command::HeartBeat Request client::Empty;
    Client Command::HeartBeat Answer client::HeartBeatAck;
    Client Command::SendMsg Request client::SendMsg;
    Client Command::SendMsg Answer client::SendAck;
    Client Command::NewMsg Request client::NewMsg;
    Client Command::GetMsg Request client::GetMsg;
    Client Command::GetMsg Answer client::MsgPage;
    Client Command::ReadMsg Request client::ReadMsg;
    Client Command::ReadMsg Answer client::Empty;
    Client Command::RevReadMsg Request client::RevReadMsg;
    Client Command::Kickout Request client::Kickout;
    Client Command::Redirect Request client::Redirect;
    Client Command::GetHistory Request client::GetHistory;
    Client Command::GetHistory Answer client::HistoryPage;
    Client Command::Signal Request client::Signal;
    Client Command::Signal Answer client::Empty;
    Client Command::RevSignal Request client::RevSignal;
    Client Command::ListConversations Request client::ListConversations;
    Client Command::ListConversations Answer client::ConversationPage;
    Client Command::CreateGroup Request client::CreateGroup;
    Client Command::CreateGroup Answer client::Group;
    Client Command::ChangeMembers Request client::ChangeMembers;
    Client Command::ChangeMembers Answer client::Group;
    Client Command::ListGroups Request client::ListGroups;
    Client Command::ListGroups Answer client::GroupPage;
    Link LinkCommand::Hello Request link::Hello;
    Link LinkCommand::Hello Answer link::Welcome;
    Link LinkCommand::Ping Request link::Ping;
    Link LinkCommand::Ping Answer link::Ping;
    Link LinkCommand::SessionUp Request link::SessionUp;
    Link LinkCommand::SessionDown Request link::SessionDown;
    Link LinkCommand::Forward Request link::Forward;
    Link LinkCommand::Push Request link::Push;
    Link LinkCommand::PushSessions Request link::PushSessions;
    Link LinkCommand::Relay Request link::Relay;
    Link LinkCommand::RelaySessions Request link::RelaySessions;
}

fn decode<M: Decode>(what: &'static str, body: &Bytes) -> Result<(), DecodeError> {
    Codec::Binary.decode::<M>(what, body).map(drop)
}

fn reencode<M: Decode + Encode + PartialEq + std::fmt::Debug>(
    what: &'static str,
    body: &Bytes,
) -> Result<Bytes, DecodeError> {
    let message = Codec::Binary.decode::<M>(what, body)?;
    let mut out = BytesMut::new();
    Codec::Binary.encode(&message, &mut out);
    let again = out.freeze();
    assert_eq!(Codec::Binary.decode::<M>(what, &again).as_ref(), Ok(&message), "read back as something else");
    Ok(again)
}

/// Decodes `body` as every message there is. What decodes has one spelling: the same bytes come out
/// again, shorter or longer only where the sender's version appended other fields than ours.
pub fn message_body(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    for kind in BODIES {
        if let Ok(again) = (kind.reencode)(&body) {
            assert!(again.len() != body.len() || again == body, "{}: two spellings of one value", kind.message);
            assert_eq!(
                (kind.reencode)(&again).as_ref(),
                Ok(&again),
                "{}: its own bytes are no fixed point",
                kind.message
            );
        }
    }
}
