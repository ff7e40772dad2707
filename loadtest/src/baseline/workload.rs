//! The same messages for both writers: users of whom two at a time, drawn at random, write to each other,
//! in a closed loop with so many sends in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bytes::Bytes;
use im_proto::client::ContentType;
use im_proto::{ClientMsgId, ConversationId, UserId};
use im_store_mongo::MongoStore;
use im_timeline::{Append, AppendError, Store as _, StoreError};
use rand::Rng as _;
use tokio::task::JoinSet;

use super::StoreMongoArgs;
use super::naive::Naive;
use super::servers::{PerMessage, Servers};
use crate::histogram::Latencies;
use crate::progress::Progress;

/// A refusal that says *later* is followed by the same message again, as clients do; its ack has then
/// taken so much longer.
const RETRIED_FOR: Duration = Duration::from_secs(60);

/// One of the two.
#[derive(Clone)]
pub(super) enum Writer {
    Store(Arc<MongoStore>),
    Naive(Arc<Naive>),
}

impl Writer {
    fn name(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Naive(_) => "naive writer",
        }
    }

    async fn send(&self, append: Append) -> anyhow::Result<()> {
        match self {
            Self::Store(store) => {
                let until = Instant::now() + RETRIED_FOR;
                loop {
                    match store.append(append.clone()).await {
                        Err(AppendError::Busy | AppendError::Store(StoreError::Unavailable(_)))
                            if Instant::now() < until => {}
                        outcome => return Ok(outcome.map(drop)?),
                    }
                }
            }
            Self::Naive(naive) => naive.send(&append).await,
        }
    }
}

/// What one writer did.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) acked: u64,
    pub(super) time: Duration,
    pub(super) latencies: Latencies,
    pub(super) per_message: PerMessage,
}

/// The messages.
pub(super) struct Traffic {
    users: u32,
    payload: Bytes,
    warmup: Duration,
    measured: Duration,
    /// Numbers the messages, so that none is a repeat.
    next: Arc<AtomicU64>,
}

impl Traffic {
    pub(super) fn new(args: &StoreMongoArgs) -> Self {
        Self {
            users: args.users,
            // Text that does not compress to nothing.
            payload: (0..args.payload).map(|_| rand::random_range(b' '..=b'~')).collect::<Vec<_>>().into(),
            warmup: Duration::from_secs(args.warmup.into()),
            measured: Duration::from_secs(args.seconds.into()),
            next: Arc::default(),
        }
    }

    pub(super) fn user(&self, number: u32) -> UserId {
        UserId::new(format!("u{number}")).expect("a letter and digits are an id")
    }

    pub(super) fn users(&self) -> u32 {
        self.users
    }

    /// One message between two users.
    fn message(&self) -> Append {
        let (from, step) = {
            let mut random = rand::rng();
            (random.random_range(0..self.users), random.random_range(1..self.users))
        };
        let (from, to) = (self.user(from), self.user((from + step) % self.users));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Append {
            conversation: ConversationId::pair(&from, &to),
            client_msg_id: ClientMsgId::new(format!("m{number}")).expect("a letter and digits are an id"),
            time_ms: now.as_millis() as u64,
            content_type: ContentType::Text,
            payload: self.payload.clone(),
            recipients: [from.clone(), to].into(),
            sender: from,
        }
    }

    /// Warms up and measures.
    pub(super) async fn run(&mut self, servers: &Servers, writer: &Writer, in_flight: u32) -> anyhow::Result<Measured> {
        let shared = Arc::new(Shared::default());
        let mut senders = self.senders(writer, in_flight, &shared);
        let what = format!("{}, {in_flight} in flight", writer.name());
        let mut progress = Progress::start(&what, self.warmup + self.measured);
        wait(self.warmup, &shared, &mut progress, &mut senders).await?;
        let (before, acked_before, begun) = (servers.counts().await?, shared.acked(), Instant::now());
        shared.is_measured.store(true, Ordering::Release);
        wait(self.measured, &shared, &mut progress, &mut senders).await?;
        shared.is_measured.store(false, Ordering::Release);
        let (acked, time, after) = (shared.acked() - acked_before, begun.elapsed(), servers.counts().await?);
        shared.is_over.store(true, Ordering::Release);
        let mut latencies = Latencies::default();
        while let Some(ended) = senders.join_next().await {
            latencies.add(&ended??);
        }
        ensure!(acked > 0, "nothing was acked");
        Ok(Measured { acked, time, latencies, per_message: after.per_message(&before, acked) })
    }

    /// Sends until so many more are acked.
    pub(super) async fn fill(&self, writer: &Writer, in_flight: u32, messages: u64) -> anyhow::Result<()> {
        let shared = Arc::new(Shared::default());
        let mut senders = self.senders(writer, in_flight, &shared);
        let mut progress = Progress::start(&format!("filling in {messages} messages"), Duration::ZERO);
        while shared.acked() < messages {
            wait(Duration::from_secs(1), &shared, &mut progress, &mut senders).await?;
        }
        shared.is_over.store(true, Ordering::Release);
        while let Some(ended) = senders.join_next().await {
            ended??;
        }
        Ok(())
    }

    fn senders(&self, writer: &Writer, in_flight: u32, shared: &Arc<Shared>) -> JoinSet<anyhow::Result<Latencies>> {
        let mut senders = JoinSet::new();
        let source = Arc::new(Self {
            users: self.users,
            payload: self.payload.clone(),
            warmup: self.warmup,
            measured: self.measured,
            next: Arc::clone(&self.next),
        });
        for _ in 0..in_flight {
            senders.spawn(send(Arc::clone(&source), writer.clone(), Arc::clone(shared)));
        }
        senders
    }
}

#[derive(Default)]
struct Shared {
    acked: AtomicU64,
    is_measured: AtomicBool,
    is_over: AtomicBool,
}

impl Shared {
    fn acked(&self) -> u64 {
        self.acked.load(Ordering::Acquire)
    }
}

async fn send(source: Arc<Traffic>, writer: Writer, shared: Arc<Shared>) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    while !shared.is_over.load(Ordering::Acquire) {
        let message = source.message();
        let begun = Instant::now();
        writer.send(message).await.context("a send")?;
        if shared.is_measured.load(Ordering::Acquire) {
            latencies.record(begun.elapsed());
        }
        shared.acked.fetch_add(1, Ordering::AcqRel);
    }
    Ok(latencies)
}

/// Lets the senders go on for a while. One that ends has failed.
async fn wait(
    time: Duration,
    shared: &Shared,
    progress: &mut Progress,
    senders: &mut JoinSet<anyhow::Result<Latencies>>,
) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let next = (Instant::now() + Duration::from_secs(1)).min(end);
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => progress.tick(shared.acked()),
            Some(ended) = senders.join_next() => drop(ended??),
        }
    }
    Ok(())
}
