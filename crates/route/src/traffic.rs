//! What happens to each frame that comes in on a link.

use std::sync::Arc;
use std::time::Instant;

use im_link::{Handler, Link, LinkEnd, Peer, link};
use im_proto::client::{Command, Empty, ReadMsg, RevReadMsg, RevSignal, Signal};
use im_proto::link::{Forward, LinkCommand, Relay, RouteState, SessionKey, Tier};
use im_proto::{Refusal, RefusalCode, Target, UserId};
use im_session::Affinity;
use proto_codec::{Bytes, Codec, Decode, Flags, Frame, RESPONSE_BIT};
use tracing::{debug, warn};

use crate::directory::{Directory, encode};
use crate::lease::Lease;
use crate::roles::Roles;
use crate::services::{Rank, Reach, Services, refuse};

/// Everything that a route holds.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) directory: Directory,
    pub(crate) services: Services,
    pub(crate) roles: Arc<Roles>,
    /// Where one is kept.
    pub(crate) lease: Option<Arc<Lease>>,
}

impl Handler for Traffic {
    fn on_up(&self, link: &Link) {
        let Peer { tier, region, name, .. } = link.peer();
        match (tier, *region == self.region) {
            (Tier::Gate, true) => self.directory.gate_up(link),
            (Tier::ImService, true) => self.services.up(link, name.clone(), Rank::Here),
            (Tier::Route, false) => {
                self.services.up(link, format!("{region}/{name}"), Rank::Useless);
                self.directory.region_up(link);
            }
            (tier, _) => {
                warn!(link = %link.id(), ?tier, peer = name, region, "a tier that has nothing to say here was let go");
                return link.close();
            }
        }
        self.roles.up(link);
        self.roles.serving(self.services.serving());
    }

    fn on_frame(&self, link: &Link, frame: Frame) {
        let command = LinkCommand::from_number(frame.command & !RESPONSE_BIT);
        if frame.is_response() {
            match (link.peer().tier, command) {
                (Tier::ImService | Tier::Route, LinkCommand::Forward) => self.services.answer(link, &frame),
                _ => debug!(link = %link.id(), command = frame.command, "an answer to what was not asked"),
            }
            return;
        }
        match link.peer().tier {
            Tier::Gate => self.on_gate(link, command, &frame),
            Tier::ImService => self.on_service(link, command, &frame),
            Tier::Route => self.on_route(link, command, &frame),
            Tier::Unknown(_) => {}
        }
    }

    fn on_tick(&self, link: &Link, now: Instant) {
        self.services.on_tick(link, now);
        self.directory.regions().on_tick(link);
        self.roles.on_tick(self.services.serving());
    }

    fn on_down(&self, link: &Link, _end: &LinkEnd) {
        match link.peer().tier {
            Tier::Gate => self.directory.gate_down(link),
            Tier::ImService => self.services.down(link),
            Tier::Route => {
                self.services.down(link);
                self.directory.regions().down(link);
            }
            Tier::Unknown(_) => {}
        }
        self.roles.down(link);
        self.roles.serving(self.services.serving());
    }
}

impl Traffic {
    fn on_gate(&self, link: &Link, command: LinkCommand, frame: &Frame) {
        match command {
            LinkCommand::SessionUp => if_decodes(link, "SessionUp", frame, |up| self.directory.session_up(link, up)),
            LinkCommand::SessionDown => {
                if_decodes(link, "SessionDown", frame, |down| self.directory.session_down(link, &down));
            }
            LinkCommand::Clock => if_decodes(link, "Clock", frame, |clock| self.directory.clock(link, clock)),
            LinkCommand::Forward => self.on_request(link, frame),
            LinkCommand::SenderState => if_decodes(link, "SenderState", frame, |told| self.roles.heard(link, told)),
            _ => unknown(link, frame),
        }
    }

    fn on_service(&self, link: &Link, command: LinkCommand, frame: &Frame) {
        match command {
            LinkCommand::Push => if_decodes(link, "Push", frame, |push| self.directory.push_everywhere(push)),
            LinkCommand::Relay => if_decodes(link, "Relay", frame, |relay| self.directory.relay_everywhere(relay)),
            LinkCommand::Revoke => {
                if_decodes(link, "Revoke", frame, |revoke| self.directory.revoke_everywhere(&revoke));
            }
            LinkCommand::SenderState => if_decodes(link, "SenderState", frame, |told| self.roles.heard(link, told)),
            _ => unknown(link, frame),
        }
    }

