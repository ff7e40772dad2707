//! A route between gates, im-services and routes of other regions that do what the test says, over a
//! network in memory.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use im_proto::client::{Command, Empty};
use im_proto::link::{LinkCommand, Mastership, Presence, Push, PushSessions, Relay, RouteState, Tier, UserPlace};
use im_proto::{Epoch, RefusalCode, Seq};
use im_session::user_hash;
use proto_codec::Bytes;
use tokio::time::sleep;

use common::{Fake, World, user};

fn hashes(names: &[&str]) -> Vec<u64> {
    let mut hashes: Vec<_> = names.iter().map(|name| user_hash(&user(name))).collect();
    hashes.sort_unstable();
    hashes
}

/// Long enough for everything that is under way.
async fn settle() {
    sleep(Duration::from_millis(50)).await;
}

impl World {
    /// A route of another region, which has told of itself.
    async fn peer(&self, region: &str, name: &str, master: &str, has_service: bool, gates: u64) -> Fake {
        let peer = self.tier(Tier::Route, region, name).await;
        peer.state(master, has_service, gates);
        settle().await;
        peer
    }
}

impl Fake {
    fn state(&self, master: &str, has_service: bool, gates: u64) {
        let mastership = Mastership { term: 1, master: master.into() };
        let state = RouteState { mastership, serves: has_service, has_service, gates };
        self.link.tell(LinkCommand::RouteState, &state).unwrap();
    }

    fn holds(&self, up: &[&str], down: &[&str]) {
        self.link.tell(LinkCommand::Presence, &Presence { up: hashes(up), down: hashes(down) }).unwrap();
    }

    fn push(&self, names: &[&str]) {
        let targets = names.iter().map(|name| UserPlace { user: user(name), seq: Seq(1) }).collect();
        let push = Push { epoch: Epoch(1), targets, except: None, message: None };
        self.link.tell(LinkCommand::Push, &push).unwrap();
    }

    fn request(&self, sequence: u32) {
        self.forward("a", 1, sequence, Command::GetMsg, &Empty {});
    }

    /// A request that came in is answered.
    async fn serves(&mut self) {
        let (link, frame) = self.events.frame().await;
        assert_eq!(LinkCommand::from_number(frame.command), LinkCommand::Forward);
        link.answer_body(LinkCommand::Forward, frame.sequence, b"served").unwrap();
    }

    async fn is_served(&mut self, sequence: u32) {
        assert_eq!(&self.answered(sequence).await.body[..], b"served");
    }

    async fn is_refused(&mut self, sequence: u32) {
        self.refused(sequence, RefusalCode::Unavailable).await;
    }

