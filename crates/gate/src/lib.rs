//! The gate: ends client connections. It knows connections, not conversations: it frames, checks
//! tokens, keeps time, passes requests to a route and brings back what is for its clients.
//!
//! * `door`: where clients come in. `accept`: the accepting loop. `proxy`: for whom a balancer dials.
//!   [`websocket`]: the way in for browsers.
//! * `connection`: one client connection.
//! * `drain`: how clients are let go before the end.
//! * `encryption`: whether bodies are encrypted inside TLS, and as whom.
//! * `keep_alive`: when connections have been silent for too long.
//! * `limits`: what a client may cost. `rate`: how often something may happen.
//! * `reload`: what is read again while the gate runs.
//! * `revoked`: access tokens that were taken back before they ran out.
//! * `sessions`: the logins that this gate holds.
//! * `upstream`: the links to the routes, and the requests that wait on them.
//! * [`app`]: everything put together, and started.
//! * [`server`]: the process around it: settings, admin listener, readiness.
//!
//! Nothing here needs to survive: a gate that dies costs its clients a reconnect.

mod accept;
pub mod app;
mod connection;
mod door;
mod drain;
mod encryption;
mod http;
mod keep_alive;
mod limits;
mod proxy;
mod rate;
mod reload;
mod revoked;
pub mod server;
mod sessions;
mod upstream;
pub mod websocket;

pub use app::{Gate, GateConfig};
pub use door::{Door, WebSocketDoor};
pub use drain::DrainConfig;
pub use encryption::Encryption;
pub use im_link::network::Sockets;
pub use im_session::GateSessionConfig;
pub use limits::Limits;
pub use proxy::IpRange;
pub use rate::Rate;
