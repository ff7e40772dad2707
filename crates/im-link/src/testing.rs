//! For tests of this crate and of those above it: a network in memory, and a handler that hands
//! what it sees to the test. Nothing here touches a socket, so a paused clock stays in charge.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use im_proto::link::LinkCommand;
use parking_lot::Mutex;
use proto_codec::Frame;
use tokio::io::duplex;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::timeout;

use crate::link::{Handler, Link, LinkEnd};
use crate::network::{BoxFuture, BoxIo, Listener, Network};

/// Streams that wait to be accepted.
const BACKLOG: usize = 1024;

/// Events that a test may leave unread; one more ends the test.
const EVENTS_MAX: usize = 1 << 20;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

type Accepted = (BoxIo, SocketAddr);

/// A network in memory. Addresses are any texts; a stream holds `pipe_len` bytes each way, which
/// stands for the socket buffers of both ends.
pub struct MemoryNetwork {
    listeners: Mutex<HashMap<String, mpsc::Sender<Accepted>>>,
    pipe_len: usize,
    ports: AtomicU16,
}

impl MemoryNetwork {
    /// Streams with room for 256 KiB.
    pub fn new() -> Arc<Self> {
        Self::with_pipes(256 * 1024)
    }

    /// Streams with room for `pipe_len` bytes each way.
    pub fn with_pipes(pipe_len: usize) -> Arc<Self> {
        Arc::new(Self { listeners: Mutex::default(), pipe_len, ports: AtomicU16::new(1) })
    }

    fn next_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Network for MemoryNetwork {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let listener = self.listeners.lock().get(address).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = duplex(self.pipe_len);
            let accepted: Accepted = (Box::new(far), self.next_addr());
            listener.send(accepted).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(near) as BoxIo)
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let (entry, queue) = mpsc::channel(BACKLOG);
            let mut listeners = self.listeners.lock();
            if listeners.get(address).is_some_and(|there| !there.is_closed()) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            listeners.insert(address.into(), entry);
            Ok(Box::new(MemoryListener { queue: AsyncMutex::new(queue), address: self.next_addr() }) as _)
        })
    }
}

struct MemoryListener {
    queue: AsyncMutex<mpsc::Receiver<Accepted>>,
    address: SocketAddr,
}

impl Listener for MemoryListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            let accepted = self.queue.lock().await.recv().await;
            accepted.ok_or_else(|| io::ErrorKind::NotConnected.into())
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// What a link did.
#[derive(Debug)]
pub enum LinkEvent {
    /// It came up.
    Up(Link),
    /// A frame came in.
    Frame(Link, Frame),
    /// It ended.
    Down(Link, LinkEnd),
}

/// A handler that does nothing but tell the test.
pub struct Recorder {
    events: mpsc::Sender<LinkEvent>,
    shows_states: bool,
}

impl Recorder {
    /// The handler, and where its events come out. What tiers tell about themselves comes at times of
    /// its own and is left out.
    pub fn new() -> (Arc<Self>, LinkEvents) {
        Self::with(false)
    }

    /// The same with every frame.
    pub fn of_everything() -> (Arc<Self>, LinkEvents) {
        Self::with(true)
    }

    fn with(shows_states: bool) -> (Arc<Self>, LinkEvents) {
        let (entry, events) = mpsc::channel(EVENTS_MAX);
        (Arc::new(Self { events: entry, shows_states }), LinkEvents(events))
    }

    fn tell(&self, event: LinkEvent) {
        match self.events.try_send(event) {
            // A test that has seen enough drops its end.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => panic!("the test left {EVENTS_MAX} events unread"),
        }
    }
}

fn is_state(frame: &Frame) -> bool {
    use LinkCommand::{Clock, RouteState, SenderState};
    matches!(LinkCommand::from_number(frame.command), Clock | RouteState | SenderState)
}

impl Handler for Recorder {
    fn on_up(&self, link: &Link) {
        self.tell(LinkEvent::Up(link.clone()));
    }

    fn on_frame(&self, link: &Link, frame: Frame) {
        if self.shows_states || !is_state(&frame) {
            self.tell(LinkEvent::Frame(link.clone(), frame));
        }
    }

    fn on_tick(&self, _link: &Link, _now: Instant) {}

    fn on_down(&self, link: &Link, end: &LinkEnd) {
        // The end is not to be cloned; its text says what a test wants to know.
        let end = match end {
            LinkEnd::Silent => LinkEnd::Silent,
            LinkEnd::Closed => LinkEnd::Closed,
            LinkEnd::Sealed { command } => LinkEnd::Sealed { command: *command },
            other => LinkEnd::Hello(other.to_string()),
        };
        self.tell(LinkEvent::Down(link.clone(), end));
    }
}

/// The events of a [`Recorder`], in order. Every method that waits panics when nothing comes.
pub struct LinkEvents(mpsc::Receiver<LinkEvent>);

impl LinkEvents {
    /// The next event.
    pub async fn next(&mut self) -> LinkEvent {
        let next = timeout(PATIENCE, self.0.recv()).await;
        next.expect("an event was to come").expect("the handler lives as long as its link")
    }

    /// The next event, which must be a link that came up.
    pub async fn up(&mut self) -> Link {
        match self.next().await {
            LinkEvent::Up(link) => link,
            other => panic!("a link was to come up, but {other:?}"),
        }
    }

    /// The next event, which must be a frame.
    pub async fn frame(&mut self) -> (Link, Frame) {
        match self.next().await {
            LinkEvent::Frame(link, frame) => (link, frame),
            other => panic!("a frame was to come, but {other:?}"),
        }
    }

    /// The next event, which must be the end of a link.
    pub async fn down(&mut self) -> LinkEnd {
        match self.next().await {
            LinkEvent::Down(_, end) => end,
            other => panic!("a link was to end, but {other:?}"),
        }
    }

    /// What has happened already.
    pub fn now(&mut self) -> Option<LinkEvent> {
        self.0.try_recv().ok()
    }
}
