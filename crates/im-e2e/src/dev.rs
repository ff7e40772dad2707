//! The cluster that `scripts/dev-cluster` runs, on free ports in a folder of its own, and `sim` beside it:
//! both as people use them, by their arguments, their output and the files that they write.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::binaries::program;
use crate::process::{Output, run_program, supervised, tail};
use crate::{LOOK_EVERY, PATIENCE, wait_until};

/// Everything that has a log whose lines are ours.
pub const TIERS: [&str; 6] = ["gate-1", "gate-2", "route-1", "route-2", "im-service-1", "im-service-2"];

/// A cluster, running or not.
#[derive(Debug)]
pub struct DevCluster {
    data: PathBuf,
    said: PathBuf,
    process: Option<Child>,
    folder: TempDir,
}

impl DevCluster {
    /// A cluster in a new folder, running.
    ///
    /// Call it on the test's own thread: the process dies with the thread that started it.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sim-dev-").tempdir().context("make a temporary folder")?;
        let data = folder.path().join("cluster");
        let said = folder.path().join("said");
        let mut cluster = Self { data, said, process: None, folder };
        cluster.start_again().await?;
        Ok(cluster)
    }

    /// Starts it in the folder that it has, and waits until it tells where it is.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "it runs");
        let out = File::options().create(true).append(true).open(&self.said)?;
        let mut command = supervised(&program("dev-cluster"));
        command.arg("--data").arg(&self.data).arg("--free-ports");
        command.stdout(Stdio::from(out.try_clone()?)).stderr(Stdio::from(out));
        self.process = Some(command.spawn().context("start dev-cluster")?);
        let deadline = Instant::now() + PATIENCE;
        while !self.description().exists() {
            if let Some(ended) = self.process.as_mut().context("it was started")?.try_wait()? {
                bail!("dev-cluster ended with {ended}:\n{}", tail(&self.said));
            }
            ensure!(Instant::now() < deadline, "no cluster within {PATIENCE:?}:\n{}", tail(&self.said));
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Its folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The file that `sim demo --cluster` reads; there while it runs.
    pub fn description(&self) -> PathBuf {
        self.data.join("cluster.json")
    }

    /// What the file says.
    pub fn described(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(&fs::read_to_string(self.description())?)?)
    }

    /// The process that is this server now.
    pub fn pid(&self, server: &str) -> anyhow::Result<u32> {
        let file = self.data.join(format!("{server}.pid"));
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(text.trim().parse()?)
    }

    /// Every process that it says it has.
    pub fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in fs::read_dir(&self.data)? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("pid")) {
                pids.push(fs::read_to_string(&path)?.trim().parse()?);
            }
        }
        Ok(pids)
    }

    /// `kill -9` of one server, and waits until it is dead; gives the process that was killed.
    pub async fn kill(&self, server: &str) -> anyhow::Result<u32> {
        let pid = self.pid(server)?;
        let status = Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status()?;
        ensure!(status.success(), "kill -9 {pid}: {status}");
        // Gone with all its threads, whose sockets take connections until the last of them has ended.
        wait_until(&format!("the end of {server}"), || !Path::new("/proc").join(pid.to_string()).exists()).await;
        Ok(pid)
    }

    /// Waits until the server is another process than it was.
    pub async fn wait_again(&self, server: &str, was: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.pid(server)? == was {
            ensure!(Instant::now() < deadline, "{server} stays away for {PATIENCE:?}:\n{}", tail(&self.said));
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Ctrl-C; an error unless all of it ends and the exit code is 0.
    pub async fn interrupt(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        let id = process.id().context("it has ended by itself")?;
        let pids = self.pids()?;
        let status = Command::new("sh").args(["-c", &format!("kill -INT {id}")]).status()?;
        ensure!(status.success(), "kill -INT {id}: {status}");
        let ended = timeout(PATIENCE, process.wait()).await.with_context(|| tail(&self.said))??;
        ensure!(ended.success(), "dev-cluster ended with {ended}:\n{}", tail(&self.said));
        let left: Vec<_> = pids.iter().filter(|pid| Path::new("/proc").join(pid.to_string()).exists()).collect();
        ensure!(left.is_empty(), "these processes are left: {left:?}");
        ensure!(self.pids()?.is_empty() && !self.description().exists(), "files tell of processes that have ended");
        Ok(())
    }

    /// A second one in the same folder; runs to its end.
    pub async fn start_second(&self) -> anyhow::Result<Output> {
        run_program(&program("dev-cluster"), ["--data".as_ref(), self.data.as_os_str()]).await
    }

    /// Runs `sim` with a state folder of this cluster's own.
    pub async fn sim<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> anyhow::Result<Output> {
        let home = self.folder.path().join("home");
        let home = ["--home".as_ref(), home.as_os_str()].map(OsStr::to_owned);
        run_program(&program("sim"), home.into_iter().chain(arguments.into_iter().map(|a| a.as_ref().to_owned()))).await
    }
}
