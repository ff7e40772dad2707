//! Folders that cannot be opened: one clear line each, never a panic, never a store that looks empty.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use im_proto::client::ContentType;
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};
use im_store_embedded::{EmbeddedStore, OpenError, Options};
use im_timeline::{Append, Store, StoreError};

fn open(dir: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(dir, &Options::default())
}

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn message(number: u32) -> Append {
    Append {
        conversation: ConversationId::pair(&user("a"), &user("b")),
        sender: user("a"),
        client_msg_id: ClientMsgId::new(format!("m{number}")).unwrap(),
        time_ms: 1,
        content_type: ContentType::Text,
        payload: vec![b'x'; 300].into(),
        recipients: [user("a"), user("b")].into(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn fill(dir: &Path, messages: u32) {
    let store = open(dir).unwrap();
    for number in 0..messages {
        store.append(message(number)).await.unwrap();
    }
    store.close().await;
}

/// The line that an operator sees names the folder and is one line.
fn line(dir: &Path) -> (OpenError, String) {
    let error = open(dir).map(drop).unwrap_err();
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    assert!(line.contains(&dir.display().to_string()), "{line}");
    (error, line)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let copied = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copied.parent().unwrap()).unwrap();
        fs::copy(file, copied).unwrap();
    }
}

#[test]
fn a_second_opener_is_told_that_it_is_locked() {
    let home = tempfile::tempdir().unwrap();
    let first = open(home.path()).unwrap();
    let (error, line) = line(home.path());
    assert!(matches!(error, OpenError::Locked(_)), "{error:?}");
    assert!(line.contains("in use"), "{line}");
    drop(first);
    open(home.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    fill(home.path(), 1);
    let path = home.path().join("store/FORMAT");
    let body = "sim embedded store, format 9\nwhatever it says\n";
    let sum =
        body.bytes().fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    fs::write(&path, format!("{body}checksum {sum:016x}\n")).unwrap();
    let before: Vec<_> = files(home.path()).into_iter().map(|file| fs::read(file).unwrap()).collect();
    let (error, line) = line(home.path());
    assert!(matches!(error, OpenError::NewerFormat { found: 9, known: 2, .. }), "{error:?}");
    assert!(line.contains("format 9"), "{line}");
    let after: Vec<_> = files(home.path()).into_iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn missing_parts_are_damage_and_not_a_new_store() {
    for part in ["store/FORMAT", "store/tree/version", "store/tree", "store/log"] {
        let home = tempfile::tempdir().unwrap();
        fill(home.path(), 1);
        let path = home.path().join(part);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        let (error, _) = line(home.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{part}: {error:?}");
    }
}

#[test]
fn the_format_of_one_store_does_not_open_the_tree_of_another() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(one.path(), 1);
    fill(other.path(), 1);
    fs::copy(one.path().join("store/FORMAT"), other.path().join("store/FORMAT")).unwrap();
    let (error, _) = line(other.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_crash_while_the_store_was_made_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("store.new/tree")).unwrap();
    fs::write(home.path().join("store.new/tree/0.jnl"), b"half a journal").unwrap();
    fill(home.path(), 1);
    assert!(!home.path().join("store.new").exists());
}

/// Every file, cut at half, emptied, and with single bytes flipped: it opens or says why not, and what
/// it says while it runs is an error or the truth.
#[test]
fn damage_is_told_and_never_a_panic() {
    let whole = tempfile::tempdir().unwrap();
    fill(whole.path(), 40);
    let mut refused = 0;
    for file in files(whole.path()) {
        let name = file.strip_prefix(whole.path()).unwrap().to_owned();
        let bytes = fs::read(&file).unwrap();
        // The journal is mostly zeros, reserved in advance; what counts is where the rows are.
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        let mut variants = vec![bytes[..used / 2].to_vec(), Vec::new()];
        for part in 0..8 {
            let mut flipped = bytes[..used].to_vec();
            let at = used * part / 8;
            if at < used {
                flipped[at] ^= 0x55;
                variants.push(flipped);
            }
        }
        for (number, variant) in variants.into_iter().enumerate() {
            let home = tempfile::tempdir().unwrap();
            copy(whole.path(), home.path());
            fs::write(home.path().join(&name), variant).unwrap();
            match open(home.path()) {
                Ok(store) => use_it(store, &format!("{}, variant {number}", name.display())),
                Err(OpenError::Damaged { .. } | OpenError::Io { .. } | OpenError::NewerFormat { .. }) => refused += 1,
                Err(error) => panic!("{}, variant {number}: {error}", name.display()),
            }
        }
    }
    assert!(refused > 10, "only {refused} variants were refused");
}

/// The one segment of a small store's log, and its bytes up to the last one in use.
fn log_of(dir: &Path) -> (PathBuf, Vec<u8>) {
    let mut logs = files(dir).into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "log"));
    let log = logs.next().unwrap();
    assert_eq!(logs.next(), None);
    let mut bytes = fs::read(&log).unwrap();
    bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1);
    (log.strip_prefix(dir).unwrap().to_owned(), bytes)
}

