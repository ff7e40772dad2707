//! A child process, spoken to in JSON lines. One of this binary ends when its stdin does, so it never
//! outlives its coordinator, even one that was killed; others are killed when this value is dropped.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a child may be silent when it is expected to speak. Workers speak every second while
/// they run, and the longest silence is the building of 15,000 connections.
const SILENCE_MAX: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: Process,
    orders: ChildStdin,
    notices: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this binary again with other arguments.
    pub(crate) fn start_self(name: &'static str, arguments: &[&OsStr]) -> anyhow::Result<Self> {
        Self::start(name, &std::env::current_exe().context("find this program")?, arguments)
    }

    /// Starts another program that prints JSON lines.
    pub(crate) fn start(name: &'static str, program: &Path, arguments: &[&OsStr]) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start a {name}: {}", program.display()))?;
        let orders = process.stdin.take().expect("stdin was asked to be a pipe");
        let stdout = process.stdout.take().expect("stdout was asked to be a pipe");
        Ok(Self { name, process, orders, notices: BufReader::new(stdout).lines() })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().with_context(|| format!("the {} has ended", self.name))
    }

    /// Kills it and waits for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.process.kill().await.with_context(|| format!("stop the {}", self.name))
    }

    pub(crate) async fn send(&mut self, order: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        self.orders.write_all(line.as_bytes()).await.with_context(|| format!("give an order to a {}", self.name))
    }

    /// The next line that the child prints. Not cancellation-safe in meaning: a dropped wait loses nothing,
    /// but nobody else should then wait for the same answer.
    pub(crate) async fn recv<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = timeout(SILENCE_MAX, self.notices.next_line())
            .await
            .with_context(|| format!("a {} said nothing for {SILENCE_MAX:?}", self.name))?
            .with_context(|| format!("read from a {}", self.name))?
            .with_context(|| format!("a {} ended too early; its stderr says why", self.name))?;
        serde_json::from_str(&line).with_context(|| format!("understand a {}'s line {line:?}", self.name))
    }
}
