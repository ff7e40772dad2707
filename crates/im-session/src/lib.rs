//! Sans-IO cores: no socket, no clock, no runtime, no randomness of their own. Time is an argument,
//! outputs are values, and one input is worked off before the next goes in.
//!
//! * [`gate_session`]: the gate's side of one client connection, from its first bytes to its end.
//! * [`client`]: the client's side, and the machine that keeps a timeline in step.
//! * [`in_flight`]: requests that wait for their answer.
//! * [`keep_alive`]: who has been silent for how long.
//! * [`peer_clock`]: how far another machine's clock is from this one's.
//! * [`revocations`]: access tokens that were taken back.
//! * [`route_choice`]: which route a sender uses.
//! * [`route_role`]: which route is master.
//! * [`route_table`]: which login of which user is on which gate.
//! * [`affinity`]: which im-service gets a request.
//! * [`backoff`]: how long to wait before the next try.

// clippy.toml bans reading the clock here; tests have to start theirs somewhere.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod affinity;
pub mod backoff;
pub mod client;
#[doc(hidden)]
pub mod fuzzing;
pub mod gate_session;
pub mod in_flight;
pub mod keep_alive;
pub mod peer_clock;
pub mod revocations;
pub mod route_choice;
pub mod route_role;
pub mod route_table;

pub use affinity::{Affinity, user_hash};
pub use backoff::Backoff;
pub use gate_session::{Action, CloseReason, Dismissal, EncryptionPolicy, GateSession, GateSessionConfig};
pub use in_flight::InFlight;
pub use keep_alive::{LinkHealth, LinkStep};
pub use peer_clock::PeerClock;
pub use revocations::Revocations;
pub use route_choice::RouteChoice;
pub use route_role::{Role, RouteRole};
pub use route_table::{Because, Devices, LoginPolicy, RouteTable, Superseded, Turned};
