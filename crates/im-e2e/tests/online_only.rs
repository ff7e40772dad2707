//! Read states and signals: straight from gate to gate over a route, in one region and across two,
//! without an im-service, which keeps read positions beside it.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use im_client::{CallError, TlsDial};
use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::http;
use im_e2e::logs::{Allowed, ROUTE_DOWN};
use im_e2e::person::Person;
use im_e2e::region::Region;
use im_proto::client::{RevReadMsg, RevSignal, SignalKind};
use im_proto::{ConversationId, RefusalCode, Seq, Target};

/// What the end of an im-service brings into the logs.
const SERVICE_DOWN: Allowed = Allowed { text: "the link to the im-service broke", because: "it is killed" };

fn to(person: &Person) -> Target {
    Target::User(person.user().clone())
}

fn between(one: &Person, other: &Person) -> ConversationId {
    ConversationId::pair(one.user(), other.user())
}

/// Signals and waits until it is there, as the `count`th that the receivers were told.
async fn signal(from: &Person, receivers: &[&Person], kind: SignalKind, payload: &'static str, count: usize) {
    from.client().signal(to(receivers[0]), kind, payload.into()).await.unwrap();
    let told = RevSignal {
        conversation: between(from, receivers[0]),
        sender: from.user().clone(),
        kind,
        payload: payload.into(),
    };
    for receiver in receivers {
        let journal = receiver.wait("signalled", |journal| journal.signals.len() >= count).await.unwrap();
        assert_eq!((journal.signals.len(), journal.signals.last()), (count, Some(&told)));
    }
}

/// Waits until `reader`'s reading is there, as the `count`th that the receivers were told.
async fn told_read(reader: &Person, with: &Person, receivers: &[&Person], seq: Seq, count: usize) {
    let told = RevReadMsg { conversation: between(reader, with), reader: reader.user().clone(), seq };
    for receiver in receivers {
        let journal = receiver.wait("told what was read", |journal| journal.reads.len() >= count).await.unwrap();
        assert_eq!((journal.reads.len(), journal.reads.last()), (count, Some(&told)));
    }
}

/// What is kept of how far a person has read a conversation.
async fn kept(person: &Person, conversation: &ConversationId) -> Seq {
    let page = person.client().conversations(None, 0).await.unwrap();
    page.conversations.into_iter().find(|known| known.conversation == *conversation).unwrap().read_seq
}

#[tokio::test]
async fn what_is_for_those_who_are_online_goes_from_gate_to_gate() {
    let region = |binary| (binary, "region = \"near\"".to_owned());
    let plan = Plan {
        routes: 2,
        gates: 2,
        known_users_only: false,
        settings: [Binary::Gate, Binary::Route, Binary::ImService].map(region).into(),
        allowed: vec![ROUTE_DOWN, SERVICE_DOWN],
        ..Plan::default()
    };
    let mut near = Cluster::start(plan).await.unwrap();
    let routes = ["route-1", "route-2"].map(|route| near.address(route).unwrap());
    let far = Region::start(&near, 1, 1, &routes).await.unwrap();
    let dial = Arc::new(TlsDial::new(&near.ca()).unwrap());
    let at = async |gate: usize, user: &str, device: &str| {
        let gates = vec![near.gates()[gate].clone()];
        Person::connect_by(&near, user, device, gates, dial.clone()).await.unwrap()
    };
    let ann = at(0, "ann", "phone").await;
    let ben = [at(1, "ben", "phone").await, at(0, "ben", "laptop").await];
    let eve = far.person(&near, 0, "eve", "phone").await.unwrap();
    let [phone, laptop] = &ben;
    for route in ["route-1", "route-2"] {
        let admin = near.admin(route).unwrap();
        let knows = |status: &serde_json::Value| status["logins"] == 3 && status["peers"][0]["users"] == 1;
        http::wait_json(admin, "/status", "everybody is known everywhere", knows).await.unwrap();
    }
    let told_far = |status: &serde_json::Value| {
        let peers = status["peers"].as_array().unwrap();
        peers.len() == 2 && peers.iter().all(|peer| peer["users"] == 2)
    };
    http::wait_json(far.route_admin(0), "/status", "and in the other region", told_far).await.unwrap();

    // Signals: to every device of the peer, at other gates and in the other region.
    signal(&ann, &[phone, laptop], SignalKind::Typing, "", 1).await;
    signal(phone, &[&ann], SignalKind::Custom, "a custom one", 1).await;
    signal(&ann, &[&eve], SignalKind::Typing, "", 1).await;
    signal(&eve, &[&ann], SignalKind::Custom, "from far", 2).await;

    // Read states: to the peer and to the reader's other device, and kept.
    let (with_ben, with_eve) = (between(&ann, phone), between(&ann, &eve));
    let first = ann.say(&to(phone), "1", "read me").await.unwrap().seq;
    phone.wait_entries(1).await.unwrap();
    phone.client().read(with_ben.clone(), first).await.unwrap();
    told_read(phone, &ann, &[&ann, laptop], first, 1).await;
    let second = ann.say(&to(&eve), "2", "and me").await.unwrap().seq;
    eve.wait_entries(1).await.unwrap();
    eve.client().read(with_eve.clone(), second).await.unwrap();
    told_read(&eve, &ann, &[&ann], second, 2).await;
    assert_eq!(kept(laptop, &with_ben).await, first, "the other device finds it");
    assert_eq!(kept(&eve, &with_eve).await, second);

    // Without an im-service, all of it is told as before; a read position is refused, because it cannot
    // be kept, and is to be said again.
    let third = ann.say(&to(phone), "3", "read me, too").await.unwrap().seq;
    near.kill("im-service-1").await.unwrap();
    far.wait_alone().await.unwrap();
    signal(&ann, &[phone, laptop], SignalKind::Custom, "nobody keeps this", 2).await;
    signal(&ann, &[&eve], SignalKind::Typing, "", 2).await;
    let refused = phone.client().read(with_ben.clone(), third).await.unwrap_err();
    assert!(matches!(&refused, CallError::Refused(refusal) if refusal.code == RefusalCode::Unavailable), "{refused:?}");
    told_read(phone, &ann, &[&ann], third, 3).await;
    told_read(phone, &ann, &[laptop], third, 2).await;
    near.restart("im-service-1").unwrap();
    near.wait_ready().await.unwrap();
    far.wait_ready().await.unwrap();
    assert_eq!(kept(laptop, &with_ben).await, first, "what was kept outlives its im-service");
    phone.client().read(with_ben.clone(), third).await.unwrap();
    told_read(phone, &ann, &[&ann], third, 4).await;
    assert_eq!(kept(laptop, &with_ben).await, third);

    // With another master.
    near.kill("route-1").await.unwrap();
    let standby = near.admin("route-2").unwrap();
    let all_here = |status: &serde_json::Value| status["senders_here"] == 3;
    http::wait_json(standby, "/status", "gates and im-service use the standby", all_here).await.unwrap();
    signal(&ann, &[phone, laptop], SignalKind::Typing, "", 3).await;
    signal(&ann, &[&eve], SignalKind::Custom, "over the standby", 3).await;
    signal(&eve, &[&ann], SignalKind::Typing, "", 3).await;
    phone.client().read(with_ben, third).await.unwrap();
    told_read(phone, &ann, &[&ann], third, 5).await;
    near.restart("route-1").unwrap();
    near.wait_ready().await.unwrap();

    drop((ann, ben, eve));
    far.finish(&[ROUTE_DOWN, SERVICE_DOWN]).await.unwrap();
    assert_eq!(near.finish().await.unwrap(), 3);
}
