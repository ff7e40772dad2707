//! The layers and the one function that puts them together.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{
    FlagShape, Section, Sections, Spec,
    file::FileLayer,
    nearest::nearest,
    print,
    problem::{Origin, Problem, SettingsError},
    resolve::Resolver,
    variable_prefix,
};

/// The flag that names the file, and the variable that does so too.
const CONFIG_FLAG: &str = "config";
const CONFIG_VARIABLE: &str = "SIM_CONFIG";
const PRINT_FLAG: &str = "print-config";

/// How flags are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagStyle {
    /// `--client-listen`: for a binary with one tier.
    Key,
    /// `--gate-client-listen`: for a process that holds several sections with like keys.
    SectionAndKey,
}

/// The `SIM_…` variables of the process, or of a test.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    pub(super) const fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .filter(|(name, _)| name.starts_with("SIM_"))
                .collect(),
        )
    }

    /// `Err` when the value is not UTF-8.
    pub(super) fn get(&self, name: &str) -> Option<Result<&str, ()>> {
        self.0.get(name).map(|value| value.to_str().ok_or(()))
    }

    /// Variables that carry a section's prefix and name none of its settings. Others, such as
    /// `SIM_LOG`, may belong to tools around the tier.
    fn unknown(&self, sections: &[Section], known: &[&str]) -> Vec<Problem> {
        let prefixes: Vec<String> = known.iter().map(|name| variable_prefix(name)).collect();
        let mut problems = Vec::new();
        for name in self.0.keys() {
            // `SIM_GATE_EDGE_X` belongs to [gate-edge] rather than to [gate].
            let owner = prefixes
                .iter()
                .zip(known)
                .filter(|(prefix, _)| name.starts_with(prefix.as_str()))
                .max_by_key(|(prefix, _)| prefix.len());
            let Some(section) = owner.and_then(|(_, owner)| sections.iter().find(|section| section.name == *owner))
            else {
                continue;
            };
            let ours: Vec<String> = section.specs.iter().map(|spec| spec.variable(section.name)).collect();
            if !ours.contains(name) {
                problems.push(Problem::UnknownVariable {
                    at: Origin::Variable(name.clone()),
                    nearest: nearest(name, ours.iter().map(String::as_str)).map(str::to_owned),
                });
            }
        }
        problems
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Settings that passed, and the text `--print-config` shows for them.
#[derive(Debug)]
pub struct Loaded<S> {
    pub settings: S,
    /// The file that was read, for a later reload.
    pub file: Option<PathBuf>,
    /// Commented TOML that loads back to the same settings, secrets excepted.
    pub printed: String,
    /// Whether `--print-config` was given.
    pub print_only: bool,
}

/// Loads the sections `S` of one process.
///
/// ```
/// # use im_runtime::settings::{Environment, Loader};
/// im_runtime::settings! {
///     /// Settings of a greeter.
///     pub struct GreeterSettings("greeter") {
///         /// How many guests at once.
///         pub guests: u32 = "100" in 1..=10_000,
///     }
/// }
/// let loader = Loader::new("greeter", &["greeter"]);
/// let matches = loader
///     .arguments::<GreeterSettings>(clap::Command::new("greeter"))
///     .try_get_matches_from(["greeter", "--guests", "7"])?;
/// let loaded = loader.load::<GreeterSettings>(&matches, &Environment::default())?;
/// assert_eq!(loaded.settings.guests, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loader {
    name: &'static str,
    known: Vec<&'static str>,
    style: FlagStyle,
}

