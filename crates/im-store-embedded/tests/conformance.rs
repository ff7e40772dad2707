//! The suite that every store passes, over folders on disk, and random operations beside the memory store.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use im_proto::Epoch;
use im_store_embedded::{EmbeddedStore, Options};
use im_timeline::conformance::Factory;
use im_timeline::{Disk, MemoryStore, Store};
use tempfile::TempDir;

struct Folders;

#[async_trait::async_trait]
impl Factory for Folders {
    type Home = TempDir;

    async fn home(&self) -> TempDir {
        TempDir::new().unwrap()
    }

    async fn open(&self, home: &TempDir) -> Arc<dyn Store> {
        Arc::new(EmbeddedStore::open(home.path(), &Options::default()).unwrap())
    }

    async fn open_with_queue(&self, home: &TempDir, bound: usize) -> Option<Arc<dyn Store>> {
        let options = Options { queue_len_max: bound, ..Options::default() };
        Some(Arc::new(EmbeddedStore::open(home.path(), &options).unwrap()))
    }
}

im_timeline::conformance_suite!(Folders);

struct InMemory;

#[async_trait::async_trait]
impl Factory for InMemory {
    type Home = Disk;

    async fn home(&self) -> Disk {
        Disk::new(Epoch(7))
    }

    async fn open(&self, disk: &Disk) -> Arc<dyn Store> {
        Arc::new(MemoryStore::open(disk))
    }
}

#[test]
fn random_operations_agree_with_the_memory_store() {
    im_timeline::model::assert_same(&Folders, &InMemory);
}
