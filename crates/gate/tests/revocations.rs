//! Tokens that were taken back: whoever is logged in with one is told and let go within a second, and
//! nobody logs in with one.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, SystemTime};

use common::{Client, FakeRoute, World, auth, user};
use im_link::Link;
use im_proto::RefusalCode;
use im_proto::client::{Command, KickReason, Kickout};
use im_proto::link::{LinkCommand, Revoke};
use tokio::time::{Instant, sleep};

/// How long a revoked token would have lasted.
const LASTS: Duration = Duration::from_secs(600);

/// A gate with one route that does as the test says.
async fn start() -> (World, FakeRoute, Link) {
    let world = World::with(|config| config.routes = vec!["r1".into()]).await;
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    let link = route.events.up().await;
    (world, route, link)
}

fn token(world: &World, name: &str, generation: u64, login: u64) -> String {
    world.signer.issue_for(login, user(name), name, generation, SystemTime::now(), 2 * LASTS).token
}

async fn login(world: &World, token: &str, device: &str) -> Client {
    let mut client = world.greeted().await;
    client.login(token, device).await;
    client
}

async fn refused(world: &World, token: &str, code: RefusalCode) {
    let mut client = world.greeted().await;
    let sequence = client.ask(Command::Auth, &auth(token, "again")).await;
    client.refused(Command::Auth.number(), sequence, code).await;
    client.ended().await;
}

fn revoke(link: &Link, name: &str, below: u64, login: u64, reason: KickReason) {
    let revoke = Revoke { user: user(name), below, login, reason, lasts_ms: LASTS.as_millis() as u32 };
    link.tell(LinkCommand::Revoke, &revoke).unwrap();
}

async fn kicked(client: &mut Client, reason: KickReason) {
    assert_eq!(client.told::<Kickout>(Command::Kickout).await.reason, reason);
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_banned_is_told_within_a_second_and_stays_out() {
    let (world, _route, link) = start().await;
    let old = token(&world, "a", 1, 0);
    let (mut phone, mut desk) = (login(&world, &old, "phone").await, login(&world, &old, "desk").await);
    let newer = login(&world, &token(&world, "a", 2, 0), "newer").await;
    let other = login(&world, &token(&world, "b", 1, 0), "phone").await;
    let begun = Instant::now();
    revoke(&link, "a", 2, 0, KickReason::Forbidden);
    kicked(&mut phone, KickReason::Forbidden).await;
    kicked(&mut desk, KickReason::Forbidden).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    world.sessions(2).await;
    refused(&world, &old, RefusalCode::Banned).await;
    // Tokens that were made since then are good, and nobody else noticed.
    login(&world, &token(&world, "a", 2, 0), "later").await;
    drop((newer, other));
    // Nothing is remembered for longer than such a token lasts.
    sleep(LASTS).await;
    login(&world, &old, "phone").await;
}

#[tokio::test(start_paused = true)]
async fn one_login_ends_and_the_users_others_stay() {
    let (world, _route, link) = start().await;
    let (lost, kept) = (token(&world, "a", 1, 7), token(&world, "a", 1, 8));
    let mut phone = login(&world, &lost, "phone").await;
    let mut desk = login(&world, &kept, "desk").await;
    revoke(&link, "a", 0, 7, KickReason::Revoked);
    kicked(&mut phone, KickReason::Revoked).await;
    refused(&world, &lost, RefusalCode::ExpiredToken).await;
    desk.ask(Command::HeartBeat, &im_proto::client::Empty {}).await;
    world.sessions(1).await;
    login(&world, &kept, "second").await;
}

/// A gate learns late, with its link, and the logins that were there all the while go.
#[tokio::test(start_paused = true)]
async fn what_was_missed_is_caught_up_with_when_the_link_is_back() {
    let (world, route, _) = start().await;
    let mut phone = login(&world, &token(&world, "a", 1, 0), "phone").await;
    route.stop().await;
    let mut route = FakeRoute::listen(&world.network, "r1").await;
    let link = route.events.up().await;
    revoke(&link, "a", 2, 0, KickReason::Revoked);
    kicked(&mut phone, KickReason::Revoked).await;
}
