//! The naive writer: what one writes who has not met the problems yet.
//!
//! For each timeline of a message, the conversation's and each recipient's: take the next number from Redis,
//! then insert the row, then go on with the next timeline. It is not correct: a crash between the two leaves
//! a hole, and a repeat makes another message. It is what the store is measured against.

use bytes::Bytes;
use im_timeline::Append;
use mongodb::bson::{Binary, DateTime, RawDocumentBuf, doc, rawdoc, spec::BinarySubtype};
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};
use mongodb::{Client, Collection, IndexModel};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;

use super::servers::redis_config;

/// Connections to MongoDB: as many as sends in flight, so that none waits for one.
const POOL_MAX: u32 = 4096;

pub(super) struct Naive {
    sync: Collection<RawDocumentBuf>,
    history: Collection<RawDocumentBuf>,
    redis: MultiplexedConnection,
    prefix: &'static str,
}

impl Naive {
    pub(super) async fn open(mongo: &str, database: &'static str, redis: &str) -> anyhow::Result<Self> {
        let mut options = ClientOptions::parse(mongo).await?;
        options.max_pool_size = Some(POOL_MAX);
        // As durable as the store's own writes.
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        let database_of = Client::with_options(options)?.database(database);
        let naive = Self {
            sync: database_of.collection("chat_sync"),
            history: database_of.collection("chat_history"),
            redis: redis::Client::open(redis)?.get_multiplexed_async_connection_with_config(&redis_config()).await?,
            prefix: database,
        };
        for rows in [&naive.sync, &naive.history] {
            // Without it no row is found again.
            rows.create_index(IndexModel::builder().keys(doc! { "id": 1, "seq": 1 }).build()).await?;
        }
        Ok(naive)
    }

    pub(super) async fn send(&self, append: &Append) -> anyhow::Result<()> {
        self.write(&self.history, append.conversation.as_str(), append).await?;
        for user in &*append.recipients {
            self.write(&self.sync, user.as_str(), append).await?;
        }
        Ok(())
    }

    async fn write(&self, rows: &Collection<RawDocumentBuf>, id: &str, append: &Append) -> anyhow::Result<()> {
        let key = format!("{}:{}:{id}", self.prefix, rows.name());
        let seq: i64 = self.redis.clone().incr(key, 1).await?;
        let message = rawdoc! {
            "conversation": append.conversation.as_str(),
            "sender": append.sender.as_str(),
            "client_msg_id": append.client_msg_id.as_str(),
            "time": DateTime::from_millis(append.time_ms as i64),
            "payload": binary(&append.payload),
        };
        rows.insert_one(rawdoc! { "id": id, "seq": seq, "message": message }).await?;
        Ok(())
    }
}

fn binary(bytes: &Bytes) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}
