//! The servers under both writers, and what they say of their own work.

use std::time::Duration;

use anyhow::Context;
use im_servers::{MongoSet, MongoSize, RedisServer};
use mongodb::bson::{Bson, Document, doc};
use serde::Serialize;

use super::StoreMongoArgs;
use crate::kernel;

/// Started here, or given.
pub(super) struct Servers {
    mongo: String,
    redis: String,
    client: mongodb::Client,
    connection: redis::aio::MultiplexedConnection,
    _started: Option<(MongoSet, RedisServer)>,
}

/// On a machine that is busy with something else an answer may take its time; it is no failure.
pub(super) fn redis_config() -> redis::AsyncConnectionConfig {
    let patience = Some(Duration::from_secs(30));
    redis::AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience)
}

/// What was done up to some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    mongo_requests: u64,
    mongo_cpu: Duration,
    redis_commands: u64,
    redis_cpu: Duration,
    own_cpu: Duration,
}

/// What was done between two moments, for each message.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PerMessage {
    pub(super) mongo_round_trips: f64,
    pub(super) mongo_cpu_us: f64,
    pub(super) redis_round_trips: f64,
    pub(super) redis_cpu_us: f64,
    pub(super) own_cpu_us: f64,
}

/// All that is written here fits, as it does where people run it.
const MONGO_SIZE: MongoSize = MongoSize { cache_gib: 2.0, oplog_mib: 1024 };

/// Versions of the servers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Versions {
    pub(super) mongo: String,
    pub(super) redis: String,
}

impl Servers {
    pub(super) async fn find(args: &StoreMongoArgs) -> anyhow::Result<Self> {
        let (mongo, redis, started) = match (&args.mongo, &args.redis) {
            (Some(mongo), Some(redis)) => (mongo.clone(), redis.clone(), None),
            _ => {
                eprintln!("starting MongoDB ({} members) and Redis", args.members);
                let mongo = MongoSet::start_sized(args.members.into(), MONGO_SIZE).await?;
                let redis = RedisServer::start().await?;
                (mongo.uri(), redis.url(), Some((mongo, redis)))
            }
        };
        let client = mongodb::Client::with_uri_str(&mongo).await.context("MongoDB's address")?;
        let connection = redis::Client::open(redis.as_str()).context("Redis's address")?;
        let config = redis_config();
        let connection = connection.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.context("connect to Redis")?;
        Ok(Self { mongo, redis, client, connection, _started: started })
    }

    pub(super) fn mongo_uri(&self) -> String {
        self.mongo.clone()
    }

    pub(super) fn redis_url(&self) -> String {
        self.redis.clone()
    }

    pub(super) async fn drop_databases(&self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            self.client.database(name).drop().await.with_context(|| format!("drop the database {name}"))?;
        }
        Ok(())
    }

    pub(super) async fn versions(&self) -> anyhow::Result<Versions> {
        let build = self.client.database("admin").run_command(doc! { "buildInfo": 1 }).await?;
        let info = self.info("server").await?;
        Ok(Versions { mongo: build.get_str("version")?.to_owned(), redis: field(&info, "redis_version")?.to_owned() })
    }

    /// The size of a collection of the store: documents, bytes of data, bytes on disk, bytes of indexes.
    pub(super) async fn size(&self, collection: &str) -> anyhow::Result<Size> {
        let database = self.client.database(super::STORE_DATABASE);
        let stats = database.run_command(doc! { "collStats": collection }).await?;
        let number = |name: &str| number(&stats, name);
        Ok(Size {
            documents: number("count")?,
            data_bytes: number("size")?,
            disk_bytes: number("storageSize")?,
            index_bytes: number("totalIndexSize")?,
        })
    }

    pub(super) async fn counts(&self) -> anyhow::Result<Counts> {
        let status = self.client.database("admin").run_command(doc! { "serverStatus": 1 }).await?;
        let network = status.get_document("network")?;
        let extra = status.get_document("extra_info")?;
        let info = self.info("all").await?;
        let calls = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")).filter_map(calls);
        let redis_cpu = ["used_cpu_user", "used_cpu_sys"].map(|name| field(&info, name)?.parse::<f64>().context(name));
        let [user, system] = redis_cpu;
        Ok(Counts {
            mongo_requests: number(network, "numRequests")?,
            mongo_cpu: Duration::from_micros(number(extra, "user_time_us")? + number(extra, "system_time_us")?),
            redis_commands: calls.sum(),
            redis_cpu: Duration::from_secs_f64(user? + system?),
            own_cpu: kernel::cpu_time(std::process::id())?,
        })
    }

    async fn info(&self, section: &str) -> anyhow::Result<String> {
        Ok(redis::cmd("INFO").arg(section).query_async(&mut self.connection.clone()).await?)
    }
}

/// What a collection takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Size {
    pub(super) documents: u64,
    pub(super) data_bytes: u64,
    pub(super) disk_bytes: u64,
    pub(super) index_bytes: u64,
}

impl Counts {
    pub(super) fn per_message(&self, before: &Self, messages: u64) -> PerMessage {
        let each = |count: f64| count / messages.max(1) as f64;
        let cpu = |now: Duration, before: Duration| each(now.saturating_sub(before).as_secs_f64() * 1e6);
        PerMessage {
            mongo_round_trips: each(self.mongo_requests.saturating_sub(before.mongo_requests) as f64),
            mongo_cpu_us: cpu(self.mongo_cpu, before.mongo_cpu),
            redis_round_trips: each(self.redis_commands.saturating_sub(before.redis_commands) as f64),
            redis_cpu_us: cpu(self.redis_cpu, before.redis_cpu),
            own_cpu_us: cpu(self.own_cpu, before.own_cpu),
        }
    }
}

/// A number, whichever of its types the server has chosen.
fn number(document: &Document, name: &str) -> anyhow::Result<u64> {
    let value = match document.get(name) {
        Some(Bson::Int32(value)) => Some(i64::from(*value)),
        Some(Bson::Int64(value)) => Some(*value),
        Some(Bson::Double(value)) => Some(*value as i64),
        _ => None,
    };
    value.and_then(|value| u64::try_from(value).ok()).with_context(|| format!("MongoDB does not tell {name}"))
}

fn field<'a>(info: &'a str, name: &str) -> anyhow::Result<&'a str> {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.with_context(|| format!("Redis does not tell {name}"))
}

/// `incr:calls=21,usec=…`; `info` itself is not counted, because it is asked by us alone.
fn calls(line: &str) -> Option<u64> {
    let (name, rest) = line.split_once(":calls=")?;
    if name == "info" {
        return None;
    }
    rest.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn commands_are_counted_but_for_our_own_question() {
        assert_eq!(calls("mset:calls=21,usec=3,usec_per_call=1.0"), Some(21));
        assert_eq!(calls("client|setinfo:calls=2,usec=3"), Some(2));
        assert_eq!(calls("info:calls=9,usec=3"), None);
        assert_eq!(calls("nonsense"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let info = "used_cpu_sys_children:1\r\nused_cpu_sys:2.5\r\n";
        assert_eq!(field(info, "used_cpu_sys").unwrap().trim(), "2.5");
        assert!(field(info, "used_cpu").is_err());
    }
}
