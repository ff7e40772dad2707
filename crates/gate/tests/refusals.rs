//! Bytes and frames that are not as they should be: each gets its own refusal, and nobody else
//! notices.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, SystemTime};

use common::{World, auth, encoded, frame, hello, preamble};
use im_link::Tcp;
use im_proto::RefusalCode as Code;
use im_proto::client::{Command, Empty, KickReason, Kickout};
use im_proto::limits::{CLIENT_FRAME_LEN_MAX, TOKEN_LEN_MAX};
use proto_codec::{BytesMut, CodecId};
use tokio::time::Instant;

/// Every command but one, and some that nobody knows.
fn commands_but(skipped: Command) -> impl Iterator<Item = u16> {
    let known = Command::KNOWN.iter().filter(move |command| **command != skipped).map(|command| command.number());
    known.chain([0, 0x13, 0x7f, 0x100, 0xffff])
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_frames_get_the_framings_refusal() {
    let world = World::new().await;
    let mut bystander = world.login("bystander").await;
    let opening = |at: usize, byte: u8| {
        let mut bytes = preamble();
        bytes[at] = byte;
        bytes
    };
    let header = |length: u32, flags: u16| {
        let mut bytes = preamble();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&Command::HandShake.number().to_be_bytes());
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&1u32.to_be_bytes());
        bytes
    };
    for (what, bytes, code) in [
        ("garbage", BytesMut::from(&[0xa5; 200][..]), Code::BadMagic),
        ("http", BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]), Code::BadMagic),
        ("magic", opening(3, b'?'), Code::BadMagic),
        ("hop", opening(4, b'L'), Code::BadFrame),
        ("no hop", opening(4, 0), Code::BadFrame),
        ("version 0", opening(5, 0), Code::BadVersion),
        ("version 2", opening(5, 2), Code::BadVersion),
        ("codec", opening(6, 3), Code::NoCodec),
        ("reserved", opening(7, 1), Code::BadFrame),
        ("one over", header(CLIENT_FRAME_LEN_MAX + 1, 0), Code::FrameTooLong),
        ("four gigabytes", header(u32::MAX, 0), Code::FrameTooLong),
        ("flags", header(0, 0x8000), Code::BadFrame),
    ] {
        let before = Instant::now();
        let mut client = world.dial().await;
        client.say(&bytes).await;
        client.refused(0, 0, code).await;
        client.ended().await;
        assert!(before.elapsed() < Duration::from_secs(1), "{what}: ended only by a timeout");
        bystander.is_well().await;
    }
    // After the login as well: the stream has lost its next frame.
    for (bytes, code) in
        [(&header(CLIENT_FRAME_LEN_MAX + 1, 0)[8..], Code::FrameTooLong), (&header(0, 0x4000)[8..], Code::BadFrame)]
    {
        let mut client = world.login("a").await;
        client.say(bytes).await;
        client.refused(0, 0, code).await;
        client.ended().await;
        bystander.is_well().await;
    }
    world.sessions(1).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_frame_is_a_handshake() {
    let world = World::new().await;
    let mut bystander = world.login("bystander").await;
    for command in commands_but(Command::HandShake) {
        let mut client = world.dial().await;
        let mut bytes = preamble();
        bytes.extend_from_slice(&frame(command, 3, &encoded(&Empty {})));
        // What comes behind is not looked at any more.
        bytes.extend_from_slice(&frame(Command::HandShake.number(), 4, &encoded(&hello(vec![CodecId::Binary]))));
        client.say(&bytes).await;
        client.refused(command, 3, Code::NotLoggedIn).await;
        client.ended().await;
    }
    bystander.is_well().await;
    world.login("a").await;
}

