//! The logins that this gate holds, and what others may do to one: send it something, or end it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dashmap::DashMap;
use im_link::{Outbound, PushError};
use im_proto::client::{Command, KickReason, Kickout, Message, NewMsg, Platform};
use im_proto::link::{SessionKey, SessionUp};
use im_proto::{BootId, DeviceId, Position, Refusal, SessionId, UserId};
use parking_lot::Mutex;
use proto_codec::{Bytes, Codec, Encode, Flags, RESPONSE_BIT};

/// One client connection as the rest of the gate sees it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) outbound: Outbound,
    login: OnceLock<Login>,
    kick: Mutex<Option<KickReason>>,
    /// Requests passed on and not answered yet.
    pub(crate) in_flight: AtomicU32,
}

/// Who is logged in on it.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) platform: Platform,
    pub(crate) key: SessionKey,
    pub(crate) since_ms: u64,
}

impl Login {
    pub(crate) fn announcement(&self) -> SessionUp {
        SessionUp {
            user: self.user.clone(),
            session: self.key.session,
            device: self.device.clone(),
            platform: self.platform,
            since_ms: self.since_ms,
        }
    }
}

impl Client {
    pub(crate) fn new(outbound_bytes_max: usize) -> Self {
        Self {
            outbound: Outbound::new(outbound_bytes_max),
            login: OnceLock::new(),
            kick: Mutex::new(None),
            in_flight: AtomicU32::new(0),
        }
    }

    /// Who is logged in, once somebody is.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.get()
    }

    /// Answers a request with a body that a tier behind made.
    pub(crate) fn answer_body(&self, command: Command, flags: Flags, sequence: u32, body: &Bytes) {
        self.sent_or_kicked(self.outbound.push_body(command.number() | RESPONSE_BIT, flags, sequence, body));
    }

    /// Answers a request.
    pub(crate) fn answer(&self, command: Command, sequence: u32, body: &impl Encode) {
        let command = command.number() | RESPONSE_BIT;
        self.sent_or_kicked(self.outbound.push_message(command, Flags::NONE, sequence, body));
    }

    /// Answers a request with a refusal. A command of 0 answers bytes that were no frame.
    pub(crate) fn refuse(&self, command: u16, sequence: u32, refusal: &Refusal) {
        let command = command | RESPONSE_BIT;
        self.sent_or_kicked(self.outbound.push_message(command, Flags::REFUSED, sequence, refusal));
    }

    /// Tells of a timeline that has grown. A client that takes too little loses this, and nothing
    /// but this: the message is in its timeline, and the next heartbeat's head tells of it.
    pub(crate) fn notify(&self, head: Position, message: Option<&Message>) {
        let notify = NewMsg { head, entry: message.cloned(), query_after_ms: 0 };
        if self.outbound.push_message(Command::NewMsg.number(), Flags::NONE, 0, &notify).is_err() {
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
        if self.outbound.push_body(command, Flags::NONE, 0, body).is_err() {
            metrics::counter!("sim_gate_relays_dropped_total").increment(1);
        }
    }

    /// Ends the connection, saying why. The first reason stays.
    pub(crate) fn kick(&self, reason: KickReason) {
        self.kick.lock().get_or_insert(reason);
        self.outbound.wake();
    }

    pub(crate) fn kicked(&self) -> Option<KickReason> {
        *self.kick.lock()
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
    next: AtomicU64,
    clients: DashMap<SessionId, Arc<Client>, ahash::RandomState>,
}

impl Sessions {
    pub(crate) fn new(boot: BootId) -> Self {
        // The keys are this gate's own counter: nobody can choose them to collide, and fixed seeds give
        // a simulation the same order of announcements every time.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Self { boot, next: AtomicU64::new(1), clients: DashMap::with_hasher(hasher) }
    }

    /// Enters a client that has logged in and gives its login.
    pub(crate) fn enter<'c>(
        &self,
        client: &'c Arc<Client>,
        user: UserId,
        device: DeviceId,
        platform: Platform,
        since_ms: u64,
    ) -> &'c Login {
        let session = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        let key = SessionKey { boot: self.boot, session };
        let login = client.login.get_or_init(|| Login { user, device, platform, key, since_ms });
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

    /// Up to `limit` logins behind `after`, in the order of their ids.
    pub(crate) fn page(&self, after: SessionId, limit: usize) -> Vec<Arc<Client>> {
        let mut ids: Vec<_> = self.clients.iter().map(|entry| *entry.key()).filter(|id| *id > after).collect();
        ids.sort_unstable();
        ids.truncate(limit);
        ids.iter().filter_map(|id| self.clients.get(id).map(|client| Arc::clone(&client))).collect()
    }
}
