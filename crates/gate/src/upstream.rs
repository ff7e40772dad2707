//! The links to the routes of this gate's region. Every login is registered with all of them, so that
//! the standby is warm; requests go to the one that [`RouteLinks`] picks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use im_link::{Handler, Link, LinkEnd, PushError, RouteLink, RouteLinks, link};
use im_proto::client::{Command, HeartBeatAck};
use im_proto::link::{Clock, Forward, LinkCommand, PushSessions, RelaySessions, SessionDown};
use im_proto::{Position, Refusal, RefusalCode, SessionId};
use im_session::InFlight;
use parking_lot::Mutex;
use proto_codec::{Bytes, Codec, Decode, Flags, Frame, RESPONSE_BIT};
use tracing::{debug, warn};

use crate::revoked::Revoked;
use crate::sessions::{Client, Login, Sessions};

/// Logins announced per tick after a link came up: a million takes some ten seconds, and the burst
/// stays far under the link's outbound bound.
const ANNOUNCED_PER_TICK: usize = 10_000;

/// Between two frames that tell a route what this gate's clock shows: often enough that some are as
/// fast as can be, and too few to matter.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// The routes of one gate.
pub(crate) struct Upstream {
    sessions: Arc<Sessions>,
    revoked: Arc<Revoked>,
    routes: RouteLinks<Beside>,
    window: usize,
    patience: Duration,
}

type Route = RouteLink<Beside>;

/// What the gate keeps beside a link that is up.
struct Beside {
    waiting: Mutex<InFlight<Waiting>>,
    /// Logins that are not announced on this link yet: those that were there when it came up, and
    /// those that found its buffer full. Each is in it at most twice.
    unannounced: Mutex<Unannounced>,
    /// When the route is to be told again what this gate's clock shows.
    clock_due: Mutex<Instant>,
}

#[derive(Default)]
struct Unannounced {
    sessions: VecDeque<SessionId>,
    /// Whether the route was told that it had been told everything.
    ended: bool,
}

/// A client's request under way.
struct Waiting {
    client: Arc<Client>,
    sequence: u32,
    command: Command,
}

impl Upstream {
    /// Room for `routes` links, each with a window of requests that wait for `patience` at most.
    pub(crate) fn new(
        sessions: Arc<Sessions>,
        revoked: Arc<Revoked>,
        routes: usize,
        window: usize,
        patience: Duration,
    ) -> Self {
        Self { sessions, revoked, routes: RouteLinks::new(routes), window, patience }
    }

    /// What to hand to the link of the route of that index.
    pub(crate) fn handler(self: &Arc<Self>, index: usize) -> Arc<dyn Handler> {
        Arc::new(RouteHandler { upstream: Arc::clone(self), index })
    }

    /// Whether any route is up.
    pub(crate) fn is_up(&self) -> bool {
        self.routes.sender().is_some()
    }

    /// Passes a request on. Whatever happens, the client gets exactly one answer to it.
    pub(crate) fn forward(
        &self,
        now: Instant,
        client: &Arc<Client>,
        login: &Login,
        sequence: u32,
        command: Command,
        body: Bytes,
    ) {
        client.in_flight.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { client: Arc::clone(client), sequence, command };
        let Some(route) = self.routes.sender() else {
            return waiting.refuse(&Refusal::new(RefusalCode::Unavailable, "no route can be reached"));
        };
        let admitted = route.beside.waiting.lock().insert(now, waiting);
        let link_sequence = match admitted {
            Ok(sequence) => sequence,
            Err(waiting) => {
                return waiting.refuse(&Refusal::new(RefusalCode::Busy, "too many requests are waiting"));
            }
        };
        let request = Forward {
            user: login.user.clone(),
            device: login.device.clone(),
            session: login.key,
            command: command.number(),
            body,
        };
        if route.link.request(LinkCommand::Forward, link_sequence, &request).is_err() {
            let waiting = route.beside.waiting.lock().take(link_sequence);
            if let Some(waiting) = waiting {
                waiting.refuse(&Refusal::new(RefusalCode::Unavailable, "the route takes no more requests"));
            }
        }
    }

    /// Tells every route of a login.
    pub(crate) fn announce(&self, login: &Login) {
        let announcement = login.announcement();
        self.routes.for_each(|route| {
            if route.link.tell(LinkCommand::SessionUp, &announcement) == Err(PushError::Full) {
                route.beside.unannounced.lock().sessions.push_back(login.key.session);
            }
        });
    }

    /// Tells every route of a login's end.
    pub(crate) fn denounce(&self, login: &Login) {
        let goodbye = SessionDown { user: login.user.clone(), session: login.key.session };
        self.routes.for_each(|route| {
            let _ = route.link.tell(LinkCommand::SessionDown, &goodbye);
        });
    }

    fn deliver(&self, push: PushSessions) {
        for target in &push.targets {
            let head = Position { epoch: push.epoch, seq: target.seq };
            self.sessions.with(target.session, |client| client.notify(head, push.message.as_ref()));
        }
    }

    fn relay(&self, relay: &RelaySessions) {
        for session in &relay.sessions {
            self.sessions.with(*session, |client| client.relay(relay.command, &relay.body));
        }
    }
}

