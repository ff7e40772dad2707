//! Which store keeps the timelines, how it is opened, and how one sees that it is well.

use std::path::Path;
use std::sync::Arc;

use im_runtime::setting_choice;
use im_store_embedded::{EmbeddedStore, Options, STALL_FATAL, STALL_UNREADY};
use im_store_sqlite::{SqliteOptions, SqliteStore};
use im_timeline::Store;

setting_choice! {
    /// A kind of store.
    pub enum Backend {
        /// The default: a folder of its own format, nothing to install.
        Embedded = "embedded",
        /// One SQLite file: slower, and readable with tools that everybody has.
        Sqlite = "sqlite",
    }
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
}

/// What is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// For a person.
    pub reason: String,
    /// Whether only a new process helps.
    pub is_final: bool,
}

impl Backend {
    /// Opens the store in `dir`, making it at the first start.
    pub async fn open(self, dir: &Path) -> anyhow::Result<OpenedStore> {
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || self.open_blocking(&dir)).await?
    }

    fn open_blocking(self, dir: &Path) -> anyhow::Result<OpenedStore> {
        match self {
            Self::Embedded => {
                let store = EmbeddedStore::open(dir, &Options::default())?;
                let store = Arc::new(store);
                Ok(OpenedStore { store: Arc::clone(&store) as Arc<dyn Store>, watch: StoreWatch::Embedded(store) })
            }
            Self::Sqlite => {
                let store = SqliteStore::open(dir, SqliteOptions::default())?;
                Ok(OpenedStore { store: Arc::new(store), watch: StoreWatch::Sqlite })
            }
        }
    }
}

impl StoreWatch {
    /// What is wrong right now; `None` while all is well.
    pub fn complaint(&self) -> Option<Complaint> {
        match self {
            Self::Sqlite => None,
            Self::Embedded(store) => {
                let health = store.health();
                if let Some(failure) = health.failed {
                    return Some(Complaint { reason: failure.to_string(), is_final: true });
                }
                (health.stalled >= STALL_UNREADY).then(|| Complaint {
                    reason: format!("{} operations wait, none ended for {:?}", health.waiting, health.stalled),
                    is_final: health.stalled >= STALL_FATAL,
                })
            }
        }
    }
}
