//! The logins that this gate holds, and what others may do to one: send it something, or end it.

use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use im_auth::Claims;
use im_link::{Outbound, PushError, link};
use im_proto::client::{AuthAck, Command, KickReason, Kickout, Message, NewMsg, Platform, Redirect};
use im_proto::commands::client_body;
use im_proto::link::{SessionKey, SessionUp};
use im_proto::{BootId, DeviceId, Position, Refusal, RefusalCode, SessionId, UserId};
use im_secure::Sealer;
use im_session::Dismissal;
use parking_lot::Mutex;
use proto_codec::{Bytes, BytesMut, Codec, CodecId, Encode, Flags, Frame, RESPONSE_BIT};
use tracing::warn;

/// One client connection as the rest of the gate sees it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) outbound: Outbound,
    /// The id of the codec of what is sent. Tiers speak binary alone, so what comes from them is
    /// translated here, at the last moment.
    codec: AtomicU8,
    /// Seals what is sent, where bodies are encrypted. Locked only under the buffer's own lock, so that
    /// frames are sealed in the order in which they are sent.
    sealer: Mutex<Option<Box<Sealer>>>,
    login: OnceLock<Login>,
    dismissal: Mutex<Option<Dismissal>>,
    /// Its task is to look whether it has been silent for too long.
    told_to_look: AtomicBool,
    /// The gate stops: its task ends, and nobody is told.
    stopped: AtomicBool,
    /// Requests passed on and not answered yet.
    pub(crate) in_flight: AtomicU32,
    /// Refusals in a row because it asked too often.
    pub(crate) unheeded: AtomicU32,
    /// Until when its requests are paid for, as its rate has it.
    pub(crate) paid_us: AtomicU64,
}

/// Who is logged in on it.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) platform: Platform,
    pub(crate) key: SessionKey,
    /// By the time of day, for people.
    pub(crate) since_ms: u64,
    /// By this gate's own clock, for routes.
    clock_ms: u64,
    /// Which tokens would have to be taken back to end it: of which generation, and of which login at the
    /// accounts.
    pub(crate) generation: u64,
    pub(crate) account_login: u64,
}

impl Login {
    pub(crate) fn announcement(&self) -> SessionUp {
        SessionUp {
            user: self.user.clone(),
            session: self.key.session,
            device: self.device.clone(),
            platform: self.platform,
            since_ms: self.clock_ms,
        }
    }
}

