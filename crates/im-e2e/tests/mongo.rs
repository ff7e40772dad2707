//! Two im-services over one store on MongoDB and Redis: the same promise, whoever is killed, and what
//! people and operators are told while a server is away.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use im_client::CallError;
use im_e2e::cluster::{Cluster, Plan, Servers};
use im_e2e::logs::{self, Allowed};
use im_e2e::person::Person;
use im_e2e::traffic::{Said, Traffic, Voice};
use im_e2e::verify::{self, Groups};
use im_e2e::{PATIENCE, http};
use im_proto::client::{ContentType, Direction, SendMsg};
use im_proto::{ClientMsgId, ConversationId, GroupId, RefusalCode, Seq, Target, UserId};
use im_servers::{MongoSet, RedisServer};
use im_timeline_api::grpc::proto::timeline_client::TimelineClient;
use im_timeline_api::grpc::proto::{SendMessageRequest, SyncMessageRequest};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Messages of each voice that must get through before the next step.
const FLOW: u64 = 5;

/// A gate's patience with an im-service, its default.
const DEADLINE: Duration = Duration::from_secs(5);

const ASKS_FOR_NOTHING: Allowed =
    Allowed { text: "asks for no token", because: "the timeline service is open, and says so loudly" };

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn plan(mongo: &MongoSet, redis: &RedisServer) -> Plan {
    Plan {
        im_services: 2,
        servers: Some(Servers { mongo: mongo.uri(), redis: redis.url() }),
        known_users_only: false,
        settings: vec![(im_e2e::binaries::Binary::ImService, "timeline_open = true".into())],
        allowed: vec![ASKS_FOR_NOTHING],
        ..Plan::default()
    }
}

/// A business system that speaks to one im-service, and asks again under the same key until it is
/// answered.
struct Outside {
    stop: Arc<AtomicBool>,
    speaking: JoinHandle<Vec<(Said, Seq)>>,
}

impl Outside {
    fn start(service: SocketAddr, number: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let speaking = tokio::spawn(speak(service, number, Arc::clone(&stop)));
        Self { stop, speaking }
    }

    async fn stop(self) -> Vec<(Said, Seq)> {
        self.stop.store(true, Ordering::SeqCst);
        self.speaking.await.unwrap()
    }
}

