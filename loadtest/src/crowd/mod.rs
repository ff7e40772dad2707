//! A crowd worker: one process, one thread, many whole clients of the SDK, which find another gate,
//! sync and repeat sends by themselves. The coordinator sends [`CrowdOrder`]s to its stdin and reads
//! [`CrowdNotice`]s from its stdout.

mod dial;
mod member;
mod orders;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{StreamExt, stream};
use im_auth::{Signer, keys};
use im_client::{Client, ClientConfig, PositionStore, StaticToken};
use im_proto::{DeviceId, UserId};
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use rustls::pki_types::CertificateDer;
use tokio::time::{interval, sleep, timeout};

use self::dial::CrowdDial;
use self::member::Member;
pub(crate) use self::orders::{Crowd, CrowdNotice, CrowdOrder, CrowdPlan, Mix, Outcome};
use self::traffic::Traffic;
use crate::histogram::Latencies;
use crate::hold::source_address_of;
use crate::pipe::{self, Orders};
use crate::reasons::Reasons;
use crate::worker::Verdict;

/// Longer than any run.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Clients that log in at once at the start.
const JOIN_CONCURRENCY: usize = 64;
/// How long one of them may take.
const JOIN_TIME_MAX: Duration = Duration::from_secs(60);
/// Between two words about how the crowd stands.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Between two looks at whether everything has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Works until stdin ends.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(work(pipe::read_orders()))
}

async fn work(mut orders: Orders<CrowdOrder>) -> anyhow::Result<()> {
    let Some(CrowdOrder::Join(plan)) = orders.recv().await.transpose()? else { bail!("the first order is to join") };
    let shared = Arc::new(Shared::new(plan)?);
    shared.join_all().await?;
    pipe::print(&CrowdNotice::Joined)?;
    let mut traffic: Option<Traffic> = None;
    let mut moments = interval(TELL_EVERY);
    loop {
        tokio::select! {
            _ = moments.tick() => pipe::print(&CrowdNotice::Standing(shared.crowd()))?,
            order = orders.recv() => match order.transpose()? {
                Some(CrowdOrder::Traffic { per_second, mix }) => {
                    traffic = (per_second > 0.0).then(|| Traffic::start(Arc::clone(&shared), per_second, mix));
                }
                Some(CrowdOrder::Watch) => {
                    let now = Instant::now();
                    shared.members.iter().for_each(|member| member.notes.lock().watch(now));
                    pipe::print(&CrowdNotice::Watching)?;
                }
                Some(CrowdOrder::Audit { patience_ms }) => {
                    drop(traffic.take());
                    let outcome = shared.audit(Duration::from_millis(patience_ms)).await;
                    pipe::print(&CrowdNotice::Audited(Box::new(outcome)))?;
                }
                Some(CrowdOrder::Join(_)) => bail!("this worker has its clients already"),
                None => return Ok(()),
            },
        }
    }
}

/// What the clients of a worker have in common.
struct Shared {
    plan: CrowdPlan,
    tls: Arc<rustls::ClientConfig>,
    signer: Signer,
    members: Vec<Member>,
    dropped: Mutex<Reasons>,
    failed: Mutex<Reasons>,
    acts_failed: Mutex<Reasons>,
    ack: Mutex<Latencies>,
    sent: AtomicU64,
    acked: AtomicU64,
    repeated: AtomicU64,
    acts: AtomicU64,
    skipped: AtomicU64,
    under_way: AtomicU64,
}

