//! One client of the crowd: the SDK as an application runs it, with a note of everything that the
//! application got to see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_client::{Client, Event, Events, MemoryPosition, State};
use im_proto::client::Entry;
use im_proto::{Position, Seq, UserId};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::Shared;
use crate::worker::{Ack, Author, Row};

pub(super) struct Member {
    pub(super) user: UserId,
    pub(super) notes: Mutex<Notes>,
    /// Replaced when the client logs off and on again.
    pub(super) client: Mutex<Option<Client>>,
    /// Where the client resumes. Its epoch is asked for when a successor is to go on.
    pub(super) position: Mutex<Arc<MemoryPosition>>,
    /// Takes the events of the client.
    pub(super) listener: Mutex<Option<JoinHandle<()>>>,
}

/// What has happened to a client so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) is_online: bool,
    pub(super) is_caught_up: bool,
    /// When it was last seen without a connection.
    away_since: Option<Instant>,
    pub(super) absence: Absence,
    /// Its timeline as the application got it.
    pub(super) rows: Vec<Row>,
    /// Rows that are none of this run's.
    pub(super) strange_rows: u64,
    pub(super) acks: Vec<Ack>,
    /// The number of its last message.
    pub(super) sent: u64,
    /// Sends and calls under way.
    pub(super) busy: u32,
    /// It logs off and on again by itself.
    pub(super) is_restarting: bool,
}

/// The first absence since the watch began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Absence {
    pub(super) watched_from: Option<Instant>,
    pub(super) left_at: Option<Instant>,
    pub(super) back_at: Option<Instant>,
    pub(super) synced_at: Option<Instant>,
    /// The gate asked it to leave, and the connection held until then.
    pub(super) was_redirected: bool,
}

impl Absence {
    pub(super) fn back(&self) -> Option<Duration> {
        Some(self.back_at?.saturating_duration_since(self.watched_from?))
    }

    pub(super) fn synced(&self) -> Option<Duration> {
        Some(self.synced_at?.saturating_duration_since(self.watched_from?))
    }

    pub(super) fn away(&self) -> Option<Duration> {
        Some(self.back_at?.saturating_duration_since(self.left_at?))
    }
}

impl Member {
    pub(super) fn new(user: UserId) -> Self {
        Self {
            user,
            notes: Mutex::default(),
            client: Mutex::default(),
            position: Mutex::default(),
            listener: Mutex::default(),
        }
    }

    /// Goes on behind the last row that the application has, as one that stores its place together with
    /// its messages. Only for a client whose listener has come to its end.
    pub(super) fn resume_behind_last_row(&self) {
        let mut position = self.position.lock();
        let epoch = position.get().epoch;
        if let Some(row) = self.notes.lock().rows.last() {
            *position = Arc::new(MemoryPosition::new(Position { epoch, seq: Seq(row.seq) }));
        }
    }

    /// Takes what the client tells, until its end.
    pub(super) async fn listen(&self, mut events: Events, shared: &Shared) {
        while let Some(event) = events.next().await {
            let now = Instant::now();
            match event {
                Event::State(state) => self.on_state(now, state, shared),
                Event::CaughtUp(_) => self.notes.lock().on_caught_up(now),
                Event::Message(entry) => self.on_message(&entry),
                Event::Restored { .. } | Event::Trimmed { .. } => self.notes.lock().strange_rows += 1,
                Event::Sent { .. } | Event::Read(_) | Event::Signal(_) => {}
            }
        }
    }

    fn on_state(&self, now: Instant, state: State, shared: &Shared) {
        let mut notes = self.notes.lock();
        match state {
            State::Connecting { .. } => notes.on_away(now, true),
            State::Online { .. } => notes.on_online(now),
            State::Offline { why, .. } => {
                let was_online = notes.is_online;
                notes.on_away(now, false);
                drop(notes);
                if was_online {
                    shared.dropped.lock().add(without_address(&why));
                }
            }
            State::Ended(cause) => {
                notes.on_away(now, false);
                if !notes.is_restarting {
                    drop(notes);
                    shared.dropped.lock().add(format!("ended: {cause}"));
                }
            }
        }
    }

    fn on_message(&self, entry: &Entry) {
        let row = row(entry, &self.user);
        let mut notes = self.notes.lock();
        match row {
            Some(row) => notes.rows.push(row),
            None => notes.strange_rows += 1,
        }
    }
}

impl Notes {
    /// Notes from here on who leaves.
    pub(super) fn watch(&mut self, now: Instant) {
        self.absence = Absence { watched_from: Some(now), ..Absence::default() };
    }

    fn on_away(&mut self, now: Instant, asked: bool) {
        if self.is_online {
            self.away_since = Some(now);
            if self.absence.watched_from.is_some() && self.absence.left_at.is_none() {
                self.absence.left_at = Some(now);
                self.absence.was_redirected = asked;
            }
        }
        (self.is_online, self.is_caught_up) = (false, false);
    }

    fn on_online(&mut self, now: Instant) {
        self.is_online = true;
        if self.absence.left_at.is_some() {
            self.absence.back_at.get_or_insert(now);
        }
    }

    fn on_caught_up(&mut self, now: Instant) {
        self.is_caught_up = true;
        if self.absence.back_at.is_some() {
            self.absence.synced_at.get_or_insert(now);
        }
    }
}

/// The row of a message whose `client_msg_id` is a number of this run.
fn row(entry: &Entry, owner: &UserId) -> Option<Row> {
    let message = &entry.message;
    Some(Row {
        seq: entry.seq.0,
        conversation_seq: message.seq.0,
        author: if message.sender == *owner { Author::Owner } else { Author::Peer },
        number: message.client_msg_id.as_str().parse().ok()?,
    })
}

/// `127.0.0.1:4711: the connection was lost` is the same reason at every gate.
fn without_address(why: &str) -> String {
    why.split_once(": ").map_or(why, |(_, reason)| reason).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_counts_from_the_watch_and_only_the_first() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut notes = Notes::default();
        notes.on_online(at(0));
        notes.on_caught_up(at(1));
        notes.watch(at(100));
        notes.on_away(at(150), false);
        notes.on_away(at(160), true);
        notes.on_online(at(400));
        notes.on_caught_up(at(450));
        notes.on_away(at(900), true);
        notes.on_online(at(1900));
        let ms = Duration::from_millis;
        let absence = notes.absence;
        assert_eq!((absence.back(), absence.synced(), absence.away()), (Some(ms(300)), Some(ms(350)), Some(ms(250))));
        assert!(!absence.was_redirected, "it had lost its connection before it tried another");
    }

    #[test]
    fn who_stays_has_no_absence() {
        let mut notes = Notes::default();
        notes.on_online(Instant::now());
        notes.watch(Instant::now());
        notes.on_caught_up(Instant::now());
        assert_eq!((notes.absence.left_at, notes.absence.synced()), (None, None));
    }
}