    /// The users of the push that has come.
    async fn pushed(&mut self) -> Vec<String> {
        let push: Push = self.heard(LinkCommand::Push).await;
        push.targets.iter().map(|target| target.user.to_string()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_is_told_who_comes_and_goes_once_for_all_their_logins() {
    let world = World::new().await;
    let gate = world.gate(1).await;
    gate.login("a", 1, "phone", 1);
    gate.login("a", 2, "desk", 1);
    gate.login("b", 3, "phone", 1);
    settle().await;
    let mut peer = world.peer("there", "p1", "p1", true, 1).await;
    let told: Presence = peer.heard(LinkCommand::Presence).await;
    assert_eq!((told.up, told.down), (hashes(&["a", "b"]), vec![]), "a new link begins with everybody");
    gate.login("c", 4, "phone", 1);
    let told: Presence = peer.heard(LinkCommand::Presence).await;
    assert_eq!((told.up, told.down), (hashes(&["c"]), vec![]));
    gate.login("b", 5, "desk", 1);
    gate.logoff("a", 1);
    peer.hears_nothing().await;
    gate.logoff("a", 2);
    let told: Presence = peer.heard(LinkCommand::Presence).await;
    assert_eq!((told.up, told.down), (vec![], hashes(&["a"])));
    gate.stop.cancel();
    let told: Presence = peer.heard(LinkCommand::Presence).await;
    assert_eq!((told.up, told.down), (vec![], hashes(&["b", "c"])), "a gate's end is theirs");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_crosses_to_where_a_receiver_is_online_and_no_further() {
    let world = World::new().await;
    let mut gate = world.gate(1).await;
    let service = world.service("s1").await;
    let mut there = world.peer("there", "p1", "p1", false, 1).await;
    let mut elsewhere = world.peer("elsewhere", "p1", "p1", false, 1).await;
    gate.login("a", 1, "phone", 1);
    for peer in [&mut there, &mut elsewhere] {
        peer.heard::<Presence>(LinkCommand::Presence).await;
    }
    there.holds(&["b", "c"], &[]);
    settle().await;
    service.push(&["a", "b", "c", "d"]);
    assert_eq!(there.pushed().await, ["b", "c"]);
    assert_eq!(gate.heard::<PushSessions>(LinkCommand::PushSessions).await.targets.len(), 1);
    let relay = Relay { users: vec![user("c"), user("d")], except: None, command: 1, body: Bytes::new() };
    service.link.tell(LinkCommand::Relay, &relay).unwrap();
    assert_eq!(there.heard::<Relay>(LinkCommand::Relay).await.users, [user("c")]);
    // What comes from a region is for this one alone, whoever is online elsewhere.
    elsewhere.holds(&["a", "b"], &[]);
    settle().await;
    there.push(&["a", "b"]);
    assert_eq!(gate.heard::<PushSessions>(LinkCommand::PushSessions).await.targets.len(), 1);
    there.holds(&[], &["b", "c"]);
    settle().await;
    service.push(&["c"]);
    for fake in [&mut gate, &mut there, &mut elsewhere] {
        fake.hears_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_regions_routes_the_master_is_told_and_all_while_their_gates_differ() {
    let world = World::new().await;
    let service = world.service("s1").await;
    let mut standby = world.peer("there", "p1", "p2", false, 7).await;
    let mut master = world.peer("there", "p2", "p2", false, 7).await;
    for peer in [&standby, &master] {
        peer.holds(&["a", "b"], &[]);
    }
    settle().await;
    service.push(&["a"]);
    assert_eq!(master.pushed().await, ["a"]);
    standby.hears_nothing().await;
    // One has lost a gate, and with it one of a's two devices.
    standby.state("p2", false, 3);
    standby.holds(&[], &["b"]);
    settle().await;
    service.push(&["a", "b"]);
    assert_eq!(master.pushed().await, ["a", "b"]);
    assert_eq!(standby.pushed().await, ["a"]);
    master.stop.cancel();
    settle().await;
    service.push(&["a"]);
    assert_eq!(standby.pushed().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn requests_cross_while_no_im_service_is_here_and_once() {
    let world = World::new().await;
    let mut gate = world.gate(1).await;
    let mut useless = world.peer("there", "p0", "p2", false, 1).await;
    gate.request(1);
    gate.is_refused(1).await;
    assert!(!world.route.is_ready());
    let mut standby = world.peer("there", "p1", "p2", true, 1).await;
    gate.request(2);
    standby.serves().await;
    gate.is_served(2).await;
    assert!(world.route.is_ready());
    let mut master = world.peer("there", "p2", "p2", true, 1).await;
    gate.request(3);
    master.serves().await;
    gate.is_served(3).await;
    // One from there is not handed on, be it to whoever can serve.
    useless.request(4);
    useless.is_refused(4).await;
    let mut service = world.service("s1").await;
    settle().await;
    useless.request(5);
    service.serves().await;
    useless.is_served(5).await;
    gate.request(6);
    service.serves().await;
    gate.is_served(6).await;
    // A link that breaks while it is served there: the asker hears at once, and may ask again.
    service.stop.cancel();
    settle().await;
    gate.request(7);
    master.events.frame().await;
    master.stop.cancel();
    gate.is_refused(7).await;
    gate.request(8);
    standby.serves().await;
    gate.is_served(8).await;
}

#[tokio::test(start_paused = true)]
async fn gates_and_im_services_of_another_region_are_let_go() {
    let world = World::new().await;
    for tier in [Tier::Gate, Tier::ImService] {
        let mut stranger = world.tier(tier, "there", "x").await;
        stranger.events.down().await;
        stranger.stop.cancel();
    }
    assert!(!world.route.is_ready());
}
