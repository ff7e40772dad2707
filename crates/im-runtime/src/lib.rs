//! What every tier needs around its work and none of them should write twice: settings, logs,
//! metrics, signals and drain, the admin listener, and the `main` that ties them together.
//!
//! This crate knows no domain word. It never looks inside a message and never decides what a tier
//! does; tiers call it, it calls nobody.

pub mod settings;
