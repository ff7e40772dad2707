//! Repeats are found by ids that come in any order, whatever the committer remembers of their senders.

use super::*;

use std::collections::HashMap;

use im_timeline::Placed;

use crate::durable::Durable;
use crate::senders::Senders;

/// A message of one of four senders, with a UUID for its id. Greater numbers have greater ids.
fn numbered(sender: u64, number: u64) -> Append {
    let (sender, peer) = (user(&format!("s{sender}")), user("t"));
    Append {
        conversation: ConversationId::pair(&sender, &peer),
        client_msg_id: ClientMsgId::new(format!("{number:08x}-0000-7000-8000-000000000000")).unwrap(),
        time_ms: 1,
        content_type: ContentType::Text,
        payload: number.to_string().into(),
        recipients: [sender.clone(), peer].into(),
        sender,
    }
}

fn draw(random: &mut u64, below: u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) % below
}

/// Mostly the next number of its sender; at times one long before or after it, or one that was there.
#[tokio::test]
async fn a_repeat_is_found_whatever_is_remembered() {
    for heads_max in [1, 2, 100] {
        let options = Options { heads_max, ..Options::default() };
        let home = tempfile::tempdir().unwrap();
        let mut store = EmbeddedStore::open(home.path(), &options).unwrap();
        let (mut random, mut next, mut known) = (7, [1_000u64; 4], HashMap::<(u64, u64), Placed>::new());
        for round in 0..150 {
            let names: Vec<_> = (0..1 + draw(&mut random, 6))
                .map(|_| {
                    let sender = draw(&mut random, 4);
                    let next = &mut next[sender as usize];
                    let number = match draw(&mut random, 8) {
                        0 => draw(&mut random, 2_000),
                        1 => *next - draw(&mut random, 5),
                        _ => {
                            *next += 1 + draw(&mut random, 2);
                            *next
                        }
                    };
                    (sender, number)
                })
                .collect();
            let appends = names.iter().map(|&(sender, number)| numbered(sender, number)).collect();
            for (name, placed) in names.into_iter().zip(store.append_all(appends).await) {
                let placed = placed.unwrap();
                let first = known.get(&name);
                assert_eq!(placed.repeated, first.is_some(), "{name:?} in round {round}, {heads_max} remembered");
                match first {
                    Some(first) => assert_eq!((placed.seq, placed.sender_seq), (first.seq, first.sender_seq)),
                    None => drop(known.insert(name, placed)),
                }
            }
            match draw(&mut random, 30) {
                0 => {
                    store.close().await;
                    drop(store);
                    store = EmbeddedStore::open(home.path(), &options).unwrap();
                }
                1 | 2 => moves::move_all(&store).await,
                _ => {}
            }
        }
        assert!(known.len() > 250, "{}", known.len());
    }
}

/// Only a sender who comes again, and only an id above all others, needs no look.
#[tokio::test]
async fn an_id_above_all_others_is_new_without_a_look() {
    let home = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(home.path(), &Options::default()).unwrap();
    store.append(numbered(0, 5)).await.unwrap();
    store.append(Append { client_msg_id: ClientMsgId::new("zzz").unwrap(), ..numbered(0, 6) }).await.unwrap();
    let view = Durable::view(&store.durable().unwrap());

    let mut senders = Senders::new(10);
    let mut is_new = |append: &Append| {
        let new = senders.is_new(&view, &append.sender, &append.client_msg_id).unwrap();
        senders.appended(&append.sender, &append.client_msg_id);
        new
    };
    assert!(!is_new(&numbered(0, 2)), "the first time nothing is known of the sender");
    assert!(!is_new(&numbered(0, 4)), "smaller than the one that is stored");
    assert!(!is_new(&numbered(0, 5)), "stored");
    assert!(is_new(&numbered(0, 6)));
    assert!(!is_new(&numbered(0, 6)), "of the same group");
    assert!(is_new(&numbered(0, 8)));
    assert!(!is_new(&numbered(0, 7)), "smaller than one of the same group");
    assert!(!is_new(&Append { client_msg_id: ClientMsgId::new("zzz").unwrap(), ..numbered(0, 6) }), "no UUID");
    assert!(!is_new(&numbered(1, 9)), "another sender, who comes for the first time");
    assert!(is_new(&numbered(1, 10)));
}
