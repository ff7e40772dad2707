//! Real servers of others, for tests: [`MongoSet`], [`RedisServer`], [`RedisGroup`].
//!
//! Each is started on a free port with a folder of its own, and ends with its handle; where `setpriv`
//! is there, also with the thread that started it, whatever ends that. So start them from the test
//! itself, not from a task. `scripts/prepare servers` brings the programs; a test that needs one and
//! finds none fails and says so.
//!
//! Who starts the tiers' own programs does it in the same way, with [`supervised`] and [`tail`].
//!
//! [`dev`] runs them together with the tiers, for people: the program `dev-cluster`.

pub mod dev;
mod mongo;
mod port;
mod process;
mod redis_server;

use std::time::Duration;

pub use mongo::{MongoSet, MongoSize};
pub use process::{supervised, tail, without_settings};
pub use redis_server::{RedisGroup, RedisServer};

/// How long anything may take that is not expected to take long.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
