//! `--print-config`: commented TOML that loads back.

use std::fmt::Write;

use super::{
    FlagShape,
    layers::{FlagStyle, flag_name},
    problem::Origin,
    resolve::Effective,
};

pub(super) fn commented_toml(name: &str, style: FlagStyle, settings: &[Effective]) -> String {
    let mut out = format!(
        "# Settings of {name}.\n\
         # Weakest first: defaults, this file (--config FILE), environment, flags.\n"
    );
    let mut current = None;
    for setting in settings {
        if current != Some(setting.section.name) {
            current = Some(setting.section.name);
            out.push('\n');
            comment(&mut out, setting.section.doc);
            line(&mut out, format_args!("[{}]", setting.section.name));
        }
        one(&mut out, style, setting);
    }
    out
}

fn one(out: &mut String, style: FlagStyle, setting: &Effective) {
    let Effective { section, spec, default, value, origin } = setting;
    out.push('\n');
    comment(out, spec.doc);
    let mut also = format!("environment {}", spec.variable(section.name));
    if spec.flag != FlagShape::Absent {
        also.push_str(&format!(", flag --{}", flag_name(style, *section, spec)));
    }
    line(out, format_args!("# Default {default}; {also}."));
    if *origin != Origin::Default {
        let hidden = if spec.flag == FlagShape::Absent { ", not shown" } else { "" };
        line(out, format_args!("# Set by {origin}{hidden}."));
    }
    line(out, format_args!("{} = {value}", spec.key));
}

fn comment(out: &mut String, doc: &[&str]) {
    for text in doc {
        line(out, format_args!("{}", format!("# {}", text.trim()).trim_end()));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
