//! What tiers say to each other over a link. Gates and im-services dial a route. Requests are
//! answered with `command | 0x80` and the same sequence; the rest is one way, with sequence 0.
//! Everything here is soft: a lost frame costs a retry or a later pull, never a message.

use bytes::Bytes;
use proto_codec::{Decode, Encode, wire_enum};

use crate::client::{KickReason, Message, Platform};
use crate::ids::{BootId, DeviceId, Epoch, Seq, SessionId, UserId};
use crate::limits::{LINK_BODY_LEN_MAX, LINK_PRESENCE_MAX, LINK_TARGETS_MAX, TEXT_LEN_MAX};

wire_enum! {
    /// What a frame on a link is.
    pub enum LinkCommand: u16 {
        /// [`Hello`] → [`Welcome`]; the first frame of a link, from the side that dialled.
        Hello = 0x01,
        /// [`Ping`] → [`Ping`]; both ways, so that a dead link is noticed.
        Ping = 0x02,
        /// gate → route, one way: [`SessionUp`].
        SessionUp = 0x03,
        /// gate → route, one way: [`SessionDown`].
        SessionDown = 0x04,
        /// gate → route → im-service: [`Forward`] → the answer's body as the client gets it.
        Forward = 0x05,
        /// im-service → route, one way: [`Push`].
        Push = 0x06,
        /// route → gate, one way: [`PushSessions`].
        PushSessions = 0x07,
        /// im-service → route, one way: [`Relay`].
        Relay = 0x08,
        /// route → gate, one way: [`RelaySessions`].
        RelaySessions = 0x09,
        /// gate → route, one way: [`Clock`].
        Clock = 0x0a,
        /// route → gate, im-service, other regions' routes, one way: [`RouteState`].
        RouteState = 0x0b,
        /// gate, im-service → route, one way: [`SenderState`].
        SenderState = 0x0c,
        /// route → other regions' routes, one way: [`Presence`].
        Presence = 0x0d,
        /// im-service → routes → gates and other regions' routes, one way: [`Revoke`].
        Revoke = 0x0e,
    }
}

wire_enum! {
    /// A kind of tier.
    pub enum Tier: u8 {
        /// Holds client connections.
        Gate = 1,
        /// The rendezvous of a region.
        Route = 2,
        /// Timelines, groups, accounts.
        ImService = 3,
    }
}

/// Who dialled.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// What it is.
    pub tier: Tier,
    /// Its configured name, unique among its kind.
    #[wire(max = TEXT_LEN_MAX)]
    pub name: String,
    /// This run of it.
    pub boot: BootId,
    /// Its region.
    #[wire(max = TEXT_LEN_MAX)]
    pub region: String,
}

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// Its configured name.
    #[wire(max = TEXT_LEN_MAX)]
    pub name: String,
    /// This run of it.
    pub boot: BootId,
    /// Its region.
    #[wire(max = TEXT_LEN_MAX)]
    pub region: String,
}

/// Is anybody there?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Ping {}

/// A user logged in on the gate at the other end of this link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionUp {
    /// Who.
    pub user: UserId,
    /// The login.
    pub session: SessionId,
    /// On what.
    pub device: DeviceId,
    /// Its kind.
    pub platform: Platform,
    /// When, by the gate's [`Clock`]. Of two logins of one device the later one stays.
    pub since_ms: u64,
}

/// What the gate's own clock says: one that starts with the gate and is never set, so that nobody's
/// idea of the time of day decides which of two logins is the later one. A route learns from these how
/// far apart that clock and its own are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Clock {
    /// Milliseconds since the gate's start, when this was sent.
    pub now_ms: u64,
}

/// A login on the gate at the other end of this link has ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionDown {
    /// Who.
    pub user: UserId,
    /// The login.
    pub session: SessionId,
}

/// A client's request, with who asks. The answer's frame carries the client's answer as it is:
/// its body, and the `REFUSED` flag where it is a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Forward {
    /// Who asks, as the token said.
    pub user: UserId,
    /// On what.
    pub device: DeviceId,
    /// In which login, on which run of which gate.
    pub session: SessionKey,
    /// The client's command.
    pub command: u16,
    /// The request's body in the binary codec, whatever the client's own is.
    #[wire(max = LINK_BODY_LEN_MAX)]
    pub body: Bytes,
}

