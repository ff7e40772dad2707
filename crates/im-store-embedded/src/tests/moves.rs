//! Rows on their way from the commit log into the tree: cut short at each step, twice, too slowly.

use super::*;

use std::path::Path;

use im_proto::client::Direction;
use im_timeline::HistoryRange;

use crate::durable::Step;
use crate::log::Log;

/// Rows are moved only when a test asks for it.
fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir, &Options::default()).unwrap()
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn append(store: &EmbeddedStore, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        assert_eq!(store.append(message(number)).await.unwrap().seq, Seq(u64::from(number)));
    }
}

/// Both timelines and the history hold exactly the first so many messages, and a repeat finds its place.
async fn assert_holds(store: &EmbeddedStore, messages: u32) {
    for name in ["a", "b"] {
        let page = store.sync(&user(name), Seq::ZERO, 1_000).await.unwrap();
        let ids: Vec<_> = page.entries.iter().map(|entry| entry.message.client_msg_id.as_str().to_owned()).collect();
        assert_eq!(ids, (1..=messages).map(|number| format!("m{number}")).collect::<Vec<_>>());
    }
    let range = HistoryRange { from: Seq::ZERO, direction: Direction::Forward, limit: 1_000 };
    let page = store.history(&message(1).conversation, range).await.unwrap();
    assert_eq!((page.head.0, page.messages.len()), (u64::from(messages), messages as usize));
    for number in 1..=messages {
        let placed = store.append(message(number)).await.unwrap();
        assert!(placed.repeated, "{number}");
        assert_eq!(placed.seq.0, u64::from(number));
    }
}

pub(super) async fn move_all(store: &EmbeddedStore) {
    let durable = store.durable().unwrap();
    durable.move_now();
    wait_until("the move", || durable.overlay_runs() == 0).await;
}

/// The folder as it is on disk, without what a clean end does.
fn crash_copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn moved_rows_are_read_as_before_and_not_replayed() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    append(&store, 1..=20).await;
    assert_holds(&store, 20).await;
    move_all(&store).await;
    assert_holds(&store, 20).await;
    append(&store, 21..=30).await;
    assert_holds(&store, 30).await;
    drop(store);
    let store = open(home.path());
    // Only what came after the move is in memory again, one run per segment.
    let replayed = store.durable().unwrap().overlay_runs();
    assert!((1..4).contains(&replayed), "{replayed}");
    assert_holds(&store, 30).await;
    move_all(&store).await;
    drop(store);
    let store = open(home.path());
    assert_eq!(store.durable().unwrap().overlay_runs(), 0);
    assert_holds(&store, 30).await;
}

/// Wherever a crash hits a move, what was acked is there once, and the next move goes through.
#[tokio::test]
async fn a_move_may_be_cut_short_at_every_step() {
    for step in [Step::BeforeTree, Step::AfterTree, Step::AfterPublish] {
        let home = tempfile::tempdir().unwrap();
        let store = open(home.path());
        append(&store, 1..=5).await;
        move_all(&store).await;
        append(&store, 6..=10).await;
        let durable = store.durable().unwrap();
        *durable.stop_at.lock() = Some(step);
        durable.move_now();
        wait_until("the step", || durable.stopped.load(Ordering::Acquire)).await;
        assert_holds(&store, 10).await;
        append(&store, 11..=12).await;

        let crashed = crash_copy(home.path());
        let store = open(crashed.path());
        assert_holds(&store, 12).await;
        append(&store, 13..=15).await;
        move_all(&store).await;
        assert_holds(&store, 15).await;
        drop(store);
        assert_holds(&open(crashed.path()), 15).await;
    }
}

/// The whole log once more over a tree that has all of it, trims and all: nothing changes.
#[tokio::test]
async fn a_log_that_is_replayed_twice_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    append(&store, 1..=20).await;
    store.trim(&user("b"), Seq(7)).await.unwrap();
    append(&store, 21..=25).await;
    let before = store.dump(None, 10_000).await.unwrap();
    let log = crash_copy(home.path());
    move_all(&store).await;
    let epoch = store.epoch();
    let durable = store.durable().unwrap();
    let again = Log::recover(&log.path().join("store/log"), epoch, 0).unwrap();
    assert!(!again.runs.is_empty());
    for (run, _) in again.runs {
        let mut rows = Durable::builder();
        for row in 0..run.len() {
            match run.value(row) {
                Some(value) => rows.put(run.key(row), &value),
                None => rows.delete(run.key(row)),
            }
        }
        durable.commit(rows).unwrap();
    }
    assert_eq!(store.dump(None, 10_000).await.unwrap(), before);
    drop(durable);
    move_all(&store).await;
    assert_eq!(store.dump(None, 10_000).await.unwrap(), before);
}

