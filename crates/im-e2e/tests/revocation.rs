//! Logins that are taken back: by their user, with a changed password, by an operator. Live connections
//! end within a second at whatever gate, and the tokens log nobody in any more.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use im_client::EndCause;
use im_client::accounts::{Accounts, AccountsError, Login};
use im_e2e::bare::BareDial;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::http;
use im_e2e::logs::Allowed;
use im_e2e::person::Person;
use im_proto::client::KickReason;
use im_proto::{RefusalCode, Target, UserId};
use serde_json::json;

const PASSWORD: &str = "the first of two passwords";

/// From the operator's order until everybody concerned has been told.
const WITHIN: Duration = Duration::from_secs(1);

async fn kicked(person: &Person, reason: KickReason) {
    let ended = person.wait("kicked out", |journal| journal.ended.is_some()).await.unwrap().ended;
    assert!(matches!(&ended, Some(EndCause::Kicked(kick)) if kick.reason == reason), "{ended:?}");
}

async fn is_out(accounts: &Accounts, login: &Login) {
    let refused = accounts.refresh(&login.refresh_token).await;
    assert!(matches!(refused, Err(AccountsError::Refused { status: 401 | 403, .. })), "{refused:?}");
}

/// A gate does not take the token any more.
async fn refused_at(cluster: &Cluster, gate: &str, token: &str, code: RefusalCode) {
    let dial = BareDial::new(&cluster.ca(), cluster.address(gate).unwrap()).unwrap();
    let refused = dial.login(token, "again").await.map(drop).unwrap_err();
    let refusal = refused.downcast_ref::<im_proto::Refusal>().unwrap_or_else(|| panic!("{refused:#}"));
    assert_eq!(refusal.code, code);
}

#[tokio::test]
async fn a_password_change_ends_live_connections() {
    let cluster = Cluster::start(Plan::default()).await.unwrap();
    let address = cluster.accounts().unwrap();
    let accounts = Accounts::new(address.to_string());
    let new = "the second of two passwords";
    let login = accounts.register("ann", PASSWORD).await.unwrap();
    let other = accounts.register("ben", PASSWORD).await.unwrap();
    let ann = Person::connect_with(&cluster, "ann", "laptop", login.access_token.clone()).await.unwrap();
    let ben = Person::connect_with(&cluster, "ben", "laptop", other.access_token).await.unwrap();

    let change = json!({ "oldPassword": PASSWORD, "newPassword": new });
    let changed = http::post(address, "/user/password", &login.access_token, &change).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.body);

    kicked(&ann, KickReason::Revoked).await;
    refused_at(&cluster, "gate-1", &login.access_token, RefusalCode::ExpiredToken).await;
    is_out(&accounts, &login).await;
    let refused = accounts.login("ann", PASSWORD).await;
    assert!(matches!(refused, Err(AccountsError::Refused { status: 401, .. })), "{refused:?}");

    // The new password opens the door, and nobody else noticed.
    let login = accounts.login("ann", new).await.unwrap();
    let ann = Person::connect_with(&cluster, "ann", "laptop", login.access_token).await.unwrap();
    ben.say(&Target::User(UserId::new("ann").unwrap()), "m1", "still there?").await.unwrap();
    ann.wait_entries(1).await.unwrap();
    ann.close().await.unwrap();
    ben.close().await.unwrap();
    cluster.finish().await.unwrap();
}

