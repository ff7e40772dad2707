//! The scenarios: each starts what it needs, runs it, and prints one report.

mod crowds;
mod gates;
mod idle;
mod relay;
mod send;
mod soak;
mod storm;
mod tiers;

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) use self::idle::idle;
pub(crate) use self::relay::relay;
pub(crate) use self::send::send;
pub(crate) use self::soak::soak;
pub(crate) use self::storm::storm;

/// A coordinator waits most of the time; one thread is enough for it.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")
}

/// Where a server keeps its files: a folder of the user's, or one that goes with this value.
#[derive(Debug)]
enum DataFolder {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl DataFolder {
    fn new(given: Option<&Path>) -> anyhow::Result<Self> {
        match given {
            Some(path) => Ok(Self::Kept(path.to_owned())),
            None => tempfile::tempdir().context("make a temporary folder").map(Self::Temporary),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}
