//! The rules under contention, over time, and what is left in the store.
#![allow(clippy::unwrap_used)]

use im_proto::UserId;
use im_timeline::{DumpRow, Table, user_key};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::task::JoinSet;

use super::*;
use crate::accounts::{
    AccountError, FAMILIES_MAX, ProfileChange, REUSE_GRACE, REVOCATIONS_MAX, Revocation, RevocationCause, Session,
};

fn anna() -> UserId {
    UserId::new("anna").unwrap()
}

async fn register(world: &World) -> Session {
    world.accounts.register("anna", PASSWORD.into(), ProfileChange::default(), None).await.unwrap()
}

async fn login(world: &World) -> Session {
    world.accounts.login("anna", PASSWORD.into(), None).await.unwrap()
}

fn revoked(generation: u64, cause: RevocationCause) -> Revocation {
    Revocation { user: anna(), generation, login: 0, cause }
}

/// The login of one session alone is void, whichever of its tokens is looked at.
fn ended(world: &World, session: &Session, cause: RevocationCause) -> Revocation {
    let verifier = im_auth::Verifier::new([world.signer.public_key().clone()]).unwrap();
    let now = UNIX_EPOCH + Duration::from_millis(START_MS);
    let claims = verifier.verify(&session.access_token, now).unwrap();
    assert_ne!(claims.login, 0);
    Revocation { login: claims.login, ..revoked(claims.generation, cause) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_registrations_wins() {
    for _ in 0..10 {
        let world = World::with(|config| config.hashes_in_flight = 16);
        let together = Arc::new(tokio::sync::Barrier::new(16));
        let mut tries = JoinSet::new();
        for number in 0..16 {
            let (accounts, together) = (Arc::clone(&world.accounts), Arc::clone(&together));
            tries.spawn(async move {
                together.wait().await;
                let password = format!("the password of {number}");
                (password.clone(), accounts.register("anna", password, ProfileChange::default(), None).await)
            });
        }
        let mut winners = Vec::new();
        while let Some(done) = tries.join_next().await {
            match done.unwrap() {
                (password, Ok(session)) => winners.push((password, session)),
                (_, Err(error)) => assert_eq!(error, AccountError::UserExists),
            }
        }
        let [(password, session)] = &winners[..] else { panic!("{} winners", winners.len()) };
        world.accounts.login("anna", password.clone(), None).await.unwrap();
        world.accounts.refresh(&session.refresh_token).await.unwrap();
        let families = world.store.records(Table::Refresh, "", "", 100).await.unwrap().records;
        assert_eq!(families.len(), 2, "those who lost left nothing behind");
    }
}

#[tokio::test]
async fn a_reused_token_ends_its_login_and_no_other() {
    let world = World::new();
    let mut heard = world.accounts.revocations();
    let stolen = register(&world).await;
    let other = login(&world).await;
    let second = world.accounts.refresh(&stolen.refresh_token).await.unwrap();
    let third = world.accounts.refresh(&second.refresh_token).await.unwrap();
    assert_eq!(heard.try_recv(), Err(TryRecvError::Empty));

    let reused = world.accounts.refresh(&stolen.refresh_token).await.unwrap_err();
    assert_eq!(reused, AccountError::RefreshReused);
    let end = heard.try_recv().unwrap();
    assert_eq!(end, ended(&world, &third, RevocationCause::TokenReused));
    assert_ne!(end.login, ended(&world, &other, RevocationCause::TokenReused).login);
    for token in [&third, &second, &stolen] {
        let error = world.accounts.refresh(&token.refresh_token).await.unwrap_err();
        assert_eq!(error, AccountError::RefreshInvalid);
    }
    world.accounts.refresh(&other.refresh_token).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_ends_no_login() {
    let world = World::new();
    let first = register(&world).await;
    world.accounts.refresh(&first.refresh_token).await.unwrap();
    world.pass(REUSE_GRACE - Duration::from_millis(1));
    let second = world.accounts.refresh(&first.refresh_token).await.unwrap();
    world.pass(Duration::from_secs(600));
    let third = world.accounts.refresh(&second.refresh_token).await.unwrap();

    world.pass(REUSE_GRACE);
    let late = world.accounts.refresh(&second.refresh_token).await.unwrap_err();
    assert_eq!(late, AccountError::RefreshReused);
    let ended = world.accounts.refresh(&third.refresh_token).await.unwrap_err();
    assert_eq!(ended, AccountError::RefreshInvalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exchanges_at_the_same_moment_all_succeed() {
    for _ in 0..20 {
        let world = World::new();
        let first = register(&world).await;
        let mut tries = JoinSet::new();
        for _ in 0..6 {
            let (accounts, token) = (Arc::clone(&world.accounts), first.refresh_token.clone());
            tries.spawn(async move { accounts.refresh(&token).await.unwrap() });
        }
        // None overwrote another's: each of the new tokens is known, though one of them is used first.
        for session in tries.join_all().await {
            world.accounts.authenticate(&session.access_token).await.unwrap();
            world.accounts.refresh(&session.refresh_token).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_unused_login_ends_after_30_days() {
    let world = World::new();
    let lifetime = AccountsConfig::default().refresh_lifetime;
    assert_eq!(lifetime, Duration::from_secs(30 * 24 * 3600));
    let mut session = register(&world).await;
    for _ in 0..3 {
        world.pass(lifetime - Duration::from_millis(1));
        session = world.accounts.refresh(&session.refresh_token).await.unwrap();
    }
    world.pass(lifetime);
    let error = world.accounts.refresh(&session.refresh_token).await.unwrap_err();
    assert_eq!(error, AccountError::RefreshInvalid);
    assert_eq!(world.store.records(Table::Refresh, "", "", 9).await.unwrap().records, [], "and its row is gone");
}

#[tokio::test]
async fn a_ban_ends_everything_until_it_is_lifted() {
    let world = World::new();
    let mut heard = world.accounts.revocations();
    let session = register(&world).await;
    world.accounts.set_banned(&anna(), true).await.unwrap();
    assert_eq!(heard.try_recv(), Ok(revoked(1, RevocationCause::Banned)));
    let denied = [
        world.accounts.authenticate(&session.access_token).await.unwrap_err(),
        world.accounts.refresh(&session.refresh_token).await.unwrap_err(),
        world.accounts.login("anna", PASSWORD.into(), None).await.unwrap_err(),
    ];
    assert_eq!(denied, [AccountError::Banned, AccountError::Banned, AccountError::Banned]);
    let wrong = world.accounts.login("anna", "wrong horse".into(), None).await.unwrap_err();
    assert_eq!(wrong, AccountError::WrongPassword, "only its owner learns of the ban");

    world.accounts.set_banned(&anna(), false).await.unwrap();
    assert_eq!(heard.try_recv(), Err(TryRecvError::Empty));
    let before = world.accounts.authenticate(&session.access_token).await.unwrap_err();
    assert_eq!(before, AccountError::AccessInvalid, "what was given out before stays void");
    let before = world.accounts.refresh(&session.refresh_token).await.unwrap_err();
    assert_eq!(before, AccountError::RefreshInvalid);
    login(&world).await;
    let nobody = world.accounts.set_banned(&UserId::new("nobody").unwrap(), true).await;
    assert_eq!(nobody, Err(AccountError::NoSuchUser));
}

#[tokio::test]
async fn listeners_hear_of_what_ended() {
    let world = World::new();
    let mut heard = world.accounts.revocations();
    register(&world).await;
    let session = login(&world).await;
    world.accounts.logout(&session.refresh_token, false).await.unwrap();
    assert_eq!(heard.try_recv(), Ok(ended(&world, &session, RevocationCause::LoggedOut)));
    let again = world.accounts.logout(&session.refresh_token, false).await;
    assert_eq!(again, Err(AccountError::RefreshInvalid));

    let first = login(&world).await;
    let second = world.accounts.refresh(&first.refresh_token).await.unwrap();
    let third = world.accounts.refresh(&second.refresh_token).await.unwrap();
    let long_used = world.accounts.logout(&first.refresh_token, true).await;
    assert_eq!(long_used, Err(AccountError::RefreshInvalid));
    world.accounts.refresh(&third.refresh_token).await.unwrap();

    let session = login(&world).await;
    world.accounts.logout(&session.refresh_token, true).await.unwrap();
    assert_eq!(heard.try_recv(), Ok(revoked(1, RevocationCause::LoggedOutEverywhere)));
    let again = world.accounts.change_password(&anna(), PASSWORD.into(), "another horse".into(), None).await.unwrap();
    assert_eq!(heard.try_recv(), Ok(revoked(2, RevocationCause::PasswordChanged)));
    assert_eq!(world.accounts.authenticate(&again.access_token).await.unwrap().generation, 2);
    world.accounts.reset_password(&anna(), "third horse".into()).await.unwrap();
    assert_eq!(heard.try_recv(), Ok(revoked(3, RevocationCause::PasswordChanged)));
    world.accounts.end_logins(&anna()).await.unwrap();
    assert_eq!(heard.try_recv(), Ok(revoked(4, RevocationCause::EndedByOperator)));
    assert_eq!(heard.try_recv(), Err(TryRecvError::Empty));
    world.accounts.login("anna", "third horse".into(), None).await.unwrap();
}

/// A listener that does not listen costs a bounded amount of memory and is told what it missed.
#[tokio::test]
async fn a_slow_listener_is_told_so() {
    let world = World::new();
    let mut heard = world.accounts.revocations();
    register(&world).await;
    for _ in 0..=REVOCATIONS_MAX {
        world.accounts.set_banned(&anna(), true).await.unwrap();
    }
    assert_eq!(heard.try_recv(), Err(TryRecvError::Lagged(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_two_password_changes_wins() {
    for _ in 0..10 {
        let world = World::new();
        register(&world).await;
        let mut tries = JoinSet::new();
        for new in ["first new horse", "second new horse"] {
            let accounts = Arc::clone(&world.accounts);
            tries.spawn(
                async move { (new, accounts.change_password(&anna(), PASSWORD.into(), new.into(), None).await) },
            );
        }
        let (won, lost): (Vec<_>, Vec<_>) = tries.join_all().await.into_iter().partition(|(_, done)| done.is_ok());
        assert_eq!((won.len(), lost[0].1.as_ref().unwrap_err()), (1, &AccountError::WrongPassword));
        world.accounts.login("anna", won[0].0.into(), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn profile_changes_at_the_same_moment_are_all_kept() {
    let world = World::new();
    register(&world).await;
    for _ in 0..100 {
        let clear = r#"{"email":null,"age":null,"telephone":null,"avatar":null}"#;
        world.accounts.change_profile(&anna(), serde_json::from_str(clear).unwrap()).await.unwrap();
        change_every_field_at_once(&world).await;
    }
}

async fn change_every_field_at_once(world: &World) {
    let mut tries = JoinSet::new();
    for change in [r#"{"email":"a@b"}"#, r#"{"age":30}"#, r#"{"telephone":"1"}"#, r#"{"avatar":"a"}"#] {
        let (accounts, change) = (Arc::clone(&world.accounts), serde_json::from_str(change).unwrap());
        tries.spawn(async move { accounts.change_profile(&anna(), change).await.unwrap() });
    }
    tries.join_all().await;
    let (profile, _) = world.accounts.profile(&anna()).await.unwrap();
    let kept = (profile.email.as_deref(), profile.age, profile.telephone.as_deref(), profile.avatar.as_deref());
    assert_eq!(kept, (Some("a@b"), Some(30), Some("1"), Some("a")));
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_logins() {
    let world = World::new();
    let first = register(&world).await;
    let second = login(&world).await;
    world.pass(Duration::from_secs(1));
    let first = world.accounts.refresh(&first.refresh_token).await.unwrap();
    for _ in 0..FAMILIES_MAX - 1 {
        world.pass(Duration::from_secs(1));
        login(&world).await;
    }
    let rows = world.store.records(Table::Refresh, &user_key(&anna(), ""), "", 100).await.unwrap().records;
    assert_eq!(rows.len(), FAMILIES_MAX);
    let gone = world.accounts.refresh(&second.refresh_token).await.unwrap_err();
    assert_eq!(gone, AccountError::RefreshInvalid, "the one that was not used for longest");
    world.accounts.refresh(&first.refresh_token).await.unwrap();
}

/// Logins that a password change ended leave no rows behind once there is another login.
#[tokio::test]
async fn ended_logins_are_cleared_away() {
    let world = World::new();
    register(&world).await;
    for _ in 0..5 {
        login(&world).await;
    }
    world.accounts.change_password(&anna(), PASSWORD.into(), "another horse".into(), None).await.unwrap();
    assert_eq!(world.store.records(Table::Refresh, "", "", 100).await.unwrap().records.len(), 1);
}

/// A thief of the store cannot log in with what it reads there.
#[tokio::test]
async fn no_secret_is_stored() {
    let world = World::new();
    let first = register(&world).await;
    let second = world.accounts.refresh(&first.refresh_token).await.unwrap();
    let rows = world.store.dump(None, 1000).await.unwrap().rows;
    let stored: Vec<String> = rows
        .iter()
        .filter_map(|row| match row {
            DumpRow::Record { record, .. } => {
                Some(format!("{} {}", record.key, str::from_utf8(&record.value).unwrap()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(stored.len(), 2, "an account and a login");
    // Every run of 20 characters of a token's secret part, at each alignment of base64 within it.
    for token in [&first.refresh_token, &second.refresh_token] {
        for at in 24..=40 {
            let part = &token[at..at + 20];
            assert!(stored.iter().all(|row| !row.contains(part)), "{part} in {stored:?}");
        }
    }
    for secret in [PASSWORD, &first.access_token, &first.refresh_token, &second.refresh_token] {
        assert!(stored.iter().all(|row| !row.contains(secret)), "{secret} in {stored:?}");
    }
    let printed = format!("{first:?} {:?}", world.accounts);
    assert!(!printed.contains(&first.refresh_token) && !printed.contains(&first.access_token), "{printed}");
}

#[tokio::test]
async fn a_damaged_account_is_nobodys_login() {
    let world = World::new();
    register(&world).await;
    let broken = im_timeline::Change::Put {
        table: Table::Account,
        key: "anna".into(),
        value: r#"{"v":2}"#.into(),
        expect: im_timeline::Expect::Any,
    };
    world.store.commit(vec![broken]).await.unwrap();
    let error = world.accounts.login("anna", PASSWORD.into(), None).await.unwrap_err();
    assert!(matches!(error, AccountError::Store(im_timeline::StoreError::Damaged(_))), "{error:?}");
}
