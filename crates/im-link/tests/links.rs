//! Links over a network in memory, on a clock that only moves when everybody waits.
#![allow(clippy::unwrap_used)]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use im_link::network::BoxFuture;
use im_link::testing::{LinkEvent, LinkEvents, MemoryNetwork, Recorder};
use im_link::tls::LinkTls;
use im_link::{BoxIo, FrameIo, Identity, LinkConfig, LinkEnd, Listener, Network, PushError, link};
use im_proto::BootId;
use im_proto::limits::LINK_FRAME_LEN_MAX;
use im_proto::link::{Hello, LinkCommand, Ping, Tier, Welcome};
use parking_lot::Mutex;
use proto_codec::{BytesMut, Codec, Encode, Flags, Frame, Header, Hop, Preamble, RESPONSE_BIT};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn identity(tier: Tier, name: &str) -> Identity {
    Identity { tier, name: name.into(), boot: BootId(7), region: "here".into() }
}

fn hello() -> Hello {
    Hello { tier: Tier::Gate, name: "g1".into(), boot: BootId(7), region: "here".into() }
}

fn frame(command: LinkCommand, sequence: u32, message: &impl Encode) -> BytesMut {
    let mut bytes = BytesMut::new();
    Frame::encode_message(command.number(), Flags::NONE, sequence, message, &mut bytes);
    bytes
}

fn opening() -> BytesMut {
    let mut bytes = BytesMut::from(&Preamble::current(Hop::Link).encode()[..]);
    bytes.extend_from_slice(&frame(LinkCommand::Hello, 1, &hello()));
    bytes
}

