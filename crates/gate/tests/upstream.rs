//! What goes to the routes and what comes back, against routes that do what the test says.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{CLIENT_IN_FLIGHT, FakeRoute, LINK_IN_FLIGHT, REQUEST_TIMEOUT, World, encoded, frame, user};
use im_link::Link;
use im_proto::client::{
    Command, ContentType, Empty, HeartBeatAck, KickReason, Kickout, Message, NewMsg, RevSignal, SignalKind,
};
use im_proto::link::{Forward, LinkCommand, PushSessions, RelaySessions, SessionPlace};
use im_proto::{BootId, ClientMsgId, ConversationId, Epoch, Position, Refusal, RefusalCode as Code, Seq, SessionId};
use proto_codec::{Bytes, Flags};
use tokio::time::{Instant, sleep};

async fn one_route() -> (World, FakeRoute, Link) {
    let world = World::with(|config| config.routes = vec!["r1".into()]).await;
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    let link = route.events.up().await;
    (world, route, link)
}

fn refuse(link: &Link, sequence: u32, code: Code) {
    link.answer(LinkCommand::Forward, Flags::REFUSED, sequence, &Refusal::from(code)).unwrap();
}

fn message(payload: usize) -> Message {
    Message {
        conversation: ConversationId::pair(&user("a"), &user("b")),
        seq: Seq(4),
        sender: user("b"),
        client_msg_id: ClientMsgId::new("m").unwrap(),
        time_ms: 5,
        content_type: ContentType::Text,
        payload: Bytes::from(vec![7; payload]),
    }
}

