//! What a client and its gate say to each other. A request is answered by `command | 0x80` with the
//! same sequence: the body is the answer named beside the request, or a [`Refusal`](crate::Refusal)
//! when the frame's `REFUSED` flag is set. Frames that the server sends by itself carry sequence 0
//! and want no answer.

use bytes::Bytes;
use proto_codec::{CodecId, Decode, Encode, wire_enum};

use crate::ids::{ClientMsgId, ConversationId, DeviceId, GroupId, Position, Seq, SessionId, Target, UserId};
use crate::limits::{
    CODECS_MAX, GATES_MAX, GROUP_MEMBERS_MAX, KEY_SHARE_LEN, PAGE_ROWS_MAX, PAYLOAD_LEN_MAX, SIGNAL_LEN_MAX,
    SIGNATURE_LEN, SUITES_MAX, TEXT_LEN_MAX, TOKEN_LEN_MAX,
};

wire_enum! {
    /// What a frame between a client and its gate is. Those marked ← come from the server unasked.
    pub enum Command: u16 {
        /// [`HandShake`] → [`HandShakeAck`]; the first frame, in the codec that the preamble names.
        HandShake = 0x01,
        /// [`Auth`] → [`AuthAck`]; the second.
        Auth = 0x02,
        /// [`Empty`] → [`Empty`]; the login ends, and the gate closes.
        Logout = 0x03,
        /// [`Empty`] → [`HeartBeatAck`]; the client is there, and asks how far its timeline reaches.
        HeartBeat = 0x04,
        /// [`SendMsg`] → [`SendAck`]; idempotent by sender and `client_msg_id`.
        SendMsg = 0x05,
        /// ← [`NewMsg`].
        NewMsg = 0x06,
        /// [`GetMsg`] → [`MsgPage`].
        GetMsg = 0x07,
        /// [`ReadMsg`] → [`Empty`].
        ReadMsg = 0x08,
        /// ← [`RevReadMsg`].
        RevReadMsg = 0x09,
        /// ← [`Kickout`]; then the gate closes.
        Kickout = 0x0a,
        /// ← [`Redirect`].
        Redirect = 0x0b,
        /// [`GetHistory`] → [`HistoryPage`].
        GetHistory = 0x0c,
        /// [`Signal`] → [`Empty`].
        Signal = 0x0d,
        /// ← [`RevSignal`].
        RevSignal = 0x0e,
        /// [`ListConversations`] → [`ConversationPage`].
        ListConversations = 0x0f,
        /// [`CreateGroup`] → [`Group`].
        CreateGroup = 0x10,
        /// [`ChangeMembers`] → [`Group`].
        ChangeMembers = 0x11,
        /// [`ListGroups`] → [`GroupPage`].
        ListGroups = 0x12,
    }
}

/// A body without fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Empty {}

wire_enum! {
    /// How bodies are encrypted inside TLS.
    pub enum Encryption: u8 {
        /// They are not; TLS is enough.
        None = 0,
        /// X25519, HKDF-SHA256, ChaCha20-Poly1305.
        ChaCha20Poly1305 = 1,
        /// X25519, HKDF-SHA256, AES-128-GCM.
        Aes128Gcm = 2,
    }
}

/// The client's first frame: what it is and what it can do.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HandShake {
    /// Which application this is; free text for logs.
    #[wire(max = TEXT_LEN_MAX)]
    pub app_id: String,
    /// The client library and its version; free text for logs.
    #[wire(max = TEXT_LEN_MAX)]
    pub sdk: String,
    /// Codecs that the client speaks, the one it likes best first.
    #[wire(max = CODECS_MAX)]
    pub codecs: Vec<CodecId>,
    /// Body encryptions that the client accepts, the one it likes best first; empty asks for none.
    #[wire(max = SUITES_MAX)]
    pub suites: Vec<Encryption>,
    /// The client's ephemeral X25519 public key where it asks for encryption, else empty.
    #[wire(max = KEY_SHARE_LEN)]
    pub key_share: Bytes,
}

/// What the gate made of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HandShakeAck {
    /// The gate's Ed25519 signature where bodies will be encrypted, else empty. It covers everything
    /// that was said so far and the whole of this body behind this field, which is why it stands first.
    #[wire(max = SIGNATURE_LEN)]
    pub signature: Bytes,
    /// The gate's protocol version.
    pub version: u8,
    /// The codec of every frame after this one.
    pub codec: CodecId,
    /// The body encryption of every frame after this one.
    pub encryption: Encryption,
    /// Bytes of body that a frame from the client may have, an authentication tag included.
    pub frame_len_max: u32,
    /// The gate's ephemeral X25519 public key where bodies will be encrypted, else empty.
    #[wire(max = KEY_SHARE_LEN)]
    pub key_share: Bytes,
}

wire_enum! {
    /// The kind of a device.
    pub enum Platform: u8 {
        /// A program without a person at it.
        Bot = 0,
        /// A computer.
        Desktop = 1,
        /// A telephone or tablet.
        Mobile = 2,
        /// A browser.
        Web = 3,
    }
}

