//! A load worker: one process, one thread, many client connections. The coordinator sends
//! [`Order`]s to its stdin and reads [`Notice`]s from its stdout.

mod audit;
mod connection;
mod control;
mod dial;
mod orders;
mod pacer;
mod relay;
mod send;
mod session;

use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, sleep_until, timeout};

pub(crate) use self::audit::{Ack, Author, Row, Verdict};
use self::connection::{Connection, Ended, Traffic};
use self::control::{Control, Run};
use self::dial::Dialler;
pub(crate) use self::orders::{Account, Notice, Order, Plan, Receivers, SendPlan, Slice, TrafficPlan, Window};
use self::relay::RelayTraffic;
pub(crate) use self::send::PAYLOAD_LEN_MIN;
use self::send::SendTraffic;
use crate::pipe::{self, Orders};
use crate::schedule::Schedule;

/// Sockets of one worker: a process may open 20,000 files, and needs some for itself.
pub(crate) const SOCKETS_PER_WORKER_MAX: u32 = 15_000;
/// Connections that are being built, or whose timelines are being pulled, at once: enough to keep a
/// server busy, few enough to fit any listen queue.
const CONCURRENCY_MAX: usize = 64;
/// How long answers may take after the end of a run; what is missing then is reported as unanswered.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// Works until stdin ends.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(work(pipe::read_orders()))
}

async fn work(mut orders: Orders<Order>) -> anyhow::Result<()> {
    let Some(Order::Connect(plan)) = orders.recv().await.transpose()? else { bail!("the first order is to connect") };
    match &plan.traffic {
        TrafficPlan::Relay => drive::<RelayTraffic>(&plan, &(), orders).await,
        TrafficPlan::Send(send) => drive::<SendTraffic>(&plan, send, orders).await,
    }
}

async fn drive<T: Traffic>(plan: &Plan, traffic: &T::Plan, mut orders: Orders<Order>) -> anyhow::Result<()> {
    let dialler = Dialler::new(plan)?;
    let control = Arc::new(Control::new(plan.connections));
    let mut connections = connect_all::<T>(plan, traffic, &dialler, &control).await?;
    Notice::Connected.print()?;
    while let Some(order) = orders.recv().await.transpose()? {
        match order {
            Order::Run(window) => {
                let slice = tokio::select! {
                    slice = run_slice(plan, &window, &control) => slice?,
                    Some(ended) = connections.join_next() => {
                        ended?.context("a connection failed")?;
                        bail!("a server closed a connection");
                    }
                };
                Notice::Slice(slice).print()?;
            }
            Order::Verify => {
                control.finish();
                let mut ended: Vec<_> = connections.join_all().await.into_iter().collect::<anyhow::Result<_>>()?;
                ended.sort_by_key(|ended| ended.index);
                let verdict = with_signs_of_life(&control, T::verify(traffic, &dialler, ended)).await;
                return Notice::Verified(verdict.context("verify")?).print();
            }
            Order::Connect(_) => bail!("this worker is connected already"),
        }
    }
    Ok(())
}

async fn connect_all<T: Traffic>(
    plan: &Plan,
    traffic: &T::Plan,
    dialler: &Dialler,
    control: &Arc<Control>,
) -> anyhow::Result<JoinSet<anyhow::Result<Ended<T>>>> {
    let mut opened = stream::iter(0..plan.connections)
        .map(|index| async move { anyhow::Ok((index, T::open(traffic, dialler, index).await?)) })
        .buffer_unordered(CONCURRENCY_MAX);
    let mut connections = JoinSet::new();
    while let Some(opened) = opened.next().await {
        let (index, (stream, traffic)) = opened.context("connect")?;
        let connection = Connection::new(stream, traffic, index, plan.in_flight, Arc::clone(control));
        connections.spawn(connection.run());
    }
    Ok(connections)
}

async fn run_slice(plan: &Plan, window: &Window, control: &Arc<Control>) -> anyhow::Result<Slice> {
    let start = window.start();
    let measured_from = start + window.warmup();
    let stop = measured_from + window.measured();
    let schedule = plan.rate.map(|rate| Schedule::new(start, rate, plan.connections));

    sleep_until(start.into()).await;
    control.begin(Run { number: window.number, measured_from, stop, schedule });
    if let Some(schedule) = schedule {
        let control = Arc::clone(control);
        thread::Builder::new().name("pacer".to_owned()).spawn(move || pacer::pace(&schedule, stop, &control))?;
    }
    let mut seconds = interval(Duration::from_secs(1));
    while Instant::now() < stop {
        Notice::Progress { answered: control.answered() }.print()?;
        tokio::select! {
            _ = seconds.tick() => {}
            () = sleep_until(stop.into()) => {}
        }
    }
    let expected = schedule.map(|schedule| schedule.due_count(stop - Duration::from_nanos(1)));
    // The wait only decides how long the run lasts, nothing that is measured.
    let _ = timeout(DRAIN_TIME_MAX, async {
        while !control.is_drained(expected) {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    Ok(control.end(expected))
}

/// Tells the coordinator every second that `work` goes on.
async fn with_signs_of_life<T>(control: &Control, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut work = pin!(work);
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = seconds.tick() => Notice::Progress { answered: control.answered() }.print()?,
        }
    }
}
