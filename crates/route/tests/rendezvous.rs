//! A route between gates and im-services that do what the test says, over a network in memory.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use im_proto::client::{
    Command, ContentType, Empty, KickReason, Kickout, Message, Platform, ReadMsg, RevReadMsg, RevSignal, SendMsg,
    Signal, SignalKind,
};
use im_proto::limits::LINK_TARGETS_MAX;
use im_proto::link::{
    Clock, Forward, LinkCommand, Push, PushSessions, Relay, RelaySessions, SessionKey, SessionPlace, SessionUp, Tier,
    UserPlace,
};
use im_proto::{
    BootId, ClientMsgId, ConversationId, DeviceId, Epoch, GroupId, Refusal, RefusalCode as Code, Seq, SessionId, Target,
};
use proto_codec::{Bytes, Codec, Decode, Flags};
use tokio::time::{Instant, sleep};

use common::{Fake, REQUEST_TIMEOUT, WINDOW, World, decoded, encoded, user};

impl World {
    async fn logins(&self, count: usize) {
        for _ in 0..1000 {
            if self.route.logins_len() == count {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("the route holds {} logins instead of {count}", self.route.logins_len());
    }
}

impl Fake {
    /// Says what this gate's clock shows.
    fn clock(&self, now_ms: u64) {
        self.link.tell(LinkCommand::Clock, &Clock { now_ms }).unwrap();
    }

    async fn relayed<M: Decode>(&mut self, command: Command) -> (Vec<SessionId>, M) {
        let relay: RelaySessions = self.heard(LinkCommand::RelaySessions).await;
        assert_eq!(Command::from_number(relay.command), command);
        (relay.sessions, Codec::Binary.decode("test", &relay.body).unwrap())
    }

    async fn kicked(&mut self) -> SessionId {
        let (sessions, kickout) = self.relayed::<Kickout>(Command::Kickout).await;
        assert_eq!(kickout.reason, KickReason::LoggedInElsewhere);
        assert_eq!(sessions.len(), 1);
        sessions[0]
    }
}

fn push(users: &[&str], except: Option<SessionKey>) -> Push {
    Push {
        epoch: Epoch(3),
        targets: users.iter().zip(10..).map(|(name, seq)| UserPlace { user: user(name), seq: Seq(seq) }).collect(),
        message: Some(Message {
            conversation: ConversationId::pair(&user("a"), &user("b")),
            seq: Seq(1),
            sender: user("a"),
            client_msg_id: ClientMsgId::new("m").unwrap(),
            time_ms: 5,
            content_type: ContentType::Text,
            payload: Bytes::from_static(b"hello"),
        }),
        except,
    }
}

fn place(session: u64, seq: u64) -> SessionPlace {
    SessionPlace { session: SessionId(session), seq: Seq(seq) }
}

#[tokio::test(start_paused = true)]
async fn hints_reach_the_gates_that_hold_the_users_and_no_others() {
    let world = World::new().await;
    let (mut g1, mut g2, mut g3) = (world.gate(1).await, world.gate(2).await, world.gate(3).await);
    let service = world.service("s1").await;
    g1.login("a", 1, "phone", 1);
    g1.login("b", 2, "phone", 1);
    g2.login("b", 1, "desk", 1);
    g3.login("c", 1, "phone", 1);
    world.logins(4).await;
    service.link.tell(LinkCommand::Push, &push(&["a", "b", "offline"], Some(g1.key(1)))).unwrap();
    let heard: PushSessions = g1.heard(LinkCommand::PushSessions).await;
    assert_eq!(heard.targets, [place(2, 11)], "the sender's own login gets the ack instead");
    assert_eq!((heard.epoch, heard.message), (Epoch(3), push(&[], None).message));
    let heard: PushSessions = g2.heard(LinkCommand::PushSessions).await;
    assert_eq!(heard.targets, [place(1, 11)]);
    // The exception names a login of one run of one gate: the same number elsewhere is another.
    service
        .link
        .tell(LinkCommand::Push, &push(&["a", "b"], Some(SessionKey { boot: BootId(99), session: SessionId(1) })))
        .unwrap();
    let heard: PushSessions = g1.heard(LinkCommand::PushSessions).await;
    assert_eq!(heard.targets, [place(1, 10), place(2, 11)], "one frame for all logins of one gate");
    g2.heard::<PushSessions>(LinkCommand::PushSessions).await;
    g3.hears_nothing().await;
    g1.hears_nothing().await;
    g2.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn many_logins_are_told_in_frames_of_bounded_size() {
    let world = World::new().await;
    let (mut gate, service) = (world.gate(1).await, world.service("s1").await);
    let names: Vec<_> = (0..LINK_TARGETS_MAX).map(|n| format!("u{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        gate.login(name, 2 * n as u64 + 1, "phone", 1);
        gate.login(name, 2 * n as u64 + 2, "desk", 1);
    }
    world.logins(2 * names.len()).await;
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    service.link.tell(LinkCommand::Push, &push(&names, None)).unwrap();
    let relay =
        Relay { users: names.iter().map(|name| user(name)).collect(), except: None, command: 14, body: Bytes::new() };
    service.link.tell(LinkCommand::Relay, &relay).unwrap();
    let mut pushed = Vec::new();
    for _ in 0..2 {
        pushed.extend(gate.heard::<PushSessions>(LinkCommand::PushSessions).await.targets);
    }
    let mut told = Vec::new();
    for _ in 0..2 {
        told.extend(gate.heard::<RelaySessions>(LinkCommand::RelaySessions).await.sessions);
    }
    assert_eq!(pushed.len(), 2 * names.len());
    assert_eq!(pushed.iter().map(|place| place.session).collect::<Vec<_>>(), told);
    gate.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn of_one_devices_logins_on_two_gates_the_later_stays_whichever_is_heard_first() {
    for later_first in [false, true] {
        let world = World::new().await;
        let (mut g1, mut g2) = (world.gate(1).await, world.gate(2).await);
        let service = world.service("s1").await;
        // By what it shows, the clock of the gate with the earlier login is far ahead.
        g1.clock(1_000_000);
        g2.clock(0);
        sleep(Duration::from_secs(1)).await;
        if later_first {
            g2.login("a", 7, "phone", 200);
            world.logins(1).await;
            g1.login("a", 7, "phone", 1_000_100);
        } else {
            g1.login("a", 7, "phone", 1_000_100);
            world.logins(1).await;
            g2.login("a", 7, "phone", 200);
        }
        assert_eq!(g1.kicked().await, SessionId(7));
        // The goodbyes of the old one, of its number on its gate, and of the whole gate.
        g1.logoff("a", 7);
        service.link.tell(LinkCommand::Push, &push(&["a"], None)).unwrap();
        assert_eq!(g2.heard::<PushSessions>(LinkCommand::PushSessions).await.targets, [place(7, 10)]);
        g1.hears_nothing().await;
        g1.stop.cancel();
        sleep(Duration::from_secs(5)).await;
        service.link.tell(LinkCommand::Push, &push(&["a"], None)).unwrap();
        assert_eq!(g2.heard::<PushSessions>(LinkCommand::PushSessions).await.targets, [place(7, 10)]);
        world.logins(1).await;
        g2.logoff("a", 7);
        world.logins(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_gates_old_link_leaves_the_new_ones_logins() {
    let world = World::new().await;
    let service = world.service("s1").await;
    let old = world.gate(1).await;
    old.login("a", 7, "phone", 100);
    world.logins(1).await;
    // The same run of the gate dials again before the route has noticed that the old link is dead.
    let mut new = world.gate(1).await;
    new.login("a", 7, "phone", 100);
    sleep(Duration::from_millis(50)).await;
    old.logoff("a", 7);
    old.stop.cancel();
    sleep(Duration::from_secs(5)).await;
    world.logins(1).await;
    service.link.tell(LinkCommand::Push, &push(&["a"], None)).unwrap();
    assert_eq!(new.heard::<PushSessions>(LinkCommand::PushSessions).await.targets, [place(7, 10)]);
    new.stop.cancel();
    world.logins(0).await;
}

#[tokio::test(start_paused = true)]
async fn read_states_of_two_go_straight_from_gate_to_gate() {
    let world = World::new().await;
    let (mut g1, mut g2, mut g3) = (world.gate(1).await, world.gate(2).await, world.gate(3).await);
    g1.login("a", 1, "phone", 1);
    g1.login("a", 2, "desk", 1);
    g2.login("b", 1, "phone", 1);
    g3.login("c", 1, "phone", 1);
    world.logins(4).await;
    let conversation = ConversationId::pair(&user("a"), &user("b"));
    let read = ReadMsg { conversation: conversation.clone(), seq: Seq(5) };
    let told = RevReadMsg { conversation, reader: user("a"), seq: Seq(5) };
    g1.forward("a", 1, 11, Command::ReadMsg, &read);
    assert_eq!(g2.relayed(Command::RevReadMsg).await, (vec![SessionId(1)], told.clone()));
    assert_eq!(g1.relayed(Command::RevReadMsg).await, (vec![SessionId(2)], told), "the reader's other device");
    // Nobody is there to keep it, so the reader has to say it again.
    g1.refused(11, Code::Unavailable).await;
    // With an im-service it is kept as well.
    let mut service = world.service("s1").await;
    g1.forward("a", 1, 12, Command::ReadMsg, &read);
    g2.relayed::<RevReadMsg>(Command::RevReadMsg).await;
    g1.relayed::<RevReadMsg>(Command::RevReadMsg).await;
    let (link, frame) = service.events.frame().await;
    link.answer(LinkCommand::Forward, Flags::NONE, frame.sequence, &Empty {}).unwrap();
    assert!(!g1.answered(12).await.flags.is_refused());
    // Of a conversation of others nobody is told.
    let foreign = ReadMsg { conversation: ConversationId::pair(&user("b"), &user("c")), seq: Seq(5) };
    g1.forward("a", 1, 13, Command::ReadMsg, &foreign);
    service.events.frame().await;
    g2.hears_nothing().await;
    g3.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn signals_between_two_need_no_im_service_and_a_groups_do() {
    let world = World::new().await;
    let (mut g1, mut g2, mut g3) = (world.gate(1).await, world.gate(2).await, world.gate(3).await);
    g1.login("a", 1, "phone", 1);
    g2.login("b", 1, "phone", 1);
    g2.login("b", 2, "desk", 1);
    g3.login("c", 1, "phone", 1);
    world.logins(4).await;
    let signal = Signal { to: Target::User(user("b")), kind: SignalKind::Typing, payload: Bytes::from_static(b"...") };
    g1.forward("a", 1, 21, Command::Signal, &signal);
    assert!(!g1.answered(21).await.flags.is_refused());
    let told = RevSignal {
        conversation: ConversationId::pair(&user("a"), &user("b")),
        sender: user("a"),
        kind: SignalKind::Typing,
        payload: Bytes::from_static(b"..."),
    };
    assert_eq!(g2.relayed(Command::RevSignal).await, (vec![SessionId(1), SessionId(2)], told));
    let group = Signal { to: Target::Group(GroupId::new("g").unwrap()), ..signal.clone() };
    g1.forward("a", 1, 22, Command::Signal, &group);
    g1.refused(22, Code::Unavailable).await;
    let mut service = world.service("s1").await;
    g1.forward("a", 1, 23, Command::Signal, &group);
    assert_eq!(decoded::<Forward>(&service.events.frame().await.1).body, encoded(&group));
    g1.forward("a", 1, 24, Command::Signal, &signal);
    g1.answered(24).await;
    service.hears_nothing().await;
    g3.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn requests_find_an_im_service_and_answers_their_gate() {
    let world = World::new().await;
    let (mut g1, mut g2) = (world.gate(1).await, world.gate(2).await);
    g1.forward("a", 1, 1, Command::GetMsg, &Empty {});
    g1.refused(1, Code::Unavailable).await;
    let mut service = world.service("s1").await;
    // Two gates use the same sequence; each gets its own answer.
    g1.forward("a", 1, 5, Command::GetMsg, &Empty {});
    let (link, first) = service.events.frame().await;
    g2.forward("b", 1, 5, Command::GetMsg, &Empty {});
    let (_, second) = service.events.frame().await;
    assert_ne!(first.sequence, second.sequence);
    link.answer_body(LinkCommand::Forward, second.sequence, b"second").unwrap();
    link.answer_body(LinkCommand::Forward, second.sequence, b"again").unwrap();
    link.answer(LinkCommand::Forward, Flags::REFUSED, first.sequence, &Refusal::from(Code::NotAMember)).unwrap();
    assert_eq!(&g2.answered(5).await.body[..], b"second");
    g1.refused(5, Code::NotAMember).await;
    g2.hears_nothing().await;
    // An envelope that does not decode is the gate's fault, not the client's.
    g1.link.request(LinkCommand::Forward, 6, &Empty {}).unwrap();
    g1.refused(6, Code::Internal).await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_too_long_are_refused_and_late_answers_dropped() {
    let world = World::new().await;
    let (mut gate, mut service) = (world.gate(1).await, world.service("s1").await);
    let since = Instant::now();
    gate.forward("a", 1, 5, Command::GetMsg, &Empty {});
    let (link, late) = service.events.frame().await;
    gate.refused(5, Code::DeadlineExceeded).await;
    assert!((REQUEST_TIMEOUT..REQUEST_TIMEOUT + Duration::from_millis(200)).contains(&since.elapsed()));
    gate.forward("a", 1, 6, Command::GetMsg, &Empty {});
    let (_, next) = service.events.frame().await;
    link.answer_body(LinkCommand::Forward, late.sequence, b"late").unwrap();
    link.answer_body(LinkCommand::Forward, next.sequence, b"in time").unwrap();
    assert_eq!(&gate.answered(6).await.body[..], b"in time");
    gate.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_window_refuses_and_the_end_of_an_im_service_loses_no_request_silently() {
    let world = World::new().await;
    let (mut gate, mut service) = (world.gate(1).await, world.service("s1").await);
    for sequence in 1..=WINDOW as u32 {
        gate.forward("a", 1, sequence, Command::GetMsg, &Empty {});
        service.events.frame().await;
    }
    gate.forward("a", 1, 100, Command::GetMsg, &Empty {});
    gate.refused(100, Code::Busy).await;
    service.stop.cancel();
    let mut lost = Vec::new();
    for _ in 0..WINDOW {
        let (_, frame) = gate.events.frame().await;
        assert_eq!(decoded::<Refusal>(&frame).code, Code::Unavailable);
        lost.push(frame.sequence);
    }
    lost.sort_unstable();
    assert_eq!(lost, (1..=WINDOW as u32).collect::<Vec<_>>());
    assert!(!world.route.is_ready());
    gate.hears_nothing().await;
    let mut service = world.service("s1").await;
    gate.forward("a", 1, 101, Command::GetMsg, &Empty {});
    let (link, frame) = service.events.frame().await;
    link.answer_body(LinkCommand::Forward, frame.sequence, b"").unwrap();
    gate.answered(101).await;
}

#[tokio::test(start_paused = true)]
async fn a_conversation_stays_with_one_im_service_while_that_lives() {
    let world = World::new().await;
    let gate = world.gate(1).await;
    let mut services = [world.service("s1").await, world.service("s2").await];
    sleep(Duration::from_millis(50)).await;
    let send = |to: &str| SendMsg {
        to: Target::User(user(to)),
        client_msg_id: ClientMsgId::new("m").unwrap(),
        content_type: ContentType::Text,
        payload: Bytes::new(),
    };
    // Both directions of each of forty conversations.
    let mut sequence = 0;
    let mut homes = Vec::new();
    for n in 0..40 {
        let (a, b) = (format!("a{n}"), format!("b{n}"));
        for (from, to) in [(&a, &b), (&b, &a)] {
            sequence += 1;
            gate.forward(from, 1, sequence, Command::SendMsg, &send(to));
            sleep(Duration::from_millis(1)).await;
            let home = services.iter_mut().position(|service| {
                service.events.now().is_some_and(|event| {
                    let im_link::testing::LinkEvent::Frame(link, frame) = event else { panic!("{event:?}") };
                    link.answer_body(LinkCommand::Forward, frame.sequence, b"").is_ok()
                })
            });
            homes.push(home.expect("one of them gets it"));
        }
    }
    assert!(homes.chunks(2).all(|both| both[0] == both[1]), "{homes:?}");
    assert!(homes.contains(&0) && homes.contains(&1), "one instance has everything: {homes:?}");
    let [gone, mut left] = services;
    gone.stop.cancel();
    sleep(Duration::from_secs(1)).await;
    for n in 0..4 {
        gate.forward(&format!("a{n}"), 1, 1000 + n, Command::SendMsg, &send(&format!("b{n}")));
        left.events.frame().await;
    }
}

#[tokio::test(start_paused = true)]
async fn tiers_that_do_not_dial_routes_are_let_go_and_odd_frames_passed_over() {
    let world = World::new().await;
    let (mut gate, service) = (world.gate(1).await, world.service("s1").await);
    for tier in [Tier::Route, Tier::Unknown(9)] {
        let mut stranger = world.tier(tier, "here", "x").await;
        stranger.events.down().await;
        stranger.stop.cancel();
    }
    gate.login("a", 1, "phone", 1);
    world.logins(1).await;
    // A gate may not push, an im-service may not log in, and nobody may send what does not decode.
    gate.link.tell(LinkCommand::Push, &push(&["a"], None)).unwrap();
    let up = SessionUp {
        user: user("b"),
        session: SessionId(4),
        device: DeviceId::new("phone").unwrap(),
        platform: Platform::Bot,
        since_ms: 1,
    };
    service.link.tell(LinkCommand::SessionUp, &up).unwrap();
    for command in [LinkCommand::SessionUp, LinkCommand::SessionDown, LinkCommand::Unknown(77)] {
        gate.link.tell(command, &Empty {}).unwrap();
    }
    for command in [LinkCommand::Push, LinkCommand::Relay, LinkCommand::Unknown(77)] {
        service.link.tell(command, &Empty {}).unwrap();
    }
    gate.hears_nothing().await;
    world.logins(1).await;
    service.link.tell(LinkCommand::Push, &push(&["a"], None)).unwrap();
    gate.heard::<PushSessions>(LinkCommand::PushSessions).await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_route_ends_its_links() {
    let world = World::new().await;
    let (mut gate, mut service) = (world.gate(1).await, world.service("s1").await);
    world.route.stop().await;
    gate.events.down().await;
    service.events.down().await;
}