impl Login {
    pub(crate) const fn platform_name(&self) -> &'static str {
        match self.platform {
            Platform::Bot => "bot",
            Platform::Desktop => "desktop",
            Platform::Mobile => "mobile",
            Platform::Web => "web",
            Platform::Unknown(_) => "unknown",
        }
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, outbound_bytes_max: usize) -> Self {
        Self {
            address,
            outbound: Outbound::new(outbound_bytes_max),
            codec: AtomicU8::new(Codec::Binary.id().number()),
            sealer: Mutex::new(None),
            login: OnceLock::new(),
            dismissal: Mutex::new(None),
            told_to_look: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            unheeded: AtomicU32::new(0),
            paid_us: AtomicU64::new(0),
        }
    }

    /// Who is logged in, once somebody is.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.get()
    }

    /// From here on this codec is spoken. Called by the connection's task before anybody else sends.
    pub(crate) fn speak(&self, codec: Codec) {
        self.codec.store(codec.id().number(), Ordering::Relaxed);
    }

    fn codec(&self) -> Codec {
        let id = CodecId::from_number(self.codec.load(Ordering::Relaxed));
        Codec::from_id(id).expect("only ids of codecs are stored")
    }

    /// Sends a message.
    pub(crate) fn push_message(
        &self,
        command: u16,
        flags: Flags,
        sequence: u32,
        message: &impl Encode,
    ) -> Result<(), PushError> {
        if self.codec() == Codec::Binary {
            return self.push(|out| Frame::encode_message(command, flags, sequence, message, out));
        }
        let mut body = BytesMut::new();
        message.encode(&mut body);
        self.push_body(command, flags, sequence, &body.freeze())
    }

    /// Sends a body that is in the binary codec.
    fn push_body(&self, command: u16, flags: Flags, sequence: u32, body: &Bytes) -> Result<(), PushError> {
        let codec = self.codec();
        if codec == Codec::Binary {
            return self.push_coded(command, flags, sequence, body);
        }
        // What has no schema is newer than this gate, and so is none of the client's business yet.
        let Some(ty) = client_body(command, flags) else { return Ok(()) };
        match codec.encode_binary("body", &ty, body) {
            Ok(coded) => self.push_coded(command, flags, sequence, &coded),
            Err(error) => {
                warn!(command, %error, "a tier sent a body that cannot be translated");
                if command & RESPONSE_BIT == 0 {
                    return Ok(());
                }
                let refusal = Refusal::from(RefusalCode::Internal);
                self.push_message(command, Flags::REFUSED, sequence, &refusal)
            }
        }
    }

    fn push_coded(&self, command: u16, flags: Flags, sequence: u32, body: &Bytes) -> Result<(), PushError> {
        self.push(|out| Frame { command, flags, sequence, body: body.clone() }.encode(out))
    }

    /// Sends the one frame that `write` appends.
    fn push(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        self.outbound.push(|out| {
            let start = out.len();
            write(out);
            if let Some(sealer) = self.sealer.lock().as_deref_mut() {
                sealer.seal(out, start);
            }
        })
    }

    /// From here on bodies are encrypted, if there is something to do it with. Called by the
    /// connection's task before anybody else sends.
    pub(crate) fn seal(&self, sealer: Option<Sealer>) {
        *self.sealer.lock() = sealer.map(Box::new);
    }

    /// Answers the login, and seals whatever comes behind the answer with other keys. Others may send
    /// from now on, so nothing may come between the two.
    pub(crate) fn answer_login(&self, sequence: u32, ack: &AuthAck, sealer: Option<Sealer>) {
        let mut body = BytesMut::new();
        self.codec().encode(ack, &mut body);
        let frame =
            Frame { command: Command::Auth.number() | RESPONSE_BIT, flags: Flags::NONE, sequence, body: body.freeze() };
        self.sent_or_kicked(self.outbound.push(|out| {
            let mut current = self.sealer.lock();
            match current.as_deref_mut() {
                Some(current) => current.seal_frame(&frame, out),
                None => frame.encode(out),
            }
            *current = sealer.map(Box::new);
        }));
    }

    /// Answers a request with a body that a tier behind made.
    pub(crate) fn answer_body(&self, command: Command, flags: Flags, sequence: u32, body: &Bytes) {
        self.sent_or_kicked(self.push_body(command.number() | RESPONSE_BIT, flags, sequence, body));
    }

    /// Answers a request.
    pub(crate) fn answer(&self, command: Command, sequence: u32, body: &impl Encode) {
        let command = command.number() | RESPONSE_BIT;
        self.sent_or_kicked(self.push_message(command, Flags::NONE, sequence, body));
    }

    /// Answers a request with a refusal. A command of 0 answers bytes that were no frame.
    pub(crate) fn refuse(&self, command: u16, sequence: u32, refusal: &Refusal) {
        let command = command | RESPONSE_BIT;
        self.sent_or_kicked(self.push_message(command, Flags::REFUSED, sequence, refusal));
    }

    /// Tells of a timeline that has grown. A client that takes too little loses this, and nothing
    /// but this: the message is in its timeline, and the next heartbeat's head tells of it.
    pub(crate) fn notify(&self, head: Position, message: Option<&Message>) {
        let notify = NewMsg { head, entry: message.cloned(), query_after_ms: 0 };
        if self.push_message(Command::NewMsg.number(), Flags::NONE, 0, &notify).is_err() {
            metrics::counter!("sim_gate_notifies_dropped_total").increment(1);
        }
    }

    /// Passes on what another tier has for this client; lost when the client takes too little.
    pub(crate) fn relay(&self, command: u16, body: &Bytes) {
        if Command::from_number(command) == Command::Kickout {
            // The reason is for the client; a kick is a kick even if it cannot be read.
            let kickout = Codec::Binary.decode("Kickout", body).map(|kickout: Kickout| kickout.reason);
            return self.kick(kickout.unwrap_or(KickReason::Forbidden));
        }
        if self.push_body(command, Flags::NONE, 0, body).is_err() {
            metrics::counter!("sim_gate_relays_dropped_total").increment(1);
        }
    }

    /// Ends the login, saying why.
    pub(crate) fn kick(&self, reason: KickReason) {
        self.dismiss(Dismissal::Kick(reason));
    }

    /// Ends the connection. What is said first stays.
    pub(crate) fn dismiss(&self, dismissal: Dismissal) {
        self.dismissal.lock().get_or_insert(dismissal);
        self.outbound.wake();
    }

    /// It may have been silent for too long.
    pub(crate) fn look_at_the_time(&self) {
        self.told_to_look.store(true, Ordering::Release);
        self.outbound.wake();
    }

    /// Whether it was told to look since the last time it was asked.
    pub(crate) fn is_told_to_look(&self) -> bool {
        // Asked at every step: a mere look first.
        self.told_to_look.load(Ordering::Relaxed) && self.told_to_look.swap(false, Ordering::Acquire)
    }

    /// Ends the task at once.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.outbound.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Whether it waits for no answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn dismissed(&self) -> Option<Dismissal> {
        *self.dismissal.lock()
    }

    /// Asks the client to connect again, elsewhere where addresses are given.
    pub(crate) fn redirect(&self, redirect: &Redirect) -> Result<(), PushError> {
        self.push_message(Command::Redirect.number(), Flags::NONE, 0, redirect)
    }

    /// An answer must not be lost silently: a client that does not take its answers is let go.
    fn sent_or_kicked(&self, pushed: Result<(), PushError>) {
        if pushed == Err(PushError::Full) {
            self.kick(KickReason::SlowConsumer);
        }
    }
}