/// A message has got its places: tell those who are online.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Push {
    /// The store's life that the places belong to.
    pub epoch: Epoch,
    /// Whose timelines have grown, and to what place.
    #[wire(max = LINK_TARGETS_MAX)]
    pub targets: Vec<UserPlace>,
    /// The message at those places.
    pub message: Option<Message>,
    /// The login that knows already, because it gets the ack: its gate's run and its id.
    pub except: Option<SessionKey>,
}

/// A place in a user's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[wire(sealed)]
pub struct UserPlace {
    /// Whose timeline.
    pub user: UserId,
    /// The place.
    pub seq: Seq,
}

/// One login, fenced by the run of the gate that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[wire(sealed)]
pub struct SessionKey {
    /// The gate's run.
    pub boot: BootId,
    /// The login.
    pub session: SessionId,
}

/// The part of a [`Push`] that one gate has to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PushSessions {
    /// The store's life that the places belong to.
    pub epoch: Epoch,
    /// Which logins, and to what place their timeline has grown.
    #[wire(max = LINK_TARGETS_MAX)]
    pub targets: Vec<SessionPlace>,
    /// The message at those places.
    pub message: Option<Message>,
}

/// A place in the timeline of a login's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[wire(sealed)]
pub struct SessionPlace {
    /// The login.
    pub session: SessionId,
    /// The place.
    pub seq: Seq,
}

/// A frame for those of these users who are online.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Relay {
    /// For whom.
    #[wire(max = LINK_TARGETS_MAX)]
    pub users: Vec<UserId>,
    /// The login that is not told, because it is the cause.
    pub except: Option<SessionKey>,
    /// The client's command.
    pub command: u16,
    /// The frame's body in the binary codec.
    #[wire(max = LINK_BODY_LEN_MAX)]
    pub body: Bytes,
}

/// The part of a [`Relay`] that one gate has to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RelaySessions {
    /// To which logins.
    #[wire(max = LINK_TARGETS_MAX)]
    pub sessions: Vec<SessionId>,
    /// The client's command.
    pub command: u16,
    /// The frame's body in the binary codec.
    #[wire(max = LINK_BODY_LEN_MAX)]
    pub body: Bytes,
}

/// Which route of a region is its master, as somebody knows it. The greater one of two is the newer
/// one; whoever hears of a newer one believes it and passes it on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[wire(sealed)]
pub struct Mastership {
    /// How often the role has moved; 0 as long as nobody has moved it.
    pub term: u64,
    /// The master's name; empty where nobody knows yet.
    #[wire(max = TEXT_LEN_MAX)]
    pub master: String,
}

/// What a route says of itself when a link comes up, and whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RouteState {
    /// The newest mastership that it knows.
    pub mastership: Mastership,
    /// Whether requests find an im-service here, be it in another region.
    pub serves: bool,
    /// Whether an im-service of its own region is linked.
    pub has_service: bool,
    /// Which gates have registered all their logins here, folded into one number. Two routes that say
    /// the same reach the same logins; where they differ, notifies take both.
    pub gates: u64,
}

/// What a gate or an im-service says of itself to each of its routes when a link comes up, and
/// whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SenderState {
    /// The newest mastership that it knows.
    pub mastership: Mastership,
    /// Whether its requests go to this route.
    pub uses: bool,
    /// Whether it has registered all its logins on this link.
    pub registered: bool,
}

/// Users who have come or gone in the sender's region, each as the hash of the id. Users who are not
/// named are where they were; a new link begins with nobody.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Presence {
    /// Now online.
    #[wire(max = LINK_PRESENCE_MAX)]
    pub up: Vec<u64>,
    /// No longer online.
    #[wire(max = LINK_PRESENCE_MAX)]
    pub down: Vec<u64>,
}

/// Access tokens of a user are void: gates refuse them, and end the logins that were made with them.
/// Whoever passes this on keeps it for as long as such a token lasts, for those who come later.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Revoke {
    /// Whose.
    pub user: UserId,
    /// Tokens of a smaller generation are void.
    pub below: u64,
    /// Tokens of this login at the accounts are void, whatever their generation; 0 names none.
    pub login: u64,
    /// What the logins are told.
    pub reason: KickReason,
    /// How long from now the last of these tokens lasts.
    pub lasts_ms: u32,
}
