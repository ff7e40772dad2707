//! Every command of every hop with its bodies, in one table. Who reads frames without knowing
//! messages (the gate that speaks another codec than its client, tools, generators of clients and
//! documents, fuzz targets) reads this.

use bytes::{Bytes, BytesMut};
use proto_codec::schema::{Describe, StructSchema, Type};
use proto_codec::{Codec, Decode, DecodeError, Encode, Flags, RESPONSE_BIT, protobuf};

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

/// Who sends a command's first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client, to its gate.
    Client,
    /// A gate, to its client, unasked.
    Gate,
    /// A tier, to another.
    Tier,
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

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct CommandSchema {
    /// Where it travels.
    pub hop: Hop,
    /// Its number, without the bit of an answer.
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
    /// Who begins.
    pub sender: Sender,
    /// The body of the frame that begins.
    pub request: &'static StructSchema,
    /// The body of the answer; `None` where none is given.
    pub answer: Option<&'static StructSchema>,
}

/// One kind of body, in the frame that carries it.
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
    /// What it is made of.
    pub schema: &'static StructSchema,
    /// The same as a type.
    pub ty: &'static Type,
    /// Decodes the bytes and drops what was read.
    pub decode: fn(Codec, &Bytes) -> Result<(), DecodeError>,
    /// Decodes the bytes by the first codec and encodes what was read by the second.
    pub recode: fn(Codec, &Bytes, Codec) -> Result<Bytes, DecodeError>,
}

impl Body {
    /// Decodes and encodes again in the binary codec.
    pub fn reencode(&self, body: &Bytes) -> Result<Bytes, DecodeError> {
        (self.recode)(Codec::Binary, body, Codec::Binary)
    }
}

/// The body of a frame between a client and its gate; `None` for a command that this version does
/// not know, or that has no such frame.
pub fn client_body(command: u16, flags: Flags) -> Option<Type> {
    let is_answer = command & RESPONSE_BIT != 0;
    // Whatever was asked, and even where it was no command at all.
    if is_answer && flags.is_refused() {
        return Some(Refusal::TYPE);
    }
    let number = command & !RESPONSE_BIT;
    let command = COMMANDS.iter().find(|c| c.hop == Hop::Client && c.number == number)?;
    let schema = if is_answer { command.answer } else { Some(command.request) };
    schema.map(Type::Struct)
}

/// The `.proto` file of everything that a client and its gate say to each other.
pub fn proto_file() -> String {
    let about = "The messages between a client and its gate, for the codec of protocol buffers. Written from \
        the definitions; do not edit. Frames, order and limits are in docs/protocol.md.";
    let types: Vec<&'static Type> = BODIES.iter().filter(|body| body.hop == Hop::Client).map(|body| body.ty).collect();
    protobuf::proto_file("sim.v1", about, &types)
}

macro_rules! commands {
    ($( $hop:ident $numbers:ident::$command:ident from $sender:ident:
        $module:ident::$request:ident $(=> $answer_module:ident::$answer:ident)?; )+) => {
        /// Every command.
        pub const COMMANDS: &[CommandSchema] = &[$( CommandSchema {
            hop: Hop::$hop,
            number: $numbers::$command.number(),
            name: stringify!($command),
            doc: doc_of($numbers::TYPE, $numbers::$command.number()),
            sender: Sender::$sender,
            request: schema_of::<$module::$request>(),
            answer: commands!(@answer $($answer_module::$answer)?),
        }, )+];

        /// Every body that a frame can carry.
        pub const BODIES: &[Body] = &[
            $(
                body::<$module::$request>(
                    Hop::$hop, Role::Request, stringify!($command), $numbers::$command.number(),
                ),
                $( body::<$answer_module::$answer>(
                    Hop::$hop, Role::Answer, stringify!($command), $numbers::$command.number(),
                ), )?
            )+
            body::<Refusal>(Hop::Client, Role::Refusal, "any", 0),
        ];
    };
    (@answer) => { None };
    (@answer $module:ident::$answer:ident) => { Some(schema_of::<$module::$answer>()) };
}

