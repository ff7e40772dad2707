//! TypeScript: one module without imports, for Node 18 and anything else that has ES2022.

use im_proto::commands::Sender;
use proto_codec::schema::{EnumSchema, FieldSchema, StructSchema, Type, UnionSchema, plain_doc};
use proto_codec::{Codec, Flags, Header, Hop, PROTOCOL_VERSION, Preamble, RESPONSE_BIT};

use crate::model::{Model, is_pair};
use crate::text::wrap;

const RUNTIME: &str = include_str!("typescript/runtime.ts");

const HEAD: &str = r"/**
 * The sim protocol between a client and its gate: messages, codec, frames, refusals, limits.
 *
 * Written by `sim codegen --lang typescript` from the definitions; do not edit. `docs/protocol.md`
 * says what the messages mean and in which order they go. No dependencies; ES2022.
 *
 * Each message is an interface and, under the same name, its type for `encode` and `decode`. Numbers
 * of 64 bits are `bigint`. Numbers of enums that this version does not know are kept.
 */

";

pub(crate) fn write(model: &Model) -> String {
    let mut out = String::from(HEAD);
    constants(model, &mut out);
    out.push('\n');
    out.push_str(RUNTIME);
    out.push_str("\n// ");
    out.push_str(&"-".repeat(93));
    out.push_str("\n// Types, each behind what it is made of.\n\n");
    out.push_str(
        "const BOOL = new BoolType();\nconst U8 = new UintType(1);\nconst U16 = new UintType(2);\n\
         const U32 = new UintType(4);\nconst U64 = new U64Type();\n",
    );
    for ty in &model.types {
        named(ty, &mut out);
    }
    commands(model, &mut out);
    refusals(model, &mut out);
    out
}

fn constants(model: &Model, out: &mut String) {
    let preamble: Vec<_> = Preamble::current(Hop::Client).encode().iter().map(|byte| format!("{byte:#04x}")).collect();
    let codecs: Vec<_> = Codec::ALL.iter().map(|codec| codec.id().number().to_string()).collect();
    let codecs = codecs.join(", ");
    let known = Flags::REFUSED.bits() | Flags::ENCRYPTED.bits();
    *out += &format!(
        "export const PROTOCOL_VERSION = {PROTOCOL_VERSION};\n\
         /** The first bytes that a client sends. */\nexport const PREAMBLE: Uint8Array = Uint8Array.of({});\n\
         /** Codecs that a gate speaks. */\nexport const CODECS_KNOWN: readonly number[] = [{codecs}];\n\
         export const HEADER_LEN = {};\n\
         /** Set in `command` where a frame answers a request. */\nexport const ANSWER_BIT = {RESPONSE_BIT:#06x};\n\
         /** The body is a `Refusal`. */\nexport const FLAG_REFUSED = {:#06x};\n\
         /** The body is encrypted. */\nexport const FLAG_ENCRYPTED = {:#06x};\nexport const FLAGS_KNOWN = {known:#06x};\n\n",
        preamble.join(", "),
        Header::LEN,
        Flags::REFUSED.bits(),
        Flags::ENCRYPTED.bits(),
    );
    for (name, value) in &model.limits {
        *out += &format!("export const {name} = {value};\n");
    }
}

/// A comment in front of what it is about.
fn comment(indent: &str, words: &str) -> String {
    let words = plain_doc(words);
    let line = format!("{indent}/** {words} */\n");
    if line.chars().count() <= 101 {
        return line;
    }
    format!("{indent}/**\n{}{indent} */\n", wrap(&format!("{indent} * "), &words))
}

fn named(ty: &Type, out: &mut String) {
    match ty {
        Type::Enum(schema) => {
            enumeration(schema, out);
            let width = if schema.repr == Type::U8 { 1 } else { 2 };
            *out += &format!("const {0}Type = new EnumType({0}, {width});\n", schema.name);
        }
        Type::Struct(schema) => structure(schema, out),
        Type::Union(schema) => union(schema, out),
        Type::Id(schema) => {
            *out += &format!("\n{}", comment("", &format!("{} The rules: {}.", schema.doc, schema.rules)));
            *out += &format!(
                "export type {0} = string;\nconst {0}Type = new IdType({1}, {2});\n",
                schema.name,
                schema.max,
                is_pair(schema)
            );
        }
        Type::Number(schema) => {
            *out += &format!("\n{}export type {} = bigint;\n", comment("", schema.doc), schema.name);
        }
        _ => {}
    }
}

fn enumeration(schema: &EnumSchema, out: &mut String) {
    *out += &format!("\n{}export const {} = {{\n", comment("", schema.doc), schema.name);
    for variant in schema.variants {
        *out += &format!("{}  {}: {},\n", comment("  ", variant.doc), variant.name, variant.number);
    }
    *out += &format!("}} as const;\nexport type {} = number;\n", schema.name);
}

fn structure(schema: &StructSchema, out: &mut String) {
    *out += &format!("\n{}export interface {} {{\n", comment("", schema.doc), schema.name);
    for field in schema.fields {
        *out += &format!("{}  {}: {};\n", comment("  ", field.doc), field.name, annotation(&field.ty));
    }
    *out += &format!(
        "}}\nexport const {0}: StructType<{0}> = new StructType<{0}>(\"{0}\", {1}, [\n",
        schema.name, schema.sealed
    );
    for field in schema.fields {
        *out += &format!("  {},\n", field_of(field));
    }
    *out += "]);\n";
}

