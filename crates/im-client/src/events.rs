//! What a client has to tell its application.

use std::time::Duration;

use im_proto::client::{Entry, RevReadMsg, RevSignal, SendAck};
use im_proto::{ClientMsgId, Epoch, Position, Seq, SessionId, UserId};
use im_session::client::{HandOut, SyncEvent};
use tokio::sync::{mpsc, watch};

use crate::{EndCause, SendError};

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The next entry of the user's timeline: everybody's messages, own ones included, each once and
    /// in order.
    Message(Entry),
    /// The server's store was restored from an older state. The timeline begins again; what comes
    /// next may have been seen before, under another place.
    Restored {
        /// The store's new life.
        epoch: Epoch,
    },
    /// These places of the timeline were trimmed before this device fetched them. Their messages are
    /// in the conversations' histories.
    Trimmed {
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
    /// Everything that the server had when this connection began, and what came since, has been
    /// taken. Told once per connection.
    CaughtUp(Position),
    /// What became of a message that was sent without waiting.
    Sent {
        /// Which.
        client_msg_id: ClientMsgId,
        /// Its place, or why it has none.
        outcome: Result<SendAck, SendError>,
    },
    /// Somebody has read. A hint: it may be lost, and the conversation list tells the same.
    Read(RevReadMsg),
    /// Somebody who is online tells something. May be lost.
    Signal(RevSignal),
    /// The connection's state changed. Only the newest matters; older ones may be left out.
    State(State),
}

/// How a client stands to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Dialling, handshaking, logging in.
    Connecting {
        /// Which gate.
        gate: String,
    },
    /// Logged in.
    Online {
        /// As whom.
        user: UserId,
        /// This login.
        session: SessionId,
    },
    /// Not connected; another try follows.
    Offline {
        /// Why, for a person.
        why: String,
        /// When.
        retry_in: Duration,
    },
    /// The end; nothing follows.
    Ended(EndCause),
}

/// An event, and where the device stands once the application is done with it.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) position: Option<Position>,
    pub(crate) event: Event,
}

impl From<Event> for Delivery {
    fn from(event: Event) -> Self {
        Self { position: None, event }
    }
}

impl From<HandOut> for Delivery {
    fn from(HandOut { position, event }: HandOut) -> Self {
        let event = match event {
            SyncEvent::Message(entry) => Event::Message(entry),
            SyncEvent::Restored { epoch } => Event::Restored { epoch },
            SyncEvent::Trimmed { from, to } => Event::Trimmed { from, to },
        };
        Self { position: Some(position), event }
    }
}

/// The receiving end.
///
/// An event counts as taken when the application asks for the next one, or says so by
/// [`confirm`](Self::confirm). The position to resume at moves only then: an application that crashes
/// in the middle of a message gets that message again.
#[derive(Debug)]
pub struct Events {
    pub(crate) receiver: mpsc::Receiver<Delivery>,
    pub(crate) taken: watch::Sender<Position>,
    pub(crate) open: Option<Position>,
}

impl Events {
    /// The next event; `None` after the end. Cancellation-safe: a dropped future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        self.confirm();
        let delivery = self.receiver.recv().await?;
        self.open = delivery.position;
        Some(delivery.event)
    }

    /// Says that the application is done with the event it got last.
    pub fn confirm(&mut self) {
        if let Some(position) = self.open.take() {
            self.taken.send_replace(position);
        }
    }
}
