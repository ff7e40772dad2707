//! Redis: one server, or a master with a replica watched by sentinels.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use redis::{AsyncConnectionConfig, Client};
use tempfile::TempDir;

use crate::port::Port;
use crate::process::{Process, program};
use crate::{LOOK_EVERY, PATIENCE};

/// What sentinels call the master.
const NAME: &str = "mymaster";

/// A Redis server.
#[derive(Debug)]
pub struct RedisServer {
    port: Port,
    folder: TempDir,
    process: Option<Process>,
    replica_of: Option<u16>,
}

impl RedisServer {
    /// Starts a server that keeps its data in an append-only file, and waits until it answers.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(None).await
    }

    async fn start_with(replica_of: Option<u16>) -> anyhow::Result<Self> {
        let mut server = Self { port: Port::lease()?, folder: tempfile::tempdir()?, process: None, replica_of };
        server.restart().await?;
        Ok(server)
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port.number)
    }

    /// Starts it again on its port, with whatever its folder holds.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let program = program("redis-server", "SIM_REDIS_SERVER", None)?;
        let port = self.port.number.to_string();
        let folder = self.folder.path().display().to_string();
        let mut arguments: Vec<OsString> = ["--port", &port, "--bind", "127.0.0.1", "--dir", &folder]
            .into_iter()
            .chain(["--save", "", "--appendonly", "yes"])
            .map(OsString::from)
            .collect();
        if let Some(master) = self.replica_of {
            arguments.extend(["--replicaof".into(), "127.0.0.1".into(), master.to_string().into()]);
        }
        self.process = Some(Process::start(&program, &arguments, &self.folder.path().join("log"))?);
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(process) = &mut self.process {
                process.check_alive()?;
            }
            match self.command::<String>(&["PING"]).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => bail!("redis-server does not answer: {error}"),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("it does not run")?.kill()
    }

    /// Stops it where it stands (`STOP`) or lets it go on (`CONT`).
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        self.process.as_ref().context("it does not run")?.signal(signal)
    }

    /// Forgets what it had on disk. It must be down.
    pub fn empty_folder(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "it runs");
        self.replace_folder(None)
    }

    /// A copy of its folder as it is now. It must be down.
    pub fn snapshot(&self) -> anyhow::Result<TempDir> {
        anyhow::ensure!(self.process.is_none(), "it runs");
        let copy = tempfile::tempdir()?;
        copy_all(&data(self.folder.path()), &data(copy.path()))?;
        Ok(copy)
    }

    /// Puts its folder back to what a snapshot holds. It must be down.
    pub fn rewind(&self, snapshot: &TempDir) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "it runs");
        self.replace_folder(Some(snapshot))
    }

    fn replace_folder(&self, with: Option<&TempDir>) -> anyhow::Result<()> {
        std::fs::remove_dir_all(data(self.folder.path()))?;
        match with {
            None => Ok(()),
            Some(with) => copy_all(&data(with.path()), &data(self.folder.path())),
        }
    }

    /// Runs one command.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> anyhow::Result<T> {
        let client = Client::open(self.url())?;
        let second = Some(Duration::from_secs(1));
        let config = AsyncConnectionConfig::new().set_connection_timeout(second).set_response_timeout(second);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let (first, rest) = words.split_first().context("no command")?;
        Ok(redis::cmd(first).arg(rest).query_async(&mut connection).await?)
    }
}

/// Where an append-only server keeps its data.
fn data(folder: &std::path::Path) -> PathBuf {
    folder.join("appendonlydir")
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

/// A master, its replica, and three sentinels that agree when two of them do.
#[derive(Debug)]
pub struct RedisGroup {
    /// The two servers; at first the first is master.
    pub servers: [RedisServer; 2],
    sentinels: Vec<(Port, TempDir, Process)>,
}

impl RedisGroup {
    /// Starts all and waits until the sentinels know the replica.
    pub async fn start() -> anyhow::Result<Self> {
        let master = RedisServer::start().await?;
        let replica = RedisServer::start_with(Some(master.port.number)).await?;
        let program = program("redis-sentinel", "SIM_REDIS_SENTINEL", None)?;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let (port, folder) = (Port::lease()?, tempfile::tempdir()?);
            // A sentinel writes into its configuration: one of its own for each.
            let config = folder.path().join("sentinel.conf");
            let text = format!(
                "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n",
                port.number,
                folder.path().display(),
                master.port.number
            );
            std::fs::write(&config, text)?;
            let process = Process::start(&program, &[config.into_os_string()], &folder.path().join("log"))?;
            sentinels.push((port, folder, process));
        }
        let group = Self { servers: [master, replica], sentinels };
        group.wait(|info| info.contains("slaves=1,sentinels=3")).await?;
        Ok(group)
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|(port, ..)| format!("127.0.0.1:{}", port.number)).collect();
        format!("redis+sentinel://{}/{NAME}", hosts.join(","))
    }

    /// Waits until the sentinels call this server the master.
    pub async fn wait_master(&self, server: usize) -> anyhow::Result<()> {
        let address = format!("address=127.0.0.1:{}", self.servers[server].port.number);
        self.wait(|info| info.contains(&address)).await
    }

    async fn wait(&self, holds: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut all = true;
            for (port, ..) in &self.sentinels {
                let client = Client::open(format!("redis://127.0.0.1:{}/", port.number))?;
                let info: Result<String, _> = match client.get_multiplexed_async_connection().await {
                    Ok(mut connection) => redis::cmd("INFO").arg("sentinel").query_async(&mut connection).await,
                    Err(error) => Err(error),
                };
                all &= info.is_ok_and(|info| holds(&info));
            }
            if all {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("the sentinels do not agree within {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
