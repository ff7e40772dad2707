//! WebSocket as a client meets it: the handshake and what it refuses, the protocol inside binary messages,
//! and what ends it.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Client, FakeRoute, World, encoded, frame, preamble, user};
use futures_util::{SinkExt as _, StreamExt as _};
use gate::WebSocketDoor;
use gate::websocket::{MESSAGE_LEN_MAX, MessageIo, Origins, SUBPROTOCOL};
use im_link::{BoxIo, FrameIo, Link};
use im_proto::client::{Command, ContentType, Empty, KickReason, Kickout, Message as ChatMessage, NewMsg, SendAck};
use im_proto::limits::{CLIENT_FRAME_LEN_MAX, SERVER_FRAME_LEN_MAX};
use im_proto::link::{LinkCommand, PushSessions, SessionPlace};
use im_proto::{ClientMsgId, ConversationId, Epoch, Position, Seq};
use proto_codec::{BytesMut, Deframer, Flags, RESPONSE_BIT};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

const SITE: &str = "https://chat.example";
const PATIENCE: Duration = Duration::from_secs(600);

type WebSocket = WebSocketStream<BoxIo>;

async fn world() -> World {
    let door = WebSocketDoor { listen: "web".into(), origins: Origins::new(vec![SITE.into()]) };
    World::with(|config| {
        config.routes = vec!["r1".into()];
        config.door.websocket = Some(door);
    })
    .await
}

async fn with_route() -> (World, FakeRoute, Link) {
    let world = world().await;
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    let link = route.events.up().await;
    (world, route, link)
}

/// Asks as a page of a site does; `None` is a program that is no browser.
async fn ask(world: &World, origin: Option<&str>, protocol: Option<&str>) -> Result<WebSocket, Error> {
    let mut request = "ws://gate.example/".into_client_request().unwrap();
    let headers = request.headers_mut();
    if let Some(origin) = origin {
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).unwrap());
    }
    let io = world.network.dial("web").await.unwrap();
    Ok(tokio_tungstenite::client_async(request, io).await?.0)
}

async fn dial(world: &World) -> WebSocket {
    ask(world, Some(SITE), Some(SUBPROTOCOL)).await.unwrap()
}

/// A client that speaks frames, as over TCP.
fn client(socket: WebSocket) -> Client {
    Client { io: FrameIo::new(Box::new(MessageIo::new(socket)), SERVER_FRAME_LEN_MAX), sequence: 0 }
}

async fn login(world: &World, name: &str) -> Client {
    let mut client = client(dial(world).await);
    client.greet().await;
    client.login(&world.token(name), "browser").await;
    client
}