/// Log in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Auth {
    /// The access token that `POST /user/login` gave.
    #[wire(max = TOKEN_LEN_MAX)]
    pub token: String,
    /// This installation. A second login of the same device replaces the first.
    pub device: DeviceId,
    /// Its kind.
    pub platform: Platform,
}

/// Logged in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AuthAck {
    /// Who the token says this is.
    pub user: UserId,
    /// This login.
    pub session: SessionId,
    /// Milliseconds between heartbeats that the client should keep.
    pub heartbeat_ms: u32,
    /// Milliseconds of silence after which the gate closes.
    pub keep_alive_ms: u32,
    /// The server's clock, milliseconds since 1970.
    pub server_time_ms: u64,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HeartBeatAck {
    /// The head of the user's timeline; `None` when it could not be had in time.
    pub head: Option<Position>,
    /// The server's clock, milliseconds since 1970.
    pub server_time_ms: u64,
}

wire_enum! {
    /// What a message's payload is. The server never looks into it.
    pub enum ContentType: u16 {
        /// UTF-8 text.
        Text = 1,
        /// A picture.
        Image = 2,
        /// Sound.
        Audio = 3,
        /// A film.
        Video = 4,
        /// A place on earth.
        Position = 5,
        /// A file.
        File = 6,
        /// A sticker or emotion.
        Sticker = 7,
        /// A link with a snapshot of what it leads to.
        Link = 8,
        /// A JSON object, as sent by the HTTP interface.
        Json = 9,
        /// Written by the server: a member came or went.
        System = 10,
    }
}

/// Send a message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SendMsg {
    /// To whom. Stands first: a route reads it to keep a conversation with one im-service.
    pub to: Target,
    /// The sender's own name for this message; the same name means the same message.
    pub client_msg_id: ClientMsgId,
    /// What the payload is.
    pub content_type: ContentType,
    /// The payload.
    #[wire(max = PAYLOAD_LEN_MAX)]
    pub payload: Bytes,
}

/// Stored, ordered, readable.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SendAck {
    /// The conversation.
    pub conversation: ConversationId,
    /// The message's place in the conversation.
    pub seq: Seq,
    /// Its place in the sender's own timeline.
    pub position: Position,
    /// Its place in the receiver's timeline; 0 for a group.
    pub receiver_seq: Seq,
    /// When the server took it, milliseconds since 1970.
    pub time_ms: u64,
    /// Whether the message was there already: an earlier try had arrived.
    pub repeated: bool,
}

/// A message in its conversation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    /// The conversation.
    pub conversation: ConversationId,
    /// The place in the conversation.
    pub seq: Seq,
    /// Who sent it.
    pub sender: UserId,
    /// The sender's own name for it.
    pub client_msg_id: ClientMsgId,
    /// When the server took it, milliseconds since 1970.
    pub time_ms: u64,
    /// What the payload is.
    pub content_type: ContentType,
    /// The payload.
    #[wire(max = PAYLOAD_LEN_MAX)]
    pub payload: Bytes,
}

/// A message in a user's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The place in the user's timeline.
    pub seq: Seq,
    /// The message.
    pub message: Message,
}

/// ← The user's timeline has grown. A hint: it may be lost, and the next heartbeat tells the same.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NewMsg {
    /// The head of the timeline, as far as the sender of this knows.
    pub head: Position,
    /// The entry at `head`, so that a client that stands right before it needs no pull.
    pub entry: Option<Message>,
    /// Milliseconds to wait before a pull, so that a burst in a large group is no stampede.
    pub query_after_ms: u32,
}

/// Pull what is behind a position. Everything up to it counts as fetched by this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GetMsg {
    /// The last position that the client has; the default when it has none.
    pub after: Position,
    /// Rows wanted at most; 0 leaves it to the server.
    pub limit: u16,
}

/// The rows behind a position, ascending and without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MsgPage {
    /// The head of the timeline. Another epoch than the one asked with says that the store was
    /// restored: the page then is empty and the client starts again from this epoch's beginning.
    pub head: Position,
    /// The greatest place that was trimmed; rows up to it are no longer here.
    pub floor: Seq,
    /// The rows.
    #[wire(max = PAGE_ROWS_MAX)]
    pub entries: Vec<Entry>,
    /// Whether there was more than fits.
    pub has_more: bool,
}

/// Everything in the conversation up to `seq` has been read.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReadMsg {
    /// The conversation.
    pub conversation: ConversationId,
    /// The place in the conversation.
    pub seq: Seq,
}

/// ← Somebody has read: the peer, or this user on another device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RevReadMsg {
    /// The conversation.
    pub conversation: ConversationId,
    /// Who has read.
    pub reader: UserId,
    /// Up to where.
    pub seq: Seq,
}

wire_enum! {
    /// Why a connection is ended by the server.
    pub enum KickReason: u8 {
        /// A later login took this one's place: of the same device, or of one more than may be logged in.
        LoggedInElsewhere = 1,
        /// The account may not log in any more.
        Forbidden = 2,
        /// The password changed or the login was revoked.
        Revoked = 3,
        /// The connection did not take what was sent to it.
        SlowConsumer = 4,
        /// Nothing was heard for the keep-alive time.
        Idle = 5,
    }
}

