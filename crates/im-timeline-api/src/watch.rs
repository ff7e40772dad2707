//! Wakes those who wait for new rows of a timeline.
//!
//! Waking is a hint, like every notify: an append that another im-service made wakes nobody here, so
//! who waits also looks now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use im_proto::UserId;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Streams at once. Each costs a task, and a look at its timeline every few seconds.
const WATCHERS_MAX: usize = 10_000;

/// Everybody who waits.
#[derive(Debug, Default)]
pub struct Watchers {
    /// How many there are, so that a send looks at the table only where somebody waits.
    count: AtomicUsize,
    users: Mutex<HashMap<UserId, Watched>>,
}

#[derive(Debug, Default)]
struct Watched {
    notify: Arc<Notify>,
    watchers: usize,
}

impl Watchers {
    /// Wakes whoever waits for a user's rows.
    pub fn wake<'a>(&self, users: impl IntoIterator<Item = &'a UserId>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let watched = self.users.lock();
        for user in users {
            if let Some(watched) = watched.get(user) {
                watched.notify.notify_waiters();
            }
        }
    }

    /// Begins to wait for a user's rows; `None` when too many wait already.
    pub(crate) fn watch(self: &Arc<Self>, user: &UserId) -> Option<Watch> {
        let mut users = self.users.lock();
        if self.count.load(Ordering::Acquire) >= WATCHERS_MAX {
            return None;
        }
        self.count.fetch_add(1, Ordering::AcqRel);
        let watched = users.entry(user.clone()).or_default();
        watched.watchers += 1;
        Some(Watch { watchers: Arc::clone(self), user: user.clone(), notify: Arc::clone(&watched.notify) })
    }
}

/// One who waits. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Watch {
    watchers: Arc<Watchers>,
    user: UserId,
    notify: Arc<Notify>,
}

impl Watch {
    /// What is woken. Make the future before looking at the timeline, so that a row which comes
    /// between the look and the wait is not missed.
    pub(crate) fn notify(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut users = self.watchers.users.lock();
        self.watchers.count.fetch_sub(1, Ordering::AcqRel);
        if let Some(watched) = users.get_mut(&self.user) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn who_waits_is_woken_and_who_has_gone_leaves_nothing() {
        let watchers = Arc::new(Watchers::default());
        let [a, b] = ["a", "b"].map(|name| UserId::new(name).unwrap());
        let (first, second) = (watchers.watch(&a).unwrap(), watchers.watch(&a).unwrap());
        let (notify, other) = (first.notify(), second.notify());
        let mut waits = [Box::pin(notify.notified()), Box::pin(other.notified())];
        for wait in &mut waits {
            assert!(!wait.as_mut().enable());
        }
        watchers.wake([&b]);
        assert!(waits.iter_mut().all(|wait| wait.as_mut().now_or_never().is_none()));
        watchers.wake([&b, &a]);
        assert!(waits.iter_mut().all(|wait| wait.as_mut().now_or_never().is_some()));
        drop((first, second));
        assert!(watchers.users.lock().is_empty());
        assert_eq!(watchers.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn their_number_is_bounded() {
        let watchers = Arc::new(Watchers::default());
        let user = UserId::new("a").unwrap();
        let held: Vec<_> = (0..WATCHERS_MAX).map(|_| watchers.watch(&user).unwrap()).collect();
        assert!(watchers.watch(&user).is_none());
        drop(held);
        assert!(watchers.watch(&user).is_some());
    }
}
