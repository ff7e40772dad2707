//! One server's process.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

/// A process that is killed on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it says goes to `log`.
    pub(crate) fn start(program: &Path, arguments: &[OsString], log: &Path) -> anyhow::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let mut command = supervised(program);
        command.args(arguments).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// An error if it has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("ended by itself with {status}:\n{}", self.tail()),
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("kill -9")?;
        self.child.wait().map(drop).context("wait for its end")
    }

    /// Sends a signal: `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.child.id();
        let status = Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status()?;
        anyhow::ensure!(status.success(), "kill -{signal} {id}: {status}");
        Ok(())
    }

    pub(crate) fn tail(&self) -> String {
        tail(&self.log)
    }
}

/// A command that the kernel kills when the thread that starts it ends, where `setpriv` is there to ask for
/// it.
pub fn supervised(program: &Path) -> Command {
    if has_setpriv() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Keeps whatever would be a setting of a tier from a command: what it is given by others is to be all.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SIM_")) {
        command.env_remove(name);
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program by its variable, on the path, or where `scripts/prepare` puts it.
pub(crate) fn program(name: &str, variable: &str, cached: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut known = std::env::split_paths(&folders).map(|folder| folder.join(name)).chain(cached);
    known
        .find(|path| path.is_file())
        .with_context(|| format!("there is no {name} here: run scripts/prepare servers, or set {variable}"))
}

/// Where `scripts/prepare` keeps what it fetched.
pub(crate) fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let folder = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    folder.unwrap_or_else(std::env::temp_dir).join("sim")
}

fn has_setpriv() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let tried = Command::new("setpriv").args(["--pdeathsig", "KILL", "--", "true"]).output();
        tried.is_ok_and(|output| output.status.success())
    })
}
