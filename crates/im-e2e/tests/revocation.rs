//! A password change ends the other logins of its user, live connections among them.

#![allow(clippy::unwrap_used)]

use im_client::EndCause;
use im_client::accounts::{Accounts, AccountsError};
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::http;
use im_e2e::person::Person;
use im_proto::client::KickReason;
use im_proto::{Target, UserId};

#[tokio::test]
async fn a_password_change_ends_live_connections() {
    let cluster = Cluster::start(Plan::default()).await.unwrap();
    let address = cluster.accounts().unwrap();
    let accounts = Accounts::new(address.to_string());
    let (old, new) = ("the first of two passwords", "the second of two passwords");
    let login = accounts.register("ann", old).await.unwrap();
    let other = accounts.register("ben", old).await.unwrap();
    let ann = Person::connect_with(&cluster, "ann", "laptop", login.access_token.clone()).await.unwrap();
    let ben = Person::connect_with(&cluster, "ben", "laptop", other.access_token).await.unwrap();

    let change = serde_json::json!({ "oldPassword": old, "newPassword": new });
    let changed = http::post(address, "/user/password", &login.access_token, &change).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.body);

    let ended = ann.wait("kicked out", |journal| journal.ended.is_some()).await.unwrap().ended;
    assert!(matches!(&ended, Some(EndCause::Kicked(kick)) if kick.reason == KickReason::Revoked), "{ended:?}");
    let refused = accounts.refresh(&login.refresh_token).await;
    assert!(matches!(refused, Err(AccountsError::Refused { status: 401, .. })), "{refused:?}");
    let refused = accounts.login("ann", old).await;
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
