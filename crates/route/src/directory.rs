//! Which gates are linked, which logins they hold, and how something reaches a user.

use std::collections::HashMap;
use std::time::Instant;

use im_link::{Link, LinkId, link};
use im_proto::client::{Command, KickReason, Kickout, Message};
use im_proto::limits::LINK_TARGETS_MAX;
use im_proto::link::{
    Clock, LinkCommand, Push, PushSessions, Relay, RelaySessions, Revoke, SessionDown, SessionKey, SessionPlace,
    SessionUp,
};
use im_proto::{Epoch, SessionId, UserId};
use im_session::{Because, LoginPolicy, Revocations, RouteTable};
use parking_lot::Mutex;
use proto_codec::{Bytes, BytesMut, Encode};
use tracing::warn;

use crate::regions::Regions;

/// The gates of this route. One lock: what happens under it is a few map operations, and telling other
/// regions, in the order in which it happens, who came and went.
#[derive(Debug)]
pub(crate) struct Directory {
    state: Mutex<State>,
    /// For gates and regions that come later.
    revocations: Mutex<Revocations>,
    regions: Regions,
}

#[derive(Debug)]
struct State {
    table: RouteTable<LinkId>,
    gates: HashMap<LinkId, Link>,
}

/// How many of each there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) gates: usize,
    pub(crate) users: usize,
    pub(crate) logins: usize,
}

impl Directory {
    pub(crate) fn new(now: Instant, logins: LoginPolicy) -> Self {
        let state = State { table: RouteTable::new(now, logins), gates: HashMap::new() };
        Self { state: Mutex::new(state), revocations: Mutex::default(), regions: Regions::default() }
    }

    pub(crate) fn gate_up(&self, link: &Link) {
        let mut state = self.state.lock();
        state.table.gate_up(link.id(), link.peer().boot);
        state.gates.insert(link.id(), link.clone());
        drop(state);
        self.tell_revocations(link);
    }

    pub(crate) fn gate_down(&self, link: &Link) {
        let mut state = self.state.lock();
        state.table.gate_down(link.id());
        state.gates.remove(&link.id());
        self.regions.turned(&state.table.take_turned());
    }

    /// Enters a login. Those that do not stay beside it are told to go.
    pub(crate) fn session_up(&self, link: &Link, up: SessionUp) {
        let mut state = self.state.lock();
        let superseded = state.table.session_up(link::now(), link.id(), up);
        self.regions.turned(&state.table.take_turned());
        for superseded in superseded {
            let because = match superseded.because {
                Because::Device => "device",
                Because::Policy => "devices",
                Because::TooMany => "logins_per_user",
            };
            metrics::counter!("sim_route_logins_superseded_total", "because" => because).increment(1);
            if let Some(gate) = state.gates.get(&superseded.link) {
                kick(gate, superseded.session);
            }
        }
    }

    /// Access tokens are void, says an im-service here: every gate is told, and every other region.
    pub(crate) fn revoke_everywhere(&self, revoke: &Revoke) {
        if self.revoke(revoke) {
            self.regions.revoke(revoke);
        }
    }

    /// Access tokens are void: the gates here are told. Says whether that is news.
    pub(crate) fn revoke(&self, revoke: &Revoke) -> bool {
        let is_news = self.revocations.lock().add(link::now(), revoke.clone());
        if is_news {
            metrics::counter!("sim_route_revocations_total").increment(1);
            // A gate that comes up right now may be told twice, none is left out.
            let gates: Vec<_> = self.state.lock().gates.values().cloned().collect();
            gates.iter().for_each(|gate| tell_revoke(gate, revoke));
        }
        is_news
    }

    /// Tells a gate or another region's route all that was taken back and has not run out.
    fn tell_revocations(&self, link: &Link) {
        let revocations: Vec<_> = self.revocations.lock().live(link::now()).collect();
        revocations.iter().for_each(|revoke| tell_revoke(link, revoke));
    }

    /// A gate says what its clock shows.
    pub(crate) fn clock(&self, link: &Link, clock: Clock) {
        self.state.lock().table.clock(link::now(), link.id(), clock.now_ms);
    }

    pub(crate) fn session_down(&self, link: &Link, down: &SessionDown) {
        let mut state = self.state.lock();
        state.table.session_down(link.id(), down);
        self.regions.turned(&state.table.take_turned());
    }

