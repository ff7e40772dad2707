//! TLS towards clients, against an implementation that shares no line with ours. Where there is no
//! `openssl` on the path there is nothing to compare with, and the test says so.
#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::time::Duration;

use im_link::certs::ClusterCerts;
use im_link::server_tls::{Acceptor, RecordLayer};
use im_link::tls;
use tempfile::TempDir;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// A client at the other end of an echo, which tells how it ended.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where it confirms commands.
    remarks: BufReader<ChildStderr>,
    server: JoinHandle<std::io::Result<usize>>,
    _dir: TempDir,
}

impl Client {
    /// `None`: no openssl here.
    async fn start(arguments: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let certs = ClusterCerts::load_or_create(dir.path(), &[]).unwrap();
        let acceptor = Acceptor::new(&tls::server_config(&certs.gate_server()).unwrap(), RecordLayer::Lean);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (socket, _) = listener.accept().await?;
            let mut stream = acceptor.accept(Box::new(socket)).await?;
            let (mut buf, mut total) = (vec![0; 50_000], 0);
            loop {
                let len = stream.read(&mut buf).await?;
                if len == 0 {
                    stream.shutdown().await?;
                    return Ok(total);
                }
                stream.write_all(&buf[..len]).await?;
                stream.flush().await?;
                total += len;
            }
        });
        let started = Command::new("openssl")
            .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
            .args(["-verify_return_error", "-verify_hostname", "localhost", "-CAfile"])
            .arg(certs.ca())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                eprintln!("not tested, for want of openssl: {error}");
                return None;
            }
        };
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let remarks = BufReader::new(child.stderr.take().unwrap());
        Some(Self { child, input, output, remarks, server, _dir: dir })
    }

    async fn say(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        self.input.flush().await.unwrap();
    }

    /// Waits until the client prints a line that begins so.
    async fn hears(&mut self, start: &str) -> String {
        line_of(&mut self.output, start).await
    }

    /// Waits until the client remarks a line that begins so.
    async fn remarks(&mut self, start: &str) {
        line_of(&mut self.remarks, start).await;
    }

    /// What the server made of it, after the client's clean end.
    async fn ends(mut self) -> usize {
        let (server, client) = timeout(PATIENCE, async { tokio::join!(self.server, self.child.wait()) }).await.unwrap();
        assert!(client.unwrap().success());
        server.unwrap().expect("a clean end")
    }
}

async fn line_of(lines: &mut (impl AsyncBufRead + Unpin), start: &str) -> String {
    let waiting = async {
        loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).await.unwrap(), 0, "it ended before it said {start:?}");
            if line.starts_with(start) {
                return line;
            }
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{start:?} was to come"))
}

#[tokio::test]
async fn openssl_talks_and_changes_keys_in_every_suite_of_tls_1_3() {
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        let Some(mut client) = Client::start(&["-tls1_3", "-ciphersuites", suite]).await else { return };
        assert!(client.hears("New, TLSv1.3, Cipher is").await.trim_end().ends_with(suite));
        client.hears("Verify return code: 0").await;
        client.say("hello").await;
        client.hears("hello").await;
        for (round, command) in ["K", "k", "K", "K"].into_iter().enumerate() {
            // `K` asks for the server's keys to change as well, `k` does not.
            client.say(command).await;
            client.remarks("KEYUPDATE").await;
            let line = format!("after update {round}");
            client.say(&line).await;
            client.hears(&line).await;
        }
        client.say("Q").await;
        assert_eq!(client.ends().await, "hello\n".len() + 4 * "after update 0\n".len(), "{suite}");
    }
}

#[tokio::test]
async fn openssl_talks_tls_1_2() {
    let Some(mut client) = Client::start(&["-tls1_2"]).await else { return };
    client.hears("New, TLSv1.2").await;
    client.say("hello").await;
    client.hears("hello").await;
    client.say("Q").await;
    assert_eq!(client.ends().await, "hello\n".len());
}

/// Records of the greatest length, as fast as they go, of bytes that are no commands to the client.
#[tokio::test]
async fn openssl_sends_much() {
    let Some(client) = Client::start(&["-tls1_3", "-quiet", "-no_ign_eof"]).await else { return };
    let Client { mut child, mut input, mut output, server, .. } = client;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|at| 128 + (at % 101) as u8).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        input.write_all(&sent).await.unwrap();
        input
    });
    let mut got = vec![0; expected.len()];
    timeout(PATIENCE, output.read_exact(&mut got)).await.unwrap().unwrap();
    assert!(got == expected);
    drop(writing.await.unwrap());
    let (server, client) = timeout(PATIENCE, async { tokio::join!(server, child.wait()) }).await.unwrap();
    assert!(client.unwrap().success());
    assert_eq!(server.unwrap().unwrap(), expected.len());
}