#[tokio::test(start_paused = true)]
async fn logins_and_their_ends_are_told_to_every_route() {
    let world = World::with(|config| config.routes = vec!["r1".into(), "r2".into()]).await;
    let early = world.login("early").await;
    let mut master = FakeRoute::listen(&world.network, "r1").await;
    master.events.up().await;
    assert_eq!(master.session_up().await.user, user("early"), "a login is told to a route that comes up later");
    let client = world.login("a").await;
    let up = master.session_up().await;
    assert_eq!((&up.user, up.device.as_str()), (&user("a"), "first"));
    let mut standby = FakeRoute::listen(&world.network, "r2").await;
    standby.events.up().await;
    let mut told = [standby.session_up().await.user, standby.session_up().await.user];
    told.sort();
    assert_eq!(told, [user("a"), user("early")]);
    drop(client);
    for route in [&mut master, &mut standby] {
        assert_eq!(route.session_down().await.session, up.session);
    }
    drop(early);
    for route in [&mut master, &mut standby] {
        assert_eq!(route.session_down().await.user, user("early"));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_and_answers_pass_untouched() {
    let (world, mut route, link) = one_route().await;
    assert!(world.gate.is_ready());
    let mut client = world.login("a").await;
    let up = route.session_up().await;
    client.say(&frame(Command::SendMsg.number(), 4711, b"whatever it is")).await;
    let (_, sequence, forward) = route.forward().await;
    assert_eq!(
        forward,
        Forward {
            user: user("a"),
            device: up.device,
            session: im_proto::link::SessionKey { boot: BootId(7), session: up.session },
            command: Command::SendMsg.number(),
            body: Bytes::from_static(b"whatever it is"),
        }
    );
    link.answer_body(LinkCommand::Forward, sequence, b"the answer").unwrap();
    let answer = client.hear().await;
    assert_eq!((answer.command, answer.sequence, &answer.body[..]), (0x85, 4711, &b"the answer"[..]));
    // An answer twice, or to nothing, is passed over.
    link.answer_body(LinkCommand::Forward, sequence, b"again").unwrap();
    link.answer_body(LinkCommand::Forward, 0, b"nothing").unwrap();
    let asked = client.ask(Command::GetMsg, &Empty {}).await;
    let (_, sequence, _) = route.forward().await;
    refuse(&link, sequence, Code::BadPosition);
    client.refused(Command::GetMsg.number(), asked, Code::BadPosition).await;
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_brings_the_head_and_is_never_refused() {
    let (world, mut route, link) = one_route().await;
    let mut client = world.login("a").await;
    route.session_up().await;
    let asked = client.ask(Command::HeartBeat, &Empty {}).await;
    let (_, sequence, forward) = route.forward().await;
    assert_eq!(forward.command, Command::HeartBeat.number());
    let ack = HeartBeatAck { head: Some(Position { epoch: Epoch(3), seq: Seq(9) }), server_time_ms: 1 };
    link.answer(LinkCommand::Forward, Flags::NONE, sequence, &ack).unwrap();
    assert_eq!(client.answer::<HeartBeatAck>(Command::HeartBeat, asked).await, ack);
    let asked = client.ask(Command::HeartBeat, &Empty {}).await;
    let (_, sequence, _) = route.forward().await;
    refuse(&link, sequence, Code::Unavailable);
    assert_eq!(client.answer::<HeartBeatAck>(Command::HeartBeat, asked).await.head, None);
    // Nor is one left without an answer.
    let asked = client.ask(Command::HeartBeat, &Empty {}).await;
    route.forward().await;
    assert_eq!(client.answer::<HeartBeatAck>(Command::HeartBeat, asked).await.head, None);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_too_long_is_refused_and_its_late_answer_dropped() {
    let (world, mut route, link) = one_route().await;
    let mut client = world.login("a").await;
    route.session_up().await;
    let (asked, since) = (client.ask(Command::GetMsg, &Empty {}).await, Instant::now());
    let (_, late, _) = route.forward().await;
    client.refused(Command::GetMsg.number(), asked, Code::DeadlineExceeded).await;
    assert!((REQUEST_TIMEOUT..REQUEST_TIMEOUT + Duration::from_millis(200)).contains(&since.elapsed()));
    // The next request takes the same place in the window; the late answer is not for it.
    let asked = client.ask(Command::GetMsg, &Empty {}).await;
    let (_, sequence, _) = route.forward().await;
    link.answer_body(LinkCommand::Forward, late, b"late").unwrap();
    link.answer_body(LinkCommand::Forward, sequence, b"in time").unwrap();
    let answer = client.hear().await;
    assert_eq!((answer.sequence, &answer.body[..]), (asked, &b"in time"[..]));
}

#[tokio::test(start_paused = true)]
async fn requests_go_to_the_first_route_that_is_up() {
    let world = World::with(|config| config.routes = vec!["r1".into(), "r2".into()]).await;
    let (mut master, mut standby) =
        (FakeRoute::listen(&world.network, "r1").await, FakeRoute::listen(&world.network, "r2").await);
    master.events.up().await;
    standby.events.up().await;
    let mut client = world.login("a").await;
    master.session_up().await;
    standby.session_up().await;
    let asked = client.ask(Command::GetMsg, &Empty {}).await;
    master.forward().await;
    master.stop().await;
    // Under way when the master ended: refused, not repeated, because it may have happened.
    client.refused(Command::GetMsg.number(), asked, Code::Unavailable).await;
    let asked = client.ask(Command::GetMsg, &Empty {}).await;
    let (link, sequence, _) = standby.forward().await;
    link.answer_body(LinkCommand::Forward, sequence, b"standby").unwrap();
    assert_eq!(client.hear().await.sequence, asked);
    let mut master = FakeRoute::listen(&world.network, "r1").await;
    master.events.up().await;
    assert_eq!(master.session_up().await.user, user("a"));
    client.ask(Command::GetMsg, &Empty {}).await;
    let (link, sequence, _) = master.forward().await;
    link.answer_body(LinkCommand::Forward, sequence, b"master").unwrap();
    assert_eq!(&client.hear().await.body[..], b"master");
    assert!(standby.events.now().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_with_too_many_requests_under_way_is_not_read_from() {
    let (world, mut route, link) = one_route().await;
    let mut client = world.login("a").await;
    route.session_up().await;
    let mut bytes = proto_codec::BytesMut::new();
    for sequence in 1..=3 * CLIENT_IN_FLIGHT {
        bytes.extend_from_slice(&frame(Command::GetMsg.number(), sequence, b"x"));
    }
    client.say(&bytes).await;
    let mut open = Vec::new();
    for _ in 0..CLIENT_IN_FLIGHT {
        open.push(route.forward().await.1);
    }
    sleep(Duration::from_secs(1)).await;
    assert!(route.events.now().is_none(), "more than the bound were passed on");
    // Another client is not held up by it.
    let mut bystander = world.login("b").await;
    route.session_up().await;
    bystander.ask(Command::GetMsg, &Empty {}).await;
    let (_, sequence, _) = route.forward().await;
    link.answer_body(LinkCommand::Forward, sequence, b"").unwrap();
    bystander.hear().await;
    // Each answer lets one more through, and all are answered in the end.
    for answered in 1..=3 * CLIENT_IN_FLIGHT {
        link.answer_body(LinkCommand::Forward, open.remove(0), b"").unwrap();
        assert_eq!(client.hear().await.sequence, answered);
        if answered + CLIENT_IN_FLIGHT <= 3 * CLIENT_IN_FLIGHT {
            open.push(route.forward().await.1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_window_of_the_link_refuses_as_busy() {
    let (world, mut route, link) = one_route().await;
    let mut clients = Vec::new();
    let mut open = Vec::new();
    for n in 0..LINK_IN_FLIGHT {
        let mut client = world.login(&format!("u{n}")).await;
        route.session_up().await;
        client.ask(Command::GetMsg, &Empty {}).await;
        open.push(route.forward().await.1);
        clients.push(client);
    }
    let mut one_more = world.login("more").await;
    route.session_up().await;
    let asked = one_more.ask(Command::GetMsg, &Empty {}).await;
    one_more.refused(Command::GetMsg.number(), asked, Code::Busy).await;
    link.answer_body(LinkCommand::Forward, open[0], b"").unwrap();
    clients[0].hear().await;
    one_more.ask(Command::GetMsg, &Empty {}).await;
    route.forward().await;
}

#[tokio::test(start_paused = true)]
async fn hints_and_relays_reach_the_logins_that_they_name() {
    let (world, mut route, link) = one_route().await;
    let mut client = world.login("a").await;
    let session = route.session_up().await.session;
    let mut other = world.login("b").await;
    route.session_up().await;
    let targets = vec![SessionPlace { session, seq: Seq(4) }, SessionPlace { session: SessionId(999), seq: Seq(1) }];
    let push = PushSessions { epoch: Epoch(3), targets, message: Some(message(10)) };
    link.tell(LinkCommand::PushSessions, &push).unwrap();
    let told: NewMsg = client.told(Command::NewMsg).await;
    assert_eq!(told.head, Position { epoch: Epoch(3), seq: Seq(4) });
    assert_eq!(told.entry, Some(message(10)));
    let signal = RevSignal {
        conversation: ConversationId::pair(&user("a"), &user("b")),
        sender: user("b"),
        kind: SignalKind::Typing,
        payload: Bytes::new(),
    };
    let relay = |command: Command, body: Bytes| RelaySessions {
        sessions: vec![session, SessionId(999)],
        command: command.number(),
        body,
    };
    link.tell(LinkCommand::RelaySessions, &relay(Command::RevSignal, encoded(&signal).freeze())).unwrap();
    assert_eq!(client.told::<RevSignal>(Command::RevSignal).await, signal);
    // What does not decode, and what is not known, is passed over.
    link.tell(LinkCommand::PushSessions, &Empty {}).unwrap();
    link.tell(LinkCommand::Push, &Empty {}).unwrap();
    let kickout = Kickout { reason: KickReason::Revoked, detail: String::new() };
    link.tell(LinkCommand::RelaySessions, &relay(Command::Kickout, encoded(&kickout).freeze())).unwrap();
    assert_eq!(client.told::<Kickout>(Command::Kickout).await.reason, KickReason::Revoked);
    client.ended().await;
    assert_eq!(route.session_down().await.session, session);
    let asked = other.ask(Command::HeartBeat, &Empty {}).await;
    let (_, sequence, _) = route.forward().await;
    refuse(&link, sequence, Code::Busy);
    other.answer::<HeartBeatAck>(Command::HeartBeat, asked).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_loses_hints_and_costs_a_bounded_buffer() {
    let (world, mut route, link) = one_route().await;
    let mut slow = world.login("slow").await;
    let slow_session = route.session_up().await.session;
    let mut quick = world.login("quick").await;
    let quick_session = route.session_up().await.session;
    let frame_len = 12
        + encoded(&NewMsg {
            head: Position { epoch: Epoch(3), seq: Seq(1) },
            entry: Some(message(10_000)),
            query_after_ms: 0,
        })
        .len();
    let count = 200;
    for seq in 1..=count {
        let targets = [slow_session, quick_session].map(|session| SessionPlace { session, seq: Seq(seq) }).to_vec();
        let push = PushSessions { epoch: Epoch(3), targets, message: Some(message(10_000)) };
        link.tell(LinkCommand::PushSessions, &push).unwrap();
        let told: NewMsg = quick.told(Command::NewMsg).await;
        assert_eq!(told.head.seq, Seq(seq), "who reads gets every one");
    }
    assert_eq!(world.gate.sessions_len(), 2, "who loses hints only is not let go");
    // What the slow one gets after all is everything that was kept for it: in the pipe, in the
    // write that the pipe did not take, and in the buffer behind.
    let mut kept = 0;
    let asked = slow.ask(Command::HeartBeat, &Empty {}).await;
    let (_, sequence, _) = route.forward().await;
    let answered = async {
        // Answered only now that the client reads again: an answer that finds no room ends it.
        sleep(Duration::from_millis(50)).await;
        refuse(&link, sequence, Code::Unavailable);
    };
    let reads = async {
        loop {
            let frame = slow.hear().await;
            if frame.sequence == asked {
                break;
            }
            kept += 12 + frame.body.len();
        }
    };
    tokio::join!(answered, reads);
    let bound = common::PIPE + 2 * (common::OUTBOUND_MAX + frame_len);
    assert!(kept <= bound, "{kept} bytes were kept for a client that does not read; the bound is {bound}");
    assert!(kept >= common::PIPE + common::OUTBOUND_MAX, "{kept} bytes: the pipe was not even full");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_answers_is_let_go() {
    let (world, mut route, link) = one_route().await;
    let mut slow = world.login("slow").await;
    let slow_session = route.session_up().await.session;
    let mut quick = world.login("quick").await;
    route.session_up().await;
    let body = vec![1; 50_000];
    let mut answered = 0;
    let since = Instant::now();
    loop {
        slow.ask(Command::GetMsg, &Empty {}).await;
        match route.events.next().await {
            im_link::testing::LinkEvent::Frame(_, frame) if frame.command == LinkCommand::Forward.number() => {
                link.answer_body(LinkCommand::Forward, frame.sequence, &body).unwrap();
                answered += 1;
                sleep(Duration::from_millis(1)).await;
            }
            im_link::testing::LinkEvent::Frame(_, frame) => {
                assert_eq!(frame.command, LinkCommand::SessionDown.number());
                let down: im_proto::link::SessionDown = common::decoded(&frame);
                assert_eq!(down.session, slow_session);
                break;
            }
            other => panic!("{other:?}"),
        }
        assert!(answered < 20, "answers were kept without a bound");
    }
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    world.sessions(1).await;
    let asked = quick.ask(Command::GetMsg, &Empty {}).await;
    let (_, sequence, _) = route.forward().await;
    link.answer_body(LinkCommand::Forward, sequence, b"").unwrap();
    assert_eq!(quick.hear().await.sequence, asked);
}
