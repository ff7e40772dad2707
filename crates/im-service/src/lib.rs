//! The im-service: timelines, groups, conversations, accounts. Instances hold nothing that another
//! one needs: what matters is in the store, so any instance serves any request.
//!
//! * [`app`]: everything put together, and started.
//! * [`accounts`]: registration, passwords, tokens, over HTTP.
//! * `service`: what each client request means, one module per family.
//! * `lanes`: sends of one user stay in the order in which they came.
//! * `routes`: the links to the routes, over which requests come and notifies go.
//! * `upkeep`: trimming, sweeping, the watch over the store.

pub mod accounts;
pub mod app;
mod lanes;
mod routes;
mod service;
mod upkeep;

pub use app::{ImService, ImServiceConfig};
pub use service::ServiceConfig;
pub use upkeep::{Retention, StoreWatch};