/// Everything up to the close frame, and its code.
async fn heard_to_the_end(socket: &mut WebSocket) -> (Vec<u8>, Option<CloseCode>) {
    let (mut bytes, mut code) = (Vec::new(), None);
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("the gate was to close") {
            Some(Ok(Message::Binary(more))) => bytes.extend_from_slice(&more),
            Some(Ok(Message::Close(close))) => code = Some(close.map_or(CloseCode::Status, |close| close.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return (bytes, code),
        }
    }
}

fn handshake_bytes() -> BytesMut {
    let mut bytes = preamble();
    let hello = encoded(&common::hello(vec![proto_codec::CodecId::Binary]));
    bytes.extend_from_slice(&frame(Command::HandShake.number(), 1, &hello));
    bytes
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

/// A piece of a fragmented message.
fn piece(bytes: &[u8], first: bool, last: bool) -> Message {
    let kind = if first { Data::Binary } else { Data::Continue };
    Message::Frame(Frame::message(Bytes::copy_from_slice(bytes), OpCode::Data(kind), last))
}

/// The next binary message must be the answer to the handshake.
async fn is_greeted(socket: &mut WebSocket) {
    is_answered(socket, Command::HandShake).await;
}

async fn is_answered(socket: &mut WebSocket, command: Command) {
    let deframer = Deframer::new(SERVER_FRAME_LEN_MAX);
    let mut inbound = BytesMut::new();
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("an answer was to come").unwrap().unwrap() {
            Message::Binary(bytes) => inbound.extend_from_slice(&bytes),
            Message::Pong(_) => continue,
            other => panic!("an answer was to come, not {other:?}"),
        }
        if let Some(frame) = deframer.next(&mut inbound) {
            assert_eq!(frame.unwrap().command, command.number() | RESPONSE_BIT);
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_browser_logs_in_sends_and_is_told() {
    let (world, mut route, link) = with_route().await;
    let mut browser = login(&world, "a").await;
    let up = route.session_up().await;
    assert_eq!((&up.user, up.device.as_str()), (&user("a"), "browser"));

    let asked = browser.ask(Command::SendMsg, &Empty {}).await;
    let (_, sequence, forward) = route.forward().await;
    assert_eq!((forward.command, forward.user), (Command::SendMsg.number(), user("a")));
    let position = Position { epoch: Epoch(1), seq: Seq(1) };
    let conversation = ConversationId::pair(&user("a"), &user("b"));
    let ack = SendAck {
        conversation: conversation.clone(),
        seq: Seq(1),
        position,
        receiver_seq: Seq(1),
        time_ms: 1,
        repeated: false,
    };
    link.answer(LinkCommand::Forward, Flags::NONE, sequence, &ack).unwrap();
    assert_eq!(browser.answer::<SendAck>(Command::SendMsg, asked).await, ack);

    let message = ChatMessage {
        conversation,
        seq: Seq(2),
        sender: user("b"),
        client_msg_id: ClientMsgId::new("m").unwrap(),
        time_ms: 5,
        content_type: ContentType::Text,
        payload: vec![7; 16_000].into(),
    };
    let targets = vec![SessionPlace { session: up.session, seq: Seq(2) }];
    link.tell(LinkCommand::PushSessions, &PushSessions { epoch: Epoch(1), targets, message: Some(message.clone()) })
        .unwrap();
    let told: NewMsg = browser.told(Command::NewMsg).await;
    assert_eq!(told.entry, Some(message), "longer than one message to a client, so it came in two");

    let asked = browser.ask(Command::Logout, &Empty {}).await;
    browser.answer::<Empty>(Command::Logout, asked).await;
    browser.ended().await;
    assert_eq!(route.session_down().await.session, up.session);
}

#[tokio::test(start_paused = true)]
async fn where_messages_end_means_nothing() {
    let world = world().await;
    let bytes = handshake_bytes();
    // All in one, cut everywhere, byte by byte, and in fragments with a ping between them.
    let mut socket = dial(&world).await;
    socket.send(binary(&bytes)).await.unwrap();
    is_greeted(&mut socket).await;
    for cut in 1..bytes.len() {
        let mut socket = dial(&world).await;
        socket.send(binary(&bytes[..cut])).await.unwrap();
        socket.send(binary(&[])).await.unwrap();
        socket.send(binary(&bytes[cut..])).await.unwrap();
        is_greeted(&mut socket).await;
    }
    let mut socket = dial(&world).await;
    for byte in &bytes {
        socket.send(binary(&[*byte])).await.unwrap();
    }
    is_greeted(&mut socket).await;
    let mut socket = dial(&world).await;
    for (number, byte) in bytes.iter().enumerate() {
        socket.send(piece(&[*byte], number == 0, number + 1 == bytes.len())).await.unwrap();
        socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    }
    is_greeted(&mut socket).await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_while_nothing_else_is_said() {
    let world = world().await;
    let mut socket = dial(&world).await;
    for text in ["one", "two"] {
        socket.send(Message::Ping(Bytes::from_static(text.as_bytes()))).await.unwrap();
        let answer = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer, Message::Pong(Bytes::from_static(text.as_bytes())));
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_frame_passes_and_a_longer_message_is_refused() {
    let (world, mut route, link) = with_route().await;
    let mut browser = login(&world, "a").await;
    route.session_up().await;
    let body = vec![7; CLIENT_FRAME_LEN_MAX as usize];
    browser.say(&frame(Command::SendMsg.number(), 4711, &body)).await;
    let (_, sequence, forward) = route.forward().await;
    assert_eq!(forward.body.len(), body.len());
    // The longest answer, in many messages.
    let answer = vec![9; SERVER_FRAME_LEN_MAX as usize];
    link.answer_body(LinkCommand::Forward, sequence, &answer).unwrap();
    assert_eq!(browser.hear().await.body.len(), answer.len());

    // The same in one message, which is longer than what a connection reads at once.
    let mut socket = dial(&world).await;
    socket.send(binary(&handshake_bytes())).await.unwrap();
    is_greeted(&mut socket).await;
    let auth = encoded(&common::auth(&world.token("b"), "browser"));
    socket.send(binary(&frame(Command::Auth.number(), 2, &auth))).await.unwrap();
    is_answered(&mut socket, Command::Auth).await;
    route.session_up().await;
    let body: Vec<u8> = (0..CLIENT_FRAME_LEN_MAX).map(|number| (number % 251) as u8).collect();
    socket.send(binary(&frame(Command::SendMsg.number(), 3, &body))).await.unwrap();
    assert_eq!(route.forward().await.2.body, body);

    // A claim is refused before a byte of what it claims is there.
    let mut socket = dial(&world).await;
    socket.get_mut().write_all(&[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]).await.unwrap();
    assert_eq!(heard_to_the_end(&mut socket).await, (Vec::new(), Some(CloseCode::Size)));
    let over = vec![0; MESSAGE_LEN_MAX + 1];
    let mut socket = dial(&world).await;
    // The gate refuses by the header and may hang up before the rest is written.
    let _ = socket.send(binary(&over)).await;
    assert_eq!(heard_to_the_end(&mut socket).await, (Vec::new(), Some(CloseCode::Size)));
    // The same in fragments, each of which would do.
    let mut socket = dial(&world).await;
    socket.send(piece(&over[..MESSAGE_LEN_MAX], true, false)).await.unwrap();
    let _ = socket.send(piece(&over[..1], false, true)).await;
    assert_eq!(heard_to_the_end(&mut socket).await, (Vec::new(), Some(CloseCode::Size)));
    browser.say(&frame(Command::SendMsg.number(), 4712, b"others go on")).await;
    route.forward().await;
}

#[tokio::test(start_paused = true)]
async fn text_and_what_is_no_websocket_are_told_so() {
    let world = world().await;
    let mut socket = dial(&world).await;
    socket.send(Message::text("SIM!")).await.unwrap();
    assert_eq!(heard_to_the_end(&mut socket).await, (Vec::new(), Some(CloseCode::Unsupported)));
    // No text at all.
    let mut socket = dial(&world).await;
    let bytes = Bytes::from_static(&[0xff, 0xfe]);
    socket.send(Message::Frame(Frame::message(bytes, OpCode::Data(Data::Text), true))).await.unwrap();
    assert_eq!(heard_to_the_end(&mut socket).await, (Vec::new(), Some(CloseCode::Unsupported)));
    // Bytes that are not masked, as a client's must be.
    let mut socket = dial(&world).await;
    socket.get_mut().write_all(&[0x82, 0x01, 0x00]).await.unwrap();
    assert_eq!(heard_to_the_end(&mut socket).await, (Vec::new(), Some(CloseCode::Protocol)));
    // A client that goes on without end while it is told does not keep the gate longer than a moment.
    let mut socket = dial(&world).await;
    socket.send(Message::text("and on")).await.unwrap();
    let since = Instant::now();
    while socket.get_mut().write_all(&[0; 4096]).await.is_ok() {
        sleep(Duration::from_millis(1)).await;
        assert!(since.elapsed() < Duration::from_secs(3));
    }
    assert!(since.elapsed() < Duration::from_secs(1), "let go by what it sent, after {:?}", since.elapsed());
    let mut socket = dial(&world).await;
    socket.send(Message::text("and then nothing")).await.unwrap();
    let since = Instant::now();
    let mut rest = Vec::new();
    socket.get_mut().read_to_end(&mut rest).await.unwrap();
    assert!(socket.get_mut().write_all(&[0]).await.is_ok(), "the gate still listens for the client's goodbye");
    sleep(Duration::from_secs(3)).await;
    assert!(socket.get_mut().write_all(&[0]).await.is_err(), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn refusals_and_goodbyes_of_the_protocol_end_with_a_close_frame() {
    let world = world().await;
    let mut socket = dial(&world).await;
    socket.send(binary(b"GET / HTTP/1.1\r\n")).await.unwrap();
    let (bytes, code) = heard_to_the_end(&mut socket).await;
    assert!(!bytes.is_empty(), "BadMagic is told in a frame");
    assert_eq!(code, Some(CloseCode::Status), "closed in order, and without another reason");

    // Silence ends it like any other connection, with a word; pings are no sign of life, as anything that
    // answers them for the page, asleep or not, would count.
    let mut silent = login(&world, "silent").await;
    let since = Instant::now();
    assert_eq!(silent.told::<Kickout>(Command::Kickout).await.reason, KickReason::Idle);
    assert_eq!(since.elapsed().as_secs(), 180);

    // A client that says goodbye in WebSocket's own way has logged off.
    let mut leaving = dial(&world).await;
    leaving.close(None).await.unwrap();
    heard_to_the_end(&mut leaving).await;
    world.sessions(0).await;
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_sites_and_other_protocols_are_refused() {
    let world = world().await;
    let status = |asked: Result<WebSocket, Error>| match asked {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
    };
    for (origin, protocol, expected) in [
        (Some(SITE), Some(SUBPROTOCOL), 101),
        (Some(SITE), Some("chat, sim.v1"), 101),
        (None, Some(SUBPROTOCOL), 101),
        (Some("https://chat.example.evil.example"), Some(SUBPROTOCOL), 403),
        (Some("http://chat.example"), Some(SUBPROTOCOL), 403),
        (Some("null"), Some(SUBPROTOCOL), 403),
        (Some("*"), Some(SUBPROTOCOL), 403),
        (Some(SITE), Some("sim.v2"), 400),
        (Some(SITE), None, 400),
    ] {
        assert_eq!(status(ask(&world, origin, protocol).await), expected, "{origin:?} {protocol:?}");
    }
    let any = WebSocketDoor { listen: "web".into(), origins: Origins::new(vec!["*".into()]) };
    let world = World::with(|config| config.door.websocket = Some(any)).await;
    assert_eq!(status(ask(&world, Some("https://anywhere.example"), Some(SUBPROTOCOL)).await), 101);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_none_and_one_that_never_ends_are_let_go() {
    let world = world().await;
    // The client protocol without WebSocket around it, on the wrong port.
    let mut io = world.network.dial("web").await.unwrap();
    io.write_all(&handshake_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, io.read_to_end(&mut answer)).await.expect("the gate hangs up").ok();
    assert!(answer.is_empty());

    // Headers without end are given up by their size, and slow ones by the time to log in.
    let mut io = world.network.dial("web").await.unwrap();
    let since = Instant::now();
    let _ = io.write_all(b"GET / HTTP/1.1\r\n").await;
    while io.write_all(b"x-more: and more and more and more and more and more\r\n").await.is_ok() {}
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    let mut io = world.network.dial("web").await.unwrap();
    let since = Instant::now();
    io.write_all(b"GET / HT").await.unwrap();
    timeout(PATIENCE, io.read_to_end(&mut answer)).await.expect("the gate hangs up").ok();
    assert_eq!(since.elapsed(), Duration::from_secs(10));
    login(&world, "a").await.is_well().await;
}
