//! Progress on stderr: a bar on a terminal, one line a second elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Progress {
    what: String,
    seconds: u64,
    second: u64,
    answered_before: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn start(what: &str, length: Duration) -> Self {
        let seconds = length.as_secs();
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} s {msg}");
            ProgressBar::new(seconds)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_prefix(what.to_owned())
        });
        Self { what: what.to_owned(), seconds, second: 0, answered_before: 0, bar }
    }

    /// Called once a second with the sum of answers so far.
    pub(crate) fn tick(&mut self, answered: u64) {
        let per_second = answered.saturating_sub(self.answered_before);
        self.answered_before = answered;
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.second.min(self.seconds));
                bar.set_message(format!("{per_second}/s"));
            }
            None => eprintln!("{}: {}/{} s, {per_second}/s", self.what, self.second, self.seconds),
        }
        self.second += 1;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How many connections stand, of how many, with whatever else is worth a look.
pub(crate) struct Standings {
    what: &'static str,
    wanted: u64,
    before: u64,
    bar: Option<ProgressBar>,
}

impl Standings {
    pub(crate) fn start(what: &'static str, wanted: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}");
            ProgressBar::new(wanted)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_prefix(what)
        });
        Self { what, wanted, before: 0, bar }
    }

    /// Called once a second.
    pub(crate) fn show(&mut self, standing: u64, rest: &str) {
        let per_second = standing.saturating_sub(self.before);
        self.before = standing;
        match &self.bar {
            Some(bar) => {
                bar.set_position(standing);
                bar.set_message(format!("{per_second}/s, {rest}"));
            }
            None => eprintln!("{}: {standing}/{}, {per_second}/s, {rest}", self.what, self.wanted),
        }
    }
}

impl Drop for Standings {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
