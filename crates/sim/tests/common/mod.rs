//! `sim standalone` as a process of its own, and `sim` beside it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const SIM: &str = env!("CARGO_BIN_EXE_sim");

/// A server in folders of its own, killed on drop.
pub(crate) struct Standalone {
    process: Child,
    told: Value,
    home: TempDir,
    _data: TempDir,
}

impl Standalone {
    /// Runs when this returns: it has told where it is.
    pub(crate) fn start() -> Self {
        let (data, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut command = Command::new(SIM);
        command.args(["standalone", "--free-ports", "--json", "--data"]).arg(data.path()).stdout(Stdio::piped());
        let process = command.env("SIM_HOME", home.path()).spawn().unwrap();
        // From here on it ends whatever happens.
        let mut standalone = Self { process, told: Value::Null, home, _data: data };
        let mut line = String::new();
        BufReader::new(standalone.process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        standalone.told = serde_json::from_str(&line).unwrap();
        standalone
    }

    /// What it told of itself.
    pub(crate) fn told(&self, key: &str) -> &str {
        self.told[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.told))
    }

    /// Where a tier answers operators, without the scheme.
    pub(crate) fn admin(&self, key: &str) -> &str {
        self.told(key).strip_prefix("http://").unwrap()
    }

    /// Runs `sim` to its end.
    pub(crate) fn sim(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(SIM);
        command.args(arguments).env("SIM_HOME", self.home.path()).env("SIM_PASSWORD", "correct horse");
        command.output().unwrap()
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What a command said that was content.
pub(crate) fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}
