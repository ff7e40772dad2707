//! The promise, checked from outside: acked means stored, ordered, readable, and once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use im_proto::client::{self, Message};
use im_proto::{ClientMsgId, ConversationId, GroupId, Seq, Target, UserId};
use im_store_embedded::{EmbeddedStore, Options};
use im_store_mongo::{MongoOptions, MongoStore};
use im_timeline::{Store, check};

use crate::cluster::{Cluster, Servers};
use crate::person::Person;
use crate::traffic::Said;

/// Who belongs to which group; other groups there are none.
pub type Groups = BTreeMap<GroupId, Vec<UserId>>;

/// A message's name: whose, and which.
type Name = (UserId, ClientMsgId);

/// The end of a test: all that was said is there once, at the place that its ack names; fresh devices
/// sync it; and who was online all the time saw the same. `others` are users beside the people.
pub async fn talk(
    cluster: &Cluster,
    people: Vec<Arc<Person>>,
    others: &[UserId],
    ledger: &[Said],
    groups: &Groups,
) -> anyhow::Result<Readout> {
    let users: Vec<_> = people.iter().map(|person| person.user()).chain(others).cloned().collect();
    let readout = Readout::take(cluster, &users, groups, "fresh").await?;
    let messages = readout.check(ledger, groups)?;
    ensure!(messages == ledger.len() as u64, "{messages} messages are there, {} were said", ledger.len());
    for person in people {
        let timeline = &readout.timelines[person.user()];
        let seen = person.wait_entries(timeline.len()).await?;
        ensure!(seen == *timeline, "what {} saw live is not what a fresh device syncs", person.user());
        let person = Arc::into_inner(person).context("somebody still speaks")?;
        person.close().await?.check(Seq::ZERO)?;
    }
    Ok(readout)
}

/// What fresh devices and histories show.
#[derive(Debug, Default)]
pub struct Readout {
    /// Every user's timeline.
    pub timelines: BTreeMap<UserId, Vec<client::Entry>>,
    /// Every conversation's history.
    pub histories: BTreeMap<ConversationId, Vec<Message>>,
}

impl Readout {
    /// Reads everything with devices that nobody had before.
    pub async fn take(cluster: &Cluster, users: &[UserId], groups: &Groups, device: &str) -> anyhow::Result<Self> {
        let mut readout = Self::default();
        for user in users {
            let fresh = Person::connect(cluster, user.as_str(), device).await?;
            let entries = fresh.synced().await.with_context(|| format!("{user} syncs from 0"))?;
            for conversation in conversations_of(user, users, groups) {
                if let Entry::Vacant(unread) = readout.histories.entry(conversation) {
                    let history = fresh.history(unread.key()).await?;
                    unread.insert(history);
                }
            }
            fresh.close().await?.check(Seq::ZERO)?;
            readout.timelines.insert(user.clone(), entries);
        }
        Ok(readout)
    }

    /// Holds the readout against the ledger. Says how many messages there are.
    pub fn check(&self, ledger: &[Said], groups: &Groups) -> anyhow::Result<u64> {
        let by_name: BTreeMap<Name, &Said> =
            ledger.iter().map(|said| ((said.sender.clone(), said.name.clone()), said)).collect();
        ensure!(by_name.len() == ledger.len(), "the ledger has a name twice, which is the test's own fault");
        for (user, entries) in &self.timelines {
            check_timeline(entries, &by_name).with_context(|| format!("the timeline of {user}"))?;
        }
        for (conversation, history) in &self.histories {
            check_history(history, &by_name).with_context(|| format!("the history of {conversation}"))?;
            let readers = readers(conversation, groups)?;
            self.check_fan_out(history, &readers).with_context(|| format!("the fan-out of {conversation}"))?;
        }
        for said in ledger {
            self.check_ack(said).with_context(|| format!("{} of {}", said.name, said.sender))?;
        }
        Ok(self.histories.values().map(|history| history.len() as u64).sum())
    }

    /// An acked message is at the place that its ack names, everywhere.
    fn check_ack(&self, said: &Said) -> anyhow::Result<()> {
        let Some(ack) = &said.ack else { return Ok(()) };
        let history = self.histories.get(&ack.conversation).context("its conversation has no history")?;
        let message = at(history, ack.seq).context("missing in the history")?;
        ensure!(is(message, said), "the history has another message at {}: {message:?}", ack.seq);
        let own = self.timelines.get(&said.sender).context("its sender has no timeline")?;
        let entry = at(own, ack.position.seq).context("missing in the sender's timeline")?;
        ensure!(is(&entry.message, said), "the sender's timeline has another one at {}: {entry:?}", ack.position.seq);
        if let Target::User(receiver) = &said.to {
            let theirs = self.timelines.get(receiver).context("its receiver has no timeline")?;
            let entry = at(theirs, ack.receiver_seq).context("missing in the receiver's timeline")?;
            ensure!(is(&entry.message, said), "the receiver has another one at {}: {entry:?}", ack.receiver_seq);
        }
        Ok(())
    }

