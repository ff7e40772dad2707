//! Where this device stands in the user's timeline, and what it has to ask for.
//!
//! Everything that arrives here is a hint or a page. Hints (a heartbeat's head, a notify, the ack of
//! an own message) may be lost, doubled and reordered; they only say that a pull is worth while. One
//! hint is taken at its word: a notify, or an own message, that brings the very next entry.
//! Pages are the truth. There is never more than one pull under way.
//!
//! The application gets every entry of the timeline once and in order, its own messages included:
//! an own message shows up at its place like everybody else's, so that all devices of a user tell
//! the same story.
//!
//! Two places are kept apart. *Handed out* is what left this machine; *taken* is what the
//! application has finished with. A pull asks with the taken place, because everything up to that
//! counts as fetched by this device and may be trimmed by the server. A pull waits until all that
//! was handed out is taken, so a slow application is asked for nothing and holds at most one page.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use im_proto::client::{Entry, GetMsg, MsgPage, NewMsg};
use im_proto::limits::PAGE_ROWS_MAX;
use im_proto::{Epoch, Position, Refusal, RefusalCode, Seq};

use crate::Backoff;

/// Events that wait at most: one page, and as many live entries again. A live entry that finds no
/// room is pulled later.
const HAND_OUTS_MAX: usize = 2 * PAGE_ROWS_MAX as usize;

/// Which pull an answer belongs to. An answer to an abandoned pull says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullId(u64);

/// Something for the application. It is not done with before [`ClientSync::on_taken`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOut {
    /// Where the device stands once the application is done with it.
    pub position: Position,
    /// What there is to hand out.
    pub event: SyncEvent,
}

/// What the application is told, in the order of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncEvent {
    /// The next entry.
    Message(Entry),
    /// The server's store was restored from an older state: places begin again, and what follows is
    /// the new life's timeline from its beginning.
    Restored {
        /// The new life.
        epoch: Epoch,
    },
    /// These places were trimmed before this device fetched them. Their messages are only in the
    /// conversations' histories now.
    Trimmed {
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
}

/// The machine. It outlives connections: [`on_connected`](Self::on_connected) and
/// [`on_disconnected`](Self::on_disconnected) tell it of them.
#[derive(Debug)]
pub struct ClientSync {
    handed_out: Position,
    taken: Position,
    /// The greatest head that was heard of since the last pull went out.
    head: Seq,
    hand_outs: VecDeque<HandOut>,
    connected: bool,
    pull: Pull,
    next_pull: u64,
    backoff: Backoff,
    /// The place that the server knows this device has fetched.
    confirmed: Position,
    /// The server did not know our position, so the next epoch is news even if it has our number.
    lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pull {
    /// Nothing to ask for.
    Idle,
    /// Ask, not before this instant.
    Due(Instant),
    /// Asked.
    UnderWay {
        id: PullId,
        asked: GetMsg,
        /// When to ask again, if something was heard meanwhile that the answer does not know yet.
        again: Option<Instant>,
    },
}

impl ClientSync {
    /// A device that has taken everything up to `position`; the default when it starts from nothing.
    /// `backoff` spaces pulls that fail.
    pub fn new(position: Position, backoff: Backoff) -> Self {
        Self {
            handed_out: position,
            taken: position,
            head: position.seq,
            hand_outs: VecDeque::new(),
            connected: false,
            pull: Pull::Idle,
            next_pull: 0,
            backoff,
            confirmed: Position::default(),
            lost: false,
        }
    }

    /// Up to where the application is done.
    pub fn taken(&self) -> Position {
        self.taken
    }

    /// Whether everything that was heard of has been handed out and taken.
    pub fn is_caught_up(&self) -> bool {
        self.connected && self.pull == Pull::Idle && self.hand_outs.is_empty() && self.taken == self.handed_out
    }

    /// Logged in. Asks at once: notifies may have gone astray while nobody was there.
    pub fn on_connected(&mut self, now: Instant) {
        self.connected = true;
        self.backoff.reset();
        self.pull = Pull::Due(now);
    }

    /// The connection is gone, and the answer of a pull with it.
    pub fn on_disconnected(&mut self) {
        self.connected = false;
        self.pull = Pull::Idle;
    }

    /// A heartbeat brought the head of the timeline.
    pub fn on_head(&mut self, now: Instant, head: Position) {
        // What arrived live was never asked for, so the server does not know that it is fetched. The
        // heartbeat is the calm moment to say so.
        let unconfirmed = self.taken == self.handed_out && self.confirmed != self.taken;
        if self.is_news(head) || unconfirmed {
            self.want(now);
        }
    }

    /// The timeline has grown.
    pub fn on_notify(&mut self, now: Instant, notify: NewMsg) {
        let NewMsg { head, entry, query_after_ms } = notify;
        if let Some(message) = entry
            && self.take_live(head.epoch, Entry { seq: head.seq, message })
        {
            return;
        }
        if self.is_news(head) {
            self.want(now + Duration::from_millis(query_after_ms.into()));
        }
    }

    /// An own message was acked: this is its entry, rebuilt from what was sent and the ack.
    pub fn on_own(&mut self, now: Instant, epoch: Epoch, entry: Entry) {
        let head = Position { epoch, seq: entry.seq };
        if !self.take_live(epoch, entry) && self.is_news(head) {
            self.want(now);
        }
    }

