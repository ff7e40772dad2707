//! The client's side of a session, as three machines that know neither socket nor clock:
//!
//! * [`ClientConnection`]: one connection, from the first byte to its end: handshake, login,
//!   requests and their answers, heartbeats, silence, goodbyes.
//! * [`ClientSync`]: where this device stands in the user's timeline; turns hints and pages into
//!   entries, each handed out once and in order. Outlives connections.
//! * [`SendQueue`]: what is to be sent; every message stays in it until its ack, over as many
//!   connections as that takes. Outlives connections.
//!
//! The rule of use is the same for all: one input (a frame, an answer, a timeout), then drain the
//! outputs until there are none, then wait for the next input or for the time that `next_timeout`
//! names. Time and randomness are arguments, so a test owns both.

mod connection;
mod send_queue;
mod sync;

pub use connection::{
    Answer, ClientConnection, CloseCause, ConnectionEvent, ConnectionLimits, Login, RequestError, WindowFull,
};
pub use send_queue::{QueueFull, Queued, SendNumber, SendQueue};
pub use sync::{ClientSync, HandOut, PullId, SyncEvent};