/// ← The gate ends this connection.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Kickout {
    /// Why.
    pub reason: KickReason,
    /// For a person.
    #[wire(max = TEXT_LEN_MAX)]
    pub detail: String,
}

/// ← Connect again, elsewhere where addresses are given.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Redirect {
    /// Addresses to try, `host:port`; empty for "the ones you know".
    #[wire(max = GATES_MAX)]
    pub gates: Vec<Address>,
    /// Milliseconds to wait before, so that not everybody comes at once.
    pub after_ms: u32,
}

/// `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[wire(sealed)]
pub struct Address {
    /// `host:port`.
    #[wire(max = TEXT_LEN_MAX)]
    pub text: String,
}

wire_enum! {
    /// Which way a history is read.
    pub enum Direction: u8 {
        /// Ascending: places greater than `from`.
        Forward = 0,
        /// Descending: places smaller than `from`; 0 stands for "from the newest".
        Backward = 1,
    }
}

/// Read a conversation's history.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GetHistory {
    /// The conversation; the asker must be part of it.
    pub conversation: ConversationId,
    /// Where to start; not included.
    pub from: Seq,
    /// Which way.
    pub direction: Direction,
    /// Rows wanted at most; 0 leaves it to the server.
    pub limit: u16,
}

/// A page of a history, in the order that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HistoryPage {
    /// The conversation's greatest place.
    pub head: Seq,
    /// The rows.
    #[wire(max = PAGE_ROWS_MAX)]
    pub messages: Vec<Message>,
    /// Whether there is more behind the last row.
    pub has_more: bool,
}

wire_enum! {
    /// What an online-only signal says.
    pub enum SignalKind: u16 {
        /// The user is writing.
        Typing = 1,
        /// Whatever the application makes of the payload.
        Custom = 2,
    }
}

/// Tell those who are online; nothing is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Signal {
    /// To whom.
    pub to: Target,
    /// What.
    pub kind: SignalKind,
    /// The application's own.
    #[wire(max = SIGNAL_LEN_MAX)]
    pub payload: Bytes,
}

/// ← Somebody who is online tells something.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RevSignal {
    /// In which conversation.
    pub conversation: ConversationId,
    /// Who.
    pub sender: UserId,
    /// What.
    pub kind: SignalKind,
    /// The application's own.
    #[wire(max = SIGNAL_LEN_MAX)]
    pub payload: Bytes,
}

/// List the user's conversations, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ListConversations {
    /// The last id of the page before; `None` for the first page.
    pub after: Option<ConversationId>,
    /// Rows wanted at most; 0 leaves it to the server.
    pub limit: u16,
}

/// One conversation as its member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConversationSummary {
    /// The conversation.
    pub conversation: ConversationId,
    /// The group's name; empty for two users.
    #[wire(max = TEXT_LEN_MAX)]
    pub name: String,
    /// Its greatest place.
    pub head: Seq,
    /// Up to where this user has read.
    pub read_seq: Seq,
    /// Messages of others behind `read_seq`.
    pub unread: u64,
    /// The newest message, if there is any.
    pub last: Option<Message>,
}

/// A page of conversations.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConversationPage {
    /// The rows.
    #[wire(max = PAGE_ROWS_MAX)]
    pub conversations: Vec<ConversationSummary>,
    /// Whether there is more behind the last row.
    pub has_more: bool,
}

/// Make a group. The maker becomes its owner and a member. Idempotent: the same group made again by
/// the same owner with the same name answers with what is there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CreateGroup {
    /// The group's id.
    pub group: GroupId,
    /// Its name for people.
    #[wire(max = TEXT_LEN_MAX)]
    pub name: String,
    /// Further members.
    #[wire(max = GROUP_MEMBERS_MAX)]
    pub members: Vec<UserId>,
}

/// Change who belongs to a group. The owner may add and remove; a member may add, and may remove itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ChangeMembers {
    /// The group.
    pub group: GroupId,
    /// Users to add; those who are members stay.
    #[wire(max = GROUP_MEMBERS_MAX)]
    pub add: Vec<UserId>,
    /// Users to remove; those who are none are passed over.
    #[wire(max = GROUP_MEMBERS_MAX)]
    pub remove: Vec<UserId>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Group {
    /// Its id.
    pub group: GroupId,
    /// Its name for people.
    #[wire(max = TEXT_LEN_MAX)]
    pub name: String,
    /// Who made it.
    pub owner: UserId,
    /// Who belongs to it, the owner included, in the order of their ids.
    #[wire(max = GROUP_MEMBERS_MAX)]
    pub members: Vec<UserId>,
}

/// List the groups that the user belongs to, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ListGroups {
    /// The last id of the page before; `None` for the first page.
    pub after: Option<GroupId>,
    /// Rows wanted at most; 0 leaves it to the server.
    pub limit: u16,
}

/// A page of groups.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GroupPage {
    /// The rows.
    #[wire(max = PAGE_ROWS_MAX)]
    pub groups: Vec<Group>,
    /// Whether there is more behind the last row.
    pub has_more: bool,
}
