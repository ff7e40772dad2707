//! The timeline service of a real im-service: the same timelines as those of connected clients, the
//! same promise under kill -9, over each kind of store; and its page in a browser.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan, Servers};
use im_e2e::logs::Allowed;
use im_e2e::person::Person;
use im_e2e::{browser, http};
use im_proto::client::ContentType;
use im_proto::{GroupId, Target, UserId};
use im_servers::{MongoSet, RedisServer};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Between two tries of a call while the im-service is away.
const RETRY: Duration = Duration::from_millis(50);

const OPEN: &str = "timeline_open = true";

const ASKS_FOR_NOTHING: Allowed =
    Allowed { text: "asks for no token", because: "the timeline service is open, and says so loudly" };

const ABANDONED: Allowed =
    Allowed { text: "transactions of a process that died are ended", because: "an im-service was killed in one" };

async fn cluster(setting: String) -> Cluster {
    cluster_over(None, setting).await
}

async fn cluster_over(servers: Option<Servers>, setting: String) -> Cluster {
    let settings = vec![(Binary::ImService, setting)];
    let allowed = vec![ASKS_FOR_NOTHING, ABANDONED];
    Cluster::start(Plan { settings, servers, known_users_only: false, allowed, ..Plan::default() }).await.unwrap()
}

/// MongoDB and Redis for one test; they go with what this returns.
async fn servers() -> (MongoSet, RedisServer, Servers) {
    let (mongo, redis) = (MongoSet::start(1).await.unwrap(), RedisServer::start().await.unwrap());
    let servers = Servers { mongo: mongo.uri(), redis: redis.url() };
    (mongo, redis, servers)
}

