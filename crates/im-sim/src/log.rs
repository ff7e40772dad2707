//! What happened in a world, in its order: the material that the invariants are checked on, and what
//! a person reads when one does not hold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use im_proto::client::{Entry, SendAck, SendMsg};
use im_proto::{Position, UserId};
use parking_lot::Mutex;

/// The name of a simulated host.
pub type Host = String;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The world did something to a host or to the network.
    Fault(String),
    /// A host's software has begun to run.
    Started(Host),
    /// An application handed a message over for the first time.
    Begun {
        /// Which device.
        device: Host,
        /// Whose.
        user: UserId,
        /// What.
        message: SendMsg,
    },
    /// An application got the ack of a message.
    Acked {
        /// Which device.
        device: Host,
        /// Whose.
        user: UserId,
        /// Which message.
        message: SendMsg,
        /// Its place.
        ack: SendAck,
    },
    /// An application took an entry of its timeline.
    Saw {
        /// Which device.
        device: Host,
        /// Whose.
        user: UserId,
        /// The entry.
        entry: Entry,
    },
    /// A client wrote down where it stands.
    Saved {
        /// Which device.
        device: Host,
        /// Where.
        position: Position,
    },
    /// A connection's state, for readers.
    State {
        /// Which device.
        device: Host,
        /// As the SDK tells it.
        state: String,
    },
    /// Something that must not happen in any world.
    Wrong {
        /// Where.
        host: Host,
        /// What.
        what: String,
    },
}

/// An event and when it happened, in simulated time since the world began.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Duration,
    /// What.
    pub event: Event,
}

/// The log, shared by everything in a world.
#[derive(Clone, Debug, Default)]
pub struct EventLog(Arc<Mutex<Vec<Line>>>);

impl EventLog {
    /// Notes an event of the host that is running, at its time.
    pub fn note(&self, event: Event) {
        self.note_at(turmoil::sim_elapsed().unwrap_or_default(), event);
    }

    /// Notes an event of the world itself.
    pub fn note_at(&self, at: Duration, event: Event) {
        self.0.lock().push(Line { at, event });
    }

    /// Everything so far.
    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().clone()
    }
}

/// Everything but the wall clock's time of a message, which is not the simulation's.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3}s  ", self.at.as_secs_f64())?;
        match &self.event {
            Event::Fault(what) => write!(f, "*** {what}"),
            Event::Started(host) => write!(f, "{host} started"),
            Event::Begun { device, message, .. } => {
                write!(f, "{device} sends {} to {:?}", message.client_msg_id, message.to)
            }
            Event::Acked { device, message, ack, .. } => {
                let again = if ack.repeated { ", a repeat" } else { "" };
                let (conversation, seq, own) = (&ack.conversation, ack.seq, ack.position.seq);
                write!(f, "{device} has {} acked at {conversation}/{seq}, own {own}{again}", message.client_msg_id)
            }
            Event::Saw { device, entry: Entry { seq, message }, .. } => {
                let (id, conversation, place) = (&message.client_msg_id, &message.conversation, message.seq);
                write!(f, "{device} saw {seq}: {id} of {conversation}/{place}")
            }
            Event::Saved { device, position } => write!(f, "{device} saved {}/{}", position.epoch, position.seq),
            Event::State { device, state } => write!(f, "{device} is {state}"),
            Event::Wrong { host, what } => write!(f, "!!! {host}: {what}"),
        }
    }
}
