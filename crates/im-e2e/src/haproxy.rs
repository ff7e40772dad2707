//! The load balancer in front of the gates: haproxy as `deploy/haproxy.cfg` configures it, with this
//! machine's addresses in place of the example's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::ports::Port;
use crate::process::{supervised, tail};
use crate::{LOOK_EVERY, PATIENCE};

/// The configuration that operators start from.
const EXAMPLE: &str = include_str!("../../../deploy/haproxy.cfg");

/// From where the balancer dials, so that its connections differ from everybody else's here.
pub const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// The settings line of gates behind it.
pub const PROXY_FROM: &str = "proxy_from = [\"127.0.0.9/32\"]";

/// A running haproxy.
#[derive(Debug)]
pub struct Haproxy {
    clients: Port,
    browsers: Port,
    socket: PathBuf,
    log: PathBuf,
    process: Child,
}

impl Haproxy {
    /// Starts it in front of `gate-1` and `gate-2`, which serve browsers at the given addresses, and waits
    /// until it knows how both are.
    pub async fn start(cluster: &Cluster, browsers: [SocketAddr; 2]) -> anyhow::Result<Self> {
        let folder = cluster.folder();
        let (clients, web) = (Port::lease()?, Port::lease()?);
        let (config, log) = (folder.join("haproxy.cfg"), folder.join("haproxy.log"));
        let socket = folder.join("haproxy.sock");
        let mut text = EXAMPLE.to_owned();
        replace(&mut text, "/run/haproxy/admin.sock", &socket.display().to_string())?;
        // As many files as the example's number needs are not everywhere to be had.
        replace(&mut text, "maxconn 200000", "maxconn 1000")?;
        replace(&mut text, "bind :8910", &format!("bind {}", clients.address()))?;
        replace(&mut text, "bind :8912", &format!("bind {}", web.address()))?;
        for (number, browsers) in [(1, browsers[0]), (2, browsers[1])] {
            let name = format!("gate-{number}");
            let check = cluster.admin(&name)?.port();
            for (port, address) in [(8910, cluster.address(&name)?), (8912, browsers)] {
                let server = format!("server {name} 10.0.0.1{number}:{port}");
                replace(&mut text, &server, &format!("server {name} {address} port {check} source {FROM}"))?;
            }
        }
        std::fs::write(&config, text)?;
        // A port of its own for each gate's checks, so the default one is not looked at.
        let checked = supervised(&binary()?).arg("-c").arg("-f").arg(&config).output().await?;
        ensure!(checked.status.success(), "haproxy -c: {}", String::from_utf8_lossy(&checked.stderr));
        let out = std::fs::File::create(&log)?;
        let process = supervised(&binary()?)
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .stdout(Stdio::from(out.try_clone()?))
            .stderr(Stdio::from(out))
            .spawn()
            .context("start haproxy")?;
        let mut haproxy = Self { clients, browsers: web, socket, log, process };
        for gate in ["gate-1", "gate-2"] {
            haproxy.wait(gate, "UP").await?;
        }
        Ok(haproxy)
    }

    /// Where clients connect.
    pub fn clients(&self) -> SocketAddr {
        self.clients.address()
    }

    /// Where browsers connect.
    pub fn browsers(&self) -> SocketAddr {
        self.browsers.address()
    }

    /// Waits until the checks have found a gate to be `UP` or `DOWN`.
    pub async fn wait(&mut self, gate: &str, status: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.process.try_wait()? {
                bail!("haproxy ended with {ended}: {}", tail(&self.log));
            }
            let is = self.status(gate).await;
            // Before the first check it is taken for up, which nobody has seen.
            if is.as_ref().is_ok_and(|(is, checked)| is == status && checked.starts_with("L")) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{gate} is {is:?} in {PATIENCE:?}, not {status}: {}", tail(&self.log));
            sleep(LOOK_EVERY).await;
        }
    }

    /// How a gate is, and what the last check of it said.
    async fn status(&self, gate: &str) -> anyhow::Result<(String, String)> {
        let table = self.ask("show stat").await?;
        let mut lines = table.lines();
        let names: Vec<_> = lines.next().context("a table has a head")?.trim_start_matches("# ").split(',').collect();
        let column = |name| names.iter().position(|column| *column == name).with_context(|| format!("no {name}"));
        let (status, checked) = (column("status")?, column("check_status")?);
        let row: Vec<_> = lines
            .map(|line| line.split(',').collect::<Vec<_>>())
            .find(|row| row.starts_with(&["sim_gates", gate]))
            .with_context(|| format!("no {gate}"))?;
        Ok((row[status].to_owned(), row[checked].to_owned()))
    }

    /// Says something on the operators' socket.
    async fn ask(&self, command: &str) -> anyhow::Result<String> {
        let ask = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        timeout(PATIENCE, ask).await.context("haproxy does not answer")?
    }
}

/// Replaces what stands in the example exactly once.
fn replace(text: &mut String, from: &str, to: &str) -> anyhow::Result<()> {
    ensure!(text.matches(from).count() == 1, "deploy/haproxy.cfg is to have {from:?} once");
    *text = text.replace(from, to);
    Ok(())
}

/// Debian puts it where only root's PATH looks.
fn binary() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    let found = folders.map(|folder| folder.join("haproxy")).find(|file| file.is_file());
    found.context("haproxy is not there; `scripts/prepare packages` installs it")
}
