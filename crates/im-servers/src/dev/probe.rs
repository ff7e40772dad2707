//! When a server is ready to be used by the next.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use redis::AsyncConnectionConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{LOOK_EVERY, PATIENCE};

/// How long one question may take.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// The name of the replica set.
pub(super) const REPLICA_SET: &str = "rs0";

/// `replSetInitiate` of a set that has its members already.
const ALREADY_INITIALIZED: i32 = 23;

/// What shows that a server is ready.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ready {
    /// `GET` answers 200 there.
    Http(u16, &'static str),
    /// MongoDB answers `ping`.
    Mongo(u16),
    /// Redis, or a Sentinel, answers `PING`.
    Redis(u16),
    /// A Sentinel knows the replica and the other two.
    Sentinel(u16),
}

impl Ready {
    /// An error that says why it is not.
    pub(super) async fn ask(self) -> anyhow::Result<()> {
        let asked = async {
            match self {
                Self::Http(port, path) => http(port, path).await,
                Self::Mongo(port) => mongo(port).await?.run_command(doc! { "ping": 1 }).await.map(drop).context("ping"),
                Self::Redis(port) => redis_command(port, &["PING"]).await.map(drop),
                Self::Sentinel(port) => {
                    let info = redis_command(port, &["INFO", "sentinel"]).await?;
                    ensure!(info.contains("slaves=1,sentinels=3"), "it does not know all of its group: {info}");
                    Ok(())
                }
            }
        };
        timeout(ASK_WITHIN, asked).await.context("no answer")?
    }
}

/// `GET path`: as much HTTP as it takes.
async fn http(port: u16, path: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.split(' ').nth(1) == Some("200"), "{path} answers {answer}");
    Ok(())
}

async fn redis_command(port: u16, words: &[&str]) -> anyhow::Result<String> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(ASK_WITHIN)).set_response_timeout(Some(ASK_WITHIN));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let (first, rest) = words.split_first().context("no command")?;
    Ok(redis::cmd(first).arg(rest).query_async(&mut connection).await?)
}

/// One member, asked by itself.
async fn mongo(port: u16) -> anyhow::Result<Database> {
    let mut options = ClientOptions::parse(format!("mongodb://127.0.0.1:{port}/?directConnection=true")).await?;
    options.server_selection_timeout = Some(ASK_WITHIN);
    options.connect_timeout = Some(ASK_WITHIN);
    Ok(Client::with_options(options)?.database("admin"))
}

/// Makes a set of its members where it is none yet, and waits for its primary.
pub(super) async fn make_replica_set(ports: &[u16]) -> anyhow::Result<()> {
    let hosts: Vec<Document> =
        (0i32..).zip(ports).map(|(id, port)| doc! { "_id": id, "host": format!("127.0.0.1:{port}") }).collect();
    // A new primary within seconds, not within ten.
    let settings = doc! { "electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500 };
    let config = doc! { "_id": REPLICA_SET, "members": hosts, "settings": settings };
    let first = mongo(*ports.first().context("a set has members")?).await?;
    match first.run_command(doc! { "replSetInitiate": config }).await {
        Ok(_) => {}
        Err(error) if matches!(&*error.kind, ErrorKind::Command(why) if why.code == ALREADY_INITIALIZED) => {}
        Err(error) => return Err(error).context("replSetInitiate"),
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        for port in ports {
            let hello = mongo(*port).await?.run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("no primary within {PATIENCE:?}")
}
