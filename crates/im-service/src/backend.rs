//! Which store keeps the timelines, how it is opened, and how one sees that it is well.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use im_runtime::settings::{Invalid, SettingValue};
use im_store_embedded::{EmbeddedStore, Options, STALL_FATAL, STALL_UNREADY};
use im_timeline::Store;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The default: a folder of its own format, nothing to install.
    Embedded,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
        })
    }
}

impl SettingValue for Backend {
    const KIND: &'static str = "embedded";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        match text {
            "embedded" => Ok(Self::Embedded),
            _ => Err(Invalid::text(text, Self::KIND)),
        }
    }

    fn to_toml(&self) -> String {
        format!("\"{self}\"")
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
        let opened = tokio::task::spawn_blocking(move || match self {
            Self::Embedded => EmbeddedStore::open(&dir, &Options::default()).map(|store| {
                let store = Arc::new(store);
                OpenedStore { store: Arc::clone(&store) as Arc<dyn Store>, watch: StoreWatch::Embedded(store) }
            }),
        });
        opened.await?.context("open the store")
    }
}

impl StoreWatch {
    /// What is wrong right now; `None` while all is well.
    pub fn complaint(&self) -> Option<Complaint> {
        match self {
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