impl Shared {
    fn new(plan: CrowdPlan) -> anyhow::Result<Self> {
        ensure!(!plan.gates.is_empty(), "a plan without a gate");
        let certificate = CertificateDer::from(BASE64_STANDARD.decode(&plan.certificate)?);
        let member = |index| anyhow::Ok(Member::new(UserId::new(format!("{}{}", plan.prefix, plan.first + index))?));
        let members = (0..plan.connections).map(member).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            tls: crate::tls::client([certificate])?,
            signer: keys::load(&plan.token_key).context("load the key that signs tokens")?,
            members,
            dropped: Mutex::default(),
            failed: Mutex::default(),
            acts_failed: Mutex::default(),
            ack: Mutex::default(),
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            acts: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            plan,
        })
    }

    /// Starts everybody, and waits until all have logged in and caught up.
    async fn join_all(self: &Arc<Self>) -> anyhow::Result<()> {
        let joins = stream::iter(0..self.members.len()).map(|index| self.join(index));
        let mut joins = joins.buffer_unordered(JOIN_CONCURRENCY);
        while let Some(joined) = joins.next().await {
            joined?;
        }
        Ok(())
    }

    /// Starts one client, at the place where its predecessor ended.
    async fn join(self: &Arc<Self>, index: usize) -> anyhow::Result<()> {
        let member = &self.members[index];
        let number = self.plan.first + index as u32;
        let mut gates: Vec<_> = self.plan.gates.iter().map(ToString::to_string).collect();
        if self.plan.all_at_first {
            // Whoever loses the first must not meet all the others at the second.
            gates[1..].shuffle(&mut rand::rng());
        }
        let source = source_address_of(number, self.plan.source_addresses);
        let dial = CrowdDial::new(Arc::clone(&self.tls), source, self.plan.all_at_first);
        let token = self.signer.issue(member.user.clone(), "", 0, SystemTime::now(), TOKEN_LIFETIME).token;
        let config =
            ClientConfig { app_id: "sim-loadtest".into(), ..ClientConfig::new(gates, DeviceId::new("crowd")?) };
        let positions = Arc::clone(&member.position.lock()) as Arc<dyn PositionStore>;
        let started = Client::start(config, Arc::new(dial), Arc::new(StaticToken::new(token)), positions).await;
        let (client, events) = started.context("start a client")?;
        *member.client.lock() = Some(client.clone());
        let shared = Arc::clone(self);
        let listener = tokio::spawn(async move { shared.members[index].listen(events, &shared).await });
        *member.listener.lock() = Some(listener);
        timeout(JOIN_TIME_MAX, client.online()).await.with_context(|| format!("log in {}", member.user))??;
        Ok(())
    }

    fn crowd(&self) -> Crowd {
        let mut crowd =
            Crowd { acked: self.acked.load(Relaxed), failed: self.failed.lock().count(), ..Crowd::default() };
        for member in &self.members {
            let notes = member.notes.lock();
            crowd.online += u64::from(notes.is_online);
            crowd.caught_up += u64::from(notes.is_caught_up);
            crowd.left += u64::from(notes.absence.left_at.is_some());
            crowd.returned += u64::from(notes.absence.synced_at.is_some());
        }
        crowd
    }

    /// Waits until everything that is acked has arrived, and compares.
    async fn audit(&self, patience: Duration) -> Outcome {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && (self.under_way.load(Relaxed) > 0 || !self.has_all_arrived()) {
            sleep(LOOK_EVERY).await;
        }
        let mut outcome = Outcome {
            crowd: self.crowd(),
            dropped: self.dropped.lock().to_map(),
            sent: self.sent.load(Relaxed),
            repeated: self.repeated.load(Relaxed),
            failed: self.failed.lock().to_map(),
            acts: self.acts.load(Relaxed),
            acts_failed: self.acts_failed.lock().to_map(),
            skipped: self.skipped.load(Relaxed),
            ack: self.ack.lock().buckets(),
            verdict: self.verdict(),
            ..Outcome::default()
        };
        let (mut back, mut synced, mut away) = (Latencies::default(), Latencies::default(), Latencies::default());
        for member in &self.members {
            let absence = member.notes.lock().absence;
            absence.back().into_iter().for_each(|time| back.record(time));
            absence.synced().into_iter().for_each(|time| synced.record(time));
            absence.away().into_iter().for_each(|time| away.record(time));
            outcome.redirected += u64::from(absence.was_redirected);
        }
        (outcome.back, outcome.synced, outcome.away) = (back.buckets(), synced.buckets(), away.buckets());
        outcome
    }

    /// Whether both applications of every pair have seen as many messages as were acked to the two.
    fn has_all_arrived(&self) -> bool {
        self.members.chunks(2).all(|pair| {
            let acked: usize = pair.iter().map(|member| member.notes.lock().acks.len()).sum();
            pair.iter().all(|member| member.notes.lock().rows.len() >= acked)
        })
    }

    fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for pair in self.members.chunks(2) {
            let [first, second] = pair else { continue };
            let (first, second) = (first.notes.lock(), second.notes.lock());
            for (own, peer) in [(&first, &second), (&second, &first)] {
                verdict.add_timeline(&own.rows);
                verdict.add_acks(&own.acks, &own.rows, &peer.rows);
                verdict.out_of_order += own.strange_rows;
            }
        }
        verdict
    }
}
