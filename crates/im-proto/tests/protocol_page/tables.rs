//! The tables of the page: commands, fields, refusals.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use im_proto::commands::{COMMANDS, CommandSchema, Hop, Sender};
use im_proto::{Refusal, RefusalCode};
use proto_codec::schema::{Describe, FieldSchema, StructSchema, Type, plain_doc};

fn client_commands() -> impl Iterator<Item = &'static CommandSchema> {
    COMMANDS.iter().filter(|command| command.hop == Hop::Client)
}

/// Every struct that a client meets and that has fields.
pub fn structs() -> Vec<&'static StructSchema> {
    let bodies = client_commands().flat_map(|command| [Some(command.request), command.answer]).flatten();
    let mut found = Vec::new();
    for body in bodies.map(Type::Struct).chain([Refusal::TYPE]) {
        collect(&body, &mut found);
    }
    found
}

fn collect(ty: &Type, found: &mut Vec<&'static StructSchema>) {
    for part in ty.parts() {
        collect(part, found);
    }
    if let Type::Struct(schema) = ty
        && !schema.fields.is_empty()
        && !found.iter().any(|known| known.name == schema.name)
    {
        found.push(schema);
    }
}

/// A doc comment as words in a cell: absence is no word of Rust's, and a bar would end the cell.
fn words(doc: &str) -> String {
    plain_doc(doc).trim_start_matches("← ").replace("`None`", "absent").replace('|', "\\|")
}

pub fn commands() -> String {
    let mut out = String::from("\n| number | command | from | request → answer | |\n|---|---|---|---|---|\n");
    for command in client_commands() {
        let from = if command.sender == Sender::Client { "client" } else { "gate" };
        let bodies = match command.answer {
            Some(answer) => format!("{} → {}", code(command.request.name), code(answer.name)),
            None => code(command.request.name),
        };
        writeln!(out, "| `{:#06x}` | `{}` | {from} | {bodies} | {} |", command.number, command.name, about(command))
            .unwrap();
    }
    out.push('\n');
    out
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

/// What the command is: the words of its body, and what the list of commands says beside them.
fn about(command: &CommandSchema) -> String {
    let body = if command.request.fields.is_empty() { String::new() } else { words(command.request.doc) };
    let beside = plain_doc(command.doc).split_once("; ").map(|(_, beside)| {
        let mut letters = beside.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
    });
    [body, beside.flatten().unwrap_or_default()]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Tables of fields. A type with a name that is no struct is explained under the first that uses it.
#[derive(Default)]
pub struct Tables {
    explained: BTreeSet<&'static str>,
}

impl Tables {
    pub fn fields(&mut self, names: &[&str]) -> String {
        let structs = structs();
        let find = |name: &str| *structs.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no message {name}"));
        let mut out = String::from("\n");
        for schema in names.iter().map(|name| find(name)) {
            let sealed = if schema.sealed { " *Sealed.*" } else { "" };
            write!(out, "**`{}`** — {}{sealed}\n\n", schema.name, words(schema.doc)).unwrap();
            out.push_str("| # | field | type | limit | |\n|---|---|---|---|---|\n");
            for (index, field) in schema.fields.iter().enumerate() {
                out.push_str(&row(index + 1, field));
            }
            out.push('\n');
            for field in schema.fields {
                self.explain(&field.ty, &mut out);
            }
        }
        out
    }

    fn explain(&mut self, ty: &Type, out: &mut String) {
        let Some(name) = ty.name() else {
            return ty.parts().into_iter().for_each(|part| self.explain(part, out));
        };
        if ty.as_struct().is_some() || !self.explained.insert(name) {
            return;
        }
        match ty {
            Type::Enum(schema) => {
                write!(out, "`{name}` ({}) — {}\n\n", kind(&schema.repr), words(schema.doc)).unwrap();
                out.push_str("| number | name | |\n|---|---|---|\n");
                for variant in schema.variants {
                    writeln!(out, "| {} | `{}` | {} |", variant.number, variant.name, words(variant.doc)).unwrap();
                }
                out.push('\n');
            }
            Type::Number(schema) => write!(out, "`{name}` (u64) — {}\n\n", words(schema.doc)).unwrap(),
            Type::Id(schema) => write!(out, "`{name}` (text) — {} {}.\n\n", words(schema.doc), schema.rules).unwrap(),
            Type::Union(schema) => {
                let choice =
                    |c: &proto_codec::schema::ChoiceSchema| format!("{} {} (`{}`)", c.number, c.name, kind(&c.ty));
                let choices: Vec<_> = schema.choices.iter().map(choice).collect();
                write!(out, "`{name}` — {} {}.\n\n", words(schema.doc), choices.join("; ")).unwrap();
                ty.parts().into_iter().for_each(|part| self.explain(part, out));
            }
            _ => {}
        }
    }
}

fn row(number: usize, field: &FieldSchema) -> String {
    let since = if field.is_appended() { format!(" *Since version {}.*", field.since) } else { String::new() };
    format!(
        "| {number} | `{}` | {} | {} | {}{since} |\n",
        field.name,
        kind(&field.ty),
        limit(&field.ty),
        words(field.doc)
    )
}

fn kind(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::U16 => "u16".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::Text { .. } => "text".to_owned(),
        Type::Bytes { .. } => "bytes".to_owned(),
        Type::List { of, .. } => format!("list of {}", kind(of)),
        Type::Option(of) => format!("option of {}", kind(of)),
        _ => ty.name().unwrap().to_owned(),
    }
}

fn limit(ty: &Type) -> String {
    match ty {
        Type::Text { max } | Type::Bytes { max } => format!("{max} bytes"),
        Type::Id(schema) => format!("{} bytes", schema.max),
        Type::List { max, .. } => max.to_string(),
        Type::Option(of) => limit(of),
        _ => String::new(),
    }
}

pub fn refusals() -> String {
    let mut out = String::from("\n| code | name | | whose fault | retry |\n|---|---|---|---|---|\n");
    for code in RefusalCode::KNOWN {
        let whose = if code.number() < 500 { "client" } else { "server" };
        let (number, name, sentence, retry) = (code.number(), code.name(), code.sentence(), code.retry());
        writeln!(out, "| {number} | `{name}` | {sentence} | {whose} | {retry:?} |").unwrap();
    }
    out.push('\n');
    out
}
