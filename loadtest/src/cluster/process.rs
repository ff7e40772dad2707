//! One tier's process: started with its log in a file, ended by a signal or by drop.

use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use im_servers::{supervised, tail, without_settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long an admin listener may take for an answer.
const HTTP_TIME_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Call it on the process's first thread: the kernel kills the child when the thread that started
    /// it goes.
    pub(super) fn start(program: &Path, config: &Path, log: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let mut command = command(program);
        command.args([OsStr::new("--config"), config.as_os_str(), OsStr::new("--log"), OsStr::new("warn")]);
        command.stdout(Stdio::from(file.try_clone()?)).stderr(Stdio::from(file));
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// An error if it has ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("ended by itself with {status}:\n{}", self.tail()),
        }
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill -9")
    }

    pub(super) async fn terminate(&self) -> anyhow::Result<()> {
        let pid = self.pid()?.to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().await.context("run kill")?;
        ensure!(status.success(), "kill -TERM {pid}: {status}");
        Ok(())
    }

    pub(super) async fn ended(&mut self, patience: Duration) -> anyhow::Result<Option<i32>> {
        let ended = timeout(patience, self.child.wait()).await;
        Ok(ended.with_context(|| format!("did not end in {patience:?}:\n{}", self.tail()))??.code())
    }

    /// The last lines of its log.
    pub(super) fn tail(&self) -> String {
        tail(&self.log)
    }
}

/// A command that is killed on drop, and by the kernel when this process is killed. The caller's settings of
/// other tiers are not meant for it.
fn command(program: &Path) -> Command {
    let mut command = supervised(program);
    without_settings(&mut command);
    let mut command = Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The status of `GET path`.
pub(super) async fn http_status(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split_ascii_whitespace().nth(1).and_then(|status| status.parse().ok());
        status.context("not an HTTP answer")
    };
    timeout(HTTP_TIME_MAX, exchange).await.context("no answer in time")?
}
