//! Python: one module, its standard library only.

use im_proto::commands::Sender;
use proto_codec::schema::{EnumSchema, FieldSchema, StructSchema, Type, UnionSchema, plain_doc};
use proto_codec::{Codec, Flags, Header, Hop, PROTOCOL_VERSION, Preamble, RESPONSE_BIT};

use crate::model::{Model, is_pair};
use crate::text::wrap;

const RUNTIME: &str = include_str!("python/runtime.py");

const HEAD: &str = r#""""The sim protocol between a client and its gate: messages, codec, frames, refusals, limits.

Written by `sim codegen --lang python` from the definitions; do not edit. `docs/protocol.md` says what
the messages mean and in which order they go. Python 3.9 or later, standard library only.

    body = SendMsg(Target.user("bob"), "id-1", ContentType.Text, b"hello").encode()
    socket.sendall(encode_frame(Command.SendMsg, 7, body))

Numbers of enums that this version does not know are kept as plain `int`.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import (
    Any, Callable, ClassVar, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union, cast,
)

"#;

/// Words that are no name of an attribute.
const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

pub(crate) fn write(model: &Model) -> String {
    let mut out = String::from(HEAD);
    constants(model, &mut out);
    out.push('\n');
    out.push_str(RUNTIME);
    out.push_str("\n\n# ");
    out.push_str(&"-".repeat(93));
    out.push_str("\n# Types, each behind what it is made of.\n\n");
    out.push_str("_BOOL = _Bool()\n_U8 = _Uint(1)\n_U16 = _Uint(2)\n_U32 = _Uint(4)\n_U64 = _Uint(8)\n");
    for ty in &model.types {
        named(ty, &mut out);
    }
    commands(model, &mut out);
    refusals(model, &mut out);
    out
}

fn constants(model: &Model, out: &mut String) {
    let preamble: String =
        Preamble::current(Hop::Client).encode().iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let codecs: Vec<_> = Codec::ALL.iter().map(|codec| codec.id().number().to_string()).collect();
    let codecs = codecs.join(", ");
    let known = Flags::REFUSED.bits() | Flags::ENCRYPTED.bits();
    *out += &format!(
        "PROTOCOL_VERSION = {PROTOCOL_VERSION}\n\
         #: The first bytes that a client sends.\nPREAMBLE = b\"{preamble}\"\n\
         #: Codecs that a gate speaks.\nCODECS_KNOWN = ({codecs},)\n\
         HEADER_LEN = {}\n_HEADER = struct.Struct(\">IHHI\")\n\
         #: Set in `command` where a frame answers a request.\nANSWER_BIT = {RESPONSE_BIT:#06x}\n\
         #: The body is a `Refusal`.\nFLAG_REFUSED = {:#06x}\n\
         #: The body is encrypted.\nFLAG_ENCRYPTED = {:#06x}\nFLAGS_KNOWN = {known:#06x}\n\n",
        Header::LEN,
        Flags::REFUSED.bits(),
        Flags::ENCRYPTED.bits(),
    );
    for (name, value) in &model.limits {
        *out += &format!("{name} = {value}\n");
    }
}

fn named(ty: &Type, out: &mut String) {
    match ty {
        Type::Enum(schema) => enumeration(schema, out),
        Type::Struct(schema) => structure(schema, out),
        Type::Union(schema) => union(schema, out),
        Type::Id(schema) => {
            let pair = if is_pair(schema) { "True" } else { "False" };
            *out += &format!("\n{}", wrap("#: ", &plain_doc(schema.doc)));
            *out += &wrap("#: ", &format!("The rules: {}.", schema.rules));
            *out += &format!("{0} = str\n_{0} = _Id({1}, pair={pair})\n", schema.name, schema.max);
        }
        Type::Number(schema) => {
            *out += &format!("\n{}{1} = int\n_{1} = _U64\n", wrap("#: ", &plain_doc(schema.doc)), schema.name);
        }
        _ => {}
    }
}

fn enumeration(schema: &EnumSchema, out: &mut String) {
    open_enum(schema, out);
    let width = if schema.repr == Type::U8 { 1 } else { 2 };
    *out += &format!("\n\n_{0} = _Enum({0}, {width})\n", schema.name);
}

fn open_enum(schema: &EnumSchema, out: &mut String) {
    *out += &format!("\n\nclass {}(IntEnum):\n    \"\"\"{}\"\"\"\n", schema.name, plain_doc(schema.doc));
    for variant in schema.variants {
        *out += &format!(
            "\n{}    {} = {}\n",
            wrap("    #: ", &plain_doc(variant.doc)),
            attribute(variant.name),
            variant.number
        );
    }
}

fn structure(schema: &StructSchema, out: &mut String) {
    *out += &format!("\n\n@dataclass\nclass {}(Struct):\n    \"\"\"{}\"\"\"\n", schema.name, plain_doc(schema.doc));
    for field in schema.fields {
        *out += &format!("\n{}", wrap("    #: ", &plain_doc(field.doc)));
        *out += &format!("    {}: {}", attribute(field.name), annotation(&field.ty));
        if field.is_appended() {
            *out += &format!(" = field(default_factory=lambda: {})", default(&field.ty));
        }
        out.push('\n');
    }
    let sealed = if schema.sealed { "True" } else { "False" };
    *out += &format!("\n\n_{0} = {0}.TYPE = _Struct({0}, \"{0}\", {sealed}, [\n", schema.name);
    for field in schema.fields {
        *out += &format!("    {},\n", field_of(field));
    }
    *out += "])\n";
}

