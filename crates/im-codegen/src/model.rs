//! What is written, whatever the language: the types that a client meets, each behind what it is made
//! of; the commands between a client and its gate; the refusals; the limits.

use im_proto::client::Command;
use im_proto::commands::{COMMANDS, CommandSchema, Hop};
use im_proto::{ConversationId, Refusal, RefusalCode, limits};
use proto_codec::schema::{Describe, EnumSchema, IdSchema, StructSchema, Type};

/// Everything that a generator needs.
pub(crate) struct Model {
    /// Types with a name, dependencies first.
    pub(crate) types: Vec<Type>,
    /// The bodies of frames: those of `types` that a frame can carry whole.
    pub(crate) bodies: Vec<&'static StructSchema>,
    /// The numbers of commands.
    pub(crate) command_numbers: &'static EnumSchema,
    /// Commands between a client and its gate.
    pub(crate) commands: Vec<&'static CommandSchema>,
    /// The table of refusals.
    pub(crate) refusals: &'static [RefusalCode],
    /// Named maxima.
    pub(crate) limits: Vec<(&'static str, u64)>,
}

/// The named maxima that concern a client. Their values are the definitions' own.
macro_rules! limits_of_clients {
    ($($name:ident),+ $(,)?) => { vec![$( (stringify!($name), limits::$name as u64) ),+] };
}

impl Model {
    pub(crate) fn of_clients() -> Self {
        let commands: Vec<_> = COMMANDS.iter().filter(|command| command.hop == Hop::Client).collect();
        let mut bodies: Vec<&'static StructSchema> = Vec::new();
        for schema in commands.iter().flat_map(|command| [Some(command.request), command.answer]).flatten() {
            if !bodies.iter().any(|known| known.name == schema.name) {
                bodies.push(schema);
            }
        }
        bodies.push(as_struct(Refusal::TYPE));
        let mut types = Vec::new();
        for body in &bodies {
            collect(Type::Struct(body), &mut types);
        }
        let Type::Enum(command_numbers) = Command::TYPE else { unreachable!("commands are an enum") };
        let limits = limits_of_clients!(
            ID_LEN_MAX,
            CONVERSATION_ID_LEN_MAX,
            PAYLOAD_LEN_MAX,
            SIGNAL_LEN_MAX,
            TOKEN_LEN_MAX,
            TEXT_LEN_MAX,
            PAGE_ROWS_MAX,
            GROUP_MEMBERS_MAX,
            CODECS_MAX,
            SUITES_MAX,
            KEY_SHARE_LEN,
            SIGNATURE_LEN,
            GATES_MAX,
            CLIENT_FRAME_LEN_MAX,
            SERVER_FRAME_LEN_MAX,
            CODED_GROWTH_MAX,
        );
        Self { types, bodies, command_numbers, commands, refusals: RefusalCode::KNOWN, limits }
    }
}

/// Whether an id may be two ids with a colon between them.
pub(crate) fn is_pair(id: &IdSchema) -> bool {
    Type::Id(id_schema::<ConversationId>()).name() == Some(id.name)
}

fn id_schema<T: Describe>() -> &'static IdSchema {
    match T::TYPE {
        Type::Id(schema) => schema,
        _ => unreachable!("an id is described as one"),
    }
}

fn as_struct(ty: Type) -> &'static StructSchema {
    match ty {
        Type::Struct(schema) => schema,
        _ => unreachable!("a body is a struct"),
    }
}

/// Adds every named type that `ty` needs, itself included, each once and behind what it is made of.
fn collect(ty: Type, into: &mut Vec<Type>) {
    if ty.name().is_some_and(|name| into.iter().any(|known| known.name() == Some(name))) {
        return;
    }
    for part in ty.parts() {
        collect(*part, into);
    }
    if ty.name().is_some() {
        into.push(ty);
    }
}
