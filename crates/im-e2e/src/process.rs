//! One process of a tier: started with its log in a file, ended by a signal or by drop.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, bail};
use im_servers::without_settings;
use tokio::process::{Child, Command};
use tokio::time::timeout;

pub use im_servers::tail;

use crate::PATIENCE;
use crate::binaries::Binary;

/// A running process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// What a process said and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Its last number; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Process {
    /// Starts a tier with a settings file; what it says is appended to `log`.
    ///
    /// Call it on the test's own thread: the process dies with the thread that started it.
    pub fn start(binary: Binary, config: &Path, log: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let mut command = command(&binary.path());
        command.args([OsStr::new("--config"), config.as_os_str()]);
        command.stdout(Stdio::from(file.try_clone()?)).stderr(Stdio::from(file));
        let child = command.spawn().with_context(|| format!("start {}", binary.name()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// An error if it has ended.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("ended by itself with {status}:\n{}", tail(&self.log)),
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill -9")
    }

    /// Sends a signal: `TERM`, `HUP`.
    pub async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.child.id().context("the process has ended")?;
        let status = Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().await?;
        if !status.success() {
            bail!("kill -{signal} {id}: {status}");
        }
        Ok(())
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        Ok(ended.with_context(|| format!("did not end in {PATIENCE:?}:\n{}", tail(&self.log)))??)
    }

    /// Bytes of memory that it holds (VmRSS).
    pub fn memory(&self) -> anyhow::Result<u64> {
        let id = self.child.id().context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

/// Runs a binary to its end.
pub async fn run<A: AsRef<OsStr>>(binary: Binary, arguments: impl IntoIterator<Item = A>) -> anyhow::Result<Output> {
    run_with(binary, arguments, &[]).await
}

/// Runs a binary to its end with variables in its environment.
pub async fn run_with<A: AsRef<OsStr>>(
    binary: Binary,
    arguments: impl IntoIterator<Item = A>,
    variables: &[(&str, &str)],
) -> anyhow::Result<Output> {
    let mut command = command(&binary.path());
    command.args(arguments).envs(variables.iter().copied());
    output(command).await.with_context(|| binary.name())
}

/// Runs any program of this workspace to its end.
pub async fn run_program<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> anyhow::Result<Output> {
    let mut command = command(program);
    command.args(arguments);
    output(command).await.with_context(|| program.display().to_string())
}

async fn output(mut command: Command) -> anyhow::Result<Output> {
    let ended = timeout(PATIENCE, command.output()).await;
    let output = ended.with_context(|| format!("did not end in {PATIENCE:?}"))??;
    Ok(Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A command that is killed on drop, and by the kernel when this process is killed.
pub(crate) fn supervised(program: &Path) -> Command {
    let mut command = Command::from(im_servers::supervised(program));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The same without the tests' own variables, and whatever else would be a setting.
fn command(program: &Path) -> Command {
    let mut command = supervised(program);
    without_settings(command.as_std_mut());
    command
}
