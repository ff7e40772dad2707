//! The conformance suite, the comparison with the memory store, and what is SQLite's own: locks,
//! formats, damage.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use im_store_sqlite::{OpenError, SqliteOptions, SqliteStore};
use im_timeline::Store;
use im_timeline::conformance::Factory;
use im_timeline::model::{InMemory, assert_same};
use tempfile::TempDir;

struct Sqlite;

#[async_trait::async_trait]
impl Factory for Sqlite {
    type Home = TempDir;

    async fn home(&self) -> TempDir {
        tempfile::tempdir().unwrap()
    }

    async fn open(&self, home: &TempDir) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(home.path(), SqliteOptions::default()).unwrap())
    }

    async fn open_with_queue(&self, home: &TempDir, bound: usize) -> Option<Arc<dyn Store>> {
        let options = SqliteOptions { queue_bound: bound, ..SqliteOptions::default() };
        Some(Arc::new(SqliteStore::open(home.path(), options).unwrap()))
    }
}

im_timeline::conformance_suite!(Sqlite);

#[test]
fn random_operations_give_what_the_memory_store_gives() {
    assert_same(&Sqlite, &InMemory);
}

fn open(home: &TempDir) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(home.path(), SqliteOptions::default())
}

fn file(home: &TempDir) -> PathBuf {
    home.path().join("timelines.sqlite")
}

/// A store that was opened once, so that its file exists, and closed.
async fn made() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    open(&home).unwrap().close().await;
    home
}

#[tokio::test]
async fn a_second_opening_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home).unwrap();
    let refused = open(&home).err().unwrap();
    assert!(matches!(&refused, OpenError::Locked { dir } if dir == home.path()), "{refused}");
    assert!(refused.to_string().ends_with(": the store is open already"), "{refused}");
    store.close().await;
    open(&home).unwrap().close().await;
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let home = made().await;
    let connection = rusqlite::Connection::open(file(&home)).unwrap();
    assert_eq!(connection.execute("UPDATE meta SET value = 99 WHERE name = 'format'", []).unwrap(), 1);
    drop(connection);
    let refused = open(&home).err().unwrap();
    assert!(matches!(refused, OpenError::NewerFormat { found: 99, known: 1 }), "{refused}");
    assert_eq!(refused.to_string(), "the store has format version 99, and this program knows up to 1");
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    for (name, bytes) in [("text", b"these are not the timelines\n".repeat(300)), ("short", b"SQLite".to_vec())] {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(file(&home), bytes).unwrap();
        let refused = open(&home).err().unwrap();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{name}: {refused}");
    }
    let home = tempfile::tempdir().unwrap();
    rusqlite::Connection::open(file(&home)).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
    let refused = open(&home).err().unwrap();
    assert!(refused.to_string().ends_with("it is a database of another program"), "{refused}");
}

#[tokio::test]
async fn a_damaged_head_is_refused() {
    let home = made().await;
    let mut bytes = std::fs::read(file(&home)).unwrap();
    let head = bytes.len().min(4096);
    bytes[16..head].fill(0xaa);
    std::fs::write(file(&home), bytes).unwrap();
    let refused = open(&home).err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

/// Dropping without closing ends the committer, which gives the lock back when it is done.
#[tokio::test]
async fn a_dropped_store_can_be_opened_again() {
    let home = tempfile::tempdir().unwrap();
    drop(open(&home).unwrap());
    let opened = async {
        loop {
            match open(&home) {
                Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
                other => return other.unwrap(),
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), opened).await.unwrap().close().await;
}
