//! An im-service over a store in memory, and a route that asks what the test says.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use im_link::testing::{LinkEvent, LinkEvents, MemoryNetwork, Recorder};
use im_link::tls::LinkTls;
use im_link::{Identity, Link, LinkConfig, Network, link};
use im_proto::ConversationId;
use im_proto::client::{ChangeMembers, Command, ContentType, CreateGroup, GetMsg, Group, MsgPage, SendAck, SendMsg};
use im_proto::link::{Forward, LinkCommand, Push, Relay, SessionKey, Tier};
use im_proto::{BootId, ClientMsgId, DeviceId, Epoch, GroupId, Position, Refusal, RefusalCode, Seq, SessionId};
use im_proto::{Target, UserId};
use im_service::{ImService, ImServiceConfig, Retention, ServiceConfig};
use im_timeline::{
    Append, AppendError, Change, CommitError, ConversationHead, Disk, DumpCursor, DumpPage, DumpRow, HistoryRange,
    LoadError, MemoryOptions, MemoryStore, Placed, RecordPage, Store, StoreError, SweepPolicy, Swept, SyncHead,
    SyncPage, Table,
};
use proto_codec::{Bytes, BytesMut, Codec, Decode, Encode, Frame};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(crate) const EPOCH: Epoch = Epoch(3);

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(crate) fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| user(name)).collect()
}

pub(crate) fn group_id(name: &str) -> GroupId {
    GroupId::new(name).unwrap()
}

pub(crate) fn to(name: &str) -> Target {
    Target::User(user(name))
}

pub(crate) fn to_group(name: &str) -> Target {
    Target::Group(group_id(name))
}

pub(crate) fn at(seq: u64) -> Position {
    Position { epoch: EPOCH, seq: Seq(seq) }
}

pub(crate) fn send(to: Target, id: &str, payload: &str) -> SendMsg {
    SendMsg {
        to,
        client_msg_id: ClientMsgId::new(id).unwrap(),
        content_type: ContentType::Text,
        payload: payload.as_bytes().to_vec().into(),
    }
}

pub(crate) fn config() -> ImServiceConfig {
    ImServiceConfig {
        name: "s1".into(),
        region: "here".into(),
        boot: BootId(50),
        routes: vec!["r1".into()],
        link_tls: LinkTls::Plain,
        link: LinkConfig::default(),
        service: ServiceConfig { known_users_only: false },
        retention: Retention::default(),
    }
}