async fn get(cluster: &Cluster, path: &str) -> Value {
    let answer = http::get(cluster.accounts().unwrap(), path).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

fn entries(page: &Value) -> Vec<(String, Value)> {
    let row = |row: &Value| {
        let message = serde_json::from_str(row["message"].as_str().unwrap()).unwrap();
        (row["sequence"].as_str().unwrap().to_owned(), message)
    };
    page["entrySet"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn clients_and_business_systems_share_their_timelines() {
    share_timelines(cluster(OPEN.into()).await).await;
}

#[tokio::test]
async fn clients_and_business_systems_share_their_timelines_on_mongodb() {
    let (_mongo, _redis, servers) = servers().await;
    share_timelines(cluster_over(Some(servers), OPEN.into()).await).await;
}

async fn share_timelines(cluster: Cluster) {
    let service = cluster.accounts().unwrap();
    let ben = Person::connect(&cluster, "ben", "laptop").await.unwrap();

    // From outside to a connected client, who is told at once.
    let order = json!({ "from": "shop", "to": "ben", "message": "{\"order\":7}" });
    let answer = http::post(service, "/timeline/send", "", &order).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"sequence\":\"1\"}"));
    let told = ben.wait_entries(1).await.unwrap();
    assert_eq!(
        (told[0].message.content_type, &told[0].message.payload[..]),
        (ContentType::Json, &b"{\"order\":7}"[..])
    );

    // And back: what a client sends is in the timelines that are read from outside.
    ben.say(&Target::User(UserId::new("shop").unwrap()), "back", "thanks").await.unwrap();
    let page = get(&cluster, "/timeline/sync?member=shop&last_read=1").await;
    let thanks = json!({ "from": "ben", "type": "Text", "text": "thanks" });
    assert_eq!(entries(&page), [("2".to_owned(), thanks.clone())]);
    let page = get(&cluster, "/timeline/history/single/shop/ben?latest=true&count=1").await;
    assert_eq!(entries(&page), [("2".to_owned(), thanks)]);

    // A group that was made by sending to it is one like others: its members may answer.
    let group = json!({ "group_name": "g", "group_members": ["ben", "shop"], "message": "{\"hello\":1}" });
    assert_eq!(http::post(service, "/timeline/sendGroup", "", &group).await.unwrap().status, 200);
    ben.wait_entries(3).await.unwrap();
    ben.say(&Target::Group(GroupId::new("g").unwrap()), "answer", "hello").await.unwrap();
    let page = get(&cluster, "/timeline/history/group/g?last_read=1").await;
    assert_eq!(entries(&page)[0].1["text"], "hello");

    ben.close().await.unwrap();
    assert_eq!(cluster.finish().await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outside_survives_too() {
    survive(cluster(OPEN.into()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outside_survives_on_mongodb() {
    let (_mongo, _redis, servers) = servers().await;
    survive(cluster_over(Some(servers), OPEN.into()).await).await;
}

async fn survive(mut cluster: Cluster) {
    const MESSAGES: usize = 400;
    // On a crowded machine a life may be too short to get anything done in it.
    const KILLS_MAX: usize = 20;
    let service = cluster.accounts().unwrap();
    // Whoever gets no answer asks again under the same key.
    let sending = tokio::spawn(async move {
        let mut places = Vec::new();
        for n in 0..MESSAGES {
            let (message, key) = (json!({ "n": n }).to_string(), format!("k{n}"));
            let body = json!({ "from": "shop", "to": "ben", "message": message, "idempotencyKey": key });
            let deadline = Instant::now() + im_e2e::PATIENCE;
            loop {
                match http::post(service, "/timeline/send", "", &body).await {
                    Ok(answer) if answer.status == 200 => {
                        let answer: Value = serde_json::from_str(&answer.body).unwrap();
                        places.push(answer["sequence"].as_str().unwrap().to_owned());
                        break;
                    }
                    other => assert!(Instant::now() < deadline, "no answer to {n}: {other:?}"),
                }
                sleep(RETRY).await;
            }
        }
        places
    });
    let mut killed = 0;
    while !sending.is_finished() && killed < KILLS_MAX {
        sleep(Duration::from_millis(150)).await;
        cluster.kill("im-service-1").await.unwrap();
        cluster.restart("im-service-1").unwrap();
        cluster.wait_ready().await.unwrap();
        killed += 1;
    }
    assert!(killed >= 1);
    let places = sending.await.unwrap();
    let expected: Vec<_> = (1..=MESSAGES).map(|place| place.to_string()).collect();
    assert_eq!(places, expected, "dense, and each answered with its own place");
    let rows = entries(&get(&cluster, "/timeline/sync?member=ben&last_read=0&count=1000").await);
    let numbers: Vec<_> = rows.iter().map(|(_, message)| message["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..MESSAGES as u64).collect::<Vec<_>>());
    assert_eq!(cluster.finish().await.unwrap(), MESSAGES as u64);
}

#[tokio::test]
async fn without_tokens_nobody_is_let_in() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let token = "t".repeat(32);
    std::fs::write(file.path(), &token).unwrap();
    for setting in [String::new(), format!("service_tokens = {:?}", file.path())] {
        let has_tokens = !setting.is_empty();
        let cluster = cluster(setting).await;
        let service = cluster.accounts().unwrap();
        let body = json!({ "from": "a", "to": "b", "message": "{}" });
        assert_eq!(http::post(service, "/timeline/send", &"x".repeat(32), &body).await.unwrap().status, 401);
        let status = http::post(service, "/timeline/send", &token, &body).await.unwrap().status;
        assert_eq!(status, if has_tokens { 200 } else { 401 });
        cluster.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_usable() {
    let cluster = cluster(OPEN.into()).await;
    let service = cluster.accounts().unwrap();
    let page = http::get(service, "/").await.unwrap().body;
    // The page as it is served, with its calls going to the im-service, and somebody who uses it.
    let page = page.replacen("<meta ", &format!("<base href=\"http://{service}/\"><meta "), 1);
    let page = page.replace("</html>", &format!("<script>{}</script></html>", include_str!("timeline/driver.js")));
    assert!(page.contains("<base ") && page.contains("<script>"), "{page}");
    let files: &'static [browser::File] = Box::leak(Box::new([("/", "text/html", &*Box::leak(page.into_boxed_str()))]));
    let site = browser::Site::serve(files).await.unwrap();
    let seen = site.visit(&format!("http://{}/", site.address().unwrap())).await.unwrap();
    let (three, two, one) = ("3 a: <b>three</b>", "2 a: two", "1 a: one");
    assert_eq!(
        seen,
        json!({
            "sent": "sent: number 3 in the timeline of b",
            "membersShown": [false, true],
            "sentToGroup": "sent to 3 members of group_a",
            "mistake": ["to: an id has no ':' (TIMELINE_INVALID_PARAM)", true],
            "steps": [
                ["read up to 2 of 3", "2", 2],
                ["read up to 3 of 3", "3", 3],
                ["nothing more; read up to 3 of 3", "3", 3],
            ],
            "rows": [one, two, three],
            "cleared": ["0", 0],
            "all": 3,
            "pages": [[[two, three], false, true], [[one], true, false], [[two, three], false, false]],
        })
    );
    assert_eq!(cluster.finish().await.unwrap(), 4);
}
