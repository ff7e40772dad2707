//! Wakes the connections of an open loop when their next message is due. A thread of its own,
//! because the runtime's timers have a grain of a millisecond. It decides nothing: a connection
//! asks the schedule itself what is due, and latency counts from that.

use std::thread;
use std::time::{Duration, Instant};

use super::control::Control;
use crate::schedule::Schedule;

/// The most by which a wake-up follows a due time, on a machine with time to spare.
const GRAIN: Duration = Duration::from_micros(200);

pub(super) fn pace(schedule: &Schedule, stop: Instant, control: &Control) {
    let mut woken = 0;
    loop {
        let now = Instant::now();
        if now >= stop {
            return control.wake_all();
        }
        let due = schedule.due_count(now);
        // One wake-up per connection is enough, however many of its messages are due.
        for n in woken.max(due.saturating_sub(control.connections()))..due {
            control.waker(schedule.connection_of(n)).wake();
        }
        woken = due;
        thread::sleep(GRAIN);
    }
}
