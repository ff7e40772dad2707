//! An etcd of a test's own, in which services are found.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use crate::ports::Port;
use crate::process::supervised;
use crate::{LOOK_EVERY, PATIENCE, http};

/// A running etcd; gone on drop.
#[derive(Debug)]
pub struct Etcd {
    clients: Port,
    peers: Port,
    process: Option<Child>,
    data: TempDir,
}

impl Etcd {
    /// Starts an empty one.
    pub async fn start() -> anyhow::Result<Self> {
        let data = tempfile::Builder::new().prefix("sim-e2e-etcd-").tempdir()?;
        let mut etcd = Self { clients: Port::lease()?, peers: Port::lease()?, process: None, data };
        etcd.run("first").await?;
        Ok(etcd)
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.clients.address()
    }

    /// Runs on a folder of that name, and waits until it answers: another name is another, empty etcd.
    pub async fn run(&mut self, name: &str) -> anyhow::Result<()> {
        let [clients, peers] = [&self.clients, &self.peers].map(|port| format!("http://{}", port.address()));
        let process = supervised(Path::new("etcd"))
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}"), "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.data.path().join(name))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start etcd; `scripts/prepare packages` installs it")?;
        self.process = Some(process);
        let deadline = Instant::now() + PATIENCE;
        while http::get(self.address(), "/health").await.map_or(true, |health| health.status != 200) {
            ensure!(Instant::now() < deadline, "etcd does not come up");
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Kills it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("etcd does not run")?;
        Ok(process.kill().await?)
    }

    /// What is kept under a key, which is JSON.
    pub async fn value(&self, key: &str) -> anyhow::Result<Option<Value>> {
        let answer = http::post(self.address(), "/v3/kv/range", "", &json!({ "key": BASE64.encode(key) })).await?;
        ensure!(answer.status == 200, "etcd: {}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body)?;
        let Some(value) = answer["kvs"][0]["value"].as_str() else { return Ok(None) };
        Ok(Some(serde_json::from_slice(&BASE64.decode(value)?)?))
    }

    /// Waits until something is kept under a key.
    pub async fn wait_for(&self, key: &str) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = self.value(key).await? {
                return Ok(value);
            }
            ensure!(Instant::now() < deadline, "nothing is registered under {key}");
            sleep(LOOK_EVERY).await;
        }
    }
}
