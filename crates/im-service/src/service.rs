//! What each client request means. Every handler takes who asks and a decoded request, and gives
//! an answer or a refusal; none knows of links, sequences or frames.

mod conversations;
mod fetched;
mod groups;
mod known_users;
mod send;
mod timeline;

use std::sync::Arc;

use im_proto::client::{Command, Direction};
use im_proto::limits::PAGE_ROWS_MAX;
use im_proto::link::{Forward, Push, Relay};
use im_proto::{ConversationId, Refusal, RefusalCode, UserId};
use im_timeline::{CommitError, HistoryRange, Store, StoreError};
use im_timeline_api::Watchers;
use proto_codec::{Bytes, BytesMut, Codec, Decode, DecodeError, Encode};
use tracing::{error, warn};

pub(crate) use fetched::Fetched;
pub(crate) use send::{Sending, unix_ms};

/// Rows of a page when the asker leaves it to the server.
const PAGE_ROWS_DEFAULT: usize = 50;

/// What an operator may choose about the service itself.
#[derive(Clone, Copy, Debug)]
pub struct ServiceConfig {
    /// Whether messages and invitations go only to users who have an account here. Off where tokens
    /// come from elsewhere.
    pub known_users_only: bool,
}

/// The service over one store.
pub(crate) struct Service {
    store: Arc<dyn Store>,
    groups: groups::Groups,
    known_users: Option<known_users::KnownUsers>,
    pub(crate) fetched: Fetched,
    /// Streams of the timeline service, which are told of messages like gates are.
    pub(crate) watchers: Arc<Watchers>,
}

/// What a request leads to: an answer for the one who asked, and something to tell others.
pub(crate) struct Outcome {
    /// The answer's body.
    pub(crate) answer: Bytes,
    /// What others are told.
    pub(crate) tell: Option<Tell>,
}

/// What others are told, those of them who are online.
pub(crate) enum Tell {
    /// A message has got its places.
    Push(Push),
    /// A frame for certain users.
    Relay(Relay),
}

impl Outcome {
    fn answer(answer: &impl Encode) -> Self {
        Self { answer: encode(answer), tell: None }
    }
}

impl Service {
    pub(crate) fn new(store: Arc<dyn Store>, config: ServiceConfig) -> Self {
        Self {
            groups: groups::Groups::new(Arc::clone(&store)),
            known_users: config.known_users_only.then(|| known_users::KnownUsers::new(Arc::clone(&store))),
            fetched: Fetched::default(),
            watchers: Arc::default(),
            store,
        }
    }

    /// Serves any request but a send, which goes through [`prepare_send`](Self::prepare_send).
    pub(crate) async fn serve(&self, request: &Forward) -> Result<Outcome, Refusal> {
        let (user, body) = (&request.user, &request.body);
        match Command::from_number(request.command) {
            Command::HeartBeat => self.heartbeat(user).await,
            Command::GetMsg => self.get_msg(user, &request.device, decode("GetMsg", body)?).await,
            Command::GetHistory => self.get_history(user, decode("GetHistory", body)?).await,
            Command::ReadMsg => self.read_msg(user, request.session, decode("ReadMsg", body)?).await,
            Command::Signal => self.signal(user, request.session, decode("Signal", body)?).await,
            Command::ListConversations => self.list_conversations(user, decode("ListConversations", body)?).await,
            Command::CreateGroup => self.create_group(user, decode("CreateGroup", body)?).await,
            Command::ChangeMembers => self.change_members(user, decode("ChangeMembers", body)?).await,
            Command::ListGroups => self.list_groups(user, decode("ListGroups", body)?).await,
            command => {
                let detail = format!("command {:#06x} is not served here", command.number());
                Err(Refusal::new(RefusalCode::UnknownCommand, detail))
            }
        }
    }

    /// Refuses users who are not part of a conversation. For a group it gives the other members.
    async fn admit(&self, user: &UserId, conversation: &ConversationId) -> Result<Option<groups::Members>, Refusal> {
        let Some(group) = conversation.as_group() else {
            return match conversation.peer_of(user) {
                Some(_) => Ok(None),
                None => Err(RefusalCode::NotAMember.into()),
            };
        };
        let members = self.groups.members(&group).await?;
        if members.binary_search(user).is_err() {
            return Err(RefusalCode::NotAMember.into());
        }
        Ok(Some(members))
    }

    async fn admit_known<'a>(&self, users: impl IntoIterator<Item = &'a UserId>) -> Result<(), Refusal> {
        let Some(known) = &self.known_users else { return Ok(()) };
        for user in users {
            known.check(user).await?;
        }
        Ok(())
    }
}

/// Bytes of a short answer, such as an ack: one allocation instead of three.
const ANSWER_LEN: usize = 192;

fn encode(message: &impl Encode) -> Bytes {
    let mut body = BytesMut::with_capacity(ANSWER_LEN);
    message.encode(&mut body);
    body.freeze()
}

fn decode<M: Decode>(what: &'static str, body: &Bytes) -> Result<M, Refusal> {
    Codec::Binary.decode(what, body).map_err(|error| {
        let code = match error {
            DecodeError::TooLong { .. } => RefusalCode::TooLarge,
            _ => RefusalCode::BadBody,
        };
        Refusal::new(code, error.to_string())
    })
}

/// The rows that a page gets: what was asked for, within the protocol's bound.
fn page_rows(asked: u16) -> usize {
    match usize::from(asked) {
        0 => PAGE_ROWS_DEFAULT,
        rows => rows.min(PAGE_ROWS_MAX as usize),
    }
}

/// The newest message of a conversation, which also tells its head.
const NEWEST: HistoryRange = HistoryRange { from: im_proto::Seq::ZERO, direction: Direction::Backward, limit: 1 };

/// A store that fails is the server's fault and may be back: the log gets the reason, the peer a
/// code that says "later".
fn store_refusal(failure: &StoreError) -> Refusal {
    match failure {
        StoreError::Unavailable(_) => warn!(%failure, "the store failed"),
        _ => error!(%failure, "the store failed"),
    }
    Refusal::new(RefusalCode::Unavailable, "the store failed")
}

fn commit_refusal(failure: &CommitError) -> Refusal {
    match failure {
        CommitError::Busy => RefusalCode::Busy.into(),
        CommitError::Conflict(_) => Refusal::new(RefusalCode::Busy, "others changed the same thing at the same time"),
        CommitError::Store(failure) => store_refusal(failure),
    }
}
