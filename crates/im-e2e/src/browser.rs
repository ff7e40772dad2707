//! A page in headless Chromium: served from here, and heard here when it tells its outcome.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::process::supervised;

/// Bytes of an outcome that are read; a page tells a few numbers.
const OUTCOME_LEN_MAX: usize = 64 * 1024;

/// A file as a page finds it: path, content type, text.
pub type File = (&'static str, &'static str, &'static str);

/// Serves files to a browser.
#[derive(Debug)]
pub struct Site {
    listener: TcpListener,
    files: &'static [File],
}

impl Site {
    /// On a port of this machine.
    pub async fn serve(files: &'static [File]) -> anyhow::Result<Self> {
        Ok(Self { listener: TcpListener::bind("127.0.0.1:0").await?, files })
    }

    /// Where it is.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Opens an address of this site in a browser of its own, and waits until the page has told its
    /// outcome.
    pub async fn visit(&self, url: &str) -> anyhow::Result<serde_json::Value> {
        let mut browser = Browser::start(url)?;
        let told = async {
            loop {
                let (stream, _) = self.listener.accept().await?;
                // One request after another: a browser opens connections ahead, and says nothing on some.
                if let Ok(Ok(Some(outcome))) = timeout(PATIENCE / 10, self.answer(stream)).await {
                    return anyhow::Ok(serde_json::from_str(&outcome)?);
                }
                if let Some(ended) = browser.process.try_wait()? {
                    anyhow::bail!("the browser ended with {ended}");
                }
            }
        };
        timeout(PATIENCE, told).await.with_context(|| format!("{url} tells nothing in {PATIENCE:?}"))?
    }

    /// Answers one request. The outcome, if it was that.
    async fn answer(&self, stream: TcpStream) -> anyhow::Result<Option<String>> {
        let mut stream = BufReader::new(stream);
        let (mut request, mut len) = (String::new(), 0);
        stream.read_line(&mut request).await?;
        loop {
            let mut line = String::new();
            ensure!(stream.read_line(&mut line).await? > 0, "a request ends with an empty line");
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                len = value.trim().parse()?;
            }
        }
        ensure!(len <= OUTCOME_LEN_MAX, "an outcome of {len} bytes");
        let mut body = vec![0; len];
        stream.read_exact(&mut body).await?;
        let path = request.split(' ').nth(1).context("a request has a path")?;
        let path = path.split('?').next().unwrap_or(path);
        let is_outcome = request.starts_with("POST /outcome ");
        let file = self.files.iter().find(|(name, _, _)| *name == path);
        let (status, kind, text) = match file {
            Some((_, kind, text)) => ("200 OK", *kind, *text),
            None if is_outcome => ("200 OK", "text/plain", ""),
            None => ("404 Not Found", "text/plain", ""),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            text.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
        Ok(is_outcome.then(|| String::from_utf8_lossy(&body).into_owned()))
    }
}

/// A browser with a profile of its own, both gone on drop.
struct Browser {
    process: Child,
    _profile: TempDir,
}

impl Browser {
    fn start(url: &str) -> anyhow::Result<Self> {
        let profile = tempfile::Builder::new().prefix("sim-e2e-browser-").tempdir()?;
        let process = supervised(&binary()?)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
            // The gates' certificates are from an authority of the test's own.
            .args(["--ignore-certificate-errors", url])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .context("start chromium")?;
        Ok(Self { process, _profile: profile })
    }
}

fn binary() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|file| file.is_file());
    found.context("chromium is not there; `scripts/prepare packages` installs it")
}
