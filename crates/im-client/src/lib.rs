//! The client SDK: connect, stay connected, send without losing or doubling, receive everything once
//! and in order.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use im_client::{Client, ClientConfig, Event, FilePosition, StaticToken, TlsDial};
//! # use im_proto::{DeviceId, Target, UserId};
//! # async fn run(token: String) -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig::new(vec!["127.0.0.1:8910".into()], DeviceId::new("laptop")?);
//! let dial = Arc::new(TlsDial::new("dev-ca.pem".as_ref())?);
//! let position = Arc::new(FilePosition::new("position.json"));
//! let (client, mut events) = Client::start(config, dial, Arc::new(StaticToken::new(token)), position).await?;
//! client.send_text(Target::User(UserId::new("b")?), "hello").await?;
//! while let Some(event) = events.next().await {
//!     if let Event::Message(entry) = event {
//!         println!("{}: {:?}", entry.message.sender, entry.message.payload);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! One task owns everything that belongs to a client: the connection, the send queue, the sync
//! machine. [`Client`] is a handle to it, [`Events`] is what it has to tell; between them and the
//! task are bounded channels. An application that is slow to take events is asked for nothing and
//! costs a bounded amount of memory; the server keeps what it has not fetched.

pub mod accounts;
mod call;
mod client;
mod config;
mod dial;
mod events;
mod gates;
mod owner;
mod position;
mod token;

pub use call::{CallError, EndCause, SendError};
pub use client::{Client, StartError};
pub use config::ClientConfig;
pub use dial::{Dial, PlainDial, TlsDial};
pub use events::{Event, Events, State};
pub use im_secure::IdentityPublicKey;
pub use position::{FilePosition, MemoryPosition, PositionStore};
pub use token::{OnRefresh, RefreshingToken, StaticToken, TokenError, TokenSource};