fn field_of(field: &FieldSchema) -> String {
    format!(
        "_Field(\"{}\", \"{}\", \"{}\", {}, {}, lambda: {})",
        field.name,
        attribute(field.name),
        field.path,
        descriptor(&field.ty),
        field.since,
        default(&field.ty),
    )
}

fn union(schema: &UnionSchema, out: &mut String) {
    let kinds: Vec<_> = schema.choices.iter().map(|choice| annotation(&choice.ty)).collect();
    *out += &format!(
        "\n\n@dataclass(frozen=True)\nclass {}:\n    \"\"\"{}\"\"\"\n\n    choice: str\n    value: Union[{}]\n",
        schema.name,
        plain_doc(schema.doc),
        kinds.join(", "),
    );
    for choice in schema.choices {
        *out += &format!(
            "\n    @classmethod\n    def {0}(cls, value: {1}) -> \"{2}\":\n        \"\"\"{3}\"\"\"\n        return cls(\"{4}\", value)\n",
            attribute(choice.name),
            annotation(&choice.ty),
            schema.name,
            plain_doc(choice.doc),
            choice.name,
        );
    }
    *out += &format!("\n\n_{0} = _Union({0}, \"{0}\", [\n", schema.name);
    for choice in schema.choices {
        *out += &format!("    (\"{}\", {}, {}),\n", choice.name, choice.number, descriptor(&choice.ty));
    }
    *out += "])\n";
}

fn commands(model: &Model, out: &mut String) {
    open_enum(model.command_numbers, out);
    *out += "\n\nclass CommandInfo(NamedTuple):\n    \"\"\"A command: who begins, and the bodies of its frames.\"\"\"\n\n    \
             name: str\n    number: int\n    from_client: bool\n    request: Any\n    answer: Any\n";
    *out += "\n\n#: Every command by its number.\nCOMMANDS: Dict[int, CommandInfo] = {\n";
    for command in &model.commands {
        let from_client = if command.sender == Sender::Client { "True" } else { "False" };
        let answer = command.answer.map_or("None", |schema| schema.name);
        let (name, number) = (command.name, command.number);
        *out += &format!(
            "    {number:#04x}: CommandInfo(\"{name}\", {number:#04x}, {from_client}, {}, {answer}),\n",
            command.request.name
        );
    }
    *out += "}\n\n#: Every body by its name.\nBODIES: Dict[str, Any] = {\n";
    for body in &model.bodies {
        *out += &format!("    \"{0}\": {0},\n", body.name);
    }
    *out += "}\n";
}

fn refusals(model: &Model, out: &mut String) {
    *out += "\n\nclass RefusalInfo(NamedTuple):\n    \"\"\"A row of the table of refusals. `retry` is Never, Later, AfterLogin or Reconnect.\"\"\"\n\n    \
             name: str\n    number: int\n    sentence: str\n    retry: str\n";
    *out += "\n\n#: Every refusal by its number.\nREFUSALS: Dict[int, RefusalInfo] = {\n";
    for code in model.refusals {
        *out += &format!(
            "    {0}: RefusalInfo(\"{1}\", {0}, {2:?}, \"{3:?}\"),\n",
            code.number(),
            code.name(),
            code.sentence(),
            code.retry(),
        );
    }
    *out += "}\n\n\ndef retry_of(code: int) -> str:\n    \"\"\"Whether asking again may help; a code that is not known is judged by its number.\"\"\"\n    \
             known = REFUSALS.get(code)\n    if known is not None:\n        return known.retry\n    \
             return \"Later\" if code >= 500 else \"Never\"\n";
}

/// The name of an attribute or variant.
fn attribute(name: &str) -> String {
    if KEYWORDS.contains(&name) { format!("{name}_") } else { name.to_owned() }
}

fn annotation(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::Enum(_) => "int".to_owned(),
        Type::Text { .. } => "str".to_owned(),
        Type::Bytes { .. } => "bytes".to_owned(),
        Type::List { of, .. } => format!("List[{}]", annotation(of)),
        Type::Option(of) => format!("Optional[{}]", annotation(of)),
        Type::Struct(_) | Type::Id(_) | Type::Number(_) | Type::Union(_) => ty.name().unwrap_or_default().to_owned(),
    }
}

fn descriptor(ty: &Type) -> String {
    match ty {
        Type::Bool => "_BOOL".to_owned(),
        Type::U8 => "_U8".to_owned(),
        Type::U16 => "_U16".to_owned(),
        Type::U32 => "_U32".to_owned(),
        Type::U64 => "_U64".to_owned(),
        Type::Text { max } => format!("_Text({max})"),
        Type::Bytes { max } => format!("_Bytes({max})"),
        Type::List { of, max } => format!("_List({}, {max})", descriptor(of)),
        Type::Option(of) => format!("_Option({})", descriptor(of)),
        Type::Enum(_) | Type::Struct(_) | Type::Id(_) | Type::Number(_) | Type::Union(_) => {
            format!("_{}", ty.name().unwrap_or_default())
        }
    }
}

/// What stands for a field that is not there. Ids and unions have no such value, and no field of
/// theirs can be appended.
fn default(ty: &Type) -> String {
    match ty {
        Type::Bool => "False".to_owned(),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::Number(_) => "0".to_owned(),
        Type::Enum(schema) => format!("_{}.named(0)", schema.name),
        Type::Text { .. } => "\"\"".to_owned(),
        Type::Bytes { .. } => "b\"\"".to_owned(),
        Type::List { .. } => "[]".to_owned(),
        Type::Option(_) | Type::Id(_) | Type::Union(_) => "None".to_owned(),
        Type::Struct(schema) => {
            let fields: Vec<_> = schema.fields.iter().map(|field| default(&field.ty)).collect();
            format!("{}({})", schema.name, fields.join(", "))
        }
    }
}
