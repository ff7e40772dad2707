//! The promise, checked from outside: acked means stored, ordered, readable, and once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, ensure};
use im_proto::client::{self, Message};
use im_proto::{ClientMsgId, ConversationId, GroupId, Seq, Target, UserId};
use im_store_embedded::{EmbeddedStore, Options};
use im_timeline::{Store, check};

use crate::cluster::Cluster;
use crate::person::Person;
use crate::traffic::Said;

/// Who belongs to which group; other groups there are none.
pub type Groups = BTreeMap<GroupId, Vec<UserId>>;

/// A message's name: whose, and which.
type Name = (UserId, ClientMsgId);

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
    let report = check::check(&store).await;
    store.close().await;
    let report = report.context("check the store that was left")?;
    ensure!(report.is_clean(), "the store breaks its rules: {:?}", report.findings);
    Ok(report.rows.messages)
}
