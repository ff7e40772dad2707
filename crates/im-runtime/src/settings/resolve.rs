//! One setting through all layers.

use clap::{ArgMatches, parser::ValueSource};

use super::{
    Section, Spec,
    file::FileLayer,
    layers::{Environment, FlagStyle, flag_id, flag_name},
    problem::{Origin, Problem},
    value::{Invalid, SettingValue},
};

/// An extra condition on a value, such as a range.
pub type Check<'a, T> = &'a dyn Fn(&T) -> Result<(), Invalid>;

/// The layers, and what was found in them so far. Code written by
/// [`settings!`](crate::settings!) asks it for one field after the other.
pub struct Resolver<'a> {
    pub(super) file: Option<FileLayer<'a>>,
    pub(super) environment: &'a Environment,
    pub(super) flags: Option<(&'a ArgMatches, FlagStyle)>,
    section: Option<Section>,
    problems: Vec<Problem>,
    effective: Vec<Effective>,
}

/// What a setting came out as, for `--print-config`.
pub(super) struct Effective {
    pub(super) section: Section,
    pub(super) spec: &'static Spec,
    /// Both in TOML's form.
    pub(super) default: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        file: Option<FileLayer<'a>>,
        environment: &'a Environment,
        flags: Option<(&'a ArgMatches, FlagStyle)>,
        problems: Vec<Problem>,
    ) -> Self {
        Self { file, environment, flags, section: None, problems, effective: Vec::new() }
    }

    /// No layers but the defaults.
    pub(super) fn defaults() -> Resolver<'static> {
        static NOTHING: Environment = Environment::empty();
        Resolver::new(None, &NOTHING, None, Vec::new())
    }

    pub(super) fn enter(&mut self, section: Section) {
        self.section = Some(section);
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Effective>) {
        (self.problems, self.effective)
    }

    /// Takes one setting through the layers. Every layer is read even where a stronger one wins:
    /// a bad value in a file is reported although a flag covers it today.
    ///
    /// # Panics
    /// When called outside a section or for a key that the section does not list; the macro does
    /// neither.
    pub fn value<T: SettingValue>(&mut self, key: &'static str, checks: &[Check<'_, T>]) -> Option<T> {
        let section = self.section.expect("a section is entered before its values are asked for");
        let spec = section.spec(key);
        let mut sound = true;
        let mut best: Option<(T, Origin)> = None;
        let mut default = String::new();
        for (origin, parsed) in self.candidates::<T>(section, spec) {
            let checked = parsed.and_then(|value| {
                checks.iter().try_for_each(|check| check(&value))?;
                Ok(value)
            });
            match checked {
                Ok(value) => {
                    if origin == Origin::Default {
                        default = value.to_toml();
                    }
                    best = Some((value, origin));
                }
                Err(reason) => {
                    sound = false;
                    self.problems.push(Problem::BadValue { at: origin, section: section.name, key, reason });
                }
            }
        }
        let (value, origin) = best.filter(|_| sound)?;
        self.effective.push(Effective { section, spec, default, value: value.to_toml(), origin });
        Some(value)
    }

    /// The values the layers offer, weakest first.
    fn candidates<T: SettingValue>(&mut self, section: Section, spec: &Spec) -> Vec<(Origin, Result<T, Invalid>)> {
        let mut found = vec![(Origin::Default, T::from_text(spec.default))];
        if let Some((value, at)) = self.file.as_ref().and_then(|f| f.get(section.name, spec.key)) {
            found.push((at, T::from_toml(value)));
        }
        let variable = spec.variable(section.name);
        match self.environment.get(&variable) {
            Some(Ok(text)) => found.push((Origin::Variable(variable), T::from_text(text))),
            Some(Err(())) => {
                self.problems.push(Problem::NotUnicode { at: Origin::Variable(variable) });
            }
            None => {}
        }
        if let Some((matches, style)) = self.flags {
            let id = flag_id(section, spec);
            let given =
                matches.try_contains_id(&id).is_ok() && matches.value_source(&id) == Some(ValueSource::CommandLine);
            if let Some(text) = given.then(|| matches.get_one::<String>(&id)).flatten() {
                let name = format!("--{}", flag_name(style, section, spec));
                found.push((Origin::Flag(name), T::from_text(text)));
            }
        }
        found
    }
}