/// Every login of this gate.
#[derive(Debug)]
pub(crate) struct Sessions {
    boot: BootId,
    /// Where this gate's own clock begins.
    started: Instant,
    next: AtomicU64,
    clients: DashMap<SessionId, Arc<Client>, ahash::RandomState>,
}

impl Sessions {
    pub(crate) fn new(boot: BootId) -> Self {
        // The keys are this gate's own counter: nobody can choose them to collide, and fixed seeds give
        // a simulation the same order of announcements every time.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Self { boot, started: link::now(), next: AtomicU64::new(1), clients: DashMap::with_hasher(hasher) }
    }

    /// What this gate's own clock shows: milliseconds since its start, never set.
    pub(crate) fn clock_ms(&self) -> u64 {
        link::now().saturating_duration_since(self.started).as_millis() as u64
    }

    /// Enters a client that has logged in and gives its login.
    pub(crate) fn enter<'c>(
        &self,
        client: &'c Arc<Client>,
        claims: Claims,
        device: DeviceId,
        platform: Platform,
        since_ms: u64,
    ) -> &'c Login {
        let session = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        let key = SessionKey { boot: self.boot, session };
        let login = client.login.get_or_init(|| Login {
            user: claims.user,
            device,
            platform,
            key,
            since_ms,
            clock_ms: self.clock_ms(),
            generation: claims.generation,
            account_login: claims.login,
        });
        self.clients.insert(session, Arc::clone(client));
        login
    }

    /// Forgets a login. Whoever announces it holds it by [`with`](Self::with) meanwhile, so that
    /// its goodbye comes after.
    pub(crate) fn leave(&self, session: SessionId) {
        self.clients.remove(&session);
    }

    /// Does something with a client while it cannot leave.
    pub(crate) fn with<R>(&self, session: SessionId, act: impl FnOnce(&Client) -> R) -> Option<R> {
        self.clients.get(&session).map(|client| act(&client))
    }

    /// The ids of all logins right now.
    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.clients.iter().map(|entry| *entry.key()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Does something with every client, each while it cannot leave.
    pub(crate) fn for_each(&self, mut act: impl FnMut(&Client)) {
        self.clients.iter().for_each(|client| act(&client));
    }

    /// Up to `limit` logins behind `after`, in the order of their ids. Holds no more than these.
    pub(crate) fn page(&self, after: SessionId, limit: usize) -> Vec<Arc<Client>> {
        let mut first = BinaryHeap::new();
        for id in self.clients.iter().map(|entry| *entry.key()).filter(|id| *id > after) {
            first.push(id);
            if first.len() > limit {
                first.pop();
            }
        }
        let ids = first.into_sorted_vec();
        ids.iter().filter_map(|id| self.clients.get(id).map(|client| Arc::clone(&client))).collect()
    }

    /// What waits, over all logins: bytes, the most bytes of one login, requests.
    pub(crate) fn queues(&self) -> Queues {
        let mut queues = Queues::default();
        self.for_each(|client| {
            let bytes = client.outbound.len();
            queues.bytes += bytes;
            queues.bytes_of_one = queues.bytes_of_one.max(bytes);
            queues.in_flight += u64::from(client.in_flight.load(Ordering::Relaxed));
        });
        queues
    }
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queues {
    /// Bytes to be sent.
    pub(crate) bytes: usize,
    /// The same for the login that has most.
    pub(crate) bytes_of_one: usize,
    /// Requests without an answer.
    pub(crate) in_flight: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::thread;

    use im_link::FrameIo;
    use im_proto::client::{Encryption, HandShake, HandShakeAck};
    use im_proto::{Epoch, Seq};
    use im_secure::{Agreed, ClientHello, EphemeralKey, IdentityKey, Keys, ServerHello};
    use proto_codec::{Hop, Preamble};

    use super::*;

    /// Both sides after a handshake, client first.
    fn agreed() -> (Agreed, Agreed) {
        let identity = IdentityKey::from_seed(&[9; 32]).unwrap();
        let client = ClientHello::new(EphemeralKey::from_bytes([1; 32]), identity.public());
        let hello = client.offer(HandShake {
            app_id: String::new(),
            sdk: String::new(),
            codecs: vec![CodecId::Binary],
            suites: Vec::new(),
            key_share: Bytes::new(),
        });
        let ack = HandShakeAck {
            signature: Bytes::new(),
            version: 1,
            codec: CodecId::Binary,
            encryption: Encryption::None,
            frame_len_max: 1,
            key_share: Bytes::new(),
        };
        let frame = |command, message: &dyn Encode| {
            let mut body = BytesMut::new();
            message.encode(&mut body);
            Frame { command, flags: Flags::NONE, sequence: 1, body: body.freeze() }
        };
        let (preamble, sent) = (Preamble::current(Hop::Client).encode(), frame(1, &hello));
        let mut written = BytesMut::from(&preamble[..]);
        sent.encode(&mut written);
        let server = ServerHello::new(&preamble, &sent, &hello).unwrap();
        let (ack, gate) = server.answer(&identity, &EphemeralKey::from_bytes([2; 32]), ack).unwrap();
        (client.sent(&written).finish(&frame(0x81, &ack)).unwrap(), gate)
    }

    /// While one thread answers the login, another sends without a pause: whatever comes before the
    /// answer opens with the old keys, whatever comes behind it with the new ones.
    #[tokio::test]
    async fn keys_change_exactly_behind_the_answer_to_the_login() {
        let (client_side, gate_side) = agreed();
        let (user, session) = (UserId::new("a").unwrap(), SessionId(1));
        let mut opener = client_side.handshake_keys().opener;
        let Keys { sealer, .. } = gate_side.handshake_keys();
        let after = gate_side.session_keys(session, &user);

        let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 1)), usize::MAX);
        client.seal(Some(sealer));
        let (began, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let notify = || client.notify(Position { epoch: Epoch(1), seq: Seq(1) }, None);
                while !stop.load(Ordering::Acquire) {
                    notify();
                    began.store(true, Ordering::Release);
                }
                // However the threads were scheduled, something stands on both sides of the answer.
                notify();
            });
            while !began.load(Ordering::Acquire) {
                thread::yield_now();
            }
            let ack = AuthAck { user: user.clone(), session, heartbeat_ms: 1, keep_alive_ms: 1, server_time_ms: 1 };
            client.answer_login(2, &ack, Some(after.sealer));
            stop.store(true, Ordering::Release);
        });
        client.outbound.close();

        let (near, far) = tokio::io::duplex(64 * 1024);
        let mut gate_io = FrameIo::new(Box::new(near), 1024);
        let write = async move {
            std::future::poll_fn(|cx| gate_io.poll_drain(cx, &client.outbound)).await.unwrap();
            // Dropping the stream tells the reader that this was all.
        };
        let read = async {
            let mut io = FrameIo::new(Box::new(far), 1024);
            let (mut before, mut behind, mut answered) = (0, 0, false);
            while let Ok(frame) = io.read_frame().await {
                if opener.open(frame).unwrap().is_response() {
                    answered = true;
                    opener = agreed().0.session_keys(session, &user).opener;
                } else if answered {
                    behind += 1;
                } else {
                    before += 1;
                }
            }
            assert!(answered && before > 0 && behind > 0, "{before} before the answer, {behind} behind it");
        };
        tokio::join!(write, read);
    }
}
