//! The `.proto` file of a set of messages.

use std::fmt::Write as _;

use crate::schema::{EnumSchema, IdSchema, NumberSchema, StructSchema, Type, UnionSchema, plain_doc};

/// Columns of a comment.
const WIDTH: usize = 100;

/// The file that defines the given types and all that they are made of.
pub fn proto_file(package: &str, about: &str, types: &[&'static Type]) -> String {
    let mut named = Vec::new();
    types.iter().for_each(|ty| ty.collect_named(&mut named));
    let mut out = String::new();
    comment(&mut out, "", about);
    let _ = write!(out, "syntax = \"proto3\";\n\npackage {package};\n");
    // Ids and numbers have no name in a `.proto` file but in comments.
    for ty in &named {
        match ty {
            Type::Id(schema) => {
                let about = format!("{}, a string: {}\nRules: {}.", schema.name, schema.doc, schema.rules);
                out.push('\n');
                comment(&mut out, "", &about);
            }
            Type::Number(schema) => {
                out.push('\n');
                comment(&mut out, "", &format!("{}, a uint64: {}", schema.name, schema.doc));
            }
            _ => {}
        }
    }
    for ty in named {
        match ty {
            Type::Struct(schema) => message(&mut out, schema),
            Type::Enum(schema) => enumeration(&mut out, schema),
            Type::Union(schema) => union(&mut out, schema),
            _ => {}
        }
    }
    out
}

fn message(out: &mut String, schema: &StructSchema) {
    out.push('\n');
    comment(out, "", schema.doc);
    if schema.fields.is_empty() {
        let _ = writeln!(out, "message {} {{}}", schema.name);
        return;
    }
    let _ = writeln!(out, "message {} {{", schema.name);
    for (field, number) in schema.fields.iter().zip(1u32..) {
        let mut doc = field.doc.to_owned();
        if field.is_appended() {
            let _ = write!(doc, " Since version {}.", field.since);
        }
        doc.push_str(&limits(&field.ty));
        comment(out, "  ", &doc);
        let (label, ty) = match &field.ty {
            Type::Option(inner) => ("optional ", *inner),
            Type::List { of, .. } => ("repeated ", *of),
            ty => ("", ty),
        };
        let _ = writeln!(out, "  {label}{} {} = {number};", name(ty), field.name);
    }
    out.push_str("}\n");
}

fn union(out: &mut String, schema: &UnionSchema) {
    out.push('\n');
    comment(out, "", schema.doc);
    let _ = writeln!(out, "message {} {{\n  oneof choice {{", schema.name);
    for choice in schema.choices {
        comment(out, "    ", &(choice.doc.to_owned() + &limits(&choice.ty)));
        let _ = writeln!(out, "    {} {} = {};", name(&choice.ty), choice.name, choice.number);
    }
    out.push_str("  }\n}\n");
}

/// Names of values are visible around their enum, so they carry its name.
fn enumeration(out: &mut String, schema: &EnumSchema) {
    out.push('\n');
    comment(out, "", schema.doc);
    let prefix = upper_snake(schema.name);
    let _ = writeln!(out, "enum {} {{", schema.name);
    if schema.name_of(0).is_none() {
        comment(out, "  ", "No value of this protocol; every enum has to begin with 0.");
        let _ = writeln!(out, "  {prefix}_UNSPECIFIED = 0;");
    }
    for variant in schema.variants {
        comment(out, "  ", variant.doc);
        let _ = writeln!(out, "  {prefix}_{} = {};", upper_snake(variant.name), variant.number);
    }
    out.push_str("}\n");
}

/// What a `.proto` file cannot say of a type, as the end of a comment.
fn limits(ty: &Type) -> String {
    match ty {
        Type::U8 => " At most 255.".into(),
        Type::U16 => " At most 65535.".into(),
        Type::Text { max } | Type::Bytes { max } => format!(" At most {max} bytes."),
        Type::Id(IdSchema { name, .. }) | Type::Number(NumberSchema { name, .. }) => format!(" {name}."),
        Type::List { of, max } => format!(" At most {max}.{}", limits(of)),
        Type::Option(inner) => limits(inner),
        Type::Bool | Type::U32 | Type::U64 | Type::Enum(_) | Type::Struct(_) | Type::Union(_) => String::new(),
    }
}

fn name(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::U8 | Type::U16 | Type::U32 => "uint32",
        Type::U64 | Type::Number(_) => "uint64",
        Type::Text { .. } | Type::Id(_) => "string",
        Type::Bytes { .. } => "bytes",
        Type::Enum(schema) => schema.name,
        Type::Struct(schema) => schema.name,
        Type::Union(schema) => schema.name,
        Type::List { of, .. } | Type::Option(of) => name(of),
    }
}

fn upper_snake(name: &str) -> String {
    let mut out = String::new();
    for (index, character) in name.char_indices() {
        if character.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(character.to_ascii_uppercase());
    }
    out
}

/// A comment, broken at blanks.
fn comment(out: &mut String, indent: &str, text: &str) {
    let text = plain_doc(text);
    for paragraph in text.lines() {
        let mut line = format!("{indent}//");
        for word in paragraph.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(out, "{line}");
                line = format!("{indent}//");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(out, "{line}");
    }
}
