//! Messages as readable JSON, for the vectors that other languages test against. Every struct is
//! taken apart field by field, so that a new field does not compile until it is told here.
//!
//! Numbers of 64 bits are strings of digits, because JSON numbers lose bits over 2^53; byte strings
//! are hex; an enum is its number and name.

use bytes::Bytes;
use im_proto::client::*;
use im_proto::link::*;
use im_proto::{
    BootId, ClientMsgId, ConversationId, DeviceId, Epoch, GroupId, Position, Refusal, RefusalCode, Seq, SessionId,
    Target, UserId,
};
use proto_codec::CodecId;
use serde_json::{Value, json};

pub trait Describe {
    fn describe(&self) -> Value;
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Describe for u64 {
    fn describe(&self) -> Value {
        self.to_string().into()
    }
}

impl Describe for Bytes {
    fn describe(&self) -> Value {
        json!({ "hex": hex(self) })
    }
}

impl<T: Describe> Describe for Option<T> {
    fn describe(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::describe)
    }
}

impl<T: Describe> Describe for Vec<T> {
    fn describe(&self) -> Value {
        self.iter().map(T::describe).collect()
    }
}

impl Describe for Target {
    fn describe(&self) -> Value {
        match self {
            Self::User(user) => json!({ "user": user.as_str() }),
            Self::Group(group) => json!({ "group": group.as_str() }),
        }
    }
}

macro_rules! plain {
    ($($ty:ty),+) => {$(
        impl Describe for $ty {
            fn describe(&self) -> Value {
                self.clone().into()
            }
        }
    )+};
}

macro_rules! ids {
    ($($ty:ty),+) => {$(
        impl Describe for $ty {
            fn describe(&self) -> Value {
                self.as_str().into()
            }
        }
    )+};
}

macro_rules! numbers {
    ($($ty:ty),+) => {$(
        impl Describe for $ty {
            fn describe(&self) -> Value {
                self.0.describe()
            }
        }
    )+};
}

macro_rules! enums {
    ($($ty:ty),+) => {$(
        impl Describe for $ty {
            fn describe(&self) -> Value {
                json!({ "number": self.number(), "name": format!("{self:?}") })
            }
        }
    )+};
}

macro_rules! structs {
    ($($ty:ident { $($field:ident),* })+) => {$(
        impl Describe for $ty {
            fn describe(&self) -> Value {
                let Self { $($field),* } = self;
                json!({ $(stringify!($field): $field.describe()),* })
            }
        }
    )+};
}

plain!(bool, u8, u16, u32, String);
ids!(UserId, GroupId, DeviceId, ClientMsgId, ConversationId);
numbers!(Seq, Epoch, BootId, SessionId);
enums!(CodecId, Encryption, Platform, ContentType, KickReason, Direction, SignalKind, Tier, RefusalCode);
structs! {
    Address { text }
    Auth { token, device, platform }
    AuthAck { user, session, heartbeat_ms, keep_alive_ms, server_time_ms }
    ChangeMembers { group, add, remove }
    ConversationPage { conversations, has_more }
    ConversationSummary { conversation, name, head, read_seq, unread, last }
    Clock { now_ms }
    CreateGroup { group, name, members }
    Empty {}
    Entry { seq, message }
    Forward { user, device, session, command, body }
    GetHistory { conversation, from, direction, limit }
    GetMsg { after, limit }
    Group { group, name, owner, members }
    GroupPage { groups, has_more }
    HandShake { app_id, sdk, codecs, suites, key_share }
    HandShakeAck { signature, version, codec, encryption, frame_len_max, key_share }
    HeartBeatAck { head, server_time_ms }
    Hello { tier, name, boot, region }
    HistoryPage { head, messages, has_more }
    Kickout { reason, detail }
    ListConversations { after, limit }
    ListGroups { after, limit }
    Mastership { term, master }
    Message { conversation, seq, sender, client_msg_id, time_ms, content_type, payload }
    MsgPage { head, floor, entries, has_more }
    NewMsg { head, entry, query_after_ms }
    Ping {}
    Position { epoch, seq }
    Presence { up, down }
    Push { epoch, targets, message, except }
    PushSessions { epoch, targets, message }
    ReadMsg { conversation, seq }
    Redirect { gates, after_ms }
    Refusal { code, detail, retry_after_ms }
    Relay { users, except, command, body }
    RelaySessions { sessions, command, body }
    RevReadMsg { conversation, reader, seq }
    RevSignal { conversation, sender, kind, payload }
    Revoke { user, below, login, reason, lasts_ms }
    RouteState { mastership, serves, has_service, gates }
    SendAck { conversation, seq, position, receiver_seq, time_ms, repeated }
    SendMsg { to, client_msg_id, content_type, payload }
    SenderState { mastership, uses, registered }
    SessionDown { user, session }
    SessionKey { boot, session }
    SessionPlace { session, seq }
    SessionUp { user, session, device, platform, since_ms }
    Signal { to, kind, payload }
    UserPlace { user, seq }
    Welcome { name, boot, region }
}