impl Loader {
    /// `known` are all tables that a shared file may hold, other tiers' included.
    #[must_use]
    pub fn new(name: &'static str, known: &[&'static str]) -> Self {
        Self { name, known: known.to_vec(), style: FlagStyle::Key }
    }

    #[must_use]
    pub fn flag_style(mut self, style: FlagStyle) -> Self {
        self.style = style;
        self
    }

    /// Adds `--config`, `--print-config` and one flag per setting to `command`.
    #[must_use]
    pub fn arguments<S: Sections>(&self, command: Command) -> Command {
        let command = command
            .arg(
                Arg::new(CONFIG_FLAG)
                    .long(CONFIG_FLAG)
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help(format!("Read settings from this TOML file [env: {CONFIG_VARIABLE}]")),
            )
            .arg(
                Arg::new(PRINT_FLAG)
                    .long(PRINT_FLAG)
                    .action(ArgAction::SetTrue)
                    .help("Print every setting with its meaning, default and value, then exit"),
            );
        S::sections().into_iter().fold(command, |command, section| {
            section.specs.iter().filter_map(|spec| self.argument(section, spec)).fold(command, Command::arg)
        })
    }

    fn argument(&self, section: Section, spec: &Spec) -> Option<Arg> {
        let doc: Vec<&str> = spec.doc.iter().map(|line| line.trim()).collect();
        let arg = Arg::new(flag_id(section, spec))
            .long(flag_name(self.style, section, spec))
            .help_heading(format!("[{}]", section.name))
            .help(format!("{} [default: {}]", doc.join(" "), spec.default));
        match spec.flag {
            FlagShape::Value => Some(arg.value_name("VALUE").allow_hyphen_values(true)),
            FlagShape::Switch => {
                Some(arg.value_name("true|false").num_args(0..=1).require_equals(true).default_missing_value("true"))
            }
            FlagShape::Absent => None,
        }
    }

    /// Puts the layers together: flags from `matches` (made by [`Self::arguments`]), the file they
    /// or `SIM_CONFIG` name, and `environment`.
    pub fn load<S: Sections>(
        &self,
        matches: &ArgMatches,
        environment: &Environment,
    ) -> Result<Loaded<S>, SettingsError> {
        let path = matches
            .get_one::<PathBuf>(CONFIG_FLAG)
            .cloned()
            .or_else(|| environment.0.get(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from));
        let text = path.as_deref().map(|path| (path, std::fs::read_to_string(path)));
        let mut loaded = self.assemble(text, environment, Some(matches))?;
        loaded.print_only = matches.get_flag(PRINT_FLAG);
        Ok(loaded)
    }

    /// As [`Self::load`], from a text instead of a file and without flags.
    pub fn load_text<S: Sections>(
        &self,
        path: &Path,
        text: &str,
        environment: &Environment,
    ) -> Result<Loaded<S>, SettingsError> {
        self.assemble(Some((path, Ok(text.to_owned()))), environment, None)
    }

    fn assemble<S: Sections>(
        &self,
        file: Option<(&Path, std::io::Result<String>)>,
        environment: &Environment,
        flags: Option<&ArgMatches>,
    ) -> Result<Loaded<S>, SettingsError> {
        let sections = S::sections();
        let mut problems = Vec::new();
        let text = match &file {
            Some((path, Ok(text))) => Some((*path, text.as_str())),
            Some((path, Err(error))) => {
                let reason = error.to_string();
                problems.push(Problem::Unreadable { path: path.to_path_buf(), reason });
                None
            }
            None => None,
        };
        let layer = text.and_then(|(path, text)| match FileLayer::parse(path, text) {
            Ok(layer) => Some(layer),
            Err(syntax) => {
                problems.extend(syntax);
                None
            }
        });
        if let Some(layer) = &layer {
            problems.extend(layer.unknown_names(&sections, &self.known));
        }
        problems.extend(environment.unknown(&sections, &self.known));
        let flags = flags.map(|matches| (matches, self.style));
        let mut resolver = Resolver::new(layer, environment, flags, problems);
        let settings = S::resolve_all(&mut resolver);
        let (problems, effective) = resolver.finish();
        match settings {
            Some(settings) if problems.is_empty() => Ok(Loaded {
                settings,
                file: file.as_ref().map(|(path, _)| path.to_path_buf()),
                printed: print::commented_toml(self.name, self.style, &effective),
                print_only: false,
            }),
            _ => Err(SettingsError::new(problems)),
        }
    }
}

/// The name clap knows a setting by.
pub(super) fn flag_id(section: Section, spec: &Spec) -> String {
    format!("{}.{}", section.name, spec.key)
}

/// The name people know it by, without the dashes in front.
pub(super) fn flag_name(style: FlagStyle, section: Section, spec: &Spec) -> String {
    let key = spec.key.replace('_', "-");
    match style {
        FlagStyle::Key => key,
        FlagStyle::SectionAndKey => format!("{}-{key}", section.name),
    }
}
