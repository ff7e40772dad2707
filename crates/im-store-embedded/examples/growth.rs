//! Whether what a message costs depends on how many are stored: fills a store and tells, between one
//! checkpoint and the next, what an append took, and at each checkpoint what reads take there.
//!
//! `cargo run --release -p im-store-embedded --example growth [MESSAGES] [USERS] [DIR]`
//!
//! CPU and bytes are those of the whole process, everything that the store does behind the acks
//! included; they say more than the rate where the machine has other work.

mod usage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use im_proto::client::{ContentType, Direction};
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};
use im_store_embedded::{EmbeddedStore, Options};
use im_timeline::{Append, HistoryRange, Store};

use usage::Usage;

type Failure = Box<dyn std::error::Error>;

/// Tasks that append, and how many messages each hands in at a time: as many as a service has at hand
/// when a thousand connections are busy.
const SENDERS: u64 = 64;
const BATCH: u64 = 16;
/// Others that a user writes to.
const CONTACTS: u64 = 10;
/// Bytes of a payload.
const PAYLOAD_LEN: usize = 200;
/// Reads of each kind at a checkpoint.
const READS: u64 = 5_000;
/// The greatest number of messages that a checkpoint stands behind.
const CHECKPOINTS: [u64; 10] =
    [10_000, 50_000, 200_000, 500_000, 1_000_000, 2_000_000, 4_000_000, 6_000_000, 8_000_000, 10_000_000];

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let messages: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let users: u64 = args.next().map_or(Ok(100_000), |text| text.parse())?;
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let home = dir.join(format!("growth-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = Arc::new(EmbeddedStore::open(&home, &Options::default())?);
    println!(
        "{:>10} | {:>8} {:>7} {:>7} | {:>7} {:>7} {:>7} | {:>8} {:>8}",
        "messages", "msg/s", "CPU µs", "B/msg", "sync", "history", "repeat", "disk MiB", "B/msg"
    );
    let mut stored = 0;
    for checkpoint in CHECKPOINTS.into_iter().filter(|checkpoint| *checkpoint <= messages) {
        let (before, begin) = (Usage::now()?, Instant::now());
        runtime.block_on(fill(&store, users, stored, checkpoint));
        let time = begin.elapsed();
        settle()?;
        let used = Usage::now()?.since(&before);
        let count = (checkpoint - stored) as f64;
        stored = checkpoint;
        let mut reads = Vec::new();
        for kind in [Read::Sync, Read::History, Read::Repeat] {
            reads.push(runtime.block_on(read(&store, users, stored, kind))?);
        }
        let disk = bytes_in(&home)?;
        println!(
            "{:>10} | {:>8.0} {:>7.1} {:>7.0} | {:>7.1} {:>7.1} {:>7.1} | {:>8} {:>8.0}",
            stored,
            count / time.as_secs_f64(),
            used.cpu.as_secs_f64() * 1e6 / count,
            used.written as f64 / count,
            reads[0],
            reads[1],
            reads[2],
            disk / (1024 * 1024),
            disk as f64 / stored as f64,
        );
    }
    runtime.block_on(store.close());
    drop(store);
    let begin = Instant::now();
    drop(EmbeddedStore::open(&home, &Options::default())?);
    println!("opened again in {:.2?}", begin.elapsed());
    std::fs::remove_dir_all(&home)?;
    Ok(())
}

/// Message `number`, the same whenever it is made.
fn message(users: u64, number: u64) -> Append {
    let mut random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    };
    let user = |number: u64| UserId::new(format!("user{number:06}")).expect("a valid id");
    let sender = draw() % users;
    let (a, b) = (user(sender), user((sender + 1 + draw() % CONTACTS) % users));
    let mut payload = Vec::with_capacity(PAYLOAD_LEN + 16);
    while payload.len() < PAYLOAD_LEN {
        // Half random, half repeating: about as compressible as short texts.
        payload.extend_from_slice(&draw().to_le_bytes());
        payload.extend_from_slice(b" message");
    }
    payload.truncate(PAYLOAD_LEN);
    // As clients make them: the time first, here of 20 messages per millisecond, and then anything.
    let time_ms = 1_700_000_000_000 + number / 20;
    let id = format!("{:08x}-{:04x}-7{:03x}-8002-{number:012x}", time_ms >> 16, time_ms & 0xffff, draw() & 0xfff);
    Append {
        conversation: ConversationId::pair(&a, &b),
        sender: a.clone(),
        client_msg_id: ClientMsgId::new(id).expect("a valid id"),
        time_ms,
        content_type: ContentType::Text,
        payload: payload.into(),
        recipients: [a, b].into(),
    }
}

/// Appends the messages from `begin` up to `end`.
async fn fill(store: &Arc<EmbeddedStore>, users: u64, begin: u64, end: u64) {
    let next = Arc::new(AtomicU64::new(begin));
    let tasks: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (store, next) = (Arc::clone(store), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    if first >= end {
                        break;
                    }
                    let mut batch: Vec<_> =
                        (first..end.min(first + BATCH)).map(|number| message(users, number)).collect();
                    while !batch.is_empty() {
                        let outcomes = store.append_all(batch.clone()).await;
                        // A queue that is full takes it a moment later.
                        let mut outcomes = outcomes.iter();
                        batch.retain(|_| outcomes.next().is_some_and(Result::is_err));
                        if !batch.is_empty() {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a sender does not panic");
    }
}

/// Waits until what goes on behind the acks is done, so that it counts for the appends and not for the
/// reads that are measured next.
fn settle() -> Result<(), Failure> {
    const PAUSE: Duration = Duration::from_millis(200);
    loop {
        let before = Usage::now()?;
        std::thread::sleep(PAUSE);
        if Usage::now()?.since(&before).cpu < PAUSE / 10 {
            return Ok(());
        }
    }
}

#[derive(Clone, Copy)]
enum Read {
    /// The newest twenty rows of a user's timeline.
    Sync,
    /// The newest twenty messages of a conversation.
    History,
    /// A message that was stored long ago, sent again.
    Repeat,
}

/// Reads of the timelines of senders of messages drawn from all of them. Returns microseconds of CPU for
/// each.
async fn read(store: &EmbeddedStore, users: u64, stored: u64, kind: Read) -> Result<f64, Failure> {
    let appends: Vec<_> =
        (0..READS).map(|n| message(users, n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17) % stored)).collect();
    let before = Usage::now()?;
    for append in appends {
        match kind {
            Read::Sync => {
                let head = store.head(&append.sender).await?.head;
                let page = store.sync(&append.sender, Seq(head.0.saturating_sub(20)), 20).await?;
                assert!(!page.entries.is_empty(), "a sender has rows");
            }
            Read::History => {
                let range = HistoryRange { from: Seq::ZERO, direction: Direction::Backward, limit: 20 };
                let page = store.history(&append.conversation, range).await?;
                assert!(!page.messages.is_empty(), "a conversation that was written to has rows");
            }
            Read::Repeat => assert!(store.append(append).await?.repeated, "it was stored before"),
        }
    }
    Ok(Usage::now()?.since(&before).cpu.as_secs_f64() * 1e6 / READS as f64)
}

fn bytes_in(dir: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A table that compaction has removed meanwhile counts for nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
