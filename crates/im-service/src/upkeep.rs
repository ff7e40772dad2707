//! What goes on beside the requests: fetched positions are written, what is old is swept.

use std::sync::Arc;
use std::time::Duration;

use im_proto::{Seq, UserId};
use im_timeline::{Store, StoreError, SweepPolicy, Table};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::service::{Service, unix_ms};

/// Between two writes of fetched positions.
const FETCHED_EVERY: Duration = Duration::from_secs(1);

/// Rows looked at in one step of a sweep.
const SWEEP_ROWS: usize = 1000;

/// Pause between two steps, so that appends go before.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);

/// Devices of one user whose positions are looked at; a user with more keeps rows until they are old.
const DEVICES_MAX: usize = 100;

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Rows of users' timelines. Default 7 days. Histories keep the messages.
    pub entries: Duration,
    /// How far back a repeated send is recognised. Default 7 days.
    pub sent: Duration,
    /// Whether rows go as soon as every device of the user has fetched them.
    pub trim_when_fetched: bool,
    /// Between two sweeps.
    pub sweep_every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        Self { entries: week, sent: week, trim_when_fetched: false, sweep_every: Duration::from_secs(60) }
    }
}

/// Writes fetched positions until `stop`.
pub(crate) async fn write_fetched(
    service: Arc<Service>,
    store: Arc<dyn Store>,
    retention: Retention,
    stop: CancellationToken,
) {
    let mut ticks = interval(FETCHED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (changes, users) = service.fetched.take();
        if changes.is_empty() {
            continue;
        }
        if let Err(error) = store.commit(changes).await {
            warn!(%error, "fetched positions were not written; devices will say them again");
            continue;
        }
        if retention.trim_when_fetched {
            for user in users {
                if let Err(error) = trim_fetched(&*store, &user).await {
                    warn!(%user, %error, "a timeline was not trimmed");
                }
            }
        }
    }
}

/// Forgets what every known device of a user has.
async fn trim_fetched(store: &dyn Store, user: &UserId) -> Result<(), StoreError> {
    let page = store.records(Table::Fetched, &format!("{user}\0"), "", DEVICES_MAX).await?;
    if page.has_more {
        return Ok(());
    }
    let positions = page.records.iter().filter_map(|record| record.value.first_chunk().copied());
    if let Some(least) = positions.map(u64::from_be_bytes).min() {
        store.trim(user, Seq(least)).await?;
    }
    Ok(())
}

/// Sweeps what is old until `stop`.
pub(crate) async fn sweep(store: Arc<dyn Store>, retention: Retention, stop: CancellationToken) {
    let mut ticks = interval(retention.sweep_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            swept = sweep_once(&*store, retention) => if let Err(error) = swept {
                warn!(%error, "the sweep stopped; the next one goes on");
            }
        }
    }
}

async fn sweep_once(store: &dyn Store, retention: Retention) -> Result<(), StoreError> {
    let before = |age: Duration| unix_ms().saturating_sub(age.as_millis() as u64);
    let policy = SweepPolicy {
        entries_before_ms: before(retention.entries),
        sent_before_ms: before(retention.sent),
        rows_max: SWEEP_ROWS,
    };
    let (mut entries, mut sent) = (0, 0);
    loop {
        let swept = store.sweep(policy).await?;
        entries += swept.entries;
        sent += swept.sent;
        if swept.done {
            break;
        }
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
    if entries + sent > 0 {
        info!(entries, sent, "old rows were swept");
    }
    Ok(())
}