commands! {
    Client Command::HandShake from Client: client::HandShake => client::HandShakeAck;
    Client Command::Auth from Client: client::Auth => client::AuthAck;
    Client Command::Logout from Client: client::Empty => client::Empty;
    Client Command::HeartBeat from Client: client::Empty => client::HeartBeatAck;
    Client Command::SendMsg from Client: client::SendMsg => client::SendAck;
    Client Command::NewMsg from Gate: client::NewMsg;
    Client Command::GetMsg from Client: client::GetMsg => client::MsgPage;
    Client Command::ReadMsg from Client: client::ReadMsg => client::Empty;
    Client Command::RevReadMsg from Gate: client::RevReadMsg;
    Client Command::Kickout from Gate: client::Kickout;
    Client Command::Redirect from Gate: client::Redirect;
    Client Command::GetHistory from Client: client::GetHistory => client::HistoryPage;
    Client Command::Signal from Client: client::Signal => client::Empty;
    Client Command::RevSignal from Gate: client::RevSignal;
    Client Command::ListConversations from Client: client::ListConversations => client::ConversationPage;
    Client Command::CreateGroup from Client: client::CreateGroup => client::Group;
    Client Command::ChangeMembers from Client: client::ChangeMembers => client::Group;
    Client Command::ListGroups from Client: client::ListGroups => client::GroupPage;
    Link LinkCommand::Hello from Tier: link::Hello => link::Welcome;
    Link LinkCommand::Ping from Tier: link::Ping => link::Ping;
    Link LinkCommand::SessionUp from Tier: link::SessionUp;
    Link LinkCommand::SessionDown from Tier: link::SessionDown;
    // The answer's body is the client's, whatever it asked.
    Link LinkCommand::Forward from Tier: link::Forward;
    Link LinkCommand::Push from Tier: link::Push;
    Link LinkCommand::PushSessions from Tier: link::PushSessions;
    Link LinkCommand::Relay from Tier: link::Relay;
    Link LinkCommand::RelaySessions from Tier: link::RelaySessions;
    Link LinkCommand::Clock from Tier: link::Clock;
    Link LinkCommand::RouteState from Tier: link::RouteState;
    Link LinkCommand::SenderState from Tier: link::SenderState;
    Link LinkCommand::Presence from Tier: link::Presence;
    Link LinkCommand::Revoke from Tier: link::Revoke;
}

const fn body<M: Decode + Encode>(hop: Hop, role: Role, command: &'static str, number: u16) -> Body {
    let schema = schema_of::<M>();
    Body {
        hop,
        role,
        command,
        number,
        message: schema.name,
        schema,
        ty: &M::TYPE,
        decode: decode::<M>,
        recode: recode::<M>,
    }
}

const fn schema_of<M: Describe>() -> &'static StructSchema {
    match M::TYPE {
        Type::Struct(schema) => schema,
        _ => panic!("a body is a struct"),
    }
}

const fn doc_of(commands: Type, number: u16) -> &'static str {
    let Type::Enum(schema) = commands else { panic!("commands are an enum") };
    let mut rest = schema.variants;
    while let [variant, behind @ ..] = rest {
        if variant.number == number {
            return variant.doc;
        }
        rest = behind;
    }
    panic!("the command is none of the enum's")
}

const fn name_of<M: Describe>() -> &'static str {
    schema_of::<M>().name
}

fn decode<M: Decode>(codec: Codec, body: &Bytes) -> Result<(), DecodeError> {
    codec.decode::<M>(name_of::<M>(), body).map(drop)
}

fn recode<M: Decode + Encode>(from: Codec, body: &Bytes, to: Codec) -> Result<Bytes, DecodeError> {
    let message: M = from.decode(name_of::<M>(), body)?;
    let mut out = BytesMut::new();
    to.encode(&message, &mut out);
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(command: u16, flags: Flags) -> Option<&'static str> {
        client_body(command, flags).and_then(|ty| ty.name())
    }

    #[test]
    fn a_frame_names_its_body() {
        assert_eq!(name(0x05, Flags::NONE), Some("SendMsg"));
        assert_eq!(name(0x85, Flags::NONE), Some("SendAck"));
        assert_eq!(name(0x85, Flags::REFUSED), Some("Refusal"));
        assert_eq!(name(0x80, Flags::REFUSED), Some("Refusal"), "bytes that were no frame are refused too");
        assert_eq!(name(0x06, Flags::NONE), Some("NewMsg"));
        assert_eq!(name(0x86, Flags::NONE), None, "a notify has no answer");
        assert_eq!(name(0x13, Flags::NONE), None);
    }

    #[test]
    fn a_command_has_the_words_of_its_definition() {
        let send = COMMANDS.iter().find(|command| command.name == "SendMsg").expect("it is in the table");
        assert_eq!((send.number, send.sender), (0x05, Sender::Client));
        assert_eq!(send.doc, "[`SendMsg`] → [`SendAck`]; idempotent by sender and `client_msg_id`.");
        assert_eq!(send.request.fields[0].path, "SendMsg.to");
        assert_eq!(
            send.request.fields[0].doc,
            "To whom. Stands first: a route reads it to keep a conversation with one im-service."
        );
    }
}
