//! The sources that are kept in `clients/` are what the definitions give today.
//! `SIM_WRITE_CLIENTS=1` writes them anew.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use im_codegen::{Language, generate};

/// Where the sources of a language are kept.
fn kept(language: Language) -> PathBuf {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients");
    match language {
        Language::Python => clients.join("python"),
        Language::TypeScript => clients.join("typescript/src"),
    }
}

#[test]
fn the_kept_sources_are_what_the_definitions_give() {
    for language in Language::ALL {
        for file in generate(*language) {
            let path = kept(*language).join(file.name);
            if std::env::var_os("SIM_WRITE_CLIENTS").is_some() {
                fs::write(&path, &file.text).unwrap();
            }
            let kept = fs::read_to_string(&path).unwrap();
            for (number, (kept, now)) in kept.lines().zip(file.text.lines()).enumerate() {
                assert_eq!(kept, now, "{} line {}: SIM_WRITE_CLIENTS=1 writes it anew", file.name, number + 1);
            }
            assert_eq!(kept.len(), file.text.len(), "{}: SIM_WRITE_CLIENTS=1 writes it anew", file.name);
        }
    }
}
