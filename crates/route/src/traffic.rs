//! What happens to each frame that comes in on a link.

use std::time::Instant;

use im_link::{Handler, Link, LinkEnd, link};
use im_proto::client::{Command, Empty, ReadMsg, RevReadMsg, RevSignal, Signal};
use im_proto::link::{Forward, LinkCommand, Relay, SessionKey, Tier};
use im_proto::{Refusal, RefusalCode, Target, UserId};
use im_session::Affinity;
use proto_codec::{Bytes, Codec, Decode, Flags, Frame, RESPONSE_BIT};
use tracing::{debug, warn};

use crate::directory::{Directory, encode};
use crate::services::{Services, refuse};

/// Everything that a route holds.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) directory: Directory,
    pub(crate) services: Services,
}

impl Handler for Traffic {
    fn on_up(&self, link: &Link) {
        match link.peer().tier {
            Tier::Gate => self.directory.gate_up(link),
            Tier::ImService => self.services.up(link),
            tier @ (Tier::Route | Tier::Unknown(_)) => {
                warn!(link = %link.id(), ?tier, "a tier that does not dial routes was let go");
                link.close();
            }
        }
    }

    fn on_frame(&self, link: &Link, frame: Frame) {
        let command = LinkCommand::from_number(frame.command & !RESPONSE_BIT);
        match (link.peer().tier, command, frame.is_response()) {
            (Tier::Gate, LinkCommand::SessionUp, false) => {
                if let Some(up) = decode(link, "SessionUp", &frame.body) {
                    self.directory.session_up(link, up);
                }
            }
            (Tier::Gate, LinkCommand::Clock, false) => {
                if let Some(clock) = decode(link, "Clock", &frame.body) {
                    self.directory.clock(link, clock);
                }
            }
            (Tier::Gate, LinkCommand::SessionDown, false) => {
                if let Some(down) = decode(link, "SessionDown", &frame.body) {
                    self.directory.session_down(link, &down);
                }
            }
            (Tier::Gate, LinkCommand::Forward, false) => self.on_request(link, &frame),
            (Tier::ImService, LinkCommand::Forward, true) => self.services.answer(link, &frame),
            (Tier::ImService, LinkCommand::Push, false) => {
                if let Some(push) = decode(link, "Push", &frame.body) {
                    self.directory.push(push);
                }
            }
            (Tier::ImService, LinkCommand::Relay, false) => {
                if let Some(relay) = decode(link, "Relay", &frame.body) {
                    self.directory.relay(relay);
                }
            }
            _ => debug!(link = %link.id(), command = frame.command, "a command that this route does not know"),
        }
    }

    fn on_tick(&self, link: &Link, now: Instant) {
        self.services.on_tick(link, now);
    }

    fn on_down(&self, link: &Link, _end: &LinkEnd) {
        match link.peer().tier {
            Tier::Gate => self.directory.gate_down(link),
            Tier::ImService => self.services.down(link),
            Tier::Route | Tier::Unknown(_) => {}
        }
    }
}

impl Traffic {
    fn on_request(&self, gate: &Link, frame: &Frame) {
        let Some(request) = decode::<Forward>(gate, "Forward", &frame.body) else {
            return refuse(gate, frame.sequence, &Refusal::new(RefusalCode::Internal, "the envelope does not decode"));
        };
        let command = Command::from_number(request.command);
        match command {
            Command::Signal if self.signal(gate, frame.sequence, &request) => return,
            Command::ReadMsg => self.tell_read(&request),
            _ => {}
        }
        let affinity = Affinity::of_request(command, &request.user, &request.body);
        self.services.forward(link::now(), gate, affinity, frame);
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
        self.directory.relay(Relay { users, except: Some(cause), command: command.number(), body });
    }
}

fn decode<M: Decode>(link: &Link, what: &'static str, body: &Bytes) -> Option<M> {
    Codec::Binary
        .decode(what, body)
        .inspect_err(
            |error| warn!(link = %link.id(), peer = link.peer().name, %error, "a tier sent what does not decode"),
        )
        .ok()
}
