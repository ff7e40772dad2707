//! A filled example of every message, and the empty or unusual ones that are worth a vector.

use bytes::{Bytes, BytesMut};
use im_proto::client::*;
use im_proto::link::*;
use im_proto::{
    BootId, ClientMsgId, ConversationId, DeviceId, Epoch, GroupId, Position, Refusal, RefusalCode, Seq, SessionId,
    Target, UserId,
};
use proto_codec::{Codec, CodecId, Decode, Encode};
use serde_json::Value;

use super::describe::Describe;

/// One message with all that a vector says about it.
pub struct Example {
    /// The message's name.
    pub message: &'static str,
    /// What is special about it; empty for the plain one.
    pub note: &'static str,
    /// Its fields.
    pub fields: Value,
    /// Its bytes.
    pub bytes: Bytes,
    /// Decodes bytes as this message and tells the fields.
    pub describe: fn(&Bytes) -> Result<Value, proto_codec::DecodeError>,
}

fn example<M: Describe + Encode + Decode>(message: &'static str, note: &'static str, value: &M) -> Example {
    let mut out = BytesMut::new();
    Codec::Binary.encode(value, &mut out);
    Example {
        message,
        note,
        fields: value.describe(),
        bytes: out.freeze(),
        // The name of the message is what a test asks a refusal for, so it is the same for all.
        describe: |bytes| Codec::Binary.decode::<M>("message", bytes).map(|message| message.describe()),
    }
}

pub fn user(text: &str) -> UserId {
    UserId::new(text).unwrap()
}

pub fn pair(a: &str, b: &str) -> ConversationId {
    ConversationId::pair(&user(a), &user(b))
}

fn group() -> GroupId {
    GroupId::new("lunch").unwrap()
}

fn device() -> DeviceId {
    DeviceId::new("pocket-1").unwrap()
}

fn position(seq: u64) -> Position {
    Position { epoch: Epoch(1), seq: Seq(seq) }
}

fn message(seq: u64) -> Message {
    Message {
        conversation: pair("a", "b"),
        seq: Seq(seq),
        sender: user("a"),
        client_msg_id: ClientMsgId::new(format!("m-{seq}")).unwrap(),
        time_ms: 1_700_000_000_123,
        content_type: ContentType::Text,
        payload: Bytes::from_static("吃了吗？".as_bytes()),
    }
}

fn key() -> SessionKey {
    SessionKey { boot: BootId(0xfedc_ba98_7654_3210), session: SessionId(42) }
}

fn lunch() -> Group {
    let members = ["a", "b", "c"].map(user).to_vec();
    Group { group: group(), name: "Lunch 🍜".to_owned(), owner: user("b"), members }
}

macro_rules! examples {
    ($( $message:ident $note:literal $value:expr; )+) => {
        /// Every example, in the order of the commands.
        pub fn examples() -> Vec<Example> {
            vec![$( example::<$message>(stringify!($message), $note, &$value) ),+]
        }
    };
}