pub(crate) struct World {
    pub(crate) service: ImService,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) disk: Disk,
    link: Link,
    events: LinkEvents,
    sequence: u32,
    told: VecDeque<Frame>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ImServiceConfig)) -> Self {
        Self::over(false, change).await
    }

    /// One whose store other im-services may have open too.
    pub(crate) async fn shared() -> Self {
        Self::over(true, |_| {}).await
    }

    async fn over(is_shared: bool, change: impl FnOnce(&mut ImServiceConfig)) -> Self {
        let network: Arc<dyn Network> = MemoryNetwork::new();
        let listener = network.listen("r1").await.unwrap();
        let (handler, mut events) = Recorder::new();
        let identity = Identity { tier: Tier::Route, name: "r1".into(), boot: BootId(1), region: "here".into() };
        let stop = CancellationToken::new();
        tokio::spawn(link::serve(listener, LinkTls::Plain, identity, LinkConfig::default(), handler, stop));
        // An fsync that takes its time, so that appends and reads overlap.
        let options = MemoryOptions { fsync: Duration::from_millis(2), ..MemoryOptions::default() };
        let disk = Disk::new(EPOCH);
        let store: Arc<dyn Store> = Arc::new(SlowRecords(MemoryStore::open_with(&disk, options), is_shared));
        let mut config = config();
        change(&mut config);
        let service = ImService::start(config, Arc::clone(&store), &network);
        let link = events.up().await;
        Self { service, store, disk, link, events, sequence: 0, told: VecDeque::new() }
    }

    /// Asks and gives the request's sequence.
    pub(crate) fn ask(&mut self, who: &str, device: &str, command: Command, message: &impl Encode) -> u32 {
        let mut body = BytesMut::new();
        message.encode(&mut body);
        self.sequence += 1;
        let forward = Forward {
            user: user(who),
            device: DeviceId::new(device).unwrap(),
            session: session(who),
            command: command.number(),
            body: body.freeze(),
        };
        self.link.request(LinkCommand::Forward, self.sequence, &forward).unwrap();
        self.sequence
    }

    /// The next answer, whichever request it is for. What others are told meanwhile is kept.
    pub(crate) async fn answered<A: Decode>(&mut self) -> (u32, Result<A, RefusalCode>) {
        loop {
            let (_, frame) = self.events.frame().await;
            if !frame.is_response() {
                self.told.push_back(frame);
                continue;
            }
            assert_eq!(frame.command, LinkCommand::Forward.number() | 0x80);
            let answer = if frame.flags.is_refused() {
                Err(Codec::Binary.decode::<Refusal>("Refusal", &frame.body).unwrap().code)
            } else {
                Ok(Codec::Binary.decode("answer", &frame.body).unwrap())
            };
            return (frame.sequence, answer);
        }
    }

    /// Asks and waits.
    pub(crate) async fn call<A: Decode>(
        &mut self,
        who: &str,
        command: Command,
        message: &impl Encode,
    ) -> Result<A, RefusalCode> {
        self.call_from(who, "phone", command, message).await
    }

    pub(crate) async fn call_from<A: Decode>(
        &mut self,
        who: &str,
        device: &str,
        command: Command,
        message: &impl Encode,
    ) -> Result<A, RefusalCode> {
        let asked = self.ask(who, device, command, message);
        let (sequence, answer) = self.answered().await;
        assert_eq!(sequence, asked);
        answer
    }

    pub(crate) async fn send(&mut self, who: &str, send: &SendMsg) -> Result<SendAck, RefusalCode> {
        self.call(who, Command::SendMsg, send).await
    }

    pub(crate) async fn pull(&mut self, who: &str, after: Position, limit: u16) -> Result<MsgPage, RefusalCode> {
        self.call(who, Command::GetMsg, &GetMsg { after, limit }).await
    }

    pub(crate) async fn create(&mut self, who: &str, name: &str, members: &[&str]) -> Result<Group, RefusalCode> {
        let create = CreateGroup { group: group_id(name), name: format!("the {name}"), members: users(members) };
        self.call(who, Command::CreateGroup, &create).await
    }

    pub(crate) async fn change(
        &mut self,
        who: &str,
        name: &str,
        add: &[&str],
        remove: &[&str],
    ) -> Result<Group, RefusalCode> {
        let change = ChangeMembers { group: group_id(name), add: users(add), remove: users(remove) };
        self.call(who, Command::ChangeMembers, &change).await
    }

    /// The payloads of a user's whole timeline.
    pub(crate) async fn timeline(&mut self, who: &str) -> Vec<String> {
        let (mut after, mut payloads) = (at(0), Vec::new());
        loop {
            let page = self.pull(who, after, 200).await.unwrap();
            for entry in page.entries {
                assert_eq!(entry.seq, after.seq.next(), "a timeline has no gap");
                after = Position { epoch: page.head.epoch, seq: entry.seq };
                payloads.push(String::from_utf8(entry.message.payload.to_vec()).unwrap());
            }
            if !page.has_more {
                return payloads;
            }
        }
    }

    async fn tell(&mut self) -> Frame {
        match self.told.pop_front() {
            Some(frame) => frame,
            None => self.events.frame().await.1,
        }
    }

    /// What others are told next, which must be a message.
    pub(crate) async fn pushed(&mut self) -> Push {
        let frame = self.tell().await;
        assert_eq!((LinkCommand::from_number(frame.command), frame.sequence), (LinkCommand::Push, 0));
        Codec::Binary.decode("Push", &frame.body).unwrap()
    }

    /// What others are told next, which must be a frame for users.
    pub(crate) async fn relayed<M: Decode>(&mut self, command: Command) -> (Relay, M) {
        let frame = self.tell().await;
        assert_eq!((LinkCommand::from_number(frame.command), frame.sequence), (LinkCommand::Relay, 0));
        let relay: Relay = Codec::Binary.decode("Relay", &frame.body).unwrap();
        assert_eq!(Command::from_number(relay.command), command);
        let message = Codec::Binary.decode("relayed", &relay.body).unwrap();
        (relay, message)
    }

    /// Nobody is told anything, now or within a second.
    pub(crate) async fn tells_nobody(&mut self) {
        sleep(Duration::from_secs(1)).await;
        assert!(self.told.is_empty(), "{:?}", self.told);
        if let Some(event) = self.events.now() {
            panic!("nobody was to be told, but {event:?}");
        }
    }

    /// Takes what others were told so far off the list.
    pub(crate) async fn forget_told(&mut self) {
        sleep(Duration::from_secs(1)).await;
        self.told.clear();
        while let Some(event) = self.events.now() {
            assert!(matches!(event, LinkEvent::Frame(..)), "{event:?}");
        }
    }
}

/// The login that a user asks from.
pub(crate) fn session(who: &str) -> SessionKey {
    let number = who.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    SessionKey { boot: BootId(9), session: SessionId(number) }
}

/// A store whose single records come after a while, each after another one: what is looked up
/// first is not known first. The flag says whether other im-services may have it open too.
struct SlowRecords(MemoryStore, bool);

static LOOKUPS: AtomicU64 = AtomicU64::new(0);

#[async_trait::async_trait]
impl Store for SlowRecords {
    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    fn is_shared(&self) -> bool {
        self.1
    }

    async fn append(&self, append: Append) -> Result<Placed, AppendError> {
        self.0.append(append).await
    }

    async fn head(&self, user: &UserId) -> Result<SyncHead, StoreError> {
        self.0.head(user).await
    }

    async fn sync(&self, user: &UserId, after: Seq, limit: usize) -> Result<SyncPage, StoreError> {
        self.0.sync(user, after, limit).await
    }

    async fn history(&self, id: &ConversationId, range: HistoryRange) -> Result<ConversationHead, StoreError> {
        self.0.history(id, range).await
    }

    async fn trim(&self, user: &UserId, through: Seq) -> Result<Seq, StoreError> {
        self.0.trim(user, through).await
    }

    async fn sweep(&self, policy: SweepPolicy) -> Result<Swept, StoreError> {
        self.0.sweep(policy).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        self.0.commit(changes).await
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Bytes>, StoreError> {
        let turn = LOOKUPS.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(turn * 7 % 11)).await;
        self.0.record(table, key).await
    }

    async fn records(&self, table: Table, prefix: &str, after: &str, limit: usize) -> Result<RecordPage, StoreError> {
        self.0.records(table, prefix, after, limit).await
    }

    async fn dump(&self, after: Option<DumpCursor>, limit: usize) -> Result<DumpPage, StoreError> {
        self.0.dump(after, limit).await
    }

    async fn load(&self, rows: Vec<DumpRow>) -> Result<(), LoadError> {
        self.0.load(rows).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
