//! The TOML layer: one parsed file, each value with the line it stands on.

use std::path::{Path, PathBuf};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Section,
    nearest::nearest,
    problem::{Origin, Problem},
};

pub(super) struct FileLayer<'t> {
    path: PathBuf,
    text: &'t str,
    root: DeTable<'t>,
}

impl<'t> FileLayer<'t> {
    /// Parses `text`; every syntax error is reported, not only the first.
    pub(super) fn parse(path: &Path, text: &'t str) -> Result<Self, Vec<Problem>> {
        let (root, mut errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self { path: path.to_owned(), text, root: root.into_inner() });
        }
        let offset = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        errors.sort_by_key(offset);
        Err(errors
            .iter()
            .map(|error| Problem::Syntax {
                at: Origin::File { path: path.to_owned(), line: line_of(text, offset(error)) },
                message: error.message().replace('\n', " "),
            })
            .collect())
    }

    /// The value of `key` in `[section]`, with its place.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<(&DeValue<'t>, Origin)> {
        let value = self.root.get(section)?.get_ref().as_table()?.get(key)?;
        Some((value.get_ref(), self.at(value)))
    }

    /// Names that nobody knows: tables outside `known`, keys outside the tables of `sections`.
    pub(super) fn unknown_names(&self, sections: &[Section], known: &[&str]) -> Vec<Problem> {
        let mut found: Vec<(usize, Problem)> = Vec::new();
        for (name, value) in &self.root {
            let at = self.at(name);
            let order = name.span().start;
            let section = name.get_ref().as_ref();
            if !known.contains(&section) {
                let problem = if value.get_ref().is_table() {
                    let nearest = nearest(section, known.iter().copied()).map(str::to_owned);
                    Problem::UnknownSection { at, section: section.to_owned(), nearest }
                } else {
                    Problem::OutsideTable {
                        at,
                        key: section.to_owned(),
                        known: known.iter().map(|s| format!("[{s}]")).collect::<Vec<_>>().join(", "),
                    }
                };
                found.push((order, problem));
                continue;
            }
            let Some(table) = value.get_ref().as_table() else {
                found.push((order, Problem::NotATable { at, section: section.to_owned() }));
                continue;
            };
            let Some(ours) = sections.iter().find(|ours| ours.name == section) else {
                continue; // another tier's table: that tier checks it
            };
            for (key, _) in table {
                let name = key.get_ref().as_ref();
                if ours.specs.iter().all(|spec| spec.key != name) {
                    let nearest = nearest(name, ours.specs.iter().map(|spec| spec.key));
                    found.push((
                        key.span().start,
                        Problem::UnknownKey {
                            at: self.at(key),
                            section: section.to_owned(),
                            key: name.to_owned(),
                            nearest: nearest.map(str::to_owned),
                        },
                    ));
                }
            }
        }
        // The parser hands out names in alphabetical order; people read files from the top.
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, problem)| problem).collect()
    }

    fn at<T>(&self, spanned: &Spanned<T>) -> Origin {
        Origin::File { path: self.path.clone(), line: line_of(self.text, spanned.span().start) }
    }
}

/// Lines are counted from 1, as editors do.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}
