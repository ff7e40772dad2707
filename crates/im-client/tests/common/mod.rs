//! A gate in memory: speaks real frames over `tokio::io::duplex`, keeps one user's timeline, and
//! misbehaves as told.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use im_client::{Client, ClientConfig, Dial, Event, Events, PositionStore, State, TokenSource};
use im_link::network::{BoxFuture, BoxIo};
use im_proto::client::*;
use im_proto::{
    ClientMsgId, ConversationId, DeviceId, Epoch, Position, Refusal, RefusalCode, Seq, SessionId, Target, UserId,
};
use parking_lot::Mutex;
use proto_codec::{Codec, CodecId, Decode, Deframer, Encode, Flags, Frame, Hop, PREAMBLE_LEN, Preamble, RESPONSE_BIT};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::broadcast;

/// What happens to a send, in the order in which they arrive.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The connection breaks before the message is stored.
    DropBefore,
    /// The message is stored, and the connection breaks before the ack.
    DropAfter,
    /// Refused with this code.
    Refuse(RefusalCode),
    /// No answer at all.
    Swallow,
}

pub struct World {
    pub epoch: Epoch,
    pub timeline: Vec<Message>,
    pub faults: VecDeque<Option<Fault>>,
    pub good_token: String,
    /// The positions that pulls asked with.
    pub pulls: Vec<Position>,
    pub page_rows: usize,
    pub dialled: Vec<String>,
    pub logins: usize,
    pub logouts: usize,
    /// Acks by name, in the order of the timeline.
    acks: HashMap<ClientMsgId, SendAck>,
}

#[derive(Clone)]
pub struct FakeGate {
    pub world: Arc<Mutex<World>>,
    /// Frames that every connection gets; `None` breaks it.
    pushes: broadcast::Sender<Option<Frame>>,
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub fn to(name: &str) -> Target {
    Target::User(user(name))
}

impl FakeGate {
    pub fn new() -> Self {
        let world = World {
            epoch: Epoch(1),
            timeline: vec![],
            faults: VecDeque::new(),
            good_token: "good".into(),
            pulls: vec![],
            page_rows: 3,
            dialled: vec![],
            logins: 0,
            logouts: 0,
            acks: HashMap::new(),
        };
        Self { world: Arc::new(Mutex::new(world)), pushes: broadcast::channel(1024).0 }
    }

    pub fn head(&self) -> Position {
        let world = self.world.lock();
        Position { epoch: world.epoch, seq: Seq(world.timeline.len() as u64) }
    }

    /// Somebody else writes; nobody is told.
    pub fn append(&self, text: &str) -> NewMsg {
        let mut world = self.world.lock();
        let seq = Seq(world.timeline.len() as u64 + 1);
        let message = Message {
            conversation: ConversationId::pair(&user("a"), &user("b")),
            seq,
            sender: user("b"),
            client_msg_id: ClientMsgId::new(format!("b-{seq}")).unwrap(),
            time_ms: seq.0,
            content_type: ContentType::Text,
            payload: Bytes::from(text.to_owned()),
        };
        world.timeline.push(message.clone());
        NewMsg { head: Position { epoch: world.epoch, seq }, entry: Some(message), query_after_ms: 0 }
    }

    pub fn push(&self, command: Command, message: &impl Encode) {
        // Without a connection nobody gets it, as in life.
        let _ = self.pushes.send(Some(frame(command.number(), Flags::NONE, 0, message)));
    }

    pub fn break_connections(&self) {
        let _ = self.pushes.send(None);
    }

    pub fn texts(&self) -> Vec<String> {
        self.world.lock().timeline.iter().map(text).collect()
    }

    async fn serve(self, mut stream: DuplexStream) -> io::Result<()> {
        let mut pushes = self.pushes.subscribe();
        let mut preamble = [0; PREAMBLE_LEN];
        stream.read_exact(&mut preamble).await?;
        Preamble::decode(preamble, Hop::Client).map_err(io::Error::other)?;
        let deframer = Deframer::new(65536);
        let mut inbound = BytesMut::new();
        loop {
            while let Some(frame) = deframer.next(&mut inbound) {
                let Some(answer) = self.on_frame(frame.map_err(io::Error::other)?) else { continue };
                let Some(answer) = answer else { return Ok(()) };
                let mut out = BytesMut::new();
                answer.encode(&mut out);
                stream.write_all(&out).await?;
            }
            tokio::select! {
                read = stream.read_buf(&mut inbound) => if read? == 0 { return Ok(()) },
                Ok(push) = pushes.recv() => {
                    let Some(push) = push else { return Ok(()) };
                    let mut out = BytesMut::new();
                    push.encode(&mut out);
                    stream.write_all(&out).await?;
                }
            }
        }
    }

