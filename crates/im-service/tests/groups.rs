//! Groups: making, rights, changes at the same time, who is told afterwards.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;

use common::{World, group_id, send, to_group, user, users};
use im_proto::client::{
    ChangeMembers, Command, ConversationPage, CreateGroup, Group, GroupPage, ListConversations, ListGroups,
};
use im_proto::limits::GROUP_MEMBERS_MAX;
use im_proto::{RefusalCode as Code, Seq};
use im_timeline::{Change, Expect, Table};

fn group(name: &str, owner: &str, members: &[&str]) -> Group {
    Group { group: group_id(name), name: format!("the {name}"), owner: user(owner), members: users(members) }
}

#[tokio::test(start_paused = true)]
async fn making_a_group_twice_is_making_it_once() {
    let mut world = World::new().await;
    let made = world.create("m", "g", &["z", "a", "a", "m"]).await.unwrap();
    assert_eq!(made, group("g", "m", &["a", "m", "z"]));
    world.change("m", "g", &["b"], &[]).await.unwrap();
    // The answer to the first try was lost: it is told what is there by now.
    assert_eq!(world.create("m", "g", &["z", "a"]).await.unwrap(), group("g", "m", &["a", "b", "m", "z"]));
    assert_eq!(world.create("a", "g", &["m"]).await, Err(Code::GroupExists));
    let renamed = CreateGroup { group: group_id("g"), name: "another".into(), members: vec![] };
    assert_eq!(world.call::<Group>("m", Command::CreateGroup, &renamed).await, Err(Code::GroupExists));
    world.tells_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn who_may_do_what() {
    let mut world = World::new().await;
    world.create("owner", "g", &["a", "b", "c"]).await.unwrap();
    for (who, add, remove, expected) in [
        ("stranger", &["x"][..], &[][..], Err(Code::NotAMember)),
        ("stranger", &["stranger"], &[], Err(Code::NotAMember)),
        ("stranger", &[], &["stranger"], Err(Code::NotAMember)),
        ("a", &[], &["b"], Err(Code::NotAllowed)),
        ("a", &["x"], &["a", "b"], Err(Code::NotAllowed)),
        ("a", &[], &["owner"], Err(Code::NotAllowed)),
        ("owner", &[], &["owner"], Err(Code::NotAllowed)),
        ("owner", &["x"], &["a", "owner"], Err(Code::NotAllowed)),
        ("a", &["d"], &[], Ok(&["a", "b", "c", "d", "owner"][..])),
        ("d", &[], &["d"], Ok(&["a", "b", "c", "owner"])),
        ("owner", &["e", "a"], &["b", "nobody"], Ok(&["a", "c", "e", "owner"])),
        ("owner", &[], &[], Ok(&["a", "c", "e", "owner"])),
        ("a", &["c"], &[], Ok(&["a", "c", "e", "owner"])),
        // Named on both sides, a user goes.
        ("owner", &["e"], &["e"], Ok(&["a", "c", "owner"])),
    ] {
        let changed = world.change(who, "g", add, remove).await;
        assert_eq!(changed, expected.map(|members| group("g", "owner", members)), "{who} +{add:?} -{remove:?}");
    }
    assert_eq!(world.change("a", "none", &["x"], &[]).await, Err(Code::NoSuchGroup));
}

#[tokio::test(start_paused = true)]
async fn a_group_has_a_greatest_size() {
    let mut world = World::new().await;
    let names = |count: u32| (0..count).map(|n| user(&format!("u{n:04}"))).collect::<Vec<_>>();
    let create = |name: &str, count| CreateGroup { group: group_id(name), name: String::new(), members: names(count) };
    // The maker is a member as well: one too many, though the list itself is not too long.
    assert_eq!(
        world.call::<Group>("m", Command::CreateGroup, &create("g", GROUP_MEMBERS_MAX)).await,
        Err(Code::TooLarge)
    );
    assert_eq!(
        world.call::<Group>("m", Command::CreateGroup, &create("g", GROUP_MEMBERS_MAX + 1)).await,
        Err(Code::TooLarge)
    );
    let made: Group = world.call("m", Command::CreateGroup, &create("g", GROUP_MEMBERS_MAX - 1)).await.unwrap();
    assert_eq!(made.members.len(), GROUP_MEMBERS_MAX as usize);
    assert_eq!(world.change("m", "g", &["one-more"], &[]).await, Err(Code::TooLarge));
    // One goes, one comes: that fits.
    world.change("m", "g", &["one-more"], &["u0000"]).await.unwrap();
    world.send("m", &send(to_group("g"), "1", "to a thousand")).await.unwrap();
    let push = world.pushed().await;
    assert_eq!(push.targets.len(), GROUP_MEMBERS_MAX as usize);
    assert!(push.targets.iter().all(|place| place.seq == Seq(1) && place.user != user("u0000")));
}

/// Changes at the same moment: one that was answered with success is in the group afterwards.
#[tokio::test(start_paused = true)]
async fn changes_at_the_same_time_lose_nothing() {
    let mut world = World::new().await;
    world.create("m", "g", &[]).await.unwrap();
    let mut open: HashSet<String> = (0..40).map(|n| format!("u{n}")).collect();
    let mut rounds = 0;
    while !open.is_empty() {
        let mut asked = std::collections::HashMap::new();
        for name in &open {
            let change = ChangeMembers { group: group_id("g"), add: users(&[name]), remove: vec![] };
            asked.insert(world.ask("m", "phone", Command::ChangeMembers, &change), name.clone());
        }
        for _ in 0..asked.len() {
            let (sequence, answer) = world.answered::<Group>().await;
            match answer {
                Ok(group) => {
                    let name = &asked[&sequence];
                    assert!(group.members.contains(&user(name)), "the answer shows the change");
                    open.remove(name);
                }
                // Too many at once; to be tried again.
                Err(code) => assert_eq!(code, Code::Busy),
            }
        }
        rounds += 1;
        assert!(rounds < 40, "no change gets through");
    }
    let page: GroupPage = world.call("m", Command::ListGroups, &ListGroups { after: None, limit: 0 }).await.unwrap();
    assert_eq!(page.groups[0].members.len(), 41);
    for n in 0..40 {
        let page: GroupPage =
            world.call(&format!("u{n}"), Command::ListGroups, &ListGroups { after: None, limit: 0 }).await.unwrap();
        assert_eq!(page.groups.len(), 1, "u{n} knows of its group");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_begins_with_what_is_said_from_then_on() {
    let mut world = World::new().await;
    world.create("a", "g", &["b"]).await.unwrap();
    for n in 0..5 {
        world.send("a", &send(to_group("g"), &format!("before{n}"), "before")).await.unwrap();
    }
    world.change("b", "g", &["new"], &[]).await.unwrap();
    let unread = async |world: &mut World, who: &str| {
        let page: ConversationPage =
            world.call(who, Command::ListConversations, &ListConversations { after: None, limit: 0 }).await.unwrap();
        page.conversations[0].unread
    };
    assert_eq!((unread(&mut world, "new").await, unread(&mut world, "b").await), (0, 5));
    assert!(world.timeline("new").await.is_empty());
    world.send("a", &send(to_group("g"), "after", "after")).await.unwrap();
    assert_eq!((unread(&mut world, "new").await, unread(&mut world, "b").await), (1, 6));
    assert_eq!(world.timeline("new").await, ["after"]);
}

#[tokio::test(start_paused = true)]
async fn who_was_removed_gets_nothing_more_and_may_not_send() {
    let mut world = World::new().await;
    world.create("a", "g", &["b", "c"]).await.unwrap();
    world.send("a", &send(to_group("g"), "1", "first")).await.unwrap();
    world.change("a", "g", &[], &["c"]).await.unwrap();
    world.forget_told().await;
    world.send("a", &send(to_group("g"), "2", "second")).await.unwrap();
    let told: Vec<_> = world.pushed().await.targets.into_iter().map(|place| place.user).collect();
    assert_eq!(told, users(&["a", "b"]));
    assert_eq!(world.timeline("c").await, ["first"], "what it got it keeps");
    assert_eq!(world.send("c", &send(to_group("g"), "3", "back")).await, Err(Code::NotAMember));
    let page: GroupPage = world.call("c", Command::ListGroups, &ListGroups { after: None, limit: 0 }).await.unwrap();
    assert!(page.groups.is_empty());
    let page: ConversationPage =
        world.call("c", Command::ListConversations, &ListConversations { after: None, limit: 0 }).await.unwrap();
    assert!(page.conversations.is_empty());
    world.change("b", "g", &["c"], &[]).await.unwrap();
    world.send("c", &send(to_group("g"), "3", "back")).await.unwrap();
    assert_eq!(world.timeline("c").await, ["first", "back"]);
}

/// What another im-service over the same store does is seen at once.
#[tokio::test(start_paused = true)]
async fn what_another_im_service_changes_counts_here() {
    let mut world = World::shared().await;
    world.create("a", "g", &["b"]).await.unwrap();
    let without_c = world.store.record(Table::Group, "g").await.unwrap().unwrap();
    world.change("a", "g", &["c"], &[]).await.unwrap();
    world.send("c", &send(to_group("g"), "1", "here")).await.unwrap();
    let removal = Change::Put { table: Table::Group, key: "g".into(), value: without_c, expect: Expect::Any };
    world.store.commit(vec![removal]).await.unwrap();
    assert_eq!(world.send("c", &send(to_group("g"), "2", "still here")).await, Err(Code::NotAMember));
    world.send("a", &send(to_group("g"), "3", "gone")).await.unwrap();
    assert_eq!(world.timeline("c").await, ["here"]);
    assert_eq!(world.timeline("b").await, ["here", "gone"]);
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_page_by_page() {
    let mut world = World::new().await;
    for n in 0..7 {
        world.create("m", &format!("g{n}"), &["a"]).await.unwrap();
    }
    world.create("x", "other", &[]).await.unwrap();
    for limit in [1, 3, 7, 0] {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page: GroupPage = world.call("a", Command::ListGroups, &ListGroups { after, limit }).await.unwrap();
            seen.extend(page.groups.into_iter().map(|group| group.group));
            assert_eq!(page.has_more, seen.len() < 7);
            if !page.has_more {
                break;
            }
            after = seen.last().cloned();
        }
        assert_eq!(seen, (0..7).map(|n| group_id(&format!("g{n}"))).collect::<Vec<_>>(), "limit {limit}");
    }
}
