//! Traffic over several stores that share one database, and what must hold of it afterwards.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use im_proto::client::{ContentType, Direction, Message};
use im_proto::{ClientMsgId, ConversationId, GroupId, Seq, UserId};
use im_store_mongo::{MongoOptions, MongoStore};
use im_timeline::{Append, AppendError, HistoryRange, Placed, Store, StoreError};
use tokio::task::JoinHandle;

const USERS: usize = 8;
/// How long a fault may keep everybody from being served.
pub(crate) const RECOVERY: Duration = Duration::from_secs(30);

pub(crate) fn user(number: usize) -> UserId {
    UserId::new(format!("u{}", number % USERS)).unwrap()
}

pub(crate) fn options(uri: &str, redis: &str) -> MongoOptions {
    MongoOptions { database: Some("im".into()), redis: Some(redis.into()), ..MongoOptions::new(uri) }
}

pub(crate) async fn open(uri: &str, redis: &str) -> Arc<MongoStore> {
    Arc::new(MongoStore::open(options(uri, redis)).await.unwrap())
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A message of one of the senders: to a peer, to a group of all, to a group of half, to oneself.
pub(crate) fn message(name: &str, sender: usize, n: usize) -> Append {
    let from = user(sender);
    let everybody: Vec<UserId> = (0..USERS).map(user).collect();
    let group = |name: &str| ConversationId::group(&GroupId::new(name).unwrap());
    let (conversation, recipients): (_, Arc<[UserId]>) = match n % 4 {
        0 | 1 => {
            let to = user(sender + 1 + n % (USERS - 1));
            (ConversationId::pair(&from, &to), [from.clone(), to].into())
        }
        2 => (group("everybody"), everybody.into()),
        _ => (ConversationId::pair(&from, &from), [from.clone()].into()),
    };
    Append {
        conversation,
        sender: from,
        client_msg_id: ClientMsgId::new(format!("{name}-{n}")).unwrap(),
        time_ms: now_ms(),
        content_type: ContentType::Text,
        payload: Bytes::from(format!("{name}-{n}")),
        recipients,
    }
}

/// Sends until it is acked: what a client does.
pub(crate) async fn send(store: &MongoStore, append: Append, refusals: &AtomicUsize) -> Placed {
    let until = Instant::now() + RECOVERY;
    loop {
        match store.append(append.clone()).await {
            Ok(placed) => return placed,
            Err(refused @ (AppendError::Busy | AppendError::Store(StoreError::Unavailable(_))))
                if Instant::now() < until =>
            {
                println!("refused: {refused}");
                refusals.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("no service after {RECOVERY:?}: {error}"),
        }
    }
}

/// Senders and readers that run until they are told to stop.
pub(crate) struct Traffic {
    going: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Vec<(Append, Placed)>>>,
    readers: Vec<JoinHandle<()>>,
    /// Acks so far, of each store.
    acked: Arc<[AtomicUsize]>,
    /// Sends that were refused and tried again.
    pub(crate) refusals: Arc<AtomicUsize>,
}

impl Traffic {
    /// So many senders on each store, and a reader of each user on one of them.
    pub(crate) fn start(stores: &[Arc<MongoStore>], senders: usize) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let acked: Arc<[AtomicUsize]> = stores.iter().map(|_| AtomicUsize::new(0)).collect();
        let refusals = Arc::new(AtomicUsize::new(0));
        let mut writers = Vec::new();
        for (index, store) in stores.iter().enumerate() {
            for sender in 0..senders {
                let (store, going) = (Arc::clone(store), Arc::clone(&going));
                let (acked, refusals) = (Arc::clone(&acked), Arc::clone(&refusals));
                writers.push(tokio::spawn(async move {
                    let name = format!("s{index}-{sender}");
                    let mut acks = Vec::new();
                    while going.load(Ordering::Acquire) {
                        let append = message(&name, sender, acks.len());
                        let placed = send(&store, append.clone(), &refusals).await;
                        acked[index].fetch_add(1, Ordering::Relaxed);
                        acks.push((append, placed));
                    }
                    acks
                }));
            }
        }
        let readers = (0..USERS)
            .map(|number| {
                let (store, going) = (Arc::clone(&stores[number % stores.len()]), Arc::clone(&going));
                tokio::spawn(async move { read(&store, &user(number), &going).await })
            })
            .collect();
        Self { going, writers, readers, acked, refusals }
    }

    pub(crate) fn acked(&self) -> usize {
        self.acked.iter().map(|acked| acked.load(Ordering::Relaxed)).sum()
    }

    /// Waits until every store has acked so many more.
    pub(crate) async fn progress(&self, more: usize) {
        let wanted: Vec<usize> = self.acked.iter().map(|acked| acked.load(Ordering::Relaxed) + more).collect();
        let until = Instant::now() + RECOVERY;
        while self.acked.iter().zip(&wanted).any(|(acked, wanted)| acked.load(Ordering::Relaxed) < *wanted) {
            assert!(Instant::now() < until, "no service after {RECOVERY:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it and returns every ack.
    pub(crate) async fn stop(self) -> Vec<(Append, Placed)> {
        self.going.store(false, Ordering::Release);
        let mut acks = Vec::new();
        for writer in self.writers {
            acks.extend(writer.await.unwrap());
        }
        for reader in self.readers {
            reader.await.unwrap();
        }
        acks
    }
}

/// Follows a timeline: dense from the first row on, and a head that never goes back.
async fn read(store: &MongoStore, user: &UserId, going: &AtomicBool) {
    let (mut seen, mut head) = (Seq::ZERO, Seq::ZERO);
    let mut messages = BTreeSet::new();
    loop {
        let last = !going.load(Ordering::Acquire);
        let page = match store.sync(user, seen, 50).await {
            Ok(page) => page,
            Err(StoreError::Unavailable(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(error) => panic!("{user}: {error}"),
        };
        assert!(page.head.head >= head, "{user}: the head went from {head} back to {}", page.head.head);
        assert_eq!(page.head.floor, Seq::ZERO, "{user}: nothing was trimmed");
        head = page.head.head;
        for entry in page.entries {
            assert_eq!(entry.seq, seen.next(), "{user}: a reader got past a place");
            seen = entry.seq;
            let name = (entry.message.sender.clone(), entry.message.client_msg_id.clone());
            assert!(messages.insert(name), "{user}: message {:?} came twice", entry.message.client_msg_id);
        }
        if last && seen == head {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn whole_history(store: &MongoStore, conversation: &ConversationId) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let from = messages.last().map_or(Seq::ZERO, |message| message.seq);
        let page = store.history(conversation, HistoryRange { from, direction: Direction::Forward, limit: 1000 });
        let page = page.await.unwrap();
        messages.extend(page.messages);
        if !page.has_more {
            return messages;
        }
    }
}

async fn whole_timeline(store: &MongoStore, user: &UserId) -> Vec<Message> {
    let (mut after, mut messages) = (Seq::ZERO, Vec::new());
    loop {
        let page = store.sync(user, after, 1000).await.unwrap();
        for entry in page.entries {
            assert_eq!(entry.seq, after.next(), "{user}: a hole");
            after = entry.seq;
            messages.push(entry.message);
        }
        if !page.has_more {
            return messages;
        }
    }
}

/// Everything that is promised of acked messages, and of those that were stored without an ack.
pub(crate) async fn verify(store: &MongoStore, acks: &[(Append, Placed)]) {
    let mut histories: BTreeMap<ConversationId, Vec<Message>> = BTreeMap::new();
    for (append, _) in acks {
        if !histories.contains_key(&append.conversation) {
            histories.insert(append.conversation.clone(), whole_history(store, &append.conversation).await);
        }
    }
    let mut timelines: HashMap<UserId, Vec<Message>> = HashMap::new();
    for number in 0..USERS {
        timelines.insert(user(number), whole_timeline(store, &user(number)).await);
    }
    // Dense and each message once.
    let mut stored = BTreeSet::new();
    for (conversation, messages) in &histories {
        for (place, message) in (1..).zip(messages) {
            assert_eq!(message.seq, Seq(place), "{conversation}: a hole");
            let name = (message.sender.clone(), message.client_msg_id.clone());
            assert!(stored.insert(name), "{conversation}: message {:?} is stored twice", message.client_msg_id);
        }
    }
    let name = |message: &Message| (message.sender.clone(), message.client_msg_id.clone());
    let named: HashMap<&UserId, HashMap<_, &Message>> = timelines
        .iter()
        .map(|(user, messages)| (user, messages.iter().map(|message| (name(message), message)).collect()))
        .collect();
    for (user, messages) in &timelines {
        assert_eq!(named[user].len(), messages.len(), "{user}: a message is there twice");
    }
    // Each ack names the places where the message is, in every timeline that it went to.
    for (append, placed) in acks {
        let kept = &histories[&append.conversation][placed.seq.0 as usize - 1];
        assert_eq!((&kept.sender, &kept.client_msg_id), (&append.sender, &append.client_msg_id));
        assert_eq!(kept.payload, append.payload);
        let own = &timelines[&append.sender][placed.sender_seq.0 as usize - 1];
        assert_eq!(own, kept);
        for recipient in &*append.recipients {
            assert_eq!(named[recipient].get(&name(kept)), Some(&kept), "{recipient}");
        }
    }
}
