//! The suite that every store passes, over folders on disk, and random operations beside the memory store.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use im_store_embedded::{EmbeddedStore, Options};
use im_timeline::Store;
use im_timeline::conformance::Factory;
use im_timeline::model::{InMemory, assert_same};
use tempfile::TempDir;

/// Folders of stores that keep that many bytes of rows in memory before they move them into the tree.
struct Folders {
    overlay_bytes: usize,
}

/// As it ships: in a short test nothing is moved.
const LARGE: Folders = Folders { overlay_bytes: 64 * 1024 * 1024 };
/// Everything is moved at once, so that most rows are in the tree.
const SMALL: Folders = Folders { overlay_bytes: 1 };

impl Folders {
    fn options(&self) -> Options {
        Options { overlay_bytes: self.overlay_bytes, ..Options::default() }
    }
}

#[async_trait::async_trait]
impl Factory for Folders {
    type Home = TempDir;

    async fn home(&self) -> TempDir {
        TempDir::new().unwrap()
    }

    async fn open(&self, home: &TempDir) -> Arc<dyn Store> {
        Arc::new(EmbeddedStore::open(home.path(), &self.options()).unwrap())
    }

    async fn open_with_queue(&self, home: &TempDir, bound: usize) -> Option<Arc<dyn Store>> {
        let options = Options { queue_len_max: bound, ..self.options() };
        Some(Arc::new(EmbeddedStore::open(home.path(), &options).unwrap()))
    }
}

mod in_memory {
    im_timeline::conformance_suite!(super::LARGE);
}

mod in_the_tree {
    im_timeline::conformance_suite!(super::SMALL);
}

#[test]
fn random_operations_agree_with_the_memory_store() {
    assert_same(&LARGE, &InMemory);
}

/// Rows on both sides of the border, which moves all the time.
#[test]
fn random_operations_agree_while_rows_move() {
    assert_same(&Folders { overlay_bytes: 2_000 }, &InMemory);
}
