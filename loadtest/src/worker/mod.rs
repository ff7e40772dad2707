//! A load worker: one process, one thread, many client connections. The coordinator sends
//! [`Order`]s to its stdin and reads [`Notice`]s from its stdout.

mod connection;
mod control;
mod orders;
mod pacer;
mod relay;

use std::io::stdin;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use futures_util::stream;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::connection::Connection;
use self::control::{Control, Run};
pub(crate) use self::orders::{Notice, Order, Plan, Slice, Window};
use self::relay::RelayTraffic;
use crate::schedule::Schedule;
use crate::tls;

/// Sockets of one worker: a process may open 20,000 files, and needs some for itself.
pub(crate) const SOCKETS_PER_WORKER_MAX: u32 = 15_000;
/// Connections that are being built at once: enough to keep a server busy, few enough to fit any
/// listen queue.
const CONNECTING_MAX: usize = 64;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);
/// How long answers may take after the end of a run; what is missing then is reported as unanswered.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// Works until stdin ends.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(work(read_orders()))
}

/// Reads stdin on a thread of its own, because a read of a pipe blocks. The channel ends with stdin.
fn read_orders() -> mpsc::Receiver<anyhow::Result<Order>> {
    let (orders, received) = mpsc::channel(1);
    thread::spawn(move || {
        for line in stdin().lines() {
            let order = line.context("read an order").and_then(|line| Ok(serde_json::from_str(&line)?));
            if orders.blocking_send(order).is_err() {
                break;
            }
        }
    });
    received
}

async fn work(mut orders: mpsc::Receiver<anyhow::Result<Order>>) -> anyhow::Result<()> {
    let Some(Order::Connect(plan)) = orders.recv().await.transpose()? else { bail!("the first order is to connect") };
    let control = Arc::new(Control::new(plan.connections));
    let mut connections = connect_all(&plan, &control).await?;
    Notice::Connected.print()?;
    while let Some(order) = orders.recv().await.transpose()? {
        let Order::Run(window) = order else { bail!("this worker is connected already") };
        let slice = tokio::select! {
            slice = run_slice(&plan, &window, &control) => slice?,
            Some(ended) = connections.join_next() => {
                ended?.context("a connection failed")?;
                bail!("a server closed a connection");
            }
        };
        Notice::Slice(slice).print()?;
    }
    Ok(())
}

async fn connect_all(plan: &Plan, control: &Arc<Control>) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let certificate = CertificateDer::from(BASE64_STANDARD.decode(&plan.certificate)?);
    let connector = TlsConnector::from(tls::client([certificate])?);
    let address = SocketAddrV4::new(plan.host, plan.port);
    let mut connected = stream::iter(0..plan.connections)
        .map(|index| {
            let connector = &connector;
            async move { anyhow::Ok((index, connect(connector, address).await?)) }
        })
        .buffer_unordered(CONNECTING_MAX);
    let mut connections = JoinSet::new();
    while let Some(connected) = connected.next().await {
        let (index, stream) = connected?;
        let connection = Connection::new(stream, RelayTraffic, index, plan.in_flight, Arc::clone(control));
        connections.spawn(connection.await_end());
    }
    Ok(connections)
}

async fn connect(connector: &TlsConnector, address: SocketAddrV4) -> anyhow::Result<TlsStream<TcpStream>> {
    let connected = async {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        connector.connect(tls::server_name(), socket).await
    };
    timeout(CONNECT_TIME_MAX, connected).await.context("too slow")?.with_context(|| format!("connect to {address}"))
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

/// The address that worker number `worker` uses: one of its own in 127.0.0.0/8, so that no pair of
/// addresses runs out of ports.
pub(crate) fn loopback_of(worker: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + worker)
}
