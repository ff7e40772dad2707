//! A holding worker: one process, one thread, as many idle clients as its files allow. The
//! coordinator sends [`HoldOrder`]s to its stdin and reads [`HoldNotice`]s from its stdout.

mod addresses;
mod board;
mod client;
mod handshake;
mod orders;
mod records;
mod tls;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use futures_util::stream;
use im_auth::{Signer, keys};
use im_proto::{DeviceId, UserId};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::time::{Interval, interval, sleep, sleep_until};

pub(crate) use self::addresses::{
    CLIENTS_PER_ADDRESS, count_for as source_addresses_for, of_client as source_address_of,
};
use self::board::Board;
use self::client::{Client, Common};
pub(crate) use self::orders::{AskedAll, HoldNotice, HoldOrder, HoldPlan, Standing};
use crate::histogram::Latencies;
use crate::pipe::{self, Orders};
use crate::reasons::Reasons;

/// Longer than any run.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// A worker that fails so often does not begin further logins: something has come to its end, and
/// the report says what.
const FAILURES_MAX: u64 = 100;
/// Between two looks at whether all have answered.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Works until stdin ends.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(work(pipe::read_orders()))
}

async fn work(mut orders: Orders<HoldOrder>) -> anyhow::Result<()> {
    let Some(HoldOrder::Ramp(plan)) = orders.recv().await.transpose()? else { bail!("the first order is to ramp") };
    let holder = Arc::new(Holder::new(plan)?);
    let mut seconds = interval(Duration::from_secs(1));
    let mut stopped = false;
    {
        let mut ramp = pin!(holder.ramp());
        loop {
            tokio::select! {
                () = &mut ramp => break,
                _ = seconds.tick() => pipe::print(&HoldNotice::Standing(holder.standing()))?,
                order = orders.recv(), if !stopped => match order.transpose()? {
                    Some(HoldOrder::Stop) => {
                        stopped = true;
                        holder.is_full.store(true, Relaxed);
                    }
                    Some(other) => bail!("{other:?} came in the middle of a ramp"),
                    None => return Ok(()),
                },
            }
        }
    }
    let login = holder.logins.lock().buckets();
    pipe::print(&HoldNotice::Ramped(Standing { login, ..holder.standing() }))?;
    loop {
        tokio::select! {
            _ = seconds.tick() => pipe::print(&HoldNotice::Standing(holder.standing()))?,
            order = orders.recv() => match order.transpose()? {
                Some(HoldOrder::Ask { spread_ms, patience_ms }) => {
                    let asking = holder.ask(Duration::from_millis(spread_ms), Duration::from_millis(patience_ms));
                    pipe::print(&HoldNotice::Asked(telling(&holder, &mut seconds, asking).await?))?;
                }
                // It came when the ramp was over by itself.
                Some(HoldOrder::Stop) => {}
                Some(HoldOrder::Ramp(_)) => bail!("this worker has its clients already"),
                None => return Ok(()),
            },
        }
    }
}

/// Tells every second how the connections stand while a question is open: at a million of them that takes
/// minutes, and a silent worker is taken for a dead one.
async fn telling(
    holder: &Holder,
    seconds: &mut Interval,
    asking: impl Future<Output = AskedAll>,
) -> anyhow::Result<AskedAll> {
    let mut asking = pin!(asking);
    loop {
        tokio::select! {
            asked = &mut asking => return Ok(asked),
            _ = seconds.tick() => pipe::print(&HoldNotice::Standing(holder.standing()))?,
        }
    }
}

struct Holder {
    plan: HoldPlan,
    common: Common,
    signer: Signer,
    board: Board,
    held: AtomicU64,
    /// No further login begins.
    is_full: AtomicBool,
    failed: Mutex<Reasons>,
    lost: Mutex<Reasons>,
    logins: Mutex<Latencies>,
}

impl Holder {
    fn new(plan: HoldPlan) -> anyhow::Result<Self> {
        ensure!(!plan.gates.is_empty(), "a plan without a gate");
        let certificate = CertificateDer::from(BASE64_STANDARD.decode(&plan.certificate)?);
        let mut tls = (*crate::tls::client([certificate])?).clone();
        // Records are sealed and opened here once the handshake is over.
        tls.enable_secret_extraction = true;
        Ok(Self {
            common: Common { tls: Arc::new(tls), device: DeviceId::new("loadtest")? },
            signer: keys::load(&plan.token_key).context("load the key that signs tokens")?,
            board: Board::new(plan.connections),
            held: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            failed: Mutex::default(),
            lost: Mutex::default(),
            logins: Mutex::default(),
            plan,
        })
    }

    /// Logs everybody in, at most so many at once and so many per second.
    async fn ramp(self: &Arc<Self>) {
        let start = Instant::now();
        let logins = stream::iter(0..self.plan.connections).map(|index| async move {
            sleep_until((start + Duration::from_secs_f64(f64::from(index) / self.plan.per_second)).into()).await;
            if self.is_full.load(Relaxed) {
                return;
            }
            let began = Instant::now();
            match self.login(index).await {
                Ok(client) => {
                    self.logins.lock().record(began.elapsed());
                    self.held.fetch_add(1, Relaxed);
                    tokio::spawn(Arc::clone(self).hold(client));
                }
                Err(error) => self.on_failure(&error),
            }
        });
        logins.buffer_unordered(self.plan.concurrency.max(1)).for_each(|()| async {}).await;
    }

    async fn login(&self, index: u32) -> anyhow::Result<Box<Client>> {
        let number = self.plan.first + index;
        let gate = self.plan.gates[number as usize % self.plan.gates.len()];
        let source = addresses::of_client(number, self.plan.source_addresses).filter(|_| gate.ip().is_loopback());
        let user = UserId::new(format!("{}{number}", self.plan.prefix))?;
        let token = self.signer.issue(user, "", 0, SystemTime::now(), TOKEN_LIFETIME).token;
        // A login's future is large and lives for milliseconds.
        Ok(Box::new(Box::pin(Client::login(&self.common, gate, source, token, index)).await?))
    }

    async fn hold(self: Arc<Self>, client: Box<Client>) {
        let why = client.hold(&self.board).await;
        self.held.fetch_sub(1, Relaxed);
        self.lost.lock().add(why);
    }

    fn on_failure(&self, error: &anyhow::Error) {
        let mut failed = self.failed.lock();
        failed.add(format!("{error:#}"));
        if failed.count() >= FAILURES_MAX {
            self.is_full.store(true, Relaxed);
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            held: self.held.load(Relaxed),
            answered: self.board.answer_count(),
            failed: self.failed.lock().to_map(),
            lost: self.lost.lock().to_map(),
            login: Default::default(),
        }
    }

    /// Wakes the clients one after another, so that the question itself is no burst.
    async fn ask(&self, spread: Duration, patience: Duration) -> AskedAll {
        self.board.ask();
        let start = Instant::now();
        let wakers = self.board.wakers();
        let mut woken = 0;
        while woken < wakers.len() {
            let share = start.elapsed().as_secs_f64() / spread.as_secs_f64().max(1e-3);
            let due = ((wakers.len() as f64 * share) as usize + 1).min(wakers.len());
            wakers[woken..due].iter().for_each(|waker| waker.wake());
            woken = due;
            sleep(LOOK_EVERY).await;
        }
        let deadline = Instant::now() + patience;
        while self.board.answer_count() < self.held.load(Relaxed) && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        let answers = self.board.take_answers();
        AskedAll { answered: answers.answered, refused: answers.refused, latency: answers.latencies.buckets() }
    }
}
