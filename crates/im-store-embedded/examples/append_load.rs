//! Appends as fast as the store takes them, beside a bare file on the same disk in the same run, so
//! that what is reported is a ratio and not a property of the machine.
//!
//! `cargo run --release -p im-store-embedded --example append_load [SECONDS] [DIR]`

mod usage;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use im_proto::client::ContentType;
use im_proto::{ClientMsgId, ConversationId, UserId};
use im_store_embedded::{EmbeddedStore, Options};
use im_timeline::{Append, Store};

use usage::Usage;

/// Users that write to one another; far more than senders, so that timelines are spread.
const USERS: u64 = 10_000;
/// Others that a user writes to.
const CONTACTS: u64 = 10;
/// Bytes of a payload.
const PAYLOAD_LEN: usize = 200;
/// Bytes that the bare file writes per message: what this store's rows of a message take.
const RAW_LEN: usize = 430;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let time = Duration::from_secs(seconds);
    println!(
        "{:<22} {:>9} {:>8} {:>8} {:>9} {:>8} {:>8}",
        "", "msg/s", "CPU µs", "B/msg", "msg/fsync", "p50 ms", "p99 ms"
    );
    for senders in [64, 1000] {
        let home = dir.join(format!("append_load-{}", std::process::id()));
        std::fs::create_dir_all(&home)?;
        let raw = raw(&home, senders, time)?;
        raw.print(&format!("bare file, {senders}"));
        let store = store(&home, senders, time)?;
        store.print(&format!("store, {senders}"));
        println!(
            "{:<22} {:>9.2} {:>8.2} {:>8.2}",
            "  store / bare file",
            store.rate() / raw.rate(),
            store.cpu_us() / raw.cpu_us(),
            store.bytes() / raw.bytes(),
        );
        std::fs::remove_dir_all(&home)?;
    }
    Ok(())
}

/// What a run cost.
struct Figures {
    messages: u64,
    fsyncs: u64,
    time: Duration,
    cpu: Duration,
    written: u64,
    waits_us: Vec<u32>,
}

impl Figures {
    fn rate(&self) -> f64 {
        self.messages as f64 / self.time.as_secs_f64()
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.messages as f64
    }

    fn bytes(&self) -> f64 {
        self.written as f64 / self.messages as f64
    }

    fn print(&self, what: &str) {
        let mut waits = self.waits_us.clone();
        waits.sort_unstable();
        let at = |part: f64| f64::from(waits[((waits.len() - 1) as f64 * part) as usize]) / 1000.0;
        println!(
            "{what:<22} {:>9.0} {:>8.1} {:>8.0} {:>9.1} {:>8.2} {:>8.2}",
            self.rate(),
            self.cpu_us(),
            self.bytes(),
            self.messages as f64 / self.fsyncs as f64,
            at(0.50),
            at(0.99),
        );
    }
}

/// The store, as a service uses it: tasks that each wait for the ack of one message before the next.
fn store(home: &Path, senders: u64, time: Duration) -> Result<Figures, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = Arc::new(EmbeddedStore::open(home.join("store"), &Options::default())?);
    let stop = Arc::new(AtomicBool::new(false));
    let before = Usage::now()?;
    let begin = Instant::now();
    let waits_us = runtime.block_on(async {
        let tasks: Vec<_> =
            (0..senders).map(|sender| tokio::spawn(send(Arc::clone(&store), Arc::clone(&stop), sender))).collect();
        tokio::time::sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await.expect("a sender does not panic"));
        }
        waits
    });
    let time = begin.elapsed();
    let used = Usage::now()?.since(&before);
    let groups = store.commits();
    runtime.block_on(store.close());
    Ok(Figures {
        messages: waits_us.len() as u64,
        fsyncs: groups,
        time,
        cpu: used.cpu,
        written: used.written,
        waits_us,
    })
}

async fn send(store: Arc<EmbeddedStore>, stop: Arc<AtomicBool>, sender: u64) -> Vec<u32> {
    let mut waits = Vec::new();
    let mut random = sender.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let user = |number: u64| UserId::new(format!("user{number:06}")).expect("a valid id");
    while !stop.load(Ordering::Relaxed) {
        let number = draw() % USERS;
        let (a, b) = (user(number), user((number + 1 + draw() % CONTACTS) % USERS));
        let mut payload = Vec::with_capacity(PAYLOAD_LEN);
        while payload.len() < PAYLOAD_LEN {
            // Half random, half repeating: about as compressible as short texts.
            payload.extend_from_slice(&draw().to_le_bytes());
            payload.extend_from_slice(b" message");
        }
        payload.truncate(PAYLOAD_LEN);
        let id = format!("{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}", draw() as u32, draw() as u16, 1, 2, draw() >> 16);
        let append = Append {
            conversation: ConversationId::pair(&a, &b),
            sender: a.clone(),
            client_msg_id: ClientMsgId::new(id).expect("a valid id"),
            time_ms: 1_700_000_000_000,
            content_type: ContentType::Text,
            payload: payload.into(),
            recipients: [a.clone(), b].into(),
        };
        let begin = Instant::now();
        store.append(append).await.expect("the store takes it");
        waits.push(begin.elapsed().as_micros() as u32);
    }
    waits
}

/// The floor: one thread that appends what waits to a file and calls fdatasync, tasks as above.
fn raw(home: &Path, senders: u64, time: Duration) -> Result<Figures, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut file = std::fs::File::create(home.join("raw"))?;
    file.set_len(64 * 1024 * 1024)?;
    let (push, take) = mpsc::sync_channel::<(Vec<u8>, tokio::sync::oneshot::Sender<()>)>(16_384);
    let fsyncs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&fsyncs);
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        while let Ok(first) = take.recv() {
            let (mut bytes, mut replies) = (first.0, vec![first.1]);
            while let Ok((more, reply)) = take.try_recv() {
                bytes.extend_from_slice(&more);
                replies.push(reply);
            }
            file.write_all(&bytes)?;
            file.sync_data()?;
            counted.fetch_add(1, Ordering::Relaxed);
            for reply in replies {
                let _gone = reply.send(());
            }
        }
        Ok(())
    });
    let stop = Arc::new(AtomicBool::new(false));
    let before = Usage::now()?;
    let begin = Instant::now();
    let waits_us: Vec<u32> = runtime.block_on(async {
        let tasks: Vec<_> = (0..senders)
            .map(|_| {
                let (push, stop) = (push.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut waits = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let (reply, answer) = tokio::sync::oneshot::channel();
                        let begin = Instant::now();
                        push.send((vec![7; RAW_LEN], reply)).expect("the writer lives");
                        answer.await.expect("the writer answers");
                        waits.push(begin.elapsed().as_micros() as u32);
                    }
                    waits
                })
            })
            .collect();
        tokio::time::sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await.expect("a sender does not panic"));
        }
        waits
    });
    let time = begin.elapsed();
    let used = Usage::now()?.since(&before);
    drop(push);
    writer.join().expect("the writer does not panic")?;
    Ok(Figures {
        messages: waits_us.len() as u64,
        fsyncs: fsyncs.load(Ordering::Relaxed),
        time,
        cpu: used.cpu,
        written: used.written,
        waits_us,
    })
}