    /// The other regions' routes.
    pub(crate) fn regions(&self) -> &Regions {
        &self.regions
    }

    /// A route of another region is linked, and is told who is online here.
    pub(crate) fn region_up(&self, link: &Link) {
        let state = self.state.lock();
        self.regions.up(link, state.table.users());
        drop(state);
        self.tell_revocations(link);
    }

    pub(crate) fn census(&self) -> Census {
        let state = self.state.lock();
        Census { gates: state.gates.len(), users: state.table.users_len(), logins: state.table.logins_len() }
    }

    /// Tells the logins of a message's receivers, here and where else they are online.
    pub(crate) fn push_everywhere(&self, push: Push) {
        self.regions.push(&push);
        self.push(push);
    }

    /// Brings a frame to the logins of users, here and where else they are online.
    pub(crate) fn relay_everywhere(&self, relay: Relay) {
        self.regions.relay(&relay);
        self.relay(relay);
    }

    /// Tells the logins of a message's receivers that are here.
    pub(crate) fn push(&self, push: Push) {
        let targets = push.targets.iter().map(|target| (&target.user, target.seq));
        let by_gate = self.by_gate(targets, push.except);
        let (epoch, message) = (push.epoch, push.message);
        for (gate, logins) in by_gate {
            for part in logins.chunks(LINK_TARGETS_MAX as usize) {
                let targets = part.iter().map(|(session, seq)| SessionPlace { session: *session, seq: *seq });
                tell_places(&gate, epoch, targets.collect(), message.clone());
            }
        }
    }

    /// Brings a frame to the logins of users that are here.
    pub(crate) fn relay(&self, relay: Relay) {
        let by_gate = self.by_gate(relay.users.iter().map(|user| (user, ())), relay.except);
        for (gate, logins) in by_gate {
            for part in logins.chunks(LINK_TARGETS_MAX as usize) {
                let sessions = part.iter().map(|(session, ())| *session).collect();
                tell_relay(&gate, &RelaySessions { sessions, command: relay.command, body: relay.body.clone() });
            }
        }
    }

    /// The logins of users, gate by gate. Few gates hold one user, so a list beats a map.
    fn by_gate<'a, T: Copy>(
        &self,
        users: impl Iterator<Item = (&'a UserId, T)>,
        except: Option<SessionKey>,
    ) -> Vec<(Link, Vec<(SessionId, T)>)> {
        let mut by_gate: Vec<(Link, Vec<(SessionId, T)>)> = Vec::new();
        let state = self.state.lock();
        for (user, what) in users {
            for login in state.table.logins(user) {
                if Some(login.key) == except {
                    continue;
                }
                if let Some((_, logins)) = by_gate.iter_mut().find(|(gate, _)| gate.id() == login.link) {
                    logins.push((login.key.session, what));
                } else if let Some(gate) = state.gates.get(&login.link) {
                    by_gate.push((gate.clone(), vec![(login.key.session, what)]));
                }
            }
        }
        by_gate
    }
}

fn kick(gate: &Link, session: SessionId) {
    let kickout = Kickout { reason: KickReason::LoggedInElsewhere, detail: String::new() };
    let body = encode(&kickout);
    tell_relay(gate, &RelaySessions { sessions: vec![session], command: Command::Kickout.number(), body });
}

/// Tells that access tokens are void. Who does not take that has to be told anew, by a link that comes up.
pub(crate) fn tell_revoke(link: &Link, revoke: &Revoke) {
    if link.tell(LinkCommand::Revoke, revoke).is_err() && !link.is_closed() {
        warn!(link = %link.id(), peer = link.peer().name, "a peer takes too little to hear of revocations; its link is closed");
        link.close();
    }
}

fn tell_places(gate: &Link, epoch: Epoch, targets: Vec<SessionPlace>, message: Option<Message>) {
    if gate.tell(LinkCommand::PushSessions, &PushSessions { epoch, targets, message }).is_err() {
        metrics::counter!("sim_route_notifies_dropped_total").increment(1);
    }
}

fn tell_relay(gate: &Link, relay: &RelaySessions) {
    if gate.tell(LinkCommand::RelaySessions, relay).is_err() {
        metrics::counter!("sim_route_relays_dropped_total").increment(1);
    }
}

/// The body of a message on its own.
pub(crate) fn encode(message: &impl Encode) -> Bytes {
    let mut body = BytesMut::new();
    message.encode(&mut body);
    body.freeze()
}
