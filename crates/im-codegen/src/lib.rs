//! The client-facing half of the protocol as source text in other languages: types, codec, commands,
//! refusals and limits, written from the same definitions that this workspace's own codec comes from.
//!
//! Each language has a *runtime*, written by hand once: how a varint, a text or a frame is read and
//! written. Everything that names a message, a field, a number or a limit is written from
//! [`im_proto::commands`] and [`proto_codec::schema`], and nowhere else.
//!
//! `sim codegen` is a thin door to [`generate`]; the kept output is in `clients/`, and a test compares.

mod model;
mod python;
mod text;
mod typescript;

/// A language that a client can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Python 3.9 or later, with its standard library only.
    Python,
    /// TypeScript for Node 18 or later, or any other ES2022.
    TypeScript,
}

impl Language {
    /// Every language.
    pub const ALL: &'static [Self] = &[Self::Python, Self::TypeScript];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::TypeScript => "typescript",
        }
    }
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name, without a folder.
    pub name: &'static str,
    /// What it holds.
    pub text: String,
}

/// Writes the sources of one language.
pub fn generate(language: Language) -> Vec<SourceFile> {
    let model = model::Model::of_clients();
    match language {
        Language::Python => vec![SourceFile { name: "sim_protocol.py", text: python::write(&model) }],
        Language::TypeScript => vec![SourceFile { name: "protocol.ts", text: typescript::write(&model) }],
    }
}