examples! {
    Empty "" Empty {};
    HandShake "" HandShake {
        app_id: "chat".to_owned(),
        sdk: "sim-rust/0.1.0".to_owned(),
        codecs: vec![CodecId::Binary, CodecId::Json],
        suites: vec![],
        key_share: Bytes::new(),
    };
    HandShake "asks for encrypted bodies" HandShake {
        app_id: "chat".to_owned(),
        sdk: "sim-rust/0.1.0".to_owned(),
        codecs: vec![CodecId::Binary],
        suites: vec![Encryption::ChaCha20Poly1305, Encryption::Aes128Gcm],
        key_share: Bytes::from_static(&[0xc1; 32]),
    };
    HandShake "numbers that this version does not know are kept" HandShake {
        app_id: String::new(),
        sdk: String::new(),
        codecs: vec![CodecId::Unknown(200)],
        suites: vec![Encryption::Unknown(9)],
        key_share: Bytes::new(),
    };
    HandShakeAck "" HandShakeAck {
        signature: Bytes::new(),
        version: 1,
        codec: CodecId::Binary,
        encryption: Encryption::None,
        frame_len_max: 65_536,
        key_share: Bytes::new(),
    };
    HandShakeAck "bodies will be encrypted; for a signature that holds see encryption-v1.json" HandShakeAck {
        signature: Bytes::from_static(&[0x51; 64]),
        version: 1,
        codec: CodecId::Binary,
        encryption: Encryption::ChaCha20Poly1305,
        frame_len_max: 65_536,
        key_share: Bytes::from_static(&[0x6a; 32]),
    };
    Auth "" Auth { token: "eyJhbGciOiJFZERTQSJ9.e30.c2ln".to_owned(), device: device(), platform: Platform::Mobile };
    Auth "a text over 127 bytes has a length of two bytes" Auth {
        token: "t".repeat(300),
        device: device(),
        platform: Platform::Bot,
    };
    AuthAck "" AuthAck {
        user: user("a"),
        session: SessionId(42),
        heartbeat_ms: 30_000,
        keep_alive_ms: 180_000,
        server_time_ms: 1_700_000_000_123,
    };
    HeartBeatAck "" HeartBeatAck { head: Some(position(7)), server_time_ms: 1_700_000_000_123 };
    HeartBeatAck "the head could not be had" HeartBeatAck { head: None, server_time_ms: 1_700_000_000_123 };
    SendMsg "" SendMsg {
        to: Target::User(user("b")),
        client_msg_id: ClientMsgId::new("m-1").unwrap(),
        content_type: ContentType::Text,
        payload: Bytes::from_static("吃了吗？".as_bytes()),
    };
    SendMsg "to a group, with a payload that is not text" SendMsg {
        to: Target::Group(group()),
        client_msg_id: ClientMsgId::new("m-2").unwrap(),
        content_type: ContentType::Unknown(1000),
        payload: Bytes::from_static(&[0x00, 0xff, 0x80, 0x7f]),
    };
    SendAck "" SendAck {
        conversation: pair("b", "a"),
        seq: Seq(1),
        position: position(2),
        receiver_seq: Seq(3),
        time_ms: 1_700_000_000_123,
        repeated: false,
    };
    NewMsg "" NewMsg { head: position(7), entry: Some(message(3)), query_after_ms: 0 };
    NewMsg "without the message" NewMsg { head: position(7), entry: None, query_after_ms: 1500 };
    GetMsg "" GetMsg { after: position(6), limit: 100 };
    GetMsg "a client that has nothing yet" GetMsg { after: Position::default(), limit: 0 };
    MsgPage "" MsgPage {
        head: position(9),
        floor: Seq(4),
        entries: vec![
            Entry { seq: Seq(5), message: message(1) },
            Entry { seq: Seq(6), message: message(2) },
        ],
        has_more: true,
    };
    MsgPage "empty" MsgPage { head: position(0), floor: Seq::ZERO, entries: vec![], has_more: false };
    ReadMsg "" ReadMsg { conversation: pair("a", "b"), seq: Seq(3) };
    RevReadMsg "" RevReadMsg { conversation: pair("a", "b"), reader: user("b"), seq: Seq(3) };
    Kickout "" Kickout { reason: KickReason::LoggedInElsewhere, detail: "pocket-1 logged in again".to_owned() };
    Redirect "" Redirect {
        gates: vec![
            Address { text: "gate-2.example:8910".to_owned() },
            Address { text: "[2001:db8::3]:8910".to_owned() },
        ],
        after_ms: 250,
    };
    GetHistory "" GetHistory {
        conversation: ConversationId::group(&group()),
        from: Seq(20),
        direction: Direction::Backward,
        limit: 50,
    };
    HistoryPage "" HistoryPage { head: Seq(20), messages: vec![message(19), message(18)], has_more: true };
    Signal "" Signal { to: Target::User(user("b")), kind: SignalKind::Typing, payload: Bytes::new() };
    RevSignal "" RevSignal {
        conversation: pair("a", "b"),
        sender: user("a"),
        kind: SignalKind::Custom,
        payload: Bytes::from_static(b"{}"),
    };
    ListConversations "" ListConversations { after: Some(pair("a", "b")), limit: 20 };
    ListConversations "the first page" ListConversations { after: None, limit: 0 };
    ConversationPage "" ConversationPage {
        conversations: vec![
            ConversationSummary {
                conversation: pair("a", "b"),
                name: String::new(),
                head: Seq(3),
                read_seq: Seq(1),
                unread: 2,
                last: Some(message(3)),
            },
            ConversationSummary {
                conversation: ConversationId::group(&group()),
                name: "Lunch 🍜".to_owned(),
                head: Seq::ZERO,
                read_seq: Seq::ZERO,
                unread: 0,
                last: None,
            },
        ],
        has_more: false,
    };
    CreateGroup "" CreateGroup {
        group: group(),
        name: "Lunch 🍜".to_owned(),
        members: ["a", "c"].map(user).to_vec(),
    };
    ChangeMembers "" ChangeMembers { group: group(), add: vec![user("d")], remove: vec![user("a"), user("c")] };
    Group "" lunch();
    ListGroups "" ListGroups { after: Some(group()), limit: 20 };
    GroupPage "" GroupPage { groups: vec![lunch()], has_more: false };
    Refusal "" Refusal { code: RefusalCode::RateLimited, detail: "20 messages a second".to_owned(), retry_after_ms: 500 };
    Refusal "a code that this version does not know" Refusal {
        code: RefusalCode::Unknown(599),
        detail: String::new(),
        retry_after_ms: 0,
    };
    Hello "" Hello { tier: Tier::Gate, name: "gate-1".to_owned(), boot: BootId(u64::MAX), region: "eu".to_owned() };
    Welcome "" Welcome { name: "route-1".to_owned(), boot: BootId(7), region: "eu".to_owned() };
    Ping "" Ping {};
    SessionUp "" SessionUp {
        user: user("a"),
        session: SessionId(42),
        device: device(),
        platform: Platform::Desktop,
        since_ms: 1_700_000_000_123,
    };
    SessionDown "" SessionDown { user: user("a"), session: SessionId(42) };
    Forward "" Forward {
        user: user("a"),
        device: device(),
        session: key(),
        command: Command::HeartBeat.number(),
        body: Bytes::from_static(&[0]),
    };
    Push "" Push {
        epoch: Epoch(1),
        targets: vec![UserPlace { user: user("a"), seq: Seq(2) }, UserPlace { user: user("b"), seq: Seq(3) }],
        message: Some(message(1)),
        except: Some(key()),
    };
    Push "a hint alone" Push { epoch: Epoch(1), targets: vec![], message: None, except: None };
    PushSessions "" PushSessions {
        epoch: Epoch(1),
        targets: vec![SessionPlace { session: SessionId(42), seq: Seq(3) }],
        message: Some(message(1)),
    };
    Relay "" Relay {
        users: vec![user("a"), user("b")],
        except: Some(key()),
        command: Command::RevReadMsg.number(),
        body: Bytes::from_static(b"\x03a:b\x01b\x00\x00\x00\x00\x00\x00\x00\x03\x00"),
    };
    RelaySessions "" RelaySessions {
        sessions: vec![SessionId(42), SessionId(43)],
        command: Command::RevSignal.number(),
        body: Bytes::from_static(b"\x03a:b\x01a\x00\x01\x00\x00"),
    };
    Clock "" Clock { now_ms: 86_400_000 };
    RouteState "" RouteState {
        mastership: Mastership { term: 3, master: "route-2".to_owned() },
        serves: true,
        has_service: false,
        gates: u64::MAX - 1,
    };
    RouteState "a route that knows nobody yet" RouteState {
        mastership: Mastership::default(),
        serves: false,
        has_service: false,
        gates: 0,
    };
    SenderState "" SenderState {
        mastership: Mastership { term: 0, master: "route-1".to_owned() },
        uses: true,
        registered: false,
    };
    Presence "" Presence { up: vec![u64::MAX, 1], down: vec![2] };
    Revoke "" Revoke { user: user("a"), below: 3, login: u64::MAX, reason: KickReason::Forbidden, lasts_ms: 605_000 };
}