    /// A pull was answered.
    pub fn on_page(&mut self, now: Instant, id: PullId, page: MsgPage, random: u64) {
        let Pull::UnderWay { id: current, asked, again } = self.pull else { return };
        if current != id {
            return;
        }
        self.pull = Pull::Idle;
        let new_epoch = page.head.epoch != asked.after.epoch;
        if new_epoch {
            self.begin_epoch(page.head.epoch);
        } else {
            self.confirmed = asked.after;
        }
        let before = self.handed_out;
        if page.floor > self.handed_out.seq {
            let from = self.handed_out.seq.next();
            self.hand_out(page.floor, SyncEvent::Trimmed { from, to: page.floor });
        }
        for entry in page.entries {
            // Rows that came live meanwhile are here a second time; a row behind a gap waits for the
            // next page.
            if entry.seq == self.handed_out.seq.next() {
                self.hand_out(entry.seq, SyncEvent::Message(entry));
            }
        }
        self.head = self.head.max(page.head.seq);
        let progress = new_epoch || self.handed_out != before;
        if progress {
            self.backoff.reset();
        }
        if page.has_more {
            self.want(now);
        } else if self.head > self.handed_out.seq {
            // A page that brings nothing although something is missing must not become a spin.
            let wait = if progress { Duration::ZERO } else { self.backoff.next(random) };
            self.want((now + wait).max(again.unwrap_or(now)));
        }
    }

    /// A pull was refused, or got no answer in time.
    pub fn on_pull_failed(&mut self, now: Instant, id: PullId, refusal: Option<&Refusal>, random: u64) {
        let Pull::UnderWay { id: current, .. } = self.pull else { return };
        if current != id {
            return;
        }
        self.pull = Pull::Idle;
        if refusal.is_some_and(|refusal| refusal.code == RefusalCode::BadPosition) {
            // The server's timeline ends before ours: its store lost its tail and did not say so.
            // Beginning again is the only way on that misses nothing.
            self.lost = true;
            self.handed_out = Position::default();
            self.taken = Position::default();
        }
        let asked_for = Duration::from_millis(refusal.map_or(0, |refusal| refusal.retry_after_ms).into());
        let wait = self.backoff.next(random).max(asked_for);
        self.want(now + wait);
    }

    /// The application is done with everything up to here.
    pub fn on_taken(&mut self, position: Position) {
        // A late word about the life before a restore is of no use.
        if position.epoch == self.handed_out.epoch {
            self.taken.seq = self.taken.seq.max(position.seq.min(self.handed_out.seq));
        }
    }

    /// The next thing for the application, connected or not.
    #[must_use]
    pub fn poll_hand_out(&mut self) -> Option<HandOut> {
        self.hand_outs.pop_front()
    }

    /// What to ask the server now; bring back the page or the failure under the same id. To be looked
    /// at after every input and when [`next_timeout`](Self::next_timeout) comes.
    #[must_use]
    pub fn poll_pull(&mut self, now: Instant) -> Option<(PullId, GetMsg)> {
        if !self.may_pull() || !matches!(self.pull, Pull::Due(at) if at <= now) {
            return None;
        }
        let id = PullId(self.next_pull);
        self.next_pull += 1;
        let asked = GetMsg { after: self.taken, limit: 0 };
        self.pull = Pull::UnderWay { id, asked, again: None };
        // From here on only what is heard behind the question can be news to its answer. A head that
        // was never true is forgotten the same way.
        self.head = self.handed_out.seq;
        Some((id, asked))
    }

    /// When a pull is due that waits for nothing but time.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.pull {
            Pull::Due(at) if self.may_pull() => Some(at),
            _ => None,
        }
    }

    fn may_pull(&self) -> bool {
        self.connected && self.hand_outs.is_empty() && self.taken == self.handed_out
    }

    /// Whether a head says more than is known. Another epoch always does: the page will tell.
    fn is_news(&mut self, head: Position) -> bool {
        if head.epoch != self.handed_out.epoch {
            return true;
        }
        self.head = self.head.max(head.seq);
        head.seq > self.handed_out.seq
    }

    fn want(&mut self, at: Instant) {
        self.pull = match self.pull {
            Pull::Idle if self.connected => Pull::Due(at),
            Pull::Due(sooner) => Pull::Due(sooner.min(at)),
            Pull::UnderWay { id, asked, again } => {
                Pull::UnderWay { id, asked, again: Some(again.map_or(at, |sooner| sooner.min(at))) }
            }
            Pull::Idle => Pull::Idle,
        };
    }

    /// Hands out a live entry if it is exactly the next one.
    fn take_live(&mut self, epoch: Epoch, entry: Entry) -> bool {
        let is_next = epoch == self.handed_out.epoch && entry.seq == self.handed_out.seq.next();
        if !is_next || self.hand_outs.len() >= HAND_OUTS_MAX {
            return false;
        }
        self.hand_out(entry.seq, SyncEvent::Message(entry));
        true
    }

    fn hand_out(&mut self, through: Seq, event: SyncEvent) {
        self.handed_out.seq = through;
        self.hand_outs.push_back(HandOut { position: self.handed_out, event });
    }

    /// Places begin again. What is still with the application belongs to the life before, and
    /// whether it takes that no longer matters.
    fn begin_epoch(&mut self, epoch: Epoch) {
        // A device that had no position at all learns its first epoch; nothing was restored.
        let restored = self.lost || self.handed_out.epoch != Epoch::default();
        self.handed_out = Position { epoch, seq: Seq::ZERO };
        self.taken = self.handed_out;
        self.confirmed = Position::default();
        self.head = Seq::ZERO;
        self.lost = false;
        if restored {
            self.hand_out(Seq::ZERO, SyncEvent::Restored { epoch });
        }
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
