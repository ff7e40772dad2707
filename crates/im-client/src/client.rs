//! The handle.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use im_proto::client::{
    ChangeMembers, Command, ContentType, ConversationPage, CreateGroup, Direction, Empty, GetHistory, Group, GroupPage,
    HistoryPage, ListConversations, ListGroups, ReadMsg, SendAck, SendMsg, Signal, SignalKind,
};
use im_proto::limits::PAYLOAD_LEN_MAX;
use im_proto::{ClientMsgId, ConversationId, GroupId, Seq, Target, UserId};
use proto_codec::{Codec, Decode, Encode};
use tokio::sync::{mpsc, oneshot, watch};

use crate::call::{Call, Order, Outcome};
use crate::owner::Owner;
use crate::{CallError, ClientConfig, Dial, EndCause, Events, PositionStore, SendError, State, TokenSource};

/// Orders that wait for the owner task at most. It takes them quickly; this only smooths bursts.
const ORDERS_MAX: usize = 64;

/// A handle to a running client. Cheap to clone; the client ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<State>,
    call_timeout: std::time::Duration,
}

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nowhere to connect to.
    #[error("no gate address is given")]
    NoGates,
    /// Where to resume cannot be read.
    #[error("load the sync position: {0}")]
    Position(#[from] io::Error),
}

impl Client {
    /// Starts the owner task on the current runtime and returns at once; the connection comes by itself.
    pub async fn start(
        config: ClientConfig,
        dial: Arc<dyn Dial>,
        tokens: Arc<dyn TokenSource>,
        positions: Arc<dyn PositionStore>,
    ) -> Result<(Self, Events), StartError> {
        if config.gates.is_empty() {
            return Err(StartError::NoGates);
        }
        let position = positions.load().await?;
        let (orders, orders_rx) = mpsc::channel(ORDERS_MAX);
        let (events_tx, receiver) = mpsc::channel(config.events_max.max(1));
        let (taken, taken_rx) = watch::channel(position);
        let (state_tx, state) = watch::channel(State::Connecting { gate: String::new() });
        let call_timeout = config.call_timeout;
        let owner = Owner::new(config, dial, tokens, positions, position, orders_rx, events_tx, taken_rx, state_tx);
        tokio::spawn(owner.run());
        Ok((Self { orders, state, call_timeout }, Events { receiver, taken, open: None }))
    }

