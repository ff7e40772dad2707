//! The conformance suite and the comparison with the memory store, over a real MongoDB and Redis.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use im_servers::{MongoSet, RedisServer};
use im_store_mongo::{MongoOptions, MongoStore};
use im_timeline::Store;
use im_timeline::conformance::Factory;
use im_timeline::model::{InMemory, assert_same_in};

/// One set and one Redis for all cases; each home is a database of its own.
struct Servers {
    mongo: MongoSet,
    redis: RedisServer,
}

static HOMES: AtomicU64 = AtomicU64::new(1);

impl Servers {
    async fn start() -> Self {
        Self { mongo: MongoSet::start(1).await.unwrap(), redis: RedisServer::start().await.unwrap() }
    }

    fn options(&self, home: &str) -> MongoOptions {
        MongoOptions {
            database: Some(home.into()),
            redis: Some(self.redis.url()),
            // Cases have times of their own, most of them long past.
            keep_entries: None,
            keep_sent: None,
            ..MongoOptions::new(self.mongo.uri())
        }
    }
}

#[async_trait::async_trait]
impl Factory for Servers {
    type Home = String;

    async fn home(&self) -> String {
        format!("home{}", HOMES.fetch_add(1, Ordering::Relaxed))
    }

    async fn open(&self, home: &String) -> Arc<dyn Store> {
        Arc::new(MongoStore::open(self.options(home)).await.unwrap())
    }

    async fn open_with_queue(&self, home: &String, bound: usize) -> Option<Arc<dyn Store>> {
        let options = MongoOptions { queue_bound: bound, ..self.options(home) };
        Some(Arc::new(MongoStore::open(options).await.unwrap()))
    }
}

im_timeline::conformance_suite!(in_one every_case_of_the_suite, Servers::start().await);

/// Each case asks some thousand questions.
const MODEL_CASES: u32 = 8;

#[test]
fn random_operations_give_what_the_memory_store_gives() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let servers = runtime.block_on(Servers::start());
    assert_same_in(MODEL_CASES, &servers, &InMemory);
}