    /// Every message of a history is once in the timeline of each reader, in the history's order.
    fn check_fan_out(&self, history: &[Message], readers: &[UserId]) -> anyhow::Result<()> {
        let Some(conversation) = history.first().map(|message| &message.conversation) else { return Ok(()) };
        for reader in readers {
            let timeline = self.timelines.get(reader).with_context(|| format!("{reader} has no timeline"))?;
            let seen: Vec<_> =
                timeline.iter().map(|entry| &entry.message).filter(|m| m.conversation == *conversation).collect();
            ensure!(seen.len() == history.len(), "{reader} has {} of {} messages", seen.len(), history.len());
            for (seen, message) in seen.into_iter().zip(history) {
                ensure!(seen == message, "{reader} has {seen:?} in place of {message:?}");
            }
        }
        Ok(())
    }
}

fn check_timeline(entries: &[client::Entry], by_name: &BTreeMap<Name, &Said>) -> anyhow::Result<()> {
    dense(entries.iter().map(|entry| entry.seq))?;
    known_and_once(entries.iter().map(|entry| &entry.message), by_name)
}

fn check_history(history: &[Message], by_name: &BTreeMap<Name, &Said>) -> anyhow::Result<()> {
    dense(history.iter().map(|message| message.seq))?;
    known_and_once(history.iter(), by_name)
}

fn dense(seqs: impl Iterator<Item = Seq>) -> anyhow::Result<()> {
    for (seq, expected) in seqs.zip(1..) {
        ensure!(seq == Seq(expected), "{seq} stands where {expected} is due");
    }
    Ok(())
}

/// Nobody's words are there twice, and nobody's that were not said.
fn known_and_once<'a>(
    messages: impl Iterator<Item = &'a Message>,
    by_name: &BTreeMap<Name, &Said>,
) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for message in messages {
        let name = (message.sender.clone(), message.client_msg_id.clone());
        let said = by_name.get(&name).with_context(|| format!("nobody said {message:?}"))?;
        ensure!(is(message, said), "{message:?} is not what was said: {said:?}");
        ensure!(seen.insert(name), "{message:?} is there twice");
    }
    Ok(())
}

fn is(message: &Message, said: &Said) -> bool {
    message.sender == said.sender
        && message.client_msg_id == said.name
        && message.conversation == said.to.conversation(&said.sender)
        && message.payload == said.text.as_bytes()
}

/// What stands at a place of a dense row that begins with 1.
fn at<T>(rows: &[T], seq: Seq) -> Option<&T> {
    rows.get(usize::try_from(seq.0).ok()?.checked_sub(1)?)
}

fn conversations_of(user: &UserId, users: &[UserId], groups: &Groups) -> Vec<ConversationId> {
    let pairs = users.iter().filter(|peer| *peer != user).map(|peer| ConversationId::pair(user, peer));
    let groups = groups.iter().filter(|(_, members)| members.contains(user));
    let groups = groups.map(|(group, _)| ConversationId::group(group));
    pairs.chain(groups).collect()
}

fn readers(conversation: &ConversationId, groups: &Groups) -> anyhow::Result<Vec<UserId>> {
    if let Some((one, other)) = conversation.as_str().split_once(':') {
        return Ok(vec![UserId::new(one)?, UserId::new(other)?]);
    }
    let members = groups.iter().find(|(group, _)| ConversationId::group(group) == *conversation);
    members.map(|(_, members)| members.clone()).with_context(|| format!("nobody made {conversation}"))
}

/// Opens a store that nobody has open and follows every reference in it. Says how many messages it
/// holds.
pub async fn store(data: &Path) -> anyhow::Result<u64> {
    let store = EmbeddedStore::open(data, &Options::default()).context("open the store that was left")?;
    opened(&store).await
}

/// The same of a store on servers.
pub async fn shared_store(servers: &Servers) -> anyhow::Result<u64> {
    let options = MongoOptions { redis: Some(servers.redis.clone()), ..MongoOptions::new(servers.mongo.clone()) };
    let store = MongoStore::open(options).await.context("open the store that was left")?;
    opened(&store).await
}