/// The log is as long as what the tree does not have, and one segment.
#[tokio::test]
async fn segments_are_deleted_when_the_tree_has_them() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    append(&store, 1..=100).await;
    let durable = store.durable().unwrap();
    let before = segments(home.path());
    assert!(before.len() > 3, "{before:?}");
    move_all(&store).await;
    wait_until("deleting", || segments(home.path()).len() == 1).await;
    assert_eq!(segments(home.path()), before[before.len() - 1..]);
    append(&store, 101..=130).await;
    assert!(segments(home.path()).len() > 1);
    drop(durable);
    drop(store);
    let store = open(home.path());
    assert_holds(&store, 130).await;
    // A segment is missing that the tree does not have.
    drop(store);
    std::fs::remove_file(home.path().join("store/log").join(&segments(home.path())[1])).unwrap();
    let refused = EmbeddedStore::open(home.path(), &Options::default()).map(drop).unwrap_err();
    assert!(matches!(refused, crate::OpenError::Damaged { .. }), "{refused:?}");
}

/// Names of the log's segments, from the oldest to the newest.
fn segments(home: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(home.join("store/log")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A crash while a segment is made leaves its unfinished file, which is no segment.
#[tokio::test]
async fn an_unfinished_segment_is_none() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    append(&store, 1..=3).await;
    drop(store);
    std::fs::write(home.path().join("store/log/segment.new"), b"SIM LO").unwrap();
    assert_holds(&open(home.path()), 3).await;
}

/// When the tree does not keep up, appends are refused as busy, and taken again when it does.
#[tokio::test]
async fn a_tree_that_stands_still_makes_appends_busy() {
    let home = tempfile::tempdir().unwrap();
    let options = Options { overlay_bytes: 20_000, queue_len_max: 10, ..Options::default() };
    let store = Arc::new(EmbeddedStore::open(home.path(), &options).unwrap());
    let durable = store.durable().unwrap();
    let hold = durable.hold_mover.lock();
    let mut sent = 0;
    let mut waiting = Vec::new();
    let begin = Instant::now();
    // Whoever is not refused waits for room, so the refusal must come after as many as the queue holds.
    loop {
        assert!(begin.elapsed() < Duration::from_secs(20), "nobody is told to wait after {sent} messages");
        sent += 1;
        let store = Arc::clone(&store);
        let mut task = tokio::spawn(async move { store.append(message(sent)).await });
        match tokio::time::timeout(Duration::from_millis(200), &mut task).await {
            Ok(Ok(Err(AppendError::Busy))) => break,
            Ok(outcome) => drop(outcome.unwrap().unwrap()),
            Err(_) => waiting.push(task),
        }
    }
    assert_eq!(store.health().waiting, 10, "the queue is full");
    assert!(store.health().stalled > Duration::ZERO);
    drop(hold);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    store.append(message(sent)).await.unwrap();
}

/// A tree that cannot take what was acked fails the store at once, before memory and log are full; what
/// was acked stays readable, and is there when the disk works again.
#[tokio::test]
async fn a_refused_move_fails_the_store() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    append(&store, 1..=5).await;
    let durable = store.durable().unwrap();
    *durable.stop_at.lock() = Some(Step::Refused);
    durable.move_now();
    wait_until("the failure", || store.health().failed.is_some()).await;
    let refused = store.append(message(6)).await;
    assert!(matches!(refused, Err(AppendError::Store(StoreError::Failed(_)))), "{refused:?}");
    assert_eq!(store.sync(&user("b"), Seq::ZERO, 100).await.unwrap().entries.len(), 5);
    drop(durable);
    drop(store);
    assert_holds(&open(home.path()), 5).await;
}

/// Many small groups become few runs, so that a read looks at few.
#[tokio::test]
async fn runs_stay_few() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    append(&store, 1..=300).await;
    let durable = store.durable().unwrap();
    wait_until("the merging", || durable.overlay_runs() < 20).await;
    assert_holds(&store, 300).await;
}