    /// How the client stands to the server now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits for a login, or for the end.
    pub async fn online(&self) -> Result<UserId, EndCause> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| matches!(state, State::Online { .. } | State::Ended(_))).await;
        match settled.as_deref() {
            Ok(State::Online { user, .. }) => Ok(user.clone()),
            Ok(State::Ended(cause)) => Err(cause.clone()),
            _ => Err(EndCause::Closed),
        }
    }

    /// Sends a message and waits for its ack, however many connections that takes. The ack means:
    /// stored, ordered, readable. Dropping the future does not take the message back.
    pub async fn send(&self, to: Target, content_type: ContentType, payload: Bytes) -> Result<SendAck, SendError> {
        let (reply, answer) = oneshot::channel();
        self.order_send(message(to, content_type, payload), Outcome::Reply(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.end_cause().into()))
    }

    /// Sends a message under a name that the application has chosen, for instance one that it has
    /// written down before, so that a restart cannot double it.
    pub async fn send_as(&self, message: SendMsg) -> Result<SendAck, SendError> {
        let (reply, answer) = oneshot::channel();
        self.order_send(message, Outcome::Reply(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.end_cause().into()))
    }

    /// Sends text.
    pub async fn send_text(&self, to: Target, text: impl Into<String>) -> Result<SendAck, SendError> {
        self.send(to, ContentType::Text, Bytes::from(text.into())).await
    }

    /// Queues a message and returns its name; what becomes of it is told as [`Event::Sent`](crate::Event::Sent).
    pub async fn send_nowait(
        &self,
        to: Target,
        content_type: ContentType,
        payload: Bytes,
    ) -> Result<ClientMsgId, SendError> {
        let message = message(to, content_type, payload);
        let name = message.client_msg_id.clone();
        self.order_send(message, Outcome::Event(name.clone())).await?;
        Ok(name)
    }

    async fn order_send(&self, message: SendMsg, outcome: Outcome) -> Result<(), SendError> {
        if message.payload.len() > PAYLOAD_LEN_MAX as usize {
            return Err(SendError::TooLarge);
        }
        self.orders.send(Order::Send(message, outcome)).await.map_err(|_| self.end_cause().into())
    }

    /// Reads a conversation's history, not including `from`; `Seq::ZERO` backward begins at the newest.
    pub async fn history(
        &self,
        conversation: ConversationId,
        from: Seq,
        direction: Direction,
        limit: u16,
    ) -> Result<HistoryPage, CallError> {
        self.call(Command::GetHistory, "HistoryPage", &GetHistory { conversation, from, direction, limit }).await
    }

    /// A page of the user's conversations, behind `after`.
    pub async fn conversations(
        &self,
        after: Option<ConversationId>,
        limit: u16,
    ) -> Result<ConversationPage, CallError> {
        self.call(Command::ListConversations, "ConversationPage", &ListConversations { after, limit }).await
    }

    /// A page of the user's groups, behind `after`.
    pub async fn groups(&self, after: Option<GroupId>, limit: u16) -> Result<GroupPage, CallError> {
        self.call(Command::ListGroups, "GroupPage", &ListGroups { after, limit }).await
    }

    /// Makes a group with this user as its owner.
    pub async fn create_group(&self, group: GroupId, name: String, members: Vec<UserId>) -> Result<Group, CallError> {
        self.call(Command::CreateGroup, "Group", &CreateGroup { group, name, members }).await
    }

    /// Changes who belongs to a group.
    pub async fn change_members(
        &self,
        group: GroupId,
        add: Vec<UserId>,
        remove: Vec<UserId>,
    ) -> Result<Group, CallError> {
        self.call(Command::ChangeMembers, "Group", &ChangeMembers { group, add, remove }).await
    }

    /// Says that everything in the conversation up to `seq` has been read.
    pub async fn read(&self, conversation: ConversationId, seq: Seq) -> Result<(), CallError> {
        self.call(Command::ReadMsg, "Empty", &ReadMsg { conversation, seq }).await.map(|Empty {}| ())
    }

    /// Tells those who are online something that is not stored.
    pub async fn signal(&self, to: Target, kind: SignalKind, payload: Bytes) -> Result<(), CallError> {
        self.call(Command::Signal, "Empty", &Signal { to, kind, payload }).await.map(|Empty {}| ())
    }

    /// Logs out, saves the position of what the application has taken, and ends. Messages that have
    /// no ack yet fail with [`SendError::Ended`].
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.orders.send(Order::Close(done)).await.is_ok() {
            // Either way it has ended: the owner drops the sender at its end.
            let _ = closed.await;
        }
    }

    async fn call<A: Decode>(&self, command: Command, what: &'static str, body: &impl Encode) -> Result<A, CallError> {
        let (reply, answer) = oneshot::channel();
        let mut bytes = BytesMut::new();
        body.encode(&mut bytes);
        let order = Order::Call(Call { command, body: bytes.freeze(), reply });
        let exchange = async {
            self.orders.send(order).await.map_err(|_| self.end_cause())?;
            answer.await.unwrap_or_else(|_| Err(self.end_cause().into()))
        };
        let body = tokio::time::timeout(self.call_timeout, exchange).await.map_err(|_| CallError::TimedOut)??;
        Ok(Codec::Binary.decode(what, &body)?)
    }

    fn end_cause(&self) -> EndCause {
        match &*self.state.borrow() {
            State::Ended(cause) => cause.clone(),
            _ => EndCause::Closed,
        }
    }
}

fn message(to: Target, content_type: ContentType, payload: Bytes) -> SendMsg {
    let name = uuid::Uuid::now_v7().to_string();
    let client_msg_id = ClientMsgId::new(name).expect("a UUID is 36 letters, digits and dashes");
    SendMsg { to, client_msg_id, content_type, payload }
}
