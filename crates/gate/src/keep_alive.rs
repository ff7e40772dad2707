//! When logged-in connections have been silent for too long: a wheel of lists in place of a timer per
//! connection, which would be the largest part of an idle one after its socket and its keys.
//!
//! A connection is in it once, in the list of the time at which it would have been silent for long
//! enough. When that comes its task is woken to look; mostly something has been heard meanwhile, and it
//! enters itself again, for the time that then counts. Who leaves stays in its list until then, as a
//! number that finds nobody: beside those who are there, the wheel holds the logins of one keep-alive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_link::link;
use im_proto::SessionId;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::sessions::{Client, Sessions};

/// Lists, so that nobody is let go later than by one part in so many of the keep-alive: 0.7 s of 180 s.
const SLOTS: u64 = 256;

#[derive(Debug)]
pub(crate) struct KeepAlive {
    started: Instant,
    tick: Duration,
    slots: Vec<Mutex<Vec<SessionId>>>,
}

impl KeepAlive {
    /// For deadlines that are at most `keep_alive` away.
    pub(crate) fn new(keep_alive: Duration) -> Self {
        // Two lists more than ticks in a keep-alive: for the one that is being worked off, and the part
        // of a tick that a deadline is rounded up by.
        let tick = keep_alive.div_f64((SLOTS - 2) as f64).max(Duration::from_nanos(1));
        Self { started: link::now(), tick, slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }

    /// Has the connection of that login look at its deadline when it has passed.
    pub(crate) fn enter(&self, session: SessionId, deadline: Instant) {
        let since = deadline.saturating_duration_since(self.started);
        let tick = since.as_nanos().div_ceil(self.tick.as_nanos()) as u64;
        self.slot(tick).lock().push(session);
    }

    fn slot(&self, tick: u64) -> &Mutex<Vec<SessionId>> {
        &self.slots[(tick % SLOTS) as usize]
    }

    /// Turns the wheel, for as long as it is polled.
    pub(crate) async fn turn(self: Arc<Self>, sessions: Arc<Sessions>) {
        let mut ticks = interval_at((self.started + self.tick).into(), self.tick);
        // After a pause of the machine every list that was missed is worked off.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for tick in 1.. {
            ticks.tick().await;
            let due = std::mem::take(&mut *self.slot(tick).lock());
            for session in due {
                sessions.with(session, Client::look_at_the_time);
            }
        }
    }
}
