//! As much HTTP as probes need: one request per connection, the answer whole. HTTP/1.0, so that no
//! server answers in chunks.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::{LOOK_EVERY, PATIENCE};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// `GET path`.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    exchange(address, &format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n")).await
}

/// `GET path`, which must be answered with 200 and JSON.
pub async fn get_json(address: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let answer = get(address, path).await?;
    ensure!(answer.status == 200, "{path}: {}: {}", answer.status, answer.body);
    Ok(serde_json::from_str(&answer.body)?)
}

/// Waits until `GET path` is answered with what is wanted.
pub async fn wait_json(
    address: SocketAddr,
    path: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get_json(address, path).await;
        if let Ok(now) = &answer
            && wanted(now)
        {
            return answer;
        }
        ensure!(Instant::now() < deadline, "{what}: {:#}", answer?);
        sleep(LOOK_EVERY).await;
    }
}

/// `PUT path` without a body.
pub async fn put(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    without_body("PUT", address, path).await
}

/// `DELETE path`.
pub async fn delete(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    without_body("DELETE", address, path).await
}

async fn without_body(method: &str, address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let rest = "connection: close\r\ncontent-length: 0";
    exchange(address, &format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{rest}\r\n\r\n")).await
}

/// The sum of a metric's rows whose labels contain `label`; 0 where there is none.
pub async fn metric(address: SocketAddr, name: &str, label: &str) -> anyhow::Result<f64> {
    let rows = get(address, "/metrics").await?.body;
    let values = rows.lines().filter_map(|row| {
        let (labels, value) = row.strip_prefix(name)?.rsplit_once(' ')?;
        // The rest of a longer name is no label.
        let is_it = (labels.is_empty() || labels.starts_with('{')) && labels.contains(label);
        is_it.then(|| value.parse::<f64>().ok())?
    });
    Ok(values.sum::<f64>())
}

/// `POST path` with JSON and a token, which may be empty where none is asked for.
pub async fn post(address: SocketAddr, path: &str, token: &str, body: &Value) -> anyhow::Result<Answer> {
    let body = body.to_string();
    let shown = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let request = format!(
        "POST {path} HTTP/1.0\r\nhost: {address}\r\n{shown}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(address, &request).await
}

async fn exchange(address: SocketAddr, request: &str) -> anyhow::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.with_context(|| format!("no answer from {address}"))??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer has an empty line")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an HTTP status")?;
    Ok(Answer { status, body: body.to_owned() })
}
