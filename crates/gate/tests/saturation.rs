//! A client with as many requests under way as it may have, whose answers and hints come from
//! another thread than the one that serves it.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{FakeRoute, World, frame};
use im_proto::client::Command;
use im_proto::link::{LinkCommand, PushSessions, SessionPlace};
use im_proto::{Epoch, Seq};
use proto_codec::{BytesMut, RESPONSE_BIT};
use tokio::time::timeout;

/// Enough that an answer meets the client's task between its look at the requests under way and its
/// look at what is to be written.
const REQUESTS: u32 = 5000;

/// Requests that lie ready for the gate, so that one it does not read is one it forgot.
const AHEAD: u32 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_at_any_moment_lets_the_next_request_through() {
    let world = World::with(|config| {
        config.routes = vec!["r1".into()];
        config.client_in_flight_max = 1;
        config.outbound_bytes_max = 1 << 20;
    })
    .await;
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    let link = route.events.up().await;
    let mut client = world.login("a").await;
    let session = route.session_up().await.session;
    tokio::spawn(async move {
        for request in 0.. {
            let (_, sequence, _) = route.forward().await;
            // Hints in front of the answer wake the client's task while the answer is on its way.
            for seq in 0..request % 32 {
                let targets = vec![SessionPlace { session, seq: Seq(seq) }];
                link.tell(LinkCommand::PushSessions, &PushSessions { epoch: Epoch(3), targets, message: None })
                    .unwrap();
            }
            link.answer_body(LinkCommand::Forward, sequence, b"").unwrap();
        }
    });
    let request = |sequence| frame(Command::GetMsg.number(), sequence, b"x");
    let mut ahead = BytesMut::new();
    (1..=AHEAD).for_each(|sequence| ahead.extend_from_slice(&request(sequence)));
    client.say(&ahead).await;
    for sequence in 1..=REQUESTS {
        loop {
            let heard = timeout(Duration::from_secs(20), client.io.read_frame()).await;
            let heard = heard.unwrap_or_else(|_| panic!("the gate forgot request {sequence}")).unwrap();
            if heard.command == Command::GetMsg.number() | RESPONSE_BIT {
                assert_eq!(heard.sequence, sequence);
                break;
            }
        }
        client.say(&request(AHEAD + sequence)).await;
    }
}
