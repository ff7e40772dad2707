//! Every message of every hop, the ids in them, and the refusal codes, each in one place.
//!
//! * [`ids`]: who and where; validated when they are made, so that nothing inside has to ask again.
//! * [`client`]: what a client and its gate say to each other.
//! * [`commands`]: the table of commands with their bodies.
//! * [`link`]: what tiers say to each other.
//! * [`refusal`]: the table of refusals.
//! * [`limits`]: every named maximum, with its arithmetic.

pub mod client;
pub mod commands;
#[doc(hidden)]
pub mod fuzzing;
pub mod ids;
pub mod limits;
pub mod link;
pub mod refusal;

pub use ids::{
    BootId, ClientMsgId, ConversationId, DeviceId, Epoch, GroupId, IdError, Position, Seq, SessionId, Target, UserId,
};
pub use refusal::{Refusal, RefusalCode, Retry};