async fn opened(store: &dyn Store) -> anyhow::Result<u64> {
    let report = check::check(store).await;
    store.close().await;
    let report = report.context("check the store that was left")?;
    ensure!(report.is_clean(), "the store breaks its rules: {:?}", report.findings);
    Ok(report.rows.messages)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use im_proto::client::{ContentType, SendAck};
    use im_proto::{Epoch, Position};

    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    /// Ann says three things to Ben and one to the group of Ann, Ben and Cyd.
    fn sound() -> (Readout, Vec<Said>, Groups) {
        let group = GroupId::new("g").unwrap();
        let members = vec![user("ann"), user("ben"), user("cyd")];
        let (mut readout, mut ledger) = (Readout::default(), Vec::new());
        let (to_ben, to_group) = (Target::User(user("ben")), Target::Group(group.clone()));
        for (number, to) in [&to_ben, &to_ben, &to_group, &to_ben].into_iter().enumerate() {
            let sender = user("ann");
            let conversation = to.conversation(&sender);
            let history = readout.histories.entry(conversation.clone()).or_default();
            let message = Message {
                conversation: conversation.clone(),
                seq: Seq(history.len() as u64 + 1),
                sender: sender.clone(),
                client_msg_id: ClientMsgId::new(format!("m{number}")).unwrap(),
                time_ms: 0,
                content_type: ContentType::Text,
                payload: format!("text {number}").into(),
            };
            history.push(message.clone());
            let readers = if *to == to_group { &members[..] } else { &members[..2] };
            let mut places = readers.iter().map(|reader| {
                let timeline = readout.timelines.entry(reader.clone()).or_default();
                let seq = Seq(timeline.len() as u64 + 1);
                timeline.push(client::Entry { seq, message: message.clone() });
                seq
            });
            let (own, receiver) = (places.next().unwrap(), places.next().unwrap());
            places.for_each(drop);
            let ack = SendAck {
                conversation,
                seq: message.seq,
                position: Position { epoch: Epoch(1), seq: own },
                receiver_seq: if *to == to_group { Seq::ZERO } else { receiver },
                time_ms: 0,
                repeated: false,
            };
            let (name, text) = (message.client_msg_id, format!("text {number}"));
            ledger.push(Said { sender, to: to.clone(), name, text, ack: Some(ack) });
        }
        (readout, ledger, Groups::from([(group, members)]))
    }

    fn timeline<'a>(readout: &'a mut Readout, name: &str) -> &'a mut Vec<client::Entry> {
        readout.timelines.get_mut(&user(name)).unwrap()
    }

    /// The ack of the first thing said.
    fn ack(ledger: &mut [Said]) -> &mut SendAck {
        ledger[0].ack.as_mut().unwrap()
    }

    #[test]
    fn what_is_sound_passes_and_every_fault_is_found() {
        let (readout, ledger, groups) = sound();
        assert_eq!(readout.check(&ledger, &groups).unwrap(), 4);

        type Fault = fn(&mut Readout, &mut Vec<Said>);
        let faults: [(&str, Fault); 12] = [
            ("3 stands where 2 is due", |readout, _| drop(timeline(readout, "ben").remove(1))),
            ("ann has 2 of 3 messages", |readout, _| drop(timeline(readout, "ann").pop())),
            ("ben has 2 of 3 messages", |readout, _| drop(timeline(readout, "ben").pop())),
            ("missing in the history", |readout, _| {
                // Gone without a trace, but it was acked.
                let pair = ConversationId::pair(&user("ann"), &user("ben"));
                readout.histories.get_mut(&pair).unwrap().pop();
                timeline(readout, "ann").pop();
                timeline(readout, "ben").pop();
            }),
            ("the history has another message at 2", |_, ledger| ack(ledger).seq = Seq(2)),
            ("the sender's timeline has another one at 2", |_, ledger| ack(ledger).position.seq = Seq(2)),
            ("the receiver has another one at 2", |_, ledger| ack(ledger).receiver_seq = Seq(2)),
            ("cyd has 0 of 1 messages", |readout, _| timeline(readout, "cyd").clear()),
            ("is there twice", |readout, _| {
                let mut again = timeline(readout, "cyd")[0].clone();
                again.seq = Seq(2);
                timeline(readout, "cyd").push(again);
            }),
            ("ben has Message", |readout, _| {
                let row = timeline(readout, "ben");
                let first = row[0].message.clone();
                row[0].message = std::mem::replace(&mut row[1].message, first);
            }),
            ("nobody said", |_, ledger| drop(ledger.remove(0))),
            ("is not what was said", |_, ledger| ledger[0].text = "something else".into()),
        ];
        for (complaint, fault) in faults {
            let (mut readout, mut ledger, groups) = sound();
            fault(&mut readout, &mut ledger);
            let found = readout.check(&ledger, &groups).expect_err(complaint);
            assert!(format!("{found:#}").contains(complaint), "{complaint:?} is told as: {found:#}");
        }
    }
}
