//! The gate: ends client connections. It knows connections, not conversations: it frames, checks
//! tokens, keeps time, passes requests to a route and brings back what is for its clients.
//!
//! * `accept`: the accepting loop.
//! * `connection`: the task of one client connection.
//! * `encryption`: whether bodies are encrypted inside TLS, and as whom.
//! * `sessions`: the logins that this gate holds.
//! * `upstream`: the links to the routes, and the requests that wait on them.
//! * [`app`]: everything put together, and started.
//! * [`server`]: the process around it: settings, admin listener, readiness.
//!
//! Nothing here needs to survive: a gate that dies costs its clients a reconnect.

mod accept;
pub mod app;
mod connection;
mod encryption;
mod http;
pub mod server;
mod sessions;
mod upstream;

pub use app::{Gate, GateConfig};
pub use encryption::Encryption;
pub use im_session::GateSessionConfig;
