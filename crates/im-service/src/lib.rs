//! The im-service: timelines, groups, conversations, accounts. Instances hold nothing that another
//! one needs: what matters is in the store, so any instance serves any request.
//!
//! * [`app`]: everything put together, and started.
//! * [`server`]: the process around it: settings, store, listeners, readiness.
//! * [`backend`]: which store is opened.
//! * [`accounts`]: registration, passwords, tokens, over HTTP.
//! * `service`: what each client request means, one module per family.
//! * `lanes`: sends of one user stay in the order in which they came.
//! * `routes`: the links to the routes, over which requests come and notifies go.
//! * `upkeep`: trimming, sweeping, the watch over the store.

pub mod accounts;
pub mod app;
pub mod backend;
mod lanes;
mod registry;
mod routes;
pub mod server;
mod service;
mod upkeep;

pub use app::{ImService, ImServiceConfig};
pub use service::ServiceConfig;
pub use upkeep::Retention;
