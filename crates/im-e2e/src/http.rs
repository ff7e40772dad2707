//! As much HTTP as probes need: one request per connection, the answer whole. HTTP/1.0, so that no
//! server answers in chunks.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE;

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

/// `PUT path` without a body.
pub async fn put(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let request = format!("PUT {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    exchange(address, &request).await
}

/// `POST path` with JSON and a token, which may be empty where none is asked for.
pub async fn post(address: SocketAddr, path: &str, token: &str, body: &serde_json::Value) -> anyhow::Result<Answer> {
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
