//! What a handle hands to the owner task, and how it can fail.

use bytes::Bytes;
use im_proto::client::{Command, Kickout, SendAck, SendMsg};
use im_proto::{ClientMsgId, Refusal};
use proto_codec::DecodeError;
use tokio::sync::oneshot;

/// Why a client came to its end. It does not connect again by itself after any of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndCause {
    /// The application closed it.
    #[error("the client was closed")]
    Closed,
    /// The server ended the login for good.
    #[error("kicked out: {}", kick_sentence(.0))]
    Kicked(Kickout),
    /// No token is left that the server takes: a person has to log in again.
    #[error("a new login is needed: {0}")]
    LoginNeeded(String),
    /// The server refuses this client for good.
    #[error("refused: {0}")]
    Refused(Refusal),
}

fn kick_sentence(kick: &Kickout) -> String {
    use im_proto::client::KickReason;
    let reason = match kick.reason {
        KickReason::LoggedInElsewhere => "this device logged in on another connection",
        KickReason::Forbidden => "the account may not log in any more",
        KickReason::Revoked => "the login was revoked",
        KickReason::SlowConsumer => "too slow",
        KickReason::Idle => "silent for too long",
        KickReason::Unknown(_) => "by the server",
    };
    if kick.detail.is_empty() { reason.into() } else { format!("{reason} ({})", kick.detail) }
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer in time; the request may or may not have happened.
    #[error("no answer in time")]
    TimedOut,
    /// Too many requests wait for a connection.
    #[error("too many requests are waiting")]
    Busy,
    /// The answer does not decode.
    #[error("the answer does not decode: {0}")]
    BadAnswer(#[from] DecodeError),
    /// The client came to its end.
    #[error(transparent)]
    Ended(#[from] EndCause),
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The server refuses it for good.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The payload is over [`PAYLOAD_LEN_MAX`](im_proto::limits::PAYLOAD_LEN_MAX).
    #[error("a message's payload has at most {} bytes", im_proto::limits::PAYLOAD_LEN_MAX)]
    TooLarge,
    /// Too many messages wait to be sent.
    #[error("too many messages wait to be sent")]
    QueueFull,
    /// The client came to its end first; the message may or may not have been stored.
    #[error(transparent)]
    Ended(#[from] EndCause),
}

/// A request with its body in the binary codec.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) command: Command,
    pub(crate) body: Bytes,
    pub(crate) reply: oneshot::Sender<Result<Bytes, CallError>>,
}

/// Who wants to know what became of a message.
#[derive(Debug)]
pub(crate) enum Outcome {
    Reply(oneshot::Sender<Result<SendAck, SendError>>),
    /// Told as [`Event::Sent`](crate::Event::Sent).
    Event(ClientMsgId),
}

/// What the owner task is asked to do.
#[derive(Debug)]
pub(crate) enum Order {
    Call(Call),
    Send(SendMsg, Outcome),
    /// Log out, finish, and drop the sender when done.
    Close(oneshot::Sender<()>),
}
