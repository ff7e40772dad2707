//! A multiplexed connection between two tiers.
//!
//! The side that dials says [`Hello`], the side that accepts answers [`Welcome`]; then both send
//! requests and one-way frames as they like. Correlation is the handler's: it owns an
//! [`InFlight`](im_session::InFlight) with whatever an answer is for. A link that breaks takes
//! nothing along but soft state: the handler is told, and the dialler tries again.

mod accept;
mod dial;
mod driver;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use im_proto::BootId;
use im_proto::link::{Hello, LinkCommand, Tier, Welcome};
use proto_codec::{Encode, Flags, Frame, RESPONSE_BIT};

use crate::frame_io::ReadError;
use crate::outbound::{Outbound, PushError};

pub use accept::serve;
pub use dial::maintain;

/// Times and bounds of links.
#[derive(Clone, Copy, Debug)]
pub struct LinkConfig {
    /// From dial or accept to a completed hello.
    pub connect_timeout: Duration,
    /// Quiet after which the peer is pinged.
    pub ping_every: Duration,
    /// Silence after which the link is given up.
    pub dead_after: Duration,
    /// Between calls of [`Handler::on_tick`].
    pub tick_every: Duration,
    /// Least and greatest wait before the next dial.
    pub backoff: (Duration, Duration),
    /// Bytes that may wait for a peer which takes too little; over it frames are refused.
    pub outbound_bytes_max: usize,
    /// Links that a listener holds at once.
    pub links_max: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            connect_timeout: ms(3000),
            ping_every: ms(500),
            dead_after: ms(2000),
            tick_every: ms(100),
            backoff: (ms(50), ms(2000)),
            // A second of the fastest link measured (a million frames of 100 bytes) would be 100 MB;
            // a sixth of that tells a slow peer from a burst.
            outbound_bytes_max: 16 * 1024 * 1024,
            links_max: 1024,
        }
    }
}

/// What this process says of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What it is.
    pub tier: Tier,
    /// Its configured name.
    pub name: String,
    /// This run of it.
    pub boot: BootId,
    /// Its region.
    pub region: String,
}

impl Identity {
    fn hello(&self) -> Hello {
        Hello { tier: self.tier, name: self.name.clone(), boot: self.boot, region: self.region.clone() }
    }

    fn welcome(&self) -> Welcome {
        Welcome { name: self.name.clone(), boot: self.boot, region: self.region.clone() }
    }
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is.
    pub tier: Tier,
    /// Its configured name.
    pub name: String,
    /// This run of it.
    pub boot: BootId,
    /// Its region.
    pub region: String,
}

/// Names a link of this process; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(u64);

impl LinkId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The sending end of a link that is up. Cheap to clone, usable from any task.
#[derive(Clone, Debug)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: LinkId,
    peer: Peer,
    outbound: Outbound,
}

impl Link {
    fn new(peer: Peer, outbound_bytes_max: usize) -> Self {
        Self(Arc::new(Shared { id: LinkId::next(), peer, outbound: Outbound::new(outbound_bytes_max) }))
    }

    /// Which link this is.
    pub fn id(&self) -> LinkId {
        self.0.id
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Sends a request; its answer comes to [`Handler::on_frame`] with the same sequence.
    pub fn request(&self, command: LinkCommand, sequence: u32, body: &impl Encode) -> Result<(), PushError> {
        self.0.outbound.push_message(command.number(), Flags::NONE, sequence, body)
    }

    /// Sends something that wants no answer.
    pub fn tell(&self, command: LinkCommand, body: &impl Encode) -> Result<(), PushError> {
        self.request(command, 0, body)
    }

    /// Answers a request with a message.
    pub fn answer(
        &self,
        command: LinkCommand,
        flags: Flags,
        sequence: u32,
        body: &impl Encode,
    ) -> Result<(), PushError> {
        self.0.outbound.push_message(command.number() | RESPONSE_BIT, flags, sequence, body)
    }

    /// Answers a request with a body that is encoded already.
    pub fn answer_body(&self, command: LinkCommand, sequence: u32, body: &[u8]) -> Result<(), PushError> {
        self.0.outbound.push_body(command.number() | RESPONSE_BIT, Flags::NONE, sequence, body)
    }

    /// Passes a frame on under another sequence, its body untouched.
    pub fn pass(&self, frame: &Frame, sequence: u32) -> Result<(), PushError> {
        self.0.outbound.push_body(frame.command, frame.flags, sequence, &frame.body)
    }

    /// Ends the link.
    pub fn close(&self) {
        self.0.outbound.close();
    }

    /// Whether the link has ended or is about to.
    pub fn is_closed(&self) -> bool {
        self.0.outbound.is_closed()
    }
}

/// What a tier does with its links. Called from the link's own task: must not block, and must not
/// wait for another link.
pub trait Handler: Send + Sync + 'static {
    /// A link is up; frames may be sent on it from now on.
    fn on_up(&self, link: &Link);

    /// A request, an answer or a one-way frame. Pings are not shown.
    fn on_frame(&self, link: &Link, frame: Frame);

    /// Called every [`LinkConfig::tick_every`]: the place to give up requests that waited too long.
    fn on_tick(&self, link: &Link, now: Instant);

    /// The link is gone: no answer comes any more.
    fn on_down(&self, link: &Link, end: &LinkEnd);
}

/// Why a link ended or did not come up.
#[derive(Debug, thiserror::Error)]
pub enum LinkEnd {
    /// The stream failed, closed, or carried no frames.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The hello did not come in time, or was none.
    #[error("hello: {0}")]
    Hello(String),
    /// A frame says that its body is sealed.
    #[error("a frame of command {command:#06x} says that its body is encrypted")]
    Sealed {
        /// Its command.
        command: u16,
    },
    /// The peer was silent for too long.
    #[error("the peer has been silent for too long")]
    Silent,
    /// This side closed it.
    #[error("closed on this side")]
    Closed,
}

impl From<std::io::Error> for LinkEnd {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error.into())
    }
}

/// Between tiers TLS alone encrypts. A sealed body is for the two ends of a client's connection: who
/// passed one on would pass on what nobody behind can open or trust.
fn unsealed(frame: Frame) -> Result<Frame, LinkEnd> {
    if frame.flags.is_encrypted() { Err(LinkEnd::Sealed { command: frame.command }) } else { Ok(frame) }
}

/// The runtime's clock, which a simulation drives, as the cores take it.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
