//! What every tier needs around its work and none of them should write twice: settings, logs,
//! metrics, signals and drain, the admin listener, and the `main` that ties them together.
//!
//! This crate knows no domain word. It never looks inside a message and never decides what a tier
//! does; tiers call it, it calls nobody. A tier's `main.rs` is one call to [`Tier::run`].

pub mod admin;
pub mod diagnostics;
pub mod http;
pub mod logging;
pub mod metrics;
mod operators;
mod problem;
mod readiness;
pub mod settings;
mod shutdown;
mod signals;
mod source;
mod tier;

pub use operators::Operators;
pub use problem::Problem;
pub use readiness::{Condition, Readiness, Unmet};
pub use shutdown::{Ending, Shutdown};
pub use signals::{Pulses, Signals};
pub use source::SettingsSource;
pub use tier::{Context, RuntimeSettings, Tier, exit_code};
