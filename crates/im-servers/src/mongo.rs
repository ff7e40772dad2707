//! A MongoDB replica set of one or more members.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, error::ErrorKind};
use tempfile::TempDir;

use crate::port::Port;
use crate::process::{Process, cache, program};
use crate::{LOOK_EVERY, PATIENCE};

/// What a member may take.
#[derive(Clone, Copy, Debug)]
pub struct MongoSize {
    /// GiB of the cache for documents and indexes, at least 0.25. What does not fit is written out by those who
    /// write, at their cost.
    pub cache_gib: f32,
    /// MiB of the list of changes that other members follow.
    pub oplog_mib: u32,
}

impl MongoSize {
    /// For tests, which run many members at once and keep little in them.
    pub const SMALL: Self = Self { cache_gib: 0.25, oplog_mib: 64 };
}

/// A replica set.
#[derive(Debug)]
pub struct MongoSet {
    members: Vec<Member>,
    _folder: TempDir,
}

#[derive(Debug)]
struct Member {
    port: Port,
    folder: PathBuf,
    size: MongoSize,
    process: Option<Process>,
}

impl Member {
    fn start(&mut self) -> anyhow::Result<()> {
        let program = program("mongod", "SIM_MONGOD", Some(cache().join("mongod").join("mongod")))?;
        let port = self.port.number.to_string();
        let (cache, oplog) = (self.size.cache_gib.to_string(), self.size.oplog_mib.to_string());
        let mut arguments: Vec<OsString> = ["--replSet", "rs0", "--bind_ip", "127.0.0.1", "--nounixsocket"]
            .into_iter()
            .chain(["--wiredTigerCacheSizeGB", &cache, "--oplogSize", &oplog, "--port", &port])
            .chain([
                "--setParameter",
                "ttlMonitorSleepSecs=1",
                "--setParameter",
                "diagnosticDataCollectionEnabled=false",
            ])
            // Lets a test hold a command up, or lose its answer.
            .chain(["--setParameter", "enableTestCommands=1"])
            .map(OsString::from)
            .collect();
        arguments.extend(["--dbpath".into(), self.folder.clone().into_os_string()]);
        self.process = Some(Process::start(&program, &arguments, &self.folder.join("log"))?);
        Ok(())
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port.number);
        let mut options = ClientOptions::parse(uri).await?;
        options.server_selection_timeout = Some(Duration::from_secs(1));
        options.connect_timeout = Some(Duration::from_secs(1));
        Ok(Client::with_options(options)?)
    }

    /// Waits until it answers a command.
    async fn ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let client = self.client().await?;
        loop {
            if let Some(process) = &mut self.process {
                process.check_alive()?;
            }
            match client.database("admin").run_command(doc! { "ping": 1 }).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => bail!("mongod does not answer: {error}"),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

impl MongoSet {
    /// Starts so many small members, makes them a set, and waits for its primary.
    pub async fn start(members: usize) -> anyhow::Result<Self> {
        Self::start_sized(members, MongoSize::SMALL).await
    }

    /// The same with members of that size.
    pub async fn start_sized(members: usize, size: MongoSize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut set = Self { members: Vec::new(), _folder: folder };
        for number in 0..members {
            let folder = set._folder.path().join(number.to_string());
            std::fs::create_dir(&folder)?;
            let mut member = Member { port: Port::lease()?, folder, size, process: None };
            member.start()?;
            set.members.push(member);
        }
        for member in &mut set.members {
            member.ready().await?;
        }
        let hosts: Vec<Document> = (0i32..)
            .zip(&set.members)
            .map(|(number, member)| doc! { "_id": number, "host": format!("127.0.0.1:{}", member.port.number) })
            .collect();
        // A new primary within seconds, not within ten.
        let settings = doc! { "electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500 };
        let config = doc! { "_id": "rs0", "members": hosts, "settings": settings };
        let first = set.members[0].client().await?;
        first.database("admin").run_command(doc! { "replSetInitiate": config }).await.context("replSetInitiate")?;
        set.primary().await?;
        Ok(set)
    }

    /// Where clients find it.
    pub fn uri(&self) -> String {
        let hosts: Vec<_> = self.members.iter().map(|member| format!("127.0.0.1:{}", member.port.number)).collect();
        format!("mongodb://{}/?replicaSet=rs0", hosts.join(","))
    }

    /// Sets one of the server's own fail points on the primary, by the name `failCommand`: `mode` is
    /// `alwaysOn`, `off`, or `{times: n}`, and `data` says which commands of whom.
    pub async fn fail_command(&self, mode: impl Into<Bson>, data: Document) -> anyhow::Result<()> {
        let primary = self.members[self.primary().await?].client().await?;
        let command = doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data };
        primary.database("admin").run_command(command).await.map(drop).context("configureFailPoint")
    }

    /// Whether a process that calls itself so has a transaction open.
    pub async fn has_transaction(&self, app_name: &str) -> anyhow::Result<bool> {
        let primary = self.members[self.primary().await?].client().await?;
        let pipeline = [
            doc! { "$currentOp": { "allUsers": true, "idleSessions": true } },
            doc! { "$match": { "appName": app_name, "transaction": { "$exists": true } } },
        ];
        let mut found = primary.database("admin").aggregate(pipeline).await?;
        Ok(found.advance().await?)
    }

    /// Which member is primary and may write; waits until one is.
    pub async fn primary(&self) -> anyhow::Result<usize> {
        let until = Instant::now() + PATIENCE;
        loop {
            for (index, member) in self.members.iter().enumerate() {
                if member.process.is_none() {
                    continue;
                }
                let hello = member.client().await?.database("admin").run_command(doc! { "hello": 1 }).await;
                match hello {
                    Ok(hello) if hello.get_bool("isWritablePrimary").unwrap_or(false) => return Ok(index),
                    Err(error) if matches!(&*error.kind, ErrorKind::InvalidArgument { .. }) => return Err(error.into()),
                    Ok(_) | Err(_) => {}
                }
            }
            if Instant::now() > until {
                bail!("no primary within {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `kill -9` of one member.
    pub fn kill(&mut self, member: usize) -> anyhow::Result<()> {
        let mut process = self.members[member].process.take().context("it does not run")?;
        process.kill()
    }

    /// Starts a member that was killed, and waits until it answers.
    pub async fn restart(&mut self, member: usize) -> anyhow::Result<()> {
        self.members[member].start()?;
        self.members[member].ready().await
    }

    /// Stops a member where it stands (`STOP`) or lets it go on (`CONT`).
    pub fn signal(&self, member: usize, signal: &str) -> anyhow::Result<()> {
        self.members[member].process.as_ref().context("it does not run")?.signal(signal)
    }
}
