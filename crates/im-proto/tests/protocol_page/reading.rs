//! What each byte of a frame means, told by the schema.

use std::fmt::Write as _;

use bytes::Bytes;
use im_proto::commands::client_body;
use proto_codec::schema::Type;
use proto_codec::{Flags, Header, Reader};

use super::examples::hex;

/// Bytes that a row shows at most.
const SHOWN_MAX: usize = 12;

/// A table of offset, bytes and meaning.
pub fn table(flags: Flags, frame: &Bytes) -> String {
    let mut reading = Reading { frame, reader: Reader::over(frame), rows: String::new() };
    let header = Header::decode(frame.first_chunk().unwrap(), u32::MAX).unwrap();
    reading.row(4, &format!("length: {} bytes of body", header.length));
    reading.row(2, &format!("command: {}", command(header.command)));
    reading.row(2, if flags.is_refused() { "flags: REFUSED" } else { "flags: none" });
    reading.row(4, &format!("sequence: {}", header.sequence));
    reading.value(&client_body(header.command, flags).unwrap(), "");
    reading.reader.finish("frame").unwrap();
    format!("| offset | bytes | meaning |\n|---|---|---|\n{}", reading.rows)
}

fn command(number: u16) -> String {
    let known = im_proto::commands::COMMANDS.iter();
    let mut known = known.filter(|command| command.hop == im_proto::commands::Hop::Client);
    let base = number & !proto_codec::RESPONSE_BIT;
    let name = known.find(|command| command.number == base).unwrap().name;
    if base == number { name.to_owned() } else { format!("answer to {name}") }
}

struct Reading<'a> {
    frame: &'a [u8],
    reader: Reader<'a>,
    rows: String,
}

impl Reading<'_> {
    fn at(&self) -> usize {
        self.frame.len() - self.reader.left()
    }

    /// Reads `length` bytes, and says what they are.
    fn row(&mut self, length: usize, meaning: &str) {
        let start = self.at();
        self.reader.take("row", length).unwrap();
        self.told(start, meaning);
    }

    /// Says what the bytes since `start` are.
    fn told(&mut self, start: usize, meaning: &str) {
        let bytes = &self.frame[start..self.at()];
        let shown = match bytes.len() > SHOWN_MAX {
            true => format!("`{}` …", hex(&bytes[..SHOWN_MAX - 2], " ")),
            false => format!("`{}`", hex(bytes, " ")),
        };
        let meaning = meaning.replace('|', "\\|");
        writeln!(self.rows, "| {start} | {shown} | {meaning} |").unwrap();
    }

    fn value(&mut self, ty: &Type, path: &str) {
        let start = self.at();
        let meaning = match ty {
            Type::Struct(schema) => {
                for field in schema.fields {
                    self.value(&field.ty, &join(path, field.name));
                }
                if !schema.sealed {
                    let of = if path.is_empty() { String::new() } else { format!(" of `{path}`") };
                    self.row(1, &format!("tail{of}: no appended fields"));
                }
                return;
            }
            Type::Option(of) => {
                let is = self.reader.flag("option").unwrap();
                self.told(start, &format!("`{path}`: {}", if is { "present" } else { "absent" }));
                if is {
                    self.value(of, path);
                }
                return;
            }
            Type::List { of, .. } => {
                let count = self.reader.length("list", u32::MAX).unwrap();
                self.told(start, &format!("`{path}`: {count} elements"));
                for index in 0..count {
                    self.value(of, &format!("{path}[{index}]"));
                }
                return;
            }
            Type::Union(schema) => {
                let number = self.reader.u8("union").unwrap();
                let choice = schema.choices.iter().find(|choice| choice.number == number).unwrap();
                self.told(start, &format!("`{path}`: a {}", choice.name));
                return self.value(&choice.ty, path);
            }
            Type::Text { .. } | Type::Id(_) => {
                let text = self.reader.text("text", u32::MAX).unwrap();
                match text.is_empty() {
                    true => "empty".to_owned(),
                    false => format!("length {}, {text:?}", text.len()),
                }
            }
            Type::Bytes { .. } => match self.reader.run("bytes", u32::MAX).unwrap() {
                [] => "empty".to_owned(),
                bytes => match std::str::from_utf8(bytes) {
                    Ok(text) => format!("length {}, the UTF-8 of {text:?}", bytes.len()),
                    Err(_) => format!("length {}", bytes.len()),
                },
            },
            Type::Enum(schema) => {
                let number = match schema.repr {
                    Type::U8 => self.reader.u8("enum").unwrap().into(),
                    _ => self.reader.u16("enum").unwrap(),
                };
                format!("{number}, {}", schema.name_of(number).unwrap_or("a number without a name"))
            }
            Type::Bool => self.reader.flag("bool").unwrap().to_string(),
            Type::U8 => self.reader.u8("u8").unwrap().to_string(),
            Type::U16 => self.reader.u16("u16").unwrap().to_string(),
            Type::U32 => self.reader.u32("u32").unwrap().to_string(),
            Type::U64 | Type::Number(_) => self.reader.u64("u64").unwrap().to_string(),
        };
        self.told(start, &format!("`{path}`: {meaning}"));
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
