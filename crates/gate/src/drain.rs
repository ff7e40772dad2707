//! How a gate lets go of its clients before it ends: each is asked to connect elsewhere, so many a
//! second, and gets the answers that are due before its connection goes.
//!
//! ```text
//!  nothing is accepted    everybody is asked           who stays and waits      deadline: who
//!  ▼                      ▼                            ▼ for nothing is let go  ▼ is left is let go
//!  ├─ Redirect × rate ────┼─ clients go by themselves ─┼────────────────────────┤
//! ```
//!
//! Called once, by [`Gate::drain`](crate::Gate::drain), when nothing more is accepted. Nothing here
//! touches a socket: a client is asked through its outbound buffer, and dismissed through its session.

use std::time::Duration;

use im_proto::SessionId;
use im_proto::client::{Address, Redirect};
use im_session::Dismissal;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::sessions::{Client, Sessions};

/// How a gate lets go of its clients.
#[derive(Clone, Debug)]
pub struct DrainConfig {
    /// Clients that are asked to leave per second, so that the gates beside this one are not stormed.
    /// More, where the time would not suffice otherwise.
    pub rate: u32,
    /// Where they are sent, `host:port`, at most [`GATES_MAX`](im_proto::limits::GATES_MAX); empty: to
    /// the gates that they know.
    pub gates: Vec<String>,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { rate: 1000, gates: Vec::new() }
    }
}

/// Between two batches; the delays within one batch fill it.
const BATCH_EVERY: Duration = Duration::from_secs(1);

/// Time for a client to go once the delay of its redirect has passed: it waits for its answers and
/// dials. Who knows no redirect is let go then.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// Time for a client that was let go to take its last word; a little over the flush timeout of a
/// connection.
const FLUSH_PATIENCE: Duration = Duration::from_millis(2500);

/// Kept back from the whole: the last words of those who are let go at the deadline, and the end of the
/// links behind them.
const LAST_STEPS: Duration = Duration::from_millis(3500);

/// Between two looks at who is still there.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Lets go of everybody within `time_left`. `connections` are the tasks of all connections.
pub(crate) async fn run(sessions: &Sessions, connections: &TaskTracker, config: &DrainConfig, time_left: Duration) {
    let begun = Instant::now();
    info!(clients = sessions.len(), connections = connections.len(), ?time_left, "letting go of the clients");
    metrics::gauge!("sim_gate_draining").set(1.0);
    let patience = time_left.saturating_sub(LAST_STEPS);
    connections.close();
    let letting_go = async {
        if ask(sessions, config, patience / 2).await > 0 {
            sleep(LEAVE_PATIENCE).await;
        }
        if let_go_of_idle(sessions).await > 0 {
            sleep(FLUSH_PATIENCE).await;
        }
        // Whoever is left has not logged in, or does not take its last word.
    };
    tokio::select! {
        biased;
        () = connections.wait() => {}
        () = letting_go => {}
        () = sleep(patience) => {
            let clients = dismiss(sessions, |_| true);
            warn!(clients, "the drain deadline came before all clients had their answers");
            let _ = timeout(FLUSH_PATIENCE, connections.wait()).await;
        }
    }
    info!(took = ?begun.elapsed(), left = connections.len(), "the clients are gone");
}

/// Asks everybody to leave, batch by batch, also those who log in meanwhile. Says how many were asked.
async fn ask(sessions: &Sessions, config: &DrainConfig, patience: Duration) -> usize {
    let gates: Vec<_> = config.gates.iter().map(|gate| Address { text: gate.clone() }).collect();
    let needed = sessions.len().div_ceil(patience.as_secs().max(1) as usize);
    let batch_len = needed.max(config.rate.max(1) as usize);
    if batch_len > config.rate as usize {
        info!(drain_rate = config.rate, rate = batch_len, "clients leave faster, to be gone in time");
    }
    let (mut asked, mut last, mut batches) = (0, SessionId(0), interval(BATCH_EVERY));
    for number in 0.. {
        batches.tick().await;
        let batch = sessions.page(last, batch_len);
        // Who was accepted just before has one batch's time to log in.
        if batch.is_empty() && number > 0 {
            break;
        }
        for (index, client) in batch.iter().enumerate() {
            let after_ms = index as u64 * BATCH_EVERY.as_millis() as u64 / batch_len as u64;
            // A client that takes nothing is not told, and let go with those who do not listen.
            let _ = client.redirect(&Redirect { gates: gates.clone(), after_ms: after_ms as u32 });
            last = client.login().map_or(last, |login| login.key.session);
        }
        metrics::counter!("sim_gate_redirects_total").increment(batch.len() as u64);
        asked += batch.len();
    }
    asked
}

/// Lets go of everybody as soon as it waits for no answer. Says how many there were to be let go.
async fn let_go_of_idle(sessions: &Sessions) -> usize {
    let there = sessions.len();
    while !sessions.is_empty() {
        dismiss(sessions, Client::is_idle);
        sleep(LOOK_EVERY).await;
    }
    there
}

/// Ends the connections of those; says how many they were.
fn dismiss(sessions: &Sessions, chosen: impl Fn(&Client) -> bool) -> usize {
    let mut count = 0;
    sessions.for_each(|client| {
        if chosen(client) {
            client.dismiss(Dismissal::Drain);
            count += 1;
        }
    });
    count
}