#[tokio::test]
async fn who_is_banned_is_out_at_every_gate_within_a_second_and_stays_out() {
    let allowed = vec![Allowed { text: "link did not come up", because: "a route is stopped" }];
    let mut cluster = Cluster::start(Plan { gates: 2, routes: 2, allowed, ..Plan::default() }).await.unwrap();
    let accounts = Accounts::new(cluster.accounts().unwrap().to_string());
    let operators = cluster.admin("im-service-1").unwrap();
    let mut master_is_there = true;
    for round in ["with both routes", "through the standby"] {
        println!("{round}");
        if round == "through the standby" {
            cluster.terminate("route-1").await.unwrap();
            master_is_there = false;
        }
        let (ann, ben) = (format!("ann-{master_is_there}"), format!("ben-{master_is_there}"));
        let login = accounts.register(&ann, PASSWORD).await.unwrap();
        let other = accounts.register(&ben, PASSWORD).await.unwrap();
        let token = || login.access_token.clone();
        let phone = Person::connect_at(&cluster, "gate-1", &ann, "phone", token()).await.unwrap();
        let desk = Person::connect_at(&cluster, "gate-2", &ann, "desk", token()).await.unwrap();
        let ben = Person::connect_at(&cluster, "gate-1", &ben, "phone", other.access_token).await.unwrap();

        let begun = Instant::now();
        let answer = http::put(operators, &format!("/accounts/{ann}/ban")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        kicked(&phone, KickReason::Forbidden).await;
        kicked(&desk, KickReason::Forbidden).await;
        let took = begun.elapsed();
        println!("told within {took:?}");
        assert!(took < WITHIN, "{took:?}");
        for gate in ["gate-1", "gate-2"] {
            refused_at(&cluster, gate, &token(), RefusalCode::Banned).await;
        }
        is_out(&accounts, &login).await;

        // A gate that has just started hears of it with its link, from a route that remembers.
        cluster.terminate("gate-2").await.unwrap();
        cluster.restart("gate-2").unwrap();
        cluster.wait_ready().await.unwrap();
        refused_at(&cluster, "gate-2", &token(), RefusalCode::Banned).await;

        // The ban is lifted: a new login is good, the old token is not.
        let answer = http::delete(operators, &format!("/accounts/{ann}/ban")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let again = accounts.login(&ann, PASSWORD).await.unwrap();
        let person = Person::connect_at(&cluster, "gate-2", &ann, "phone", again.access_token).await.unwrap();
        ben.say(&Target::User(person.user().clone()), "m1", "welcome back").await.unwrap();
        person.wait_entries(1).await.unwrap();
        person.close().await.unwrap();
        ben.close().await.unwrap();
    }
    cluster.finish().await.unwrap();
}

#[tokio::test]
async fn one_login_ends_and_the_users_others_go_on() {
    let cluster = Cluster::start(Plan::default()).await.unwrap();
    let address = cluster.accounts().unwrap();
    let accounts = Accounts::new(address.to_string());
    let lost = accounts.register("ann", PASSWORD).await.unwrap();
    let kept = accounts.login("ann", PASSWORD).await.unwrap();
    let phone = Person::connect_with(&cluster, "ann", "phone", lost.access_token.clone()).await.unwrap();
    let desk = Person::connect_with(&cluster, "ann", "desk", kept.access_token.clone()).await.unwrap();

    // A token that came by an exchange belongs to the same login.
    let lost = accounts.refresh(&lost.refresh_token).await.unwrap();
    let ended = http::post(address, "/user/logout", &lost.refresh_token, &json!({})).await.unwrap();
    assert_eq!(ended.status, 204, "{}", ended.body);
    kicked(&phone, KickReason::Revoked).await;
    refused_at(&cluster, "gate-1", &lost.access_token, RefusalCode::ExpiredToken).await;

    desk.say(&Target::User(UserId::new("ann").unwrap()), "m1", "a note").await.unwrap();
    desk.wait_entries(1).await.unwrap();
    let second = Person::connect_with(&cluster, "ann", "second", kept.access_token).await.unwrap();

    // An operator ends the rest, and the user may come back.
    let operators = cluster.admin("im-service-1").unwrap();
    let answer = http::delete(operators, "/accounts/ann/logins").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    kicked(&desk, KickReason::Revoked).await;
    kicked(&second, KickReason::Revoked).await;
    let again = accounts.login("ann", PASSWORD).await.unwrap();
    let person = Person::connect_with(&cluster, "ann", "phone", again.access_token).await.unwrap();
    person.wait_entries(1).await.unwrap();
    person.close().await.unwrap();
    cluster.finish().await.unwrap();
}