#[tokio::test(start_paused = true)]
async fn nothing_but_the_login_follows_the_handshake() {
    let world = World::new().await;
    let mut bystander = world.login("bystander").await;
    for command in commands_but(Command::Auth) {
        let mut client = world.greeted().await;
        let body = if command == Command::HandShake.number() {
            encoded(&hello(vec![CodecId::Binary]))
        } else {
            encoded(&Empty {})
        };
        client.say(&frame(command, 9, &body)).await;
        client.refused(command, 9, Code::NotLoggedIn).await;
        client.ended().await;
    }
    bystander.is_well().await;
    world.sessions(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_must_offer_a_codec_and_decode() {
    let world = World::new().await;
    let mut bystander = world.login("bystander").await;
    for codecs in [vec![], vec![CodecId::Unknown(3)], vec![CodecId::Unknown(4), CodecId::Unknown(99)]] {
        let mut client = world.dial().await;
        client.say(&preamble()).await;
        let sequence = client.ask(Command::HandShake, &hello(codecs)).await;
        client.refused(Command::HandShake.number(), sequence, Code::NoCodec).await;
        client.ended().await;
    }
    let body = encoded(&hello(vec![CodecId::Binary]));
    for end in 0..body.len() {
        let mut client = world.dial().await;
        client.say(&preamble()).await;
        client.say(&frame(Command::HandShake.number(), 1, &body[..end])).await;
        client.refused(Command::HandShake.number(), 1, Code::BadBody).await;
        client.ended().await;
    }
    // The client's liking is the order; one that is not spoken is passed over.
    let mut client = world.dial().await;
    client.say(&preamble()).await;
    let sequence = client.ask(Command::HandShake, &hello(vec![CodecId::Unknown(9), CodecId::Binary])).await;
    let ack: im_proto::client::HandShakeAck = client.answer(Command::HandShake, sequence).await;
    assert_eq!((ack.codec, ack.frame_len_max, ack.version), (CodecId::Binary, CLIENT_FRAME_LEN_MAX, 1));
    bystander.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_must_be_good() {
    let world = World::new().await;
    let other = World::new().await;
    let mut bystander = world.login("bystander").await;
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let mut forged = world.token("a");
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for (token, code) in [
        (String::new(), Code::BadToken),
        ("not a token".into(), Code::BadToken),
        ("x".repeat(TOKEN_LEN_MAX as usize), Code::BadToken),
        (other.token("a"), Code::BadToken),
        (forged, Code::BadToken),
        (world.token_at("a", hour_ago), Code::ExpiredToken),
    ] {
        let mut client = world.greeted().await;
        let sequence = client.ask(Command::Auth, &auth(&token, "phone")).await;
        // One try per connection: what was sent behind it is not looked at.
        client.refused(Command::Auth.number(), sequence, code).await;
        client.ended().await;
    }
    bystander.is_well().await;
    world.sessions(1).await;
    assert_eq!(world.greeted().await.login(&world.token("a"), "phone").await.user, common::user("a"));
}

#[tokio::test(start_paused = true)]
async fn lengths_inside_a_login_may_not_lie() {
    let world = World::new().await;
    let mut bystander = world.login("bystander").await;
    let body = encoded(&auth(&world.token("a"), "phone"));
    let mut bodies: Vec<Vec<u8>> = (0..body.len()).map(|end| body[..end].to_vec()).collect();
    // The token's length stands first: every value that it does not have.
    for lie in [vec![0x00], vec![0x01], vec![0x7f], vec![0xff, 0x7f], vec![0xff, 0xff, 0xff, 0xff, 0x0f], vec![0xff; 9]]
    {
        bodies.push(lie.iter().chain(&body[2..]).copied().collect());
    }
    bodies.push(body.iter().copied().chain([0; 10]).collect());
    for body in bodies {
        let mut client = world.greeted().await;
        client.say(&frame(Command::Auth.number(), 2, &body)).await;
        client.refused(Command::Auth.number(), 2, Code::BadBody).await;
        client.ended().await;
    }
    bystander.is_well().await;
    world.sessions(1).await;
}

#[tokio::test(start_paused = true)]
async fn after_the_login_a_wrong_command_costs_an_answer_and_no_more() {
    let world = World::new().await;
    let mut bystander = world.login("bystander").await;
    let mut client = world.login("a").await;
    for command in [Command::HandShake, Command::Auth] {
        let sequence = client.ask(command, &Empty {}).await;
        client.refused(command.number(), sequence, Code::OutOfOrder).await;
    }
    for command in [0x00, 0x06, 0x09, 0x0a, 0x0b, 0x0e, 0x13, 0x7f, 0x85, 0x100, 0xffff] {
        client.say(&frame(command, 5, &[])).await;
        client.refused(command, 5, Code::UnknownCommand).await;
        client.is_well().await;
    }
    bystander.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_and_silence_ends_with_the_clock() {
    let world = World::new().await;
    let whole = frame(Command::HandShake.number(), 1, &encoded(&hello(vec![CodecId::Binary])));
    for (bytes, cut) in [(&preamble()[..], 5), (&whole, 3), (&whole, 12), (&whole, whole.len() - 1)] {
        let before = Instant::now();
        let mut client = world.dial().await;
        if bytes.len() == whole.len() {
            client.say(&preamble()).await;
        }
        client.say(&bytes[..cut]).await;
        client.refused(0, 0, Code::TooSlow).await;
        client.ended().await;
        assert_eq!(before.elapsed().as_secs(), 10);
    }
    let mut client = world.login("a").await;
    let before = Instant::now();
    client.say(&frame(Command::SendMsg.number(), 7, &[0; 100])[..50]).await;
    assert_eq!(client.told::<Kickout>(Command::Kickout).await.reason, KickReason::Idle);
    client.ended().await;
    assert_eq!(before.elapsed().as_secs(), 180);
    world.login("b").await.is_well().await;
}

/// A kernel that closes a socket with unread bytes in it resets the connection, and the reset may
/// overtake the last word. The gate reads what the client is still sending, so its writes succeed.
#[tokio::test]
async fn the_last_word_reaches_a_client_that_is_still_sending() {
    let world = World::over(Tcp::shared(), |config| config.client_listen = "127.0.0.1:0".into()).await;
    let address = world.gate.client_addr().to_string();
    for _ in 0..3 {
        let stream = world.network.dial(&address).await.unwrap();
        let io = im_link::FrameIo::new(stream, im_proto::limits::SERVER_FRAME_LEN_MAX);
        let mut client = common::Client { io, sequence: 0 };
        let mut bytes = preamble();
        bytes.extend_from_slice(&(CLIENT_FRAME_LEN_MAX + 1).to_be_bytes());
        // More than the kernel's buffers hold, so that the gate has to take it.
        bytes.resize(32 * 1024 * 1024, 0);
        client.say(&bytes).await;
        client.refused(0, 0, Code::FrameTooLong).await;
        let end = client.io.read_frame().await;
        assert!(matches!(end, Err(im_link::frame_io::ReadError::Closed)), "not an end but {end:?}");
    }
}
