//! Frees memtables where nobody waits for it.
//!
//! A memtable of 64 MiB has close to a million nodes, freed one by one: 70 to 110 ms were seen for 16 MiB on
//! a busy machine. The tree drops a memtable some time after it was flushed, and does so under the lock
//! that every read and every insert needs. So we hold on to each memtable as well, and when nobody else
//! does any more, a thread of its own frees it.
//!
//! What must not happen: that this keeps more than a few of them. The tree bounds those that wait to be
//! flushed; those that wait to be freed are bounded here.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Memtables that wait to be freed; one more is freed at once by whoever brings it.
const WAITING_MAX: usize = 4;

/// A memtable; nobody here needs to know more of it.
pub(crate) type Memtable = Arc<dyn Any + Send + Sync>;

pub(crate) struct Memtables {
    /// From the oldest to the one that is written now.
    held: VecDeque<Memtable>,
    free: SyncSender<Memtable>,
}

impl Memtables {
    /// Starts the thread, which ends when this is dropped.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (free, waiting) = sync_channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("store-memtables".to_owned())
            .spawn(move || waiting.into_iter().for_each(drop))?;
        Ok(Self { held: VecDeque::new(), free })
    }

    /// Holds on to the one that is written now, and lets those be freed that only we hold.
    pub(crate) fn hold(&mut self, active: Memtable) {
        if !self.held.back().is_some_and(|newest| std::ptr::addr_eq(Arc::as_ptr(newest), Arc::as_ptr(&active))) {
            self.held.push_back(active);
        }
        // With a count of one nobody is left who could make it two.
        while self.held.len() > 1 && self.held.front().is_some_and(|oldest| Arc::strong_count(oldest) == 1) {
            // A refused one comes back with the error, and goes with it.
            drop(self.held.pop_front().map(|oldest| self.free.try_send(oldest)));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::time::Duration;

    /// Tells where it was freed.
    struct Told(u32, SyncSender<(u32, Option<String>)>);

    impl Drop for Told {
        fn drop(&mut self) {
            let thread = std::thread::current().name().map(str::to_owned);
            // At its end the test has stopped listening.
            drop(self.1.send((self.0, thread)));
        }
    }

    #[test]
    fn what_nobody_else_holds_is_freed_elsewhere() {
        let mut memtables = Memtables::start().unwrap();
        let (tell, told) = sync_channel(3);
        let [first, second, third] = [1, 2, 3].map(|number| Arc::new(Told(number, tell.clone())));
        memtables.hold(Arc::<Told>::clone(&first));
        memtables.hold(Arc::<Told>::clone(&second));
        memtables.hold(Arc::<Told>::clone(&second));
        drop(first);
        // Only now does it see that the first one is left to us.
        memtables.hold(Arc::<Told>::clone(&third));
        let freed = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(freed, (1, Some("store-memtables".to_owned())));
        // The second one is held elsewhere, the third is written now.
        drop(third);
        memtables.hold(Arc::clone(memtables.held.back().unwrap()));
        assert_eq!(memtables.held.len(), 2);
        assert!(told.try_recv().is_err());
        drop(second);
    }
}