/// The accepting and the dialling side of links over one network.
struct World {
    network: Arc<dyn Network>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl World {
    fn over(network: Arc<dyn Network>) -> Self {
        Self { network, stop: CancellationToken::new(), tasks: TaskTracker::new() }
    }

    async fn serve(&self, config: LinkConfig) -> LinkEvents {
        let listener = self.network.listen("route").await.unwrap();
        let (handler, events) = Recorder::new();
        let identity = identity(Tier::Route, "r1");
        self.tasks.spawn(link::serve(listener, LinkTls::Plain, identity, config, handler, self.stop.clone()));
        events
    }

    fn dial(&self, config: LinkConfig) -> LinkEvents {
        let (handler, events) = Recorder::new();
        let (network, identity) = (Arc::clone(&self.network), identity(Tier::Gate, "g1"));
        let stop = self.stop.clone();
        self.tasks.spawn(link::maintain(network, "route".into(), LinkTls::Plain, identity, config, handler, stop));
        events
    }

    async fn raw(&self) -> FrameIo {
        FrameIo::new(self.network.dial("route").await.unwrap(), LINK_FRAME_LEN_MAX)
    }

    /// A peer that says hello by hand and does nothing by itself afterwards.
    async fn greeted(&self) -> FrameIo {
        let mut io = self.raw().await;
        io.write(&opening()).await.unwrap();
        let welcome = io.read_frame().await.unwrap();
        assert_eq!((welcome.command, welcome.sequence), (LinkCommand::Hello.number() | RESPONSE_BIT, 1));
        let welcome: Welcome = Codec::Binary.decode("Welcome", &welcome.body).unwrap();
        assert_eq!(welcome, Welcome { name: "r1".into(), boot: BootId(7), region: "here".into() });
        io
    }
}

#[tokio::test(start_paused = true)]
async fn both_sides_learn_who_the_other_is_and_frames_go_both_ways() {
    let world = World::over(MemoryNetwork::new());
    let (mut accepted, mut dialled) = (world.serve(LinkConfig::default()).await, world.dial(LinkConfig::default()));
    let (near, far) = (dialled.up().await, accepted.up().await);
    assert_eq!((near.peer().tier, near.peer().name.as_str(), near.peer().boot), (Tier::Route, "r1", BootId(7)));
    assert_eq!((far.peer().tier, far.peer().name.as_str(), far.peer().region.as_str()), (Tier::Gate, "g1", "here"));
    near.request(LinkCommand::Forward, 9, &hello()).unwrap();
    let (_, request) = accepted.frame().await;
    assert_eq!((request.command, request.sequence), (LinkCommand::Forward.number(), 9));
    far.answer(LinkCommand::Forward, Flags::REFUSED, 9, &hello()).unwrap();
    let (_, answer) = dialled.frame().await;
    assert!(answer.is_response() && answer.flags.is_refused() && answer.sequence == 9);
    far.pass(&request, 12).unwrap();
    let (_, passed) = dialled.frame().await;
    assert_eq!(passed, Frame { sequence: 12, ..request });
    // Both ends are pinged while nothing is said, and neither gives up.
    sleep(ms(60_000)).await;
    assert!(accepted.now().is_none() && dialled.now().is_none(), "an idle link stays up and shows no pings");
    world.stop.cancel();
    world.tasks.close();
    world.tasks.wait().await;
    assert!(matches!(dialled.down().await, LinkEnd::Closed | LinkEnd::Hello(_)));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_hello_is_let_go_and_harms_nobody() {
    let world = World::over(MemoryNetwork::new());
    let mut accepted = world.serve(LinkConfig::default()).await;
    let preamble = |change: fn(&mut [u8])| {
        let mut bytes = opening();
        change(&mut bytes);
        bytes
    };
    let link_preamble = || BytesMut::from(&Preamble::current(Hop::Link).encode()[..]);
    let mut ping_first = link_preamble();
    ping_first.extend_from_slice(&frame(LinkCommand::Ping, 1, &Ping {}));
    let mut bad_body = link_preamble();
    bad_body.extend_from_slice(&frame(LinkCommand::Hello, 1, &Ping {}));
    let mut too_long = link_preamble();
    let length = LINK_FRAME_LEN_MAX + 1;
    too_long.extend_from_slice(&length.to_be_bytes());
    too_long.extend_from_slice(&[0; Header::LEN - 4]);
    for (what, bytes) in [
        ("magic", preamble(|bytes| bytes[0] = b'X')),
        ("hop", preamble(|bytes| bytes[4] = b'C')),
        ("version", preamble(|bytes| bytes[5] = 99)),
        ("reserved", preamble(|bytes| bytes[7] = 1)),
        ("flags", preamble(|bytes| bytes[8 + 6] = 0x80)),
        ("sealed", preamble(|bytes| bytes[8 + 7] = Flags::ENCRYPTED.bits() as u8)),
        ("ping first", ping_first),
        ("no hello", bad_body),
        ("too long", too_long),
    ] {
        let before = Instant::now();
        let mut io = world.raw().await;
        io.write(&bytes).await.unwrap();
        assert!(io.read_frame().await.is_err(), "{what}: was answered");
        assert!(before.elapsed() < ms(1000), "{what}: only the timeout ended it");
    }
    // A peer that says half of it has the connect timeout, and no more.
    let before = Instant::now();
    let mut io = world.raw().await;
    io.write(&opening()[..20]).await.unwrap();
    assert!(io.read_frame().await.is_err());
    assert_eq!(before.elapsed().as_secs(), 3);
    assert!(accepted.now().is_none(), "none of them was a link");
    world.greeted().await;
    accepted.up().await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_no_route_is_never_a_link() {
    let world = World::over(MemoryNetwork::new());
    let listener = world.network.listen("route").await.unwrap();
    let mut dialled = world.dial(LinkConfig::default());
    let mut wrong_command = BytesMut::new();
    let welcome = Welcome { name: "r1".into(), boot: BootId(1), region: "here".into() };
    Frame::encode_message(LinkCommand::Hello.number(), Flags::NONE, 1, &welcome, &mut wrong_command);
    let mut no_welcome = BytesMut::new();
    Frame::encode_message(LinkCommand::Hello.number() | RESPONSE_BIT, Flags::NONE, 1, &Ping {}, &mut no_welcome);
    let mut sealed = BytesMut::new();
    Frame::encode_message(LinkCommand::Hello.number() | RESPONSE_BIT, Flags::ENCRYPTED, 1, &welcome, &mut sealed);
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &wrong_command, &no_welcome, &sealed, b""] {
        let (stream, _) = listener.accept().await.unwrap();
        let mut io = FrameIo::new(stream, LINK_FRAME_LEN_MAX);
        assert_eq!(io.read_preamble().await.unwrap(), Preamble::current(Hop::Link).encode());
        assert_eq!(io.read_frame().await.unwrap().command, LinkCommand::Hello.number());
        io.write(answer).await.unwrap();
        assert!(io.read_frame().await.is_err(), "the dialler gives {answer:?} up");
    }
    assert!(dialled.now().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_sealed_frame_ends_the_link_and_is_shown_to_nobody() {
    let world = World::over(MemoryNetwork::new());
    let mut accepted = world.serve(LinkConfig::default()).await;
    for command in [LinkCommand::Ping, LinkCommand::Forward] {
        let mut io = world.greeted().await;
        accepted.up().await;
        let mut sealed = BytesMut::new();
        Frame::encode_message(command.number(), Flags::ENCRYPTED, 1, &Ping {}, &mut sealed);
        sealed.extend_from_slice(&frame(LinkCommand::Forward, 2, &Ping {}));
        io.write(&sealed).await.unwrap();
        assert!(io.read_frame().await.is_err(), "neither answered nor passed over");
        let end = accepted.down().await;
        assert!(matches!(end, LinkEnd::Sealed { command: told } if told == command.number()), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_pinged_and_given_up() {
    let world = World::over(MemoryNetwork::new());
    let mut accepted = world.serve(LinkConfig::default()).await;
    let mut io = world.greeted().await;
    accepted.up().await;
    let since = Instant::now();
    let mut pings = 0;
    while let Ok(frame) = io.read_frame().await {
        assert_eq!((frame.command, frame.sequence), (LinkCommand::Ping.number(), 0));
        pings += 1;
    }
    assert!(matches!(accepted.down().await, LinkEnd::Silent));
    let took = since.elapsed();
    assert!((ms(1900)..ms(2300)).contains(&took), "given up after {took:?}");
    assert_eq!(pings, 3, "one per half second of quiet");
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_and_any_sign_of_life_keeps_the_link() {
    let world = World::over(MemoryNetwork::new());
    let mut accepted = world.serve(LinkConfig::default()).await;
    let mut io = world.greeted().await;
    accepted.up().await;
    io.write(&frame(LinkCommand::Ping, 77, &Ping {})).await.unwrap();
    let answer = io.read_frame().await.unwrap();
    assert_eq!((answer.command, answer.sequence), (LinkCommand::Ping.number() | RESPONSE_BIT, 77));
    for sequence in 0..20 {
        sleep(ms(1500)).await;
        io.write(&frame(LinkCommand::SessionDown, sequence, &Ping {})).await.unwrap();
        assert_eq!(accepted.frame().await.1.sequence, sequence);
    }
}

#[tokio::test(start_paused = true)]
async fn frames_right_behind_the_hello_are_not_lost() {
    let world = World::over(MemoryNetwork::new());
    let mut accepted = world.serve(LinkConfig::default()).await;
    let mut bytes = opening();
    for sequence in 1..=100 {
        bytes.extend_from_slice(&frame(LinkCommand::Forward, sequence, &hello()));
    }
    let mut io = world.raw().await;
    io.write(&bytes).await.unwrap();
    accepted.up().await;
    for sequence in 1..=100 {
        assert_eq!(accepted.frame().await.1.sequence, sequence);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_costs_a_bounded_buffer() {
    const PIPE: usize = 64 * 1024;
    let config = LinkConfig { outbound_bytes_max: 128 * 1024, ..LinkConfig::default() };
    let world = World::over(MemoryNetwork::with_pipes(PIPE));
    let mut accepted = world.serve(config).await;
    let mut io = world.greeted().await;
    let link = accepted.up().await;
    let len = frame(LinkCommand::Push, 0, &hello()).len();
    // Each round lets the link's task move bytes on, until it can no more.
    let mut pushed = 0;
    for _ in 0..10 {
        while link.tell(LinkCommand::Push, &hello()).is_ok() {
            pushed += len;
        }
        assert_eq!(link.tell(LinkCommand::Push, &hello()), Err(PushError::Full));
        tokio::task::yield_now().await;
    }
    // One buffer that waits, one that is being written, and what the pipe holds.
    let bound = PIPE + 2 * (config.outbound_bytes_max + len);
    assert!(pushed <= bound, "{pushed} bytes were taken in, the bound is {bound}");
    assert!(pushed >= 2 * config.outbound_bytes_max, "{pushed} bytes: less than the bound allows");
    // Once the peer reads, everything that was taken in arrives.
    let mut arrived = 0;
    while arrived < pushed {
        let frame = io.read_frame().await.unwrap();
        arrived += Header::LEN + frame.body.len();
    }
    assert_eq!(arrived, pushed);
    link.tell(LinkCommand::Push, &hello()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_writes_what_was_pushed_before() {
    let world = World::over(MemoryNetwork::with_pipes(1000));
    let mut accepted = world.serve(LinkConfig::default()).await;
    let mut io = world.greeted().await;
    let link = accepted.up().await;
    for sequence in 1..=500 {
        link.request(LinkCommand::Push, sequence, &hello()).unwrap();
    }
    link.close();
    assert!(link.is_closed());
    assert_eq!(link.request(LinkCommand::Push, 501, &hello()), Err(PushError::Closed));
    for sequence in 1..=500 {
        assert_eq!(io.read_frame().await.unwrap().sequence, sequence);
    }
    assert!(io.read_frame().await.is_err());
    assert!(matches!(accepted.down().await, LinkEnd::Closed));
}

/// A peer that lives but takes nothing: its pings keep the link, its full buffer keeps the bytes.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_cannot_hold_up_the_end() {
    let world = World::over(MemoryNetwork::with_pipes(1000));
    let mut accepted = world.serve(LinkConfig::default()).await;
    let mut io = world.greeted().await;
    let link = accepted.up().await;
    for sequence in 1..=500 {
        link.request(LinkCommand::Push, sequence, &hello()).unwrap();
    }
    let pings = tokio::spawn(async move {
        while io.write(&frame(LinkCommand::Ping, 0, &Ping {})).await.is_ok() {
            sleep(ms(300)).await;
        }
    });
    sleep(ms(5000)).await;
    assert!(accepted.now().is_none(), "it is alive");
    let since = Instant::now();
    world.stop.cancel();
    world.tasks.close();
    world.tasks.wait().await;
    assert!(matches!(accepted.down().await, LinkEnd::Closed));
    assert!((ms(1900)..ms(2300)).contains(&since.elapsed()), "{:?}", since.elapsed());
    pings.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn more_links_than_allowed_are_let_go() {
    let world = World::over(MemoryNetwork::new());
    let mut accepted = world.serve(LinkConfig { links_max: 2, ..LinkConfig::default() }).await;
    let first = world.greeted().await;
    let _second = world.greeted().await;
    let mut third = world.raw().await;
    let _ = third.write(&opening()).await;
    assert!(third.read_frame().await.is_err());
    drop(first);
    accepted.up().await;
    accepted.up().await;
    accepted.down().await;
    let _again = world.greeted().await;
}

/// Notes when it was dialled, and counts the writes of the streams that it gives.
struct Watched {
    inner: Arc<MemoryNetwork>,
    dials: Mutex<Vec<Instant>>,
    writes: Arc<AtomicUsize>,
}

impl Watched {
    fn new() -> Arc<Self> {
        Arc::new(Self { inner: MemoryNetwork::new(), dials: Mutex::default(), writes: Arc::default() })
    }

    /// The waits between dials.
    fn waits(&self) -> Vec<Duration> {
        self.dials.lock().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

impl Network for Watched {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        self.dials.lock().push(Instant::now());
        Box::pin(async move {
            let io = self.inner.dial(address).await?;
            Ok(Box::new(Counted { io, writes: Arc::clone(&self.writes) }) as BoxIo)
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        self.inner.listen(address)
    }
}

struct Counted {
    io: BoxIo,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn frames_of_one_moment_leave_in_one_write() {
    let network = Watched::new();
    let world = World::over(Arc::clone(&network) as Arc<dyn Network>);
    let (mut accepted, mut dialled) = (world.serve(LinkConfig::default()).await, world.dial(LinkConfig::default()));
    let (near, _far) = (dialled.up().await, accepted.up().await);
    let before = network.writes.load(Ordering::Relaxed);
    for sequence in 1..=1000 {
        near.request(LinkCommand::Forward, sequence, &hello()).unwrap();
    }
    for sequence in 1..=1000 {
        assert_eq!(accepted.frame().await.1.sequence, sequence);
    }
    assert_eq!(network.writes.load(Ordering::Relaxed) - before, 1);
}

#[tokio::test(start_paused = true)]
async fn the_dialler_comes_back_with_growing_pauses_that_begin_anew_after_success() {
    let network = Watched::new();
    let world = World::over(Arc::clone(&network) as Arc<dyn Network>);
    let config = LinkConfig { backoff: (ms(100), ms(1600)), ..LinkConfig::default() };
    let mut dialled = world.dial(config);
    sleep(ms(20_000)).await;
    let waits = network.waits();
    assert!(waits.len() >= 8, "{waits:?}");
    for (wait, step) in waits.iter().zip([100, 200, 400, 800, 1600, 1600, 1600, 1600]) {
        assert!((ms(step / 2)..=ms(step + 2)).contains(wait), "{wait:?} is not between half of {step} ms and all");
    }
    let accepting = World::over(Arc::clone(&network) as Arc<dyn Network>);
    let mut accepted = accepting.serve(config).await;
    let (near, far) = (dialled.up().await, accepted.up().await);
    assert_eq!(near.peer().name, "r1");
    let (before, since) = (network.dials.lock().len(), Instant::now());
    far.close();
    dialled.down().await;
    assert_ne!(dialled.up().await.id(), near.id(), "a new link has a new id");
    assert!(since.elapsed() <= ms(102), "the pause begins with the least one again: {:?}", since.elapsed());
    assert_eq!(network.dials.lock().len(), before + 1);
    // Told to stop, it does not dial again.
    world.stop.cancel();
    world.tasks.close();
    world.tasks.wait().await;
    assert!(matches!(dialled.next().await, LinkEvent::Down(..)));
}