fn field_of(field: &FieldSchema) -> String {
    format!(
        "{{ name: \"{}\", path: \"{}\", type: {}, since: {}, fallback: () => {} }}",
        field.name,
        field.path,
        descriptor(&field.ty),
        field.since,
        default(&field.ty),
    )
}

fn union(schema: &UnionSchema, out: &mut String) {
    let choices: Vec<_> =
        schema.choices.iter().map(|choice| format!("{{ {}: {} }}", choice.name, annotation(&choice.ty))).collect();
    *out += &format!("\n{}export type {} = {};\n", comment("", schema.doc), schema.name, choices.join(" | "));
    *out += &format!("const {0}Type = new UnionType<{0}>(\"{0}\", [\n", schema.name);
    for choice in schema.choices {
        *out += &format!(
            "  {{ name: \"{}\", number: {}, type: {} }},\n",
            choice.name,
            choice.number,
            descriptor(&choice.ty)
        );
    }
    *out += "]);\n";
}

fn commands(model: &Model, out: &mut String) {
    enumeration(model.command_numbers, out);
    *out += "\n/** A command: who begins, and the bodies of its frames. */\nexport interface CommandInfo {\n  \
             name: string;\n  number: number;\n  from: \"client\" | \"gate\";\n  request: StructType<any>;\n  \
             answer: StructType<any> | null;\n}\n\n/** Every command. */\nexport const COMMANDS: readonly CommandInfo[] = [\n";
    for command in &model.commands {
        let from = if command.sender == Sender::Client { "client" } else { "gate" };
        let answer = command.answer.map_or("null", |schema| schema.name);
        *out += &format!(
            "  {{ name: \"{}\", number: {:#04x}, from: \"{from}\", request: {}, answer: {answer} }},\n",
            command.name, command.number, command.request.name
        );
    }
    *out +=
        "];\n\n/** Every body by its name. */\nexport const BODIES: Readonly<Record<string, StructType<any>>> = {\n";
    for body in &model.bodies {
        *out += &format!("  {},\n", body.name);
    }
    *out += "};\n";
}

fn refusals(model: &Model, out: &mut String) {
    *out += "\n/** Whether asking again may help. */\nexport type Retry = \"Never\" | \"Later\" | \"AfterLogin\" | \"Reconnect\";\n\
             \n/** A row of the table of refusals. */\nexport interface RefusalInfo {\n  name: string;\n  number: number;\n  \
             sentence: string;\n  retry: Retry;\n}\n\n/** Every refusal. */\nexport const REFUSALS: readonly RefusalInfo[] = [\n";
    for code in model.refusals {
        *out += &format!(
            "  {{ name: \"{}\", number: {}, sentence: {:?}, retry: \"{:?}\" }},\n",
            code.name(),
            code.number(),
            code.sentence(),
            code.retry(),
        );
    }
    *out += "];\n\n/** Whether asking again may help; a code that is not known is judged by its number. */\n\
             export function retryOf(code: RefusalCode): Retry {\n  \
             const known = REFUSALS.find((refusal) => refusal.number === code);\n  \
             return known?.retry ?? (code >= 500 ? \"Later\" : \"Never\");\n}\n";
}

fn annotation(ty: &Type) -> String {
    match ty {
        Type::Bool => "boolean".to_owned(),
        Type::U8 | Type::U16 | Type::U32 => "number".to_owned(),
        Type::U64 => "bigint".to_owned(),
        Type::Text { .. } => "string".to_owned(),
        Type::Bytes { .. } => "Uint8Array".to_owned(),
        Type::List { of, .. } => format!("{}[]", annotation(of)),
        Type::Option(of) => format!("{} | null", annotation(of)),
        Type::Enum(_) | Type::Struct(_) | Type::Id(_) | Type::Number(_) | Type::Union(_) => {
            ty.name().unwrap_or_default().to_owned()
        }
    }
}

fn descriptor(ty: &Type) -> String {
    match ty {
        Type::Bool => "BOOL".to_owned(),
        Type::U8 => "U8".to_owned(),
        Type::U16 => "U16".to_owned(),
        Type::U32 => "U32".to_owned(),
        Type::U64 | Type::Number(_) => "U64".to_owned(),
        Type::Text { max } => format!("new TextType({max})"),
        Type::Bytes { max } => format!("new BytesType({max})"),
        Type::List { of, max } => format!("new ListType({}, {max})", descriptor(of)),
        Type::Option(of) => format!("new OptionType({})", descriptor(of)),
        Type::Struct(schema) => schema.name.to_owned(),
        Type::Enum(_) | Type::Id(_) | Type::Union(_) => format!("{}Type", ty.name().unwrap_or_default()),
    }
}

/// What stands for a field that is not there. Ids and unions have no such value, and no field of
/// theirs can be appended.
fn default(ty: &Type) -> String {
    match ty {
        Type::Bool => "false".to_owned(),
        Type::U8 | Type::U16 | Type::U32 | Type::Enum(_) => "0".to_owned(),
        Type::U64 | Type::Number(_) => "0n".to_owned(),
        Type::Text { .. } => "\"\"".to_owned(),
        Type::Bytes { .. } => "new Uint8Array(0)".to_owned(),
        Type::List { .. } => "[]".to_owned(),
        Type::Option(_) | Type::Id(_) | Type::Union(_) => "null".to_owned(),
        Type::Struct(schema) => {
            let fields: Vec<_> =
                schema.fields.iter().map(|field| format!("{}: {}", field.name, default(&field.ty))).collect();
            format!("({{ {} }})", fields.join(", "))
        }
    }
}
