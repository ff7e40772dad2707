//! The async shell around the cores: sockets, TLS, frames in and out, links between tiers.
//!
//! * [`network`]: where streams come from; real TCP, or a simulation's.
//! * [`tls`] and [`certs`]: one crypto provider, configurations made from files, development certificates.
//! * [`server_tls`]: TLS towards clients, with no buffer while nothing is said.
//! * [`frame_io`] and [`outbound`]: frames over a stream, with no buffer while nothing is said.
//! * [`link`]: a multiplexed connection between two tiers, and how it is dialled and accepted.
//! * [`route_links`]: a gate's or an im-service's links to its routes, and which of them to send to.
//!
//! One task owns each connection. It reads, hands frames to a handler that must not block, and
//! writes what others have put into the connection's [`outbound::Outbound`], everything that has
//! gathered in one write.

mod cert_slot;
pub mod certs;
pub mod frame_io;
pub mod link;
pub mod network;
pub mod outbound;
pub mod route_links;
mod scratch;
pub mod server_tls;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;

pub use cert_slot::{CertSlot, Certificate};
pub use frame_io::FrameIo;
pub use link::{Handler, Identity, Link, LinkConfig, LinkEnd, LinkId, Peer};
pub use network::{BoxIo, Io, Listener, Network, Tcp};
pub use outbound::{Outbound, PushError};
pub use route_links::{RouteLink, RouteLinks};
