//! Two regions as processes, with cables between them that are cut: the im-service and its store are in
//! one, the other one's clients reach everybody all the same.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_e2e::binaries::Binary;
use im_e2e::cable::Cable;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::logs::{Allowed, ROUTE_DOWN};
use im_e2e::person::Person;
use im_e2e::region::{FAR, Region};
use im_e2e::{PATIENCE, http};
use im_proto::Target;
use tokio::time::timeout;

/// Well under a heartbeat, which comes every 30 seconds: what is there by then was told.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// What a cut brings into the logs.
const CUT: Allowed = Allowed { text: "the link to the im-service broke", because: "a link is cut" };

/// A cluster in the region `near`.
fn near(routes: usize) -> Plan {
    let region = |binary| (binary, "region = \"near\"".to_owned());
    Plan {
        routes,
        known_users_only: false,
        settings: [Binary::Gate, Binary::Route, Binary::ImService].map(region).into(),
        allowed: vec![ROUTE_DOWN, CUT],
        ..Plan::default()
    }
}

fn to(person: &Person) -> Target {
    Target::User(person.user().clone())
}

async fn sees(person: &Person, count: usize) {
    timeout(TOLD_WITHIN, person.wait_entries(count)).await.expect("it is told at once").unwrap();
}

/// How many frames have crossed from a route to another region.
async fn crossed(route: SocketAddr) -> u64 {
    let metrics = http::get(route, "/metrics").await.unwrap().body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("sim_route_crossed_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

/// Waits until a route knows of so many users at each of so many routes of the far region.
async fn knows(route: SocketAddr, routes: usize, users: u64) {
    let known = |status: &serde_json::Value| {
        let peers = status["peers"].as_array().unwrap();
        peers.len() == routes && peers.iter().all(|peer| peer["users"] == users && peer["region"] == FAR)
    };
    http::wait_json(route, "/status", "the users of the other region are known", known).await.unwrap();
}

#[tokio::test]
async fn people_of_two_regions_talk_and_a_cut_between_them_heals() {
    let near = Cluster::start(near(2)).await.unwrap();
    let cables = [
        Cable::lay(near.address("route-1").unwrap()).await.unwrap(),
        Cable::lay(near.address("route-2").unwrap()).await.unwrap(),
    ];
    let far = Region::start(&near, 1, 1, &cables.each_ref().map(Cable::address)).await.unwrap();
    let (ann, cyd) =
        (Person::connect(&near, "ann", "phone").await.unwrap(), Person::connect(&near, "cyd", "phone").await.unwrap());
    let ben = far.person(&near, 0, "ben", "phone").await.unwrap();
    knows(near.admin("route-1").unwrap(), 1, 1).await;
    // Ben's own requests cross, and so do notifies, both ways.
    ann.say(&to(&ben), "1", "from near to far").await.unwrap();
    sees(&ben, 1).await;
    ben.say(&to(&ann), "2", "and back").await.unwrap();
    sees(&ann, 2).await;
    // What nobody over there is to get does not cross.
    let master = near.admin("route-1").unwrap();
    let before = crossed(master).await;
    assert!(before > 0);
    cyd.say(&to(&ann), "3", "near only").await.unwrap();
    sees(&ann, 3).await;
    assert_eq!(crossed(master).await, before);

    cables.iter().for_each(Cable::cut);
    far.wait_alone().await.unwrap();
    ann.say(&to(&cyd), "4", "the near region does not care").await.unwrap();
    ann.say(&to(&ben), "5", "for later").await.unwrap();
    let (ben, saying) = {
        let (ben, target) = (Arc::new(ben), to(&ann));
        let speaker = Arc::clone(&ben);
        (ben, tokio::spawn(async move { speaker.say(&target, "6", "said into the cut").await }))
    };
    sees(&cyd, 2).await;
    assert!(!saying.is_finished(), "nobody can have acked it");

    cables.iter().for_each(Cable::mend);
    let healed = Instant::now();
    far.wait_ready().await.unwrap();
    saying.await.unwrap().unwrap();
    println!("acked {:.2?} after the heal", healed.elapsed());
    for route in ["route-1", "route-2"] {
        knows(near.admin(route).unwrap(), 1, 1).await;
    }
    // Told of one, ben also gets what was said while nobody could tell.
    ann.say(&to(&ben), "7", "again").await.unwrap();
    sees(&ben, 5).await;

    drop((ann, cyd, ben));
    far.finish(&[ROUTE_DOWN, CUT]).await.unwrap();
    assert_eq!(near.finish().await.unwrap(), 7);
}

/// Each gate of a region is cut from another route, so that each route has a gate of its own and takes
/// itself for the master, and neither can hear of the other. One user is at both gates.
#[tokio::test]
async fn two_routes_that_both_believe_to_be_master_do_no_harm() {
    let near = Cluster::start(near(1)).await.unwrap();
    let far = Region::start(&near, 2, 2, &[near.address("route-1").unwrap()]).await.unwrap();
    let master_of = |senders: u64| {
        move |status: &serde_json::Value| status["role"] == "master" && status["senders_here"] == senders
    };
    http::wait_json(far.route_admin(0), "/status", "both gates use the first route", master_of(2)).await.unwrap();
    let cyd = Person::connect(&near, "cyd", "phone").await.unwrap();
    let ann = far.person(&near, 0, "ann", "phone").await.unwrap();
    let ben = far.person(&near, 1, "ben", "phone").await.unwrap();
    let dan =
        [far.person(&near, 0, "dan", "phone").await.unwrap(), far.person(&near, 1, "dan", "laptop").await.unwrap()];
    knows(near.admin("route-1").unwrap(), 2, 3).await;

    let cut = [far.cable(0, 1), far.cable(1, 0)];
    cut.iter().for_each(|cable| cable.cut());
    let since = Instant::now();
    for route in [0, 1] {
        http::wait_json(far.route_admin(route), "/status", "each is master of one gate", master_of(1)).await.unwrap();
    }
    println!("two masters {:.2?} after the cut", since.elapsed());
    // Said everywhere by everybody: acked, told at once, wherever the receiver is.
    let (mut said, mut seen) = (0, [0; 4]);
    for round in 0..3 {
        let everybody = [&ann, &ben, &cyd, &dan[0]];
        for (from, speaker) in everybody.iter().enumerate() {
            for (to_whom, receiver) in everybody.iter().enumerate().filter(|(other, _)| *other != from) {
                let name = format!("{round}-{to_whom}");
                timeout(TOLD_WITHIN, speaker.say(&to(receiver), &name, "hello")).await.expect("acked").unwrap();
                (said, seen[from], seen[to_whom]) = (said + 1, seen[from] + 1, seen[to_whom] + 1);
                sees(receiver, seen[to_whom]).await;
                if to_whom == 3 {
                    sees(&dan[1], seen[3]).await;
                }
            }
        }
    }
    for route in [0, 1] {
        let status = http::get_json(far.route_admin(route), "/status").await.unwrap();
        assert!(master_of(1)(&status), "still: {status:#}");
    }

    cut.iter().for_each(|cable| cable.mend());
    let deadline = Instant::now() + PATIENCE;
    let settled = loop {
        let (first, second) = (
            http::get_json(far.route_admin(0), "/status").await.unwrap(),
            http::get_json(far.route_admin(1), "/status").await.unwrap(),
        );
        let roles = [&first["role"], &second["role"]];
        let is_one = roles.contains(&&"master".into()) && roles.contains(&&"standby".into());
        if is_one && first["logins"] == 4 && second["logins"] == 4 {
            break first;
        }
        assert!(Instant::now() < deadline, "{first:#} {second:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(settled["master"], "far-route-2", "the later claim stands");
    http::wait_json(far.route_admin(1), "/status", "everybody follows", master_of(2)).await.unwrap();
    ann.say(&to(&ben), "last", "one again").await.unwrap();
    sees(&ben, seen[1] + 1).await;
    said += 1;

    drop((ann, ben, cyd, dan));
    far.finish(&[ROUTE_DOWN, CUT]).await.unwrap();
    assert_eq!(near.finish().await.unwrap(), said);
}