impl Waiting {
    fn answer(self, flags: Flags, body: &Bytes) {
        self.client.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.command == Command::HeartBeat && flags.is_refused() {
            return self.answer_heartbeat();
        }
        self.client.answer_body(self.command, flags, self.sequence, body);
    }

    fn refuse(self, refusal: &Refusal) {
        self.client.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.command == Command::HeartBeat {
            return self.answer_heartbeat();
        }
        self.client.refuse(self.command.number(), self.sequence, refusal);
    }

    /// A heartbeat is answered whatever the tiers behind do; only the head is then missing.
    fn answer_heartbeat(self) {
        let answer = HeartBeatAck { head: None, server_time_ms: unix_ms(SystemTime::now()) };
        self.client.answer(Command::HeartBeat, self.sequence, &answer);
    }
}

/// The part of [`Upstream`] that one link sees.
struct RouteHandler {
    upstream: Arc<Upstream>,
    index: usize,
}

impl Handler for RouteHandler {
    fn on_up(&self, link: &Link) {
        let upstream = &self.upstream;
        let beside = Beside {
            waiting: Mutex::new(InFlight::new(upstream.window, upstream.patience)),
            unannounced: Mutex::default(),
            clock_due: Mutex::new(link::now()),
        };
        // The link is in the table before the logins are listed: one that comes meanwhile is
        // announced twice, none is forgotten.
        let route = upstream.routes.up(self.index, link, beside);
        route.beside.unannounced.lock().sessions.extend(upstream.sessions.ids());
        self.tell_clock(&route, link::now());
        self.announce_some(&route);
    }

    fn on_frame(&self, link: &Link, frame: Frame) {
        let upstream = &self.upstream;
        match LinkCommand::from_number(frame.command & !RESPONSE_BIT) {
            LinkCommand::Forward if frame.is_response() => {
                let Some(route) = upstream.routes.at(self.index, link) else { return };
                let waiting = route.beside.waiting.lock().take(frame.sequence);
                match waiting {
                    Some(waiting) => waiting.answer(frame.flags, &frame.body),
                    None => debug!(link = %link.id(), sequence = frame.sequence, "an answer came too late"),
                }
            }
            LinkCommand::RouteState => upstream.routes.heard(self.index, link, &frame),
            LinkCommand::PushSessions => if_decodes(link, "PushSessions", &frame, |push| upstream.deliver(push)),
            LinkCommand::Revoke => if_decodes(link, "Revoke", &frame, |revoke| upstream.revoked.add(revoke)),
            LinkCommand::RelaySessions => if_decodes(link, "RelaySessions", &frame, |relay| upstream.relay(&relay)),
            _ => debug!(link = %link.id(), command = frame.command, "a command that this gate does not know"),
        }
    }

    fn on_tick(&self, link: &Link, now: Instant) {
        let Some(route) = self.upstream.routes.at(self.index, link) else { return };
        self.upstream.routes.on_tick(self.index, link);
        self.tell_clock(&route, now);
        self.announce_some(&route);
        loop {
            let expired = route.beside.waiting.lock().expire(now);
            let Some(waiting) = expired else { break };
            waiting.refuse(&RefusalCode::DeadlineExceeded.into());
        }
    }

    fn on_down(&self, link: &Link, _end: &LinkEnd) {
        let Some(route) = self.upstream.routes.down(self.index, link) else { return };
        let lost: Vec<_> = route.beside.waiting.lock().drain().collect();
        for waiting in lost {
            waiting.refuse(&Refusal::new(RefusalCode::Unavailable, "the link to the route broke"));
        }
    }
}

impl RouteHandler {
    /// Tells what this gate's clock shows, now and then: routes compare by it when users logged in.
    fn tell_clock(&self, route: &Route, now: Instant) {
        let mut due = route.beside.clock_due.lock();
        if now >= *due {
            *due = now + CLOCK_EVERY;
            // One that finds no room would have come late and said nothing new.
            let _ = route.link.tell(LinkCommand::Clock, &Clock { now_ms: self.upstream.sessions.clock_ms() });
        }
    }

    fn announce_some(&self, route: &Route) {
        let mut unannounced = route.beside.unannounced.lock();
        for _ in 0..ANNOUNCED_PER_TICK {
            let Some(session) = unannounced.sessions.pop_front() else { break };
            // While the client is held it cannot leave, so its goodbye comes behind this.
            let told = self.upstream.sessions.with(session, |client| {
                client.login().map_or(Ok(()), |login| route.link.tell(LinkCommand::SessionUp, &login.announcement()))
            });
            if told == Some(Err(PushError::Full)) {
                unannounced.sessions.push_front(session);
                break;
            }
        }
        let ends = unannounced.sessions.is_empty() && !unannounced.ended;
        unannounced.ended |= ends;
        drop(unannounced);
        if ends {
            self.upstream.routes.registered(self.index, &route.link);
        }
    }
}

fn if_decodes<M: Decode>(link: &Link, what: &'static str, frame: &Frame, act: impl FnOnce(M)) {
    match Codec::Binary.decode(what, &frame.body) {
        Ok(message) => act(message),
        Err(error) => warn!(link = %link.id(), %error, "a route sent what does not decode"),
    }
}

/// Milliseconds since 1970. For people and for fencing logins, never for order.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
