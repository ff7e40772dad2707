//! Settings from one table: the [`settings!`](crate::settings!) macro turns a list of keys, types
//! and defaults into a typed struct that is filled from four layers, weakest first:
//!
//! 1. the defaults in the table,
//! 2. a TOML file (`--config FILE`),
//! 3. the environment (`SIM_<SECTION>_<KEY>`),
//! 4. command line flags (`--key`).
//!
//! The same table prints the example file, so example and defaults cannot drift apart. Every
//! problem of every layer is collected and reported together: an operator fixes a file once.
//!
//! One file may hold the tables of all tiers. A tier reads its own and passes over the others, but
//! a table that no tier knows is an error, as is a key that its table does not know.

mod file;
mod layers;
mod macros;
mod nearest;
mod print;
mod problem;
mod quantity;
mod resolve;
mod secret;
mod value;

#[cfg(test)]
mod tests;

pub use layers::{Environment, FlagStyle, Loaded, Loader};
pub use problem::{Problem, SettingsError};
pub use quantity::ByteSize;
pub use resolve::{Check, Resolver};
pub use secret::Secret;
pub use value::{FlagShape, Invalid, SettingValue, within};

/// What `DeValue` the [`SettingValue`] trait speaks of.
pub use toml::de::DeValue;

/// One line of a settings table.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The field's name and the TOML key.
    pub key: &'static str,
    /// Documentation, one line each, as written above the field.
    pub doc: &'static [&'static str],
    /// The default, in the text form of the field's type.
    pub default: &'static str,
    /// The environment variable, where it is not `SIM_<SECTION>_<KEY>`.
    pub variable: Option<&'static str>,
    /// How the setting looks on the command line.
    pub flag: FlagShape,
    /// What a value looks like, in words.
    pub kind: &'static str,
}

impl Spec {
    /// The environment variable of this setting.
    #[must_use]
    pub fn variable(&self, section: &str) -> String {
        self.variable.map_or_else(|| format!("{}{}", variable_prefix(section), self.key.to_uppercase()), str::to_owned)
    }
}

/// One TOML table: a name, what it is for, and its settings.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    pub name: &'static str,
    pub doc: &'static [&'static str],
    pub specs: &'static [Spec],
}

impl Section {
    /// The specification of `key`.
    ///
    /// # Panics
    /// When the table has no such key; only code written by the macro asks, and it asks by the
    /// names it put there.
    fn spec(&self, key: &str) -> &'static Spec {
        self.specs.iter().find(|spec| spec.key == key).unwrap_or_else(|| panic!("[{}] has no setting {key}", self.name))
    }
}

/// A struct written by [`settings!`](crate::settings!).
pub trait Settings: Sized {
    const SECTION: Section;

    /// Takes every field through the layers; `None` when any of them had a problem.
    fn resolve(resolver: &mut Resolver<'_>) -> Option<Self>;
}

/// What one process loads: a single settings struct, or a tuple of them.
pub trait Sections: Sized {
    fn sections() -> Vec<Section>;
    fn resolve_all(resolver: &mut Resolver<'_>) -> Option<Self>;
}

impl<S: Settings> Sections for S {
    fn sections() -> Vec<Section> {
        vec![S::SECTION]
    }

    fn resolve_all(resolver: &mut Resolver<'_>) -> Option<Self> {
        resolver.enter(S::SECTION);
        S::resolve(resolver)
    }
}

macro_rules! sections_for_tuple {
    ($($part:ident)+) => {
        impl<$($part: Sections),+> Sections for ($($part,)+) {
            fn sections() -> Vec<Section> {
                let mut all = Vec::new();
                $( all.extend($part::sections()); )+
                all
            }

            fn resolve_all(resolver: &mut Resolver<'_>) -> Option<Self> {
                // Every part is taken before any `?`, so that one bad section does not hide
                // the problems of the next.
                let parts = ($( $part::resolve_all(resolver), )+);
                #[allow(non_snake_case)]
                let ($($part,)+) = parts;
                Some(($( $part?, )+))
            }
        }
    };
}
sections_for_tuple!(A B);
sections_for_tuple!(A B C);
sections_for_tuple!(A B C D);
sections_for_tuple!(A B C D E);

/// The defaults of a table, as a value.
///
/// # Panics
/// When a default does not parse or is outside its range, which is a mistake in the table.
#[must_use]
pub fn defaults<S: Sections>() -> S {
    let mut resolver = Resolver::defaults();
    match S::resolve_all(&mut resolver) {
        Some(settings) => settings,
        None => panic!("bad default in a settings table: {:?}", resolver.problems()),
    }
}

/// `SIM_GATE_` for `gate`, `SIM_IM_SERVICE_` for `im-service`.
fn variable_prefix(section: &str) -> String {
    format!("SIM_{}_", section.to_uppercase().replace('-', "_"))
}