/// Where the records of a segment begin, and where the last one ends.
fn records(log: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (32, Vec::new());
    while let Some(len) = log.get(at + 16..at + 20) {
        found.push(at);
        at += 20 + u32::from_le_bytes(len.try_into().unwrap()) as usize;
    }
    found.push(at);
    found
}

/// Where a message's number is the row behind it, so that the head tells which messages are there.
#[tokio::main(flavor = "current_thread")]
async fn head(store: &EmbeddedStore) -> u64 {
    store.head(&user("b")).await.unwrap().head.0
}

/// A flipped byte in the middle of the log must not look like its end: what lies behind it was acked.
#[test]
fn a_break_inside_the_log_loses_nothing_silently() {
    let whole = tempfile::tempdir().unwrap();
    fill(whole.path(), 12);
    let (name, bytes) = log_of(whole.path());
    let records = records(&bytes);
    assert_eq!(records.len(), 13);
    let home = tempfile::tempdir().unwrap();
    copy(whole.path(), home.path());
    // The last record is left out: damage there looks like a crash before the ack.
    let mut told = 0;
    for at in (0..records[11]).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(home.path().join(&name), flipped).unwrap();
        match open(home.path()) {
            Ok(_) => panic!("byte {at} was flipped and nothing was said"),
            Err(OpenError::Damaged { .. }) => told += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(told > 100, "{told}");
}

/// A crash may cut the last record anywhere, and may leave anything of it. It was not acked, so it goes,
/// and nothing else does.
#[test]
fn the_last_record_may_be_cut_at_every_byte() {
    let whole = tempfile::tempdir().unwrap();
    fill(whole.path(), 3);
    let (name, bytes) = log_of(whole.path());
    let records = records(&bytes);
    let home = tempfile::tempdir().unwrap();
    for at in records[2]..records[3] {
        for reserved in [false, true] {
            copy(whole.path(), home.path());
            let mut cut = bytes[..at].to_vec();
            if reserved {
                cut.resize(records[3] + 10_000, 0);
            }
            fs::write(home.path().join(&name), cut).unwrap();
            let store = open(home.path()).unwrap();
            assert_eq!(head(&store), 2, "cut at {at}");
            drop(store);
        }
    }
    // Flipped instead of cut, it looks the same; and its number is given again.
    let mut flipped = bytes.clone();
    flipped[records[3] - 1] ^= 1;
    fs::write(home.path().join(&name), flipped).unwrap();
    fill(home.path(), 5);
    let store = open(home.path()).unwrap();
    assert_eq!(head(&store), 5);
}

/// Segments that do not follow upon one another, or upon the tree, are damage.
#[test]
fn a_log_of_another_time_or_store_is_damage() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(one.path(), 3);
    fill(other.path(), 3);
    let (name, bytes) = log_of(one.path());
    let is_damage = |dir: &Path, why: &str| {
        let (error, _) = line(dir);
        assert!(matches!(error, OpenError::Damaged { .. }), "{why}: {error:?}");
    };
    fs::write(other.path().join(&name), &bytes).unwrap();
    is_damage(other.path(), "the log of another store");

    let path = one.path().join(&name);
    fs::rename(&path, path.with_file_name("00000000000000000002.log")).unwrap();
    is_damage(one.path(), "a segment under another name");
    fs::write(&path, &bytes).unwrap();
    is_damage(one.path(), "two segments with the same records");
    fs::remove_file(path.with_file_name("00000000000000000002.log")).unwrap();
    assert_eq!(head(&open(one.path()).unwrap()), 3);
}

#[tokio::main(flavor = "current_thread")]
async fn use_it(store: EmbeddedStore, what: &str) {
    match store.sync(&user("b"), Seq::ZERO, 100).await {
        Ok(page) => {
            for (index, entry) in page.entries.iter().enumerate() {
                assert_eq!(entry.seq.0, index as u64 + 1, "{what}");
                assert_eq!(entry.message.payload.len(), 300, "{what}");
                assert_eq!(entry.message.client_msg_id.as_str(), format!("m{index}"), "{what}");
            }
        }
        Err(StoreError::Damaged(_) | StoreError::Failed(_)) => {}
        Err(ended @ (StoreError::Closed | StoreError::Unavailable(_))) => panic!("{what}: {ended}"),
    }
    let store = Arc::new(store);
    drop(store.append(message(1000)).await);
    store.close().await;
}