    /// What another region's route says is for this region, and goes no further.
    fn on_route(&self, link: &Link, command: LinkCommand, frame: &Frame) {
        match command {
            LinkCommand::Push => if_decodes(link, "Push", frame, |push| self.directory.push(push)),
            LinkCommand::Relay => if_decodes(link, "Relay", frame, |relay| self.directory.relay(relay)),
            LinkCommand::Revoke => {
                if_decodes(link, "Revoke", frame, |revoke| {
                    self.directory.revoke(&revoke);
                });
            }
            LinkCommand::Presence => {
                if_decodes(link, "Presence", frame, |presence| self.directory.regions().heard(link, presence));
            }
            LinkCommand::RouteState => if_decodes(link, "RouteState", frame, |state| self.on_state(link, state)),
            // What is beside a request (a read state's way to the peer) was done where it came in.
            LinkCommand::Forward => self.on_foreign_request(link, frame),
            _ => unknown(link, frame),
        }
    }

    fn on_state(&self, link: &Link, state: RouteState) {
        let rank = match (state.has_service, state.mastership.master == link.peer().name) {
            (false, _) => Rank::Useless,
            (true, false) => Rank::Standby,
            (true, true) => Rank::Master,
        };
        self.directory.regions().told(link, state);
        self.services.rank(link, rank);
        self.roles.serving(self.services.serving());
    }

    fn on_foreign_request(&self, route: &Link, frame: &Frame) {
        if let Some(request) = envelope(route, frame) {
            self.pass(route, frame, &request, Reach::Here);
        }
    }

    fn pass(&self, asker: &Link, frame: &Frame, request: &Forward, reach: Reach) {
        let affinity = Affinity::of_request(Command::from_number(request.command), &request.user, &request.body);
        self.services.forward(link::now(), asker, affinity, frame, reach);
    }
}

impl Traffic {
    fn on_request(&self, gate: &Link, frame: &Frame) {
        let Some(request) = envelope(gate, frame) else { return };
        match Command::from_number(request.command) {
            Command::Signal if self.signal(gate, frame.sequence, &request) => return,
            Command::ReadMsg => self.tell_read(&request),
            _ => {}
        }
        self.pass(gate, frame, &request, Reach::Anywhere);
    }

    /// Brings an online-only signal between two users straight to the other one. A group's goes to
    /// an im-service, which knows the members; `false` then.
    fn signal(&self, gate: &Link, sequence: u32, request: &Forward) -> bool {
        let Ok(signal) = Codec::Binary.decode::<Signal>("Signal", &request.body) else { return false };
        let Target::User(peer) = &signal.to else { return false };
        let body = encode(&RevSignal {
            conversation: signal.to.conversation(&request.user),
            sender: request.user.clone(),
            kind: signal.kind,
            payload: signal.payload,
        });
        self.relay(vec![peer.clone()], request.session, Command::RevSignal, body);
        let _ = gate.answer(LinkCommand::Forward, Flags::NONE, sequence, &Empty {});
        true
    }

    /// Brings a read state of a conversation of two straight to the peer, and to the reader's other
    /// devices. It also goes to an im-service, which keeps it, and which tells a group's members.
    fn tell_read(&self, request: &Forward) {
        let Ok(read) = Codec::Binary.decode::<ReadMsg>("ReadMsg", &request.body) else { return };
        let Some(peer) = read.conversation.peer_of(&request.user) else { return };
        let reader = request.user.clone();
        let body = encode(&RevReadMsg { conversation: read.conversation, reader: reader.clone(), seq: read.seq });
        let users = if peer == reader { vec![reader] } else { vec![peer, reader] };
        self.relay(users, request.session, Command::RevReadMsg, body);
    }

    fn relay(&self, users: Vec<UserId>, cause: SessionKey, command: Command, body: Bytes) {
        self.directory.relay_everywhere(Relay { users, except: Some(cause), command: command.number(), body });
    }
}

/// A request's envelope. One that does not decode is refused.
fn envelope(asker: &Link, frame: &Frame) -> Option<Forward> {
    let request = decode(asker, "Forward", frame);
    if request.is_none() {
        refuse(asker, frame.sequence, &Refusal::new(RefusalCode::Internal, "the envelope does not decode"));
    }
    request
}

fn if_decodes<M: Decode>(link: &Link, what: &'static str, frame: &Frame, act: impl FnOnce(M)) {
    if let Some(message) = decode(link, what, frame) {
        act(message);
    }
}

fn unknown(link: &Link, frame: &Frame) {
    debug!(link = %link.id(), command = frame.command, "a command that this route does not know");
}

fn decode<M: Decode>(link: &Link, what: &'static str, frame: &Frame) -> Option<M> {
    Codec::Binary
        .decode(what, &frame.body)
        .inspect_err(
            |error| warn!(link = %link.id(), peer = link.peer().name, %error, "a tier sent what does not decode"),
        )
        .ok()
}
