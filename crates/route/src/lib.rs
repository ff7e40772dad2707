//! The route: the rendezvous of one region. Gates and im-services dial it; it knows which login of
//! which user is on which gate, passes requests to an im-service and what comes back to the gates
//! that hold the user. It stores nothing and decides nothing: all it holds is soft, and all it
//! passes on is idempotent, so a standby may do the same at the same time.
//!
//! * [`app`]: started and stopped.
//! * [`server`]: the process around it: settings, admin listener, readiness.
//! * `directory`: gates, logins, and delivery to them.
//! * `services`: im-services, and the requests that wait on them.
//! * `regions`: the routes of other regions, and what crosses to them.
//! * `roles`: master or standby, and who is told.
//! * `lease`: a name in Redis for operators, on which nothing here hangs.
//! * `http`: what operators see and may change.
//! * `traffic`: what happens to each frame.

pub mod app;
mod directory;
mod http;
mod lease;
mod regions;
mod roles;
pub mod server;
mod services;
mod traffic;

pub use app::{PeerRoute, Peers, Route, RouteConfig};
pub use im_session::{Devices, LoginPolicy};
pub use lease::{LeaseConfig, LeaseServer, NoRedis};