    /// `None`: no answer; `Some(None)`: break the connection.
    fn on_frame(&self, request: Frame) -> Option<Option<Frame>> {
        let command = Command::from_number(request.command);
        let ok = |message: &dyn Fn(&mut BytesMut)| {
            let mut body = BytesMut::new();
            message(&mut body);
            Some(Some(Frame {
                command: command.number() | RESPONSE_BIT,
                flags: Flags::NONE,
                sequence: request.sequence,
                body: body.freeze(),
            }))
        };
        let refuse = |code: RefusalCode| {
            Some(Some(frame(command.number() | RESPONSE_BIT, Flags::REFUSED, request.sequence, &Refusal::from(code))))
        };
        let mut world = self.world.lock();
        match command {
            Command::HandShake => ok(&|out| {
                HandShakeAck {
                    signature: Bytes::new(),
                    version: 1,
                    codec: CodecId::Binary,
                    encryption: Encryption::None,
                    frame_len_max: 65536,
                    key_share: Bytes::new(),
                }
                .encode(out);
            }),
            Command::Auth => {
                let auth: Auth = decode(&request.body);
                if auth.token != world.good_token {
                    return refuse(RefusalCode::ExpiredToken);
                }
                world.logins += 1;
                let session = SessionId(world.logins as u64);
                ok(&|out| {
                    AuthAck {
                        user: user("a"),
                        session,
                        heartbeat_ms: 30_000,
                        keep_alive_ms: 180_000,
                        server_time_ms: 0,
                    }
                    .encode(out);
                })
            }
            Command::HeartBeat => {
                let head = Position { epoch: world.epoch, seq: Seq(world.timeline.len() as u64) };
                ok(&|out| HeartBeatAck { head: Some(head), server_time_ms: 0 }.encode(out))
            }
            Command::Logout => {
                world.logouts += 1;
                ok(&|out| Empty {}.encode(out))
            }
            Command::SendMsg => {
                let fault = world.faults.pop_front().flatten();
                match fault {
                    Some(Fault::DropBefore) => return Some(None),
                    Some(Fault::Refuse(code)) => return refuse(code),
                    Some(Fault::Swallow) => return None,
                    Some(Fault::DropAfter) | None => {}
                }
                let ack = world.store(decode(&request.body));
                if fault.is_some() { Some(None) } else { ok(&|out| ack.encode(out)) }
            }
            Command::GetMsg => {
                let asked: GetMsg = decode(&request.body);
                world.pulls.push(asked.after);
                let page = world.page(asked);
                ok(&|out| page.encode(out))
            }
            Command::ListGroups => ok(&|out| GroupPage { groups: vec![], has_more: false }.encode(out)),
            _ => refuse(RefusalCode::UnknownCommand),
        }
    }
}

impl World {
    fn store(&mut self, message: SendMsg) -> SendAck {
        if let Some(ack) = self.acks.get(&message.client_msg_id) {
            return SendAck { repeated: true, ..ack.clone() };
        }
        let seq = Seq(self.timeline.len() as u64 + 1);
        let ack = SendAck {
            conversation: message.to.conversation(&user("a")),
            seq,
            position: Position { epoch: self.epoch, seq },
            receiver_seq: seq,
            time_ms: seq.0,
            repeated: false,
        };
        self.timeline.push(Message {
            conversation: ack.conversation.clone(),
            seq,
            sender: user("a"),
            client_msg_id: message.client_msg_id.clone(),
            time_ms: seq.0,
            content_type: message.content_type,
            payload: message.payload,
        });
        self.acks.insert(message.client_msg_id, ack.clone());
        ack
    }

    fn page(&self, asked: GetMsg) -> MsgPage {
        let head = Position { epoch: self.epoch, seq: Seq(self.timeline.len() as u64) };
        if asked.after != Position::default() && asked.after.epoch != self.epoch {
            return MsgPage { head, floor: Seq::ZERO, entries: vec![], has_more: false };
        }
        let from = asked.after.seq.0 as usize;
        let entries: Vec<_> = (from..self.timeline.len())
            .take(self.page_rows)
            .map(|index| Entry { seq: Seq(index as u64 + 1), message: self.timeline[index].clone() })
            .collect();
        let has_more = from + entries.len() < self.timeline.len();
        MsgPage { head, floor: Seq::ZERO, entries, has_more }
    }
}

impl Dial for FakeGate {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        self.world.lock().dialled.push(address.to_owned());
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(self.clone().serve(far));
        Box::pin(async move { Ok(Box::new(near) as BoxIo) })
    }
}

fn frame(command: u16, flags: Flags, sequence: u32, message: &impl Encode) -> Frame {
    let mut body = BytesMut::new();
    message.encode(&mut body);
    Frame { command, flags, sequence, body: body.freeze() }
}

fn decode<M: Decode>(body: &Bytes) -> M {
    Codec::Binary.decode("request", body).unwrap()
}

pub fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).unwrap()
}

pub fn config() -> ClientConfig {
    ClientConfig::new(vec!["gate-1:1".into(), "gate-2:1".into()], DeviceId::new("test").unwrap())
}

pub async fn start(
    gate: &FakeGate,
    config: ClientConfig,
    tokens: Arc<dyn TokenSource>,
    positions: Arc<dyn PositionStore>,
) -> (Client, Events) {
    Client::start(config, Arc::new(gate.clone()), tokens, positions).await.unwrap()
}

/// Waits for something, but not for ever: paused time passes by itself when everybody waits.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(300), future).await.expect("in time")
}

/// The next event that is not about the connection.
pub async fn next(events: &mut Events) -> Event {
    loop {
        match in_time(events.next()).await.expect("the client lives") {
            Event::State(State::Ended(cause)) => panic!("ended: {cause}"),
            Event::State(_) => {}
            event => return event,
        }
    }
}

/// The next event that is not about the connection, nor about the sync as a whole.
pub async fn next_change(events: &mut Events) -> Event {
    loop {
        match next(events).await {
            Event::CaughtUp(_) => {}
            event => return event,
        }
    }
}

/// The next `count` messages' places and texts; anything else fails.
pub async fn messages(events: &mut Events, count: usize) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    while all.len() < count {
        match next_change(events).await {
            Event::Message(entry) => all.push((entry.seq.0, text(&entry.message))),
            Event::Sent { .. } => {}
            other => panic!("not a message: {other:?}"),
        }
    }
    all
}
