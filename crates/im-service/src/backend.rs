//! Which store keeps the timelines, how it is opened, and how one sees that it is well.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use im_runtime::setting_choice;
use im_store_embedded::{EmbeddedStore, Options, STALL_FATAL, STALL_UNREADY};
use im_store_mongo::{Failing, MongoOptions, MongoStore, OpenError};
use im_store_sqlite::{SqliteOptions, SqliteStore};
use im_timeline::Store;
use tokio::time::{Instant, sleep};
use tracing::warn;

/// How long a MongoDB that cannot be reached is waited for at the start: servers of one machine often
/// start together, and a replica set elects first.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries to reach it; each has waited for it already.
const START_PAUSE: Duration = Duration::from_millis(500);

setting_choice! {
    /// A kind of store.
    pub enum Backend {
        /// The default: a folder of its own format, nothing to install.
        Embedded = "embedded",
        /// One SQLite file: slower, and readable with tools that everybody has.
        Sqlite = "sqlite",
        /// MongoDB and Redis, which several im-services share.
        Mongo = "mongo",
    }
}

/// Where stores are.
#[derive(Clone)]
pub struct Places {
    /// The folder of those that are one.
    pub dir: PathBuf,
    /// The servers, where the settings name them.
    pub mongo: Option<MongoBackend>,
}

/// MongoDB and Redis. Without `Debug`: the addresses have passwords in them.
#[derive(Clone)]
pub struct MongoBackend {
    /// Where MongoDB is.
    pub uri: String,
    /// The database in it.
    pub database: String,
    /// Where Redis is.
    pub redis: Option<String>,
    /// How long MongoDB may take.
    pub patience: Duration,
    /// The age at which MongoDB itself removes rows of users' timelines.
    pub keep_entries: Duration,
    /// The same for what recognises a repeated send.
    pub keep_sent: Duration,
}

/// An open store with the watch over it.
pub struct OpenedStore {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Tells how it is.
    pub watch: StoreWatch,
}

/// Tells whether a store still gets anything done.
#[derive(Clone)]
pub enum StoreWatch {
    /// The embedded store knows how long its queue has stood.
    Embedded(Arc<EmbeddedStore>),
    /// SQLite answers or fails; each failure is told to the one who asked.
    Sqlite,
    /// Knows which of its servers cannot be reached.
    Mongo(Arc<MongoStore>),
}

/// How a store is right now. Reasons are for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All is well.
    Well,
    /// It does its work without something that it should have.
    Degraded(String),
    /// It does not do its work, and may come back by itself.
    Away(String),
    /// Only a new process helps.
    Lost(String),
}

impl Backend {
    /// Opens the store, making it at the first start.
    pub async fn open(self, places: &Places) -> anyhow::Result<OpenedStore> {
        match self {
            Self::Embedded => {
                let dir = places.dir.clone();
                let open = move || EmbeddedStore::open(&dir, &Options::default());
                let store = Arc::new(tokio::task::spawn_blocking(open).await??);
                Ok(OpenedStore { store: Arc::clone(&store) as Arc<dyn Store>, watch: StoreWatch::Embedded(store) })
            }
            Self::Sqlite => {
                let dir = places.dir.clone();
                let open = move || SqliteStore::open(Path::new(&dir), SqliteOptions::default());
                let store = Arc::new(tokio::task::spawn_blocking(open).await??);
                Ok(OpenedStore { store, watch: StoreWatch::Sqlite })
            }
            Self::Mongo => {
                let mongo = places.mongo.clone().context("no MongoDB is named")?;
                let store = Arc::new(mongo.open().await?);
                Ok(OpenedStore { store: Arc::clone(&store) as Arc<dyn Store>, watch: StoreWatch::Mongo(store) })
            }
        }
    }
}

impl MongoBackend {
    async fn open(self) -> Result<MongoStore, OpenError> {
        let Self { uri, database, redis, patience, keep_entries, keep_sent } = self;
        let options = MongoOptions {
            database: Some(database),
            redis,
            patience,
            keep_entries: Some(keep_entries),
            keep_sent: Some(keep_sent),
            ..MongoOptions::new(uri)
        };
        let until = Instant::now() + START_PATIENCE;
        loop {
            match MongoStore::open(options.clone()).await {
                Err(OpenError::Unreachable(reason)) if Instant::now() < until => {
                    warn!(reason, "MongoDB cannot be reached yet; trying again");
                    sleep(START_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }
}

impl StoreWatch {
    /// How the store is right now.
    pub fn standing(&self) -> Standing {
        match self {
            Self::Sqlite => Standing::Well,
            Self::Embedded(store) => {
                let health = store.health();
                if let Some(failure) = health.failed {
                    return Standing::Lost(failure.to_string());
                }
                if health.stalled < STALL_UNREADY {
                    return Standing::Well;
                }
                let reason = format!("{} operations wait, none ended for {:?}", health.waiting, health.stalled);
                if health.stalled >= STALL_FATAL { Standing::Lost(reason) } else { Standing::Away(reason) }
            }
            Self::Mongo(store) => {
                let told = |what: &str, Failing { since, why }: Failing| {
                    format!("{what} cannot be reached for {} s: {why}", since.as_secs())
                };
                let redis = store.redis_failing().map(|failing| told("Redis", failing));
                match (store.mongo_failing(), redis) {
                    (None, None) => Standing::Well,
                    (None, Some(redis)) => Standing::Degraded(redis),
                    (Some(failing), None) => Standing::Away(told("MongoDB", failing)),
                    (Some(failing), Some(redis)) => Standing::Away(format!("{}; {redis}", told("MongoDB", failing))),
                }
            }
        }
    }
}
