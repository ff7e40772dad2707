//! `codegen`: the protocol as source text in another language.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use im_codegen::{Language, generate};
use serde_json::json;

use super::Failure;
use super::output::Output;

/// Arguments of `sim codegen`.
#[derive(Debug, Args)]
pub(super) struct CodegenArgs {
    /// The language.
    #[arg(long)]
    lang: Lang,
    /// The folder to write into; made where it is missing. Files of the same name are replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lang {
    /// Python 3.9 or later, standard library only.
    Python,
    /// TypeScript, without dependencies.
    #[value(name = "typescript")]
    TypeScript,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Python => Self::Python,
            Lang::TypeScript => Self::TypeScript,
        }
    }
}

pub(super) fn run(args: &CodegenArgs, output: &Output) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.out)?;
    for file in generate(args.lang.into()) {
        let path = args.out.join(file.name);
        std::fs::write(&path, file.text)?;
        output.line(|| format!("wrote {}", path.display()), || json!({ "wrote": path }))?;
    }
    Ok(())
}