/// Always to the same user, so that all who speak do so in one conversation.
async fn speak(service: SocketAddr, number: usize, stop: Arc<AtomicBool>) -> Vec<(Said, Seq)> {
    let mut said = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let (name, text) = (format!("outside-{number}-{}", said.len()), json!({ "n": said.len() }).to_string());
        let body = json!({ "from": "shop", "to": "ann", "message": text, "idempotencyKey": name });
        let deadline = Instant::now() + PATIENCE;
        let place = loop {
            match http::post(service, "/timeline/send", "", &body).await {
                Ok(answer) if answer.status == 200 => {
                    let answer: Value = serde_json::from_str(&answer.body).unwrap();
                    break answer["sequence"].as_str().unwrap().parse().unwrap();
                }
                other => assert!(Instant::now() < deadline, "no answer to {name}: {other:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        };
        let (name, to) = (ClientMsgId::new(name).unwrap(), Target::User(user("ann")));
        said.push((Said { sender: user("shop"), to, name, text, ack: None }, Seq(place)));
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_survives_kill_9_of_either_im_service() {
    let (mongo, redis) = (MongoSet::start(3).await.unwrap(), RedisServer::start().await.unwrap());
    let mut plan = plan(&mongo, &redis);
    plan.allowed.push(logs::ABANDONED);
    let mut cluster = Cluster::start(plan).await.unwrap();
    let people = Person::connect_all(&cluster, &["ann", "ben", "cyd", "dan"], "live").await.unwrap();
    let (group, members): (_, Vec<_>) =
        (GroupId::new("all").unwrap(), people.iter().map(|p| p.user().clone()).collect());
    people[0].client().create_group(group.clone(), "Everybody".into(), members.clone()).await.unwrap();
    let mut voices = Voice::round_table(&people);
    voices.extend(
        people.iter().map(|person| Voice { person: Arc::clone(person), to: vec![Target::Group(group.clone())] }),
    );
    let mut traffic = Traffic::start("talk", voices);
    // One conversation through both im-services at the same moment, whatever a route would choose.
    let outside = ["im-service-1", "im-service-2"].map(|name| cluster.address(name).unwrap());
    let outside: Vec<_> = outside.into_iter().enumerate().map(|(n, service)| Outside::start(service, n)).collect();
    traffic.flow(FLOW).await.unwrap();
    for round in 1..=2 {
        for service in ["im-service-1", "im-service-2"] {
            cluster.kill(service).await.unwrap();
            let (first, all) = traffic.flow(FLOW).await.unwrap();
            println!("round {round}: {service} is dead; acks flow after {first:.2?}, everybody's after {all:.2?}");
            cluster.restart(service).unwrap();
            cluster.wait_ready().await.unwrap();
            traffic.flow(FLOW).await.unwrap();
        }
    }
    let mut ledger = traffic.stop().await.unwrap();
    let mut places = Vec::new();
    for outside in outside {
        let said = outside.stop().await;
        assert!(said.len() > 10, "only {} messages came from outside", said.len());
        ledger.extend(said.iter().map(|(said, _)| said.clone()));
        places.extend(said);
    }
    println!("{} messages were acked, {} of them outside", ledger.len(), places.len());
    let groups = Groups::from([(group, members)]);
    let readout = verify::talk(&cluster, people, &[user("shop")], &ledger, &groups).await.unwrap();
    // What was answered outside is at the place that was told.
    for (said, place) in places {
        let entry = &readout.timelines[&user("ann")][place.0 as usize - 1];
        assert_eq!((entry.seq, &entry.message.client_msg_id), (place, &said.name));
    }
    assert_eq!(cluster.finish().await.unwrap(), ledger.len() as u64);
}

/// What `/readyz` of an im-service says, once it says `status` and something of `text`.
async fn wait_readyz(cluster: &Cluster, status: u16, text: &str) -> Value {
    let admin = cluster.admin("im-service-1").unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = http::get(admin, "/readyz").await.unwrap();
        if answer.status == status && answer.body.contains(text) {
            return serde_json::from_str(&answer.body).unwrap();
        }
        assert!(Instant::now() < deadline, "/readyz does not say {status} {text:?}: {answer:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn message(to: &str, name: &str) -> SendMsg {
    SendMsg {
        to: Target::User(user(to)),
        client_msg_id: ClientMsgId::new(name).unwrap(),
        content_type: ContentType::Text,
        payload: name.to_owned().into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_named_and_nothing_is_half_done() {
    let (mut mongo, mut redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let mut plan = plan(&mongo, &redis);
    plan.im_services = 1;
    let cluster = Cluster::start(plan).await.unwrap();
    let service = cluster.accounts().unwrap();
    let (ann, ben) = (
        Person::connect(&cluster, "ann", "live").await.unwrap(),
        Person::connect(&cluster, "ben", "live").await.unwrap(),
    );
    ann.say(&Target::User(user("ben")), "before", "before").await.unwrap();

    // Without Redis everything works, and operators know.
    redis.kill().unwrap();
    let told = wait_readyz(&cluster, 200, "Redis cannot be reached").await;
    assert_eq!((&told["ready"], &told["reasons"]), (&json!(true), &json!([])), "{told}");
    ann.say(&Target::User(user("ben")), "without-redis", "without Redis").await.unwrap();

    // Without MongoDB nothing does, and everybody is told in time that it may later.
    mongo.kill(0).unwrap();
    let told = wait_readyz(&cluster, 503, "MongoDB cannot be reached").await;
    assert!(told["reasons"][0]["reason"].as_str().unwrap().contains("Redis cannot be reached"), "{told}");
    let conversation = ConversationId::pair(&user("ann"), &user("ben"));
    let since = Instant::now();
    let refused = ann.client().history(conversation, Seq::ZERO, Direction::Forward, 0).await.unwrap_err();
    assert!(matches!(&refused, CallError::Refused(why) if why.code == RefusalCode::Unavailable), "{refused:?}");
    assert!(since.elapsed() < DEADLINE, "{:?}", since.elapsed());
    // Two at once: the second one waits for the batch of the first.
    let order = |n: u64| json!({ "from": "shop", "to": "ben", "message": "{}", "idempotencyKey": format!("o{n}") });
    let sends: Vec<_> = (0..4)
        .map(|n| {
            let body = order(n);
            tokio::spawn(async move {
                sleep(Duration::from_millis(300 * n)).await;
                let since = Instant::now();
                (http::post(service, "/timeline/send", "", &body).await.unwrap(), since.elapsed())
            })
        })
        .collect();
    for send in sends {
        let (answer, took) = send.await.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.body.contains("TIMELINE_UNAVAILABLE"), "{}", answer.body);
        assert!(took < DEADLINE, "a refusal came after {took:?}");
    }
    let patient = tokio::spawn({
        let client = ann.client().clone();
        async move { client.send_as(message("ben", "patient")).await }
    });

    // And when they are back nobody has to lift a hand.
    mongo.restart(0).await.unwrap();
    wait_readyz(&cluster, 200, "Redis cannot be reached").await;
    redis.restart().await.unwrap();
    wait_readyz(&cluster, 200, "{\"ready\":true,\"reasons\":[]}").await;
    let ack = timeout(PATIENCE, patient).await.unwrap().unwrap().unwrap();
    assert_eq!(ack.seq, Seq(3), "of the refused ones nothing is there");
    for n in 0..4 {
        let answer = http::post(service, "/timeline/send", "", &order(n)).await.unwrap();
        assert_eq!(answer.body, format!("{{\"sequence\":\"{}\"}}", 4 + n));
    }
    assert_eq!(ben.wait_entries(7).await.unwrap().len(), 7);
    ann.close().await.unwrap();
    ben.close().await.unwrap();
    assert_eq!(cluster.finish().await.unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_groups_and_positions_are_those_of_every_im_service() {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let mut plan = plan(&mongo, &redis);
    plan.known_users_only = true;
    let mut cluster = Cluster::start(plan).await.unwrap();
    let [first, second] = ["im-service-1", "im-service-2"].map(|name| cluster.address(name).unwrap());
    let mut tokens = BTreeMap::new();
    for name in ["ann", "ben", "cyd"] {
        let account = json!({ "user": name, "password": "a good long password" });
        let made = http::post(first, "/user/register", "", &account).await.unwrap();
        assert_eq!(made.status, 201, "{}", made.body);
        let again = http::post(second, "/user/register", "", &account).await.unwrap();
        assert_eq!(again.status, 409, "{}", again.body);
        let session = http::post(second, "/user/login", "", &account).await.unwrap();
        assert_eq!(session.status, 200, "{}", session.body);
        let session: Value = serde_json::from_str(&session.body).unwrap();
        tokens.insert(name, session["accessToken"].as_str().unwrap().to_owned());
    }
    // A token of one counts at the other.
    let changed = json!({ "email": "ann@example.org" });
    assert_eq!(http::post(first, "/user/info", &tokens["ann"], &changed).await.unwrap().status, 200);

    let ann = Person::connect_with(&cluster, "ann", "phone", tokens["ann"].clone()).await.unwrap();
    let ben = Person::connect_with(&cluster, "ben", "phone", tokens["ben"].clone()).await.unwrap();
    let group = GroupId::new("g").unwrap();
    let members = vec![user("ann"), user("ben"), user("cyd")];
    ann.client().create_group(group.clone(), "G".into(), members.clone()).await.unwrap();
    let hello = json!({ "group_name": "g", "group_members": ["ann", "ben", "cyd"], "message": "{}", "from": "ann" });
    for service in [first, second] {
        // Both remember who belongs to it.
        assert_eq!(http::post(service, "/timeline/sendGroup", "", &hello).await.unwrap().status, 200);
    }
    for service in [first, second] {
        let changed = ann.client().change_members(group.clone(), vec![], vec![user("cyd")]).await.unwrap();
        assert_eq!(changed.members, members[..2]);
        // Whoever believed what it remembers would not bring the third one in again.
        assert_eq!(http::post(service, "/timeline/sendGroup", "", &hello).await.unwrap().status, 200);
        let page = ann.client().groups(None, 10).await.unwrap();
        assert_eq!(page.groups[0].members, members);
    }
    // What was read through one im-service is read for the other.
    ben.wait_entries(4).await.unwrap();
    ben.client().read(ConversationId::group(&group), Seq(3)).await.unwrap();
    for stopped in ["im-service-1", "im-service-2"] {
        cluster.terminate(stopped).await.unwrap();
        let page = ben.client().conversations(None, 10).await.unwrap();
        assert_eq!((page.conversations[0].read_seq, page.conversations[0].unread), (Seq(3), 1), "without {stopped}");
        cluster.restart(stopped).unwrap();
        cluster.wait_ready().await.unwrap();
    }
    ann.close().await.unwrap();
    ben.close().await.unwrap();
    assert_eq!(cluster.finish().await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_speaks_of_the_same_timelines() {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let cluster = Cluster::start(plan(&mongo, &redis)).await.unwrap();
    let ben = Person::connect(&cluster, "ben", "live").await.unwrap();
    let client = async |name: &str| {
        let endpoint = format!("http://{}", cluster.grpc(name).unwrap());
        TimelineClient::connect(endpoint).await.unwrap()
    };
    let (mut one, mut two) = (client("im-service-1").await, client("im-service-2").await);
    // A stream at one im-service sees what came through the other.
    let follow = SyncMessageRequest { member: "ben".into(), last_read: 0, count: 10 };
    let mut stream = one.stream_sync_message(follow.clone()).await.unwrap().into_inner();
    let mut message = SendMessageRequest {
        from: "shop".into(),
        to: "ben".into(),
        message: "{\"n\":1}".into(),
        idempotency_key: "1".into(),
    };
    for _ in 0..2 {
        // The same key at either is the same message.
        assert_eq!(two.send(message.clone()).await.unwrap().into_inner().sequence, 1);
        assert_eq!(one.send(message.clone()).await.unwrap().into_inner().sequence, 1);
    }
    message.idempotency_key = "2".into();
    assert_eq!(two.send(message).await.unwrap().into_inner().sequence, 2);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let rows = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
        seen.extend(rows.entry_set.into_iter().map(|row| row.sequence));
    }
    assert_eq!(seen, [1, 2]);
    assert_eq!(ben.wait_entries(2).await.unwrap().len(), 2);
    drop(stream);
    assert_eq!(two.get_sync_message(follow).await.unwrap().into_inner().latest_seq, 2);
    ben.close().await.unwrap();
    assert_eq!(cluster.finish().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_im_service_waits_for_its_mongodb() {
    let (mut mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    mongo.kill(0).unwrap();
    let mut plan = plan(&mongo, &redis);
    plan.im_services = 1;
    // All start at once.
    plan.allowed.push(logs::ROUTE_DOWN);
    let mut cluster = Cluster::prepare(plan).unwrap();
    for tier in ["route-1", "im-service-1", "gate-1"] {
        cluster.restart(tier).unwrap();
    }
    cluster.wait_log("im-service-1", "MongoDB cannot be reached yet").await.unwrap();
    mongo.restart(0).await.unwrap();
    cluster.wait_ready().await.unwrap();
    assert_eq!(cluster.finish().await.unwrap(), 0);
}
