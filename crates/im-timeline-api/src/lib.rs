//! The timeline service for business systems, over HTTP and gRPC: the same timelines that gates
//! serve, in the words of go-timeline.
//!
//! * [`TimelineApi`]: what each call does; knows neither HTTP nor gRPC.
//! * [`http`], [`grpc`]: the two faces; they read requests and write answers.
//! * [`Auth`]: who may call.
//! * [`Watchers`]: wakes the streams of those who wait for new rows.
//!
//! Callers are trusted with every user: they name whom they act for. Clients never come here.

mod api;
mod auth;
mod error;
pub mod grpc;
pub mod http;
mod message;
mod watch;

pub use api::{Call, Entry, GroupSend, HistoryOf, Host, SyncRows, TimelineApi, UserSend};
pub use auth::{Auth, TokenError};
pub use error::ApiError;
pub use watch::Watchers;

/// Bytes of a request's body: a thousand members of 64 bytes and the longest message, escaped.
pub const BODY_LEN_MAX: usize = 256 * 1024;
