//! Folders of format 1, which had no commit log: the tree's own journal held what was acked last.

use super::*;

use std::fs;
use std::ops::Bound;
use std::path::Path;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use im_proto::Epoch;

use crate::OpenError;
use crate::format::Format;
use crate::rows::epoch_key;
use crate::view::Slice;

const EPOCH: Epoch = Epoch(1_700_000_000_123);

/// A folder as the first version left it after a crash: some rows in tables, the last ones in the
/// journal alone. Holds `messages` messages.
async fn folder(dir: &Path, messages: u32) {
    let rows = rows_of(messages).await;
    fs::create_dir(dir.join("store")).unwrap();
    let database = Database::builder(dir.join("store/tree")).manual_journal_persist(true).open().unwrap();
    let options = || KeyspaceCreateOptions::default().manual_journal_persist(true);
    let keyspace = database.keyspace("rows", options).unwrap();
    let put = |rows: &[(Slice, Slice)]| {
        let mut batch = database.batch();
        for (key, value) in rows {
            batch.insert(&keyspace, &key[..], &value[..]);
        }
        batch.commit().unwrap();
        database.persist(PersistMode::SyncData).unwrap();
    };
    keyspace.insert(epoch_key(), EPOCH.0.to_be_bytes()).unwrap();
    let (old, new) = rows.split_at(rows.len() / 2);
    put(old);
    keyspace.rotate_memtable_and_wait().unwrap();
    for row in new {
        put(std::slice::from_ref(row));
    }
    Format { version: 1, epoch: EPOCH }.write(&dir.join("store")).unwrap();
}

/// The rows that so many messages become.
async fn rows_of(messages: u32) -> Vec<(Slice, Slice)> {
    let home = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(home.path(), &Options::default()).unwrap();
    for number in 1..=messages {
        store.append(message(number)).await.unwrap();
    }
    let view = store.durable().unwrap().view();
    let rows = view.between(Bound::Unbounded, Bound::Unbounded).map(Result::unwrap);
    rows.filter(|(key, _)| **key != *epoch_key()).collect()
}

async fn assert_holds(dir: &Path, messages: u32) {
    let store = EmbeddedStore::open(dir, &Options::default()).unwrap();
    assert_eq!(store.epoch(), EPOCH);
    let page = store.sync(&user("b"), Seq::ZERO, 1_000).await.unwrap();
    assert_eq!(page.entries.len(), messages as usize);
    assert!(store.append(message(messages)).await.unwrap().repeated);
    let next = store.append(message(messages + 1)).await.unwrap();
    assert_eq!((next.seq.0, next.repeated), (u64::from(messages) + 1, false));
}

#[tokio::test]
async fn an_older_folder_gets_a_log_and_keeps_everything() {
    let home = tempfile::tempdir().unwrap();
    folder(home.path(), 30).await;
    assert_holds(home.path(), 30).await;
    assert!(fs::read_to_string(home.path().join("store/FORMAT")).unwrap().contains("format 2\n"));
    // And again, as a folder of this format.
    assert_holds(home.path(), 31).await;
}

/// Cut short before its last step, the folder is still an old one, whatever is there of a log.
#[tokio::test]
async fn a_change_of_format_may_be_cut_short() {
    let home = tempfile::tempdir().unwrap();
    folder(home.path(), 5).await;
    let log = home.path().join("store/log");
    fs::create_dir(&log).unwrap();
    fs::write(log.join("00000000000000000001.log"), b"half a segment").unwrap();
    fs::write(home.path().join("store/FORMAT.new"), b"half a format").unwrap();
    assert_holds(home.path(), 5).await;
}

/// What the older journal must not lose silently, it does not lose on the way.
#[tokio::test]
async fn an_older_folder_with_a_broken_journal_is_refused() {
    let home = tempfile::tempdir().unwrap();
    folder(home.path(), 5).await;
    let journals = fs::read_dir(home.path().join("store/tree")).unwrap().map(|entry| entry.unwrap().path());
    let journal = journals.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).max().unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[used / 2] ^= 0x10;
    fs::write(&journal, bytes).unwrap();
    let refused = EmbeddedStore::open(home.path(), &Options::default()).map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
    assert!(fs::read_to_string(home.path().join("store/FORMAT")).unwrap().contains("format 1\n"));
}
