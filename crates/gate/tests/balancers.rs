//! The door behind a balancer: who says for whom it dials, who must, and who is not asked.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Client, World, preamble};
use proxy_header::{ProxiedAddress, ProxyHeader};
use tokio::time::{Instant, sleep};

/// The network in memory shows every peer as 127.0.0.1.
const EVERYBODY: &str = "127.0.0.0/8";
const NOBODY: &str = "192.0.2.0/24";

async fn world(proxy_from: &str) -> World {
    let range = proxy_from.parse().unwrap();
    World::with(|config| config.door.proxy_from = vec![range]).await
}

fn headers() -> [Vec<u8>; 4] {
    let address = |text: &str| text.parse().unwrap();
    let proxied = ProxiedAddress::stream(address("203.0.113.7:51234"), address("192.0.2.1:8910"));
    let v2 = |header: ProxyHeader<'_>| {
        let mut buf = [0; 256];
        let len = header.encode_to_slice_v2(&mut buf).unwrap();
        buf[..len].to_vec()
    };
    [
        b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 8910\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(ProxyHeader::with_address(proxied)),
        v2(ProxyHeader::with_local()),
    ]
}

async fn logs_in_behind(world: &World, header: &[u8]) {
    let mut client = world.dial().await;
    client.say(header).await;
    client.greet().await;
    client.login(&world.token("a"), "first").await;
    client.is_well().await;
}

async fn is_hung_up(client: &mut Client, bytes: &[u8]) {
    client.say(bytes).await;
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_balancer_is_heard_and_the_protocol_begins_behind_its_header() {
    let world = world(EVERYBODY).await;
    for header in headers() {
        logs_in_behind(&world, &header).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_balancer_that_does_not_say_for_whom_it_dials_is_hung_up_on() {
    let world = world(EVERYBODY).await;
    // The client protocol itself, as from a client that a range takes in by mistake.
    let mut bytes = preamble();
    bytes.extend_from_slice(&[0; 40]);
    is_hung_up(&mut world.dial().await, &bytes).await;
    let mut endless = b"PROXY TCP4 ".to_vec();
    endless.resize(200, b'1');
    is_hung_up(&mut world.dial().await, &endless).await;
    let mut claim = headers()[3].clone();
    claim[14..].copy_from_slice(&[0xff, 0xff]);
    is_hung_up(&mut world.dial().await, &claim).await;
    logs_in_behind(&world, &headers()[2]).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_no_balancer_is_not_asked_and_cannot_pretend() {
    let world = world(NOBODY).await;
    for header in headers() {
        let mut client = world.dial().await;
        client.say(&header).await;
        // What it says is no preamble, and is answered as such.
        client.refused(0, 0, im_proto::RefusalCode::BadMagic).await;
        client.ended().await;
    }
    world.login("a").await.is_well().await;
}

#[tokio::test(start_paused = true)]
async fn a_header_is_part_of_the_time_to_log_in() {
    let world = world(EVERYBODY).await;
    // Nothing at all, and a byte a second.
    let since = Instant::now();
    world.dial().await.ended().await;
    assert_eq!(since.elapsed(), Duration::from_secs(10));
    let since = Instant::now();
    let mut slow = world.dial().await;
    let dripping = async {
        for byte in &headers()[0] {
            slow.say(&[*byte]).await;
            sleep(Duration::from_secs(1)).await;
        }
    };
    // The gate hangs up in the middle, and what is said then fails.
    let hung_up = tokio::time::timeout(Duration::from_secs(10), dripping).await;
    assert!(hung_up.is_err());
    slow.ended().await;
    assert_eq!(since.elapsed().as_secs(), 10);

    // A header does not buy ten more seconds for the login behind it.
    let since = Instant::now();
    let mut late = world.dial().await;
    sleep(Duration::from_secs(6)).await;
    late.say(&headers()[2]).await;
    late.refused(0, 0, im_proto::RefusalCode::TooSlow).await;
    assert_eq!(since.elapsed().as_secs(), 10);
}
