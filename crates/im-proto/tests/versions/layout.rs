//! The layout of the client's messages as data, so that one version's can be kept while the
//! definitions go on, and a reader of the binary codec that knows nothing but such a layout.

use std::collections::BTreeMap;

use im_proto::client::Command;
use im_proto::fuzzing::{BODIES, Hop};
use im_proto::{RefusalCode, commands::Body};
use proto_codec::schema::{FieldSchema, Type};
use serde_json::{Map, Value, json};

/// Bodies that a client sends or gets.
pub fn client_bodies() -> impl Iterator<Item = &'static Body> {
    BODIES.iter().filter(|body| body.hop == Hop::Client)
}

/// Today's layout, as it is kept of a version.
pub fn today() -> Value {
    let mut named = Vec::new();
    client_bodies().for_each(|body| body.ty.collect_named(&mut named));
    let (mut structs, mut unions, mut enums) = (Map::new(), Map::new(), Map::new());
    for ty in named {
        match ty {
            Type::Struct(schema) => {
                let fields: Vec<_> = schema.fields.iter().map(field).collect();
                structs.insert(schema.name.into(), json!({ "sealed": schema.sealed, "fields": fields }));
            }
            Type::Union(schema) => {
                let choices = schema.choices.iter().map(|choice| (choice.number.to_string(), told(&choice.ty)));
                unions.insert(schema.name.into(), Value::Object(choices.collect()));
            }
            Type::Enum(schema) => {
                let numbers = schema.variants.iter().map(|v| (v.number.to_string(), v.name.into()));
                enums.insert(schema.name.into(), Value::Object(numbers.collect()));
            }
            _ => {}
        }
    }
    let numbers = |all: &mut dyn Iterator<Item = (u16, String)>| -> BTreeMap<String, String> {
        all.map(|(number, name)| (number.to_string(), name)).collect()
    };
    json!({
        "structs": structs, "unions": unions, "enums": enums,
        "commands": numbers(&mut Command::KNOWN.iter().map(|c| (c.number(), format!("{c:?}")))),
        "refusals": numbers(&mut RefusalCode::KNOWN.iter().map(|c| (c.number(), c.name().to_owned()))),
    })
}

fn field(field: &FieldSchema) -> Value {
    json!({ "name": field.name, "type": told(&field.ty), "since": field.since })
}

/// A type as its bytes show it: names of ids, numbers and enums are none of them.
fn told(ty: &Type) -> Value {
    match ty {
        Type::Bool => "bool".into(),
        Type::U8 => "u8".into(),
        Type::U16 => "u16".into(),
        Type::U32 => "u32".into(),
        Type::U64 | Type::Number(_) => "u64".into(),
        Type::Enum(schema) => told(&schema.repr),
        Type::Text { max } => json!({ "text": max }),
        Type::Id(schema) => json!({ "text": schema.max }),
        Type::Bytes { max } => json!({ "bytes": max }),
        Type::List { of, max } => json!({ "list": max, "of": told(of) }),
        Type::Option(of) => json!({ "option": told(of) }),
        Type::Struct(schema) => json!({ "struct": schema.name }),
        Type::Union(schema) => json!({ "union": schema.name }),
    }
}

/// Reads binary bodies by a layout, and copies what it reads.
pub struct Walk<'a> {
    layout: &'a Value,
    bytes: &'a [u8],
    /// What was read, as it was, but for what [`grow`](Self::grow) adds.
    pub out: Vec<u8>,
    grow: bool,
}

impl<'a> Walk<'a> {
    pub fn new(layout: &'a Value, bytes: &'a [u8]) -> Self {
        Self { layout, bytes, out: Vec::new(), grow: false }
    }

    /// Adds two appended fields to every struct that may grow, as a later version might.
    pub fn grow(mut self) -> Self {
        self.grow = true;
        self
    }

    /// Reads the whole body as that struct and gives its fields.
    pub fn body(&mut self, message: &str) -> Value {
        let value = self.read(&json!({ "struct": message }));
        assert!(self.bytes.is_empty(), "{message}: {} bytes are left over", self.bytes.len());
        value
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at_checked(count).expect("the body ends inside a field");
        self.bytes = rest;
        self.out.extend_from_slice(taken);
        taken
    }

    fn number(&mut self, width: usize) -> u64 {
        self.take(width).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn varint(&mut self) -> usize {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.number(1) as usize;
            number |= (byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    fn read(&mut self, ty: &Value) -> Value {
        match ty.as_str() {
            Some("bool" | "u8") => return self.number(1).into(),
            Some("u16") => return self.number(2).into(),
            Some("u32") => return self.number(4).into(),
            Some("u64") => return self.number(8).into(),
            Some(other) => panic!("no type {other}"),
            None => {}
        }
        let (kind, what) = ty.as_object().and_then(|object| object.iter().next()).expect("a type has a kind");
        match kind.as_str() {
            "text" | "bytes" => {
                let length = self.varint();
                self.take(length).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
            }
            "list" => (0..self.varint()).map(|_| self.read(&ty["of"])).collect(),
            "option" => {
                if self.number(1) == 1 {
                    self.read(what)
                } else {
                    Value::Null
                }
            }
            "union" => {
                let number = self.number(1).to_string();
                let value = self.read(&self.layout["unions"][what.as_str().unwrap()][&number]);
                json!({ number: value })
            }
            "struct" => self.fields(what.as_str().unwrap()),
            other => panic!("no kind of type {other}"),
        }
    }

    fn fields(&mut self, name: &str) -> Value {
        let schema = &self.layout["structs"][name];
        let fields = schema["fields"].as_array().unwrap_or_else(|| panic!("{name} is not in the layout"));
        let (first, appended): (Vec<_>, Vec<_>) = fields.iter().partition(|field| field["since"] == 1);
        let mut values = Map::new();
        for field in first {
            values.insert(field["name"].as_str().unwrap().into(), self.read(&field["type"]));
        }
        if schema["sealed"] == false {
            let count = self.number(1);
            if self.grow {
                // Behind the last that is known: in front of it a newer version has nothing to add.
                assert_eq!(count, appended.len() as u64, "today's bytes have all of today's fields");
                *self.out.last_mut().unwrap() += 2;
            }
            for index in 0..count as usize {
                let length = self.varint();
                match appended.get(index) {
                    Some(field) => {
                        let end = self.bytes.len() - length;
                        values.insert(field["name"].as_str().unwrap().into(), self.read(&field["type"]));
                        assert_eq!(self.bytes.len(), end, "{field} has another length than it says");
                    }
                    None => drop(self.take(length)),
                }
            }
            if self.grow {
                self.out.extend([3, 0xaa, 0xbb, 0xcc, 0]);
            }
        }
        values.into()
    }
}
