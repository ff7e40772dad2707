//! A user with a client, and a journal of all that the client told its application.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use im_client::{Client, ClientConfig, Dial, EndCause, Event, Events, MemoryPosition, State, StaticToken, TlsDial};
use im_proto::client::{ContentType, Direction, Entry, Message, RevReadMsg, RevSignal, SendAck, SendMsg};
use im_proto::{ClientMsgId, ConversationId, DeviceId, Position, Seq, Target, UserId};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::cluster::Cluster;

/// How long minted tokens are good; longer than any test.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A user with a client.
#[derive(Debug)]
pub struct Person {
    user: UserId,
    client: Client,
    journal: watch::Receiver<Journal>,
    positions: Arc<MemoryPosition>,
    listener: JoinHandle<()>,
}

/// What a client told.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The user's timeline as it came.
    pub entries: Vec<Entry>,
    /// Where the first connection had caught up, once it had.
    pub caught_up: Option<Position>,
    /// What others have read, as it was told.
    pub reads: Vec<RevReadMsg>,
    /// What others signalled.
    pub signals: Vec<RevSignal>,
    /// What should not have happened.
    pub complaints: Vec<String>,
    /// How the client ended.
    pub ended: Option<EndCause>,
}

impl Person {
    /// Connects with a token that the cluster's key has signed, and takes the timeline from its
    /// beginning.
    pub async fn connect(cluster: &Cluster, user: &str, device: &str) -> anyhow::Result<Self> {
        let token = mint(cluster, user)?;
        Self::connect_with(cluster, user, device, token).await
    }

    /// Connects several, each with a device of the same name.
    pub async fn connect_all(cluster: &Cluster, users: &[&str], device: &str) -> anyhow::Result<Vec<Arc<Self>>> {
        let mut people = Vec::new();
        for user in users {
            people.push(Arc::new(Self::connect(cluster, user, device).await?));
        }
        Ok(people)
    }

    /// Connects with a token of an account.
    pub async fn connect_with(cluster: &Cluster, user: &str, device: &str, token: String) -> anyhow::Result<Self> {
        Self::resume(cluster, user, device, token, Arc::default()).await
    }

    /// Connects in another way, to other addresses than the gates' own.
    pub async fn connect_by(
        cluster: &Cluster,
        user: &str,
        device: &str,
        gates: Vec<String>,
        dial: Arc<dyn Dial>,
    ) -> anyhow::Result<Self> {
        Self::start(user, device, mint(cluster, user)?, Arc::default(), gates, dial).await
    }

    /// Connects to one gate with a token of an account.
    pub async fn connect_at(
        cluster: &Cluster,
        gate: &str,
        user: &str,
        device: &str,
        token: String,
    ) -> anyhow::Result<Self> {
        let dial = Arc::new(TlsDial::new(&cluster.ca())?);
        let gates = vec![cluster.address(gate)?.to_string()];
        Self::start(user, device, token, Arc::default(), gates, dial).await
    }

    async fn resume(
        cluster: &Cluster,
        user: &str,
        device: &str,
        token: String,
        positions: Arc<MemoryPosition>,
    ) -> anyhow::Result<Self> {
        let dial = Arc::new(TlsDial::new(&cluster.ca())?);
        Self::start(user, device, token, positions, cluster.gates(), dial).await
    }

    async fn start(
        user: &str,
        device: &str,
        token: String,
        positions: Arc<MemoryPosition>,
        gates: Vec<String>,
        dial: Arc<dyn Dial>,
    ) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new(gates, DeviceId::new(device)?);
        // Tests kill often; people would be asked for more patience.
        config.backoff_min = Duration::from_millis(50);
        config.backoff_max = Duration::from_secs(1);
        config.call_timeout = PATIENCE;
        let token = Arc::new(StaticToken::new(token));
        let from = positions.get();
        let (client, events) = Client::start(config, dial, token, positions.clone()).await?;
        let (journal_tx, journal) = watch::channel(Journal::default());
        let listener = tokio::spawn(listen(events, from, journal_tx));
        let person = Self { user: UserId::new(user)?, client, journal, positions, listener };
        let online = timeout(PATIENCE, person.client.online()).await;
        online.with_context(|| format!("{user} does not get online: {:?}", person.client.state()))??;
        Ok(person)
    }

    /// The application ends without waiting for anything, and a new one resumes where the old one had
    /// saved that it was. Says with which journal the old one ended, and where the new one begins.
    pub async fn crash(self, cluster: &Cluster, device: &str) -> anyhow::Result<(Self, Journal, Seq)> {
        let Self { user, client, journal, positions, listener } = self;
        drop(client);
        timeout(PATIENCE, listener).await.context("a client whose handles are gone ends")??;
        let journal = journal.borrow().clone();
        let token = mint(cluster, user.as_str())?;
        let from = positions.get().seq;
        Ok((Self::resume(cluster, user.as_str(), device, token, positions).await?, journal, from))
    }

    /// Who.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The handle.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the client told up to now.
    pub fn journal(&self) -> Journal {
        self.journal.borrow().clone()
    }

    /// Sends text under a name and waits for its ack.
    pub async fn say(&self, to: &Target, name: &str, text: &str) -> anyhow::Result<SendAck> {
        let message = SendMsg {
            to: to.clone(),
            client_msg_id: ClientMsgId::new(name)?,
            content_type: ContentType::Text,
            payload: text.to_owned().into(),
        };
        let ack = timeout(PATIENCE, self.client.send_as(message)).await;
        let state = || format!("{} gets no ack of {name} in {PATIENCE:?}: {:?}", self.user, self.client.state());
        Ok(ack.with_context(state)??)
    }

    /// Waits until the journal is as wanted.
    pub async fn wait(&self, what: &str, wanted: impl FnMut(&Journal) -> bool) -> anyhow::Result<Journal> {
        let mut journal = self.journal.clone();
        let waited = timeout(PATIENCE, journal.wait_for(wanted)).await.map(|reached| reached.map(|now| now.clone()));
        match waited {
            Ok(Ok(journal)) => Ok(journal),
            Ok(Err(_)) => anyhow::bail!("{}: the client ended before {what}: {:?}", self.user, self.client.state()),
            Err(_) => {
                let Journal { entries, caught_up, complaints, ended, .. } = self.journal();
                anyhow::bail!(
                    "{}: not {what} in {PATIENCE:?}: {} entries, caught up {caught_up:?}, {complaints:?}, {ended:?}, {:?}",
                    self.user,
                    entries.len(),
                    self.client.state(),
                )
            }
        }
    }

    /// Waits for that many entries of the timeline.
    pub async fn wait_entries(&self, count: usize) -> anyhow::Result<Vec<Entry>> {
        let journal = self.wait(&format!("at {count} entries"), |journal| journal.entries.len() >= count).await?;
        journal.check(Seq::ZERO)?;
        Ok(journal.entries)
    }

    /// Waits until all that the server had is here.
    pub async fn synced(&self) -> anyhow::Result<Vec<Entry>> {
        let journal = self.wait("caught up", |journal| journal.caught_up.is_some()).await?;
        journal.check(Seq::ZERO)?;
        Ok(journal.entries)
    }

    /// A whole history, oldest first.
    pub async fn history(&self, conversation: &ConversationId) -> anyhow::Result<Vec<Message>> {
        let mut messages: Vec<Message> = Vec::new();
        loop {
            let from = messages.last().map_or(Seq::ZERO, |last| last.seq);
            let page = self.client.history(conversation.clone(), from, Direction::Forward, 0).await;
            let page = page.with_context(|| format!("history of {conversation} behind {from}"))?;
            messages.extend(page.messages);
            if !page.has_more {
                return Ok(messages);
            }
        }
    }

    /// Logs out and ends.
    pub async fn close(self) -> anyhow::Result<Journal> {
        timeout(PATIENCE, self.client.close()).await.context("close a client")?;
        timeout(PATIENCE, self.listener).await.context("events end with their client")??;
        Ok(self.journal.borrow().clone())
    }
}

impl Journal {
    /// An error if the client told something that it should not have, or the timeline is not dense
    /// behind `from`.
    pub fn check(&self, from: Seq) -> anyhow::Result<()> {
        ensure!(self.complaints.is_empty(), "{:?}", self.complaints);
        for (entry, expected) in self.entries.iter().zip(from.0 + 1..) {
            ensure!(entry.seq == Seq(expected), "entry {} came where {expected} was due", entry.seq);
        }
        Ok(())
    }
}

async fn listen(mut events: Events, from: Position, journal: watch::Sender<Journal>) {
    while let Some(event) = events.next().await {
        journal.send_modify(|journal| match event {
            Event::Message(entry) => {
                let last = journal.entries.last().map_or(from.seq, |last| last.seq);
                if entry.seq.0 != last.0 + 1 {
                    journal.complaints.push(format!("entry {} came behind {last}", entry.seq));
                }
                journal.entries.push(entry);
            }
            Event::Restored { .. } | Event::Trimmed { .. } => journal.complaints.push(format!("{event:?}")),
            Event::CaughtUp(position) => journal.caught_up = journal.caught_up.or(Some(position)),
            Event::State(State::Ended(cause)) => journal.ended = Some(cause),
            Event::Read(read) => journal.reads.push(read),
            Event::Signal(signal) => journal.signals.push(signal),
            Event::State(_) | Event::Sent { .. } => {}
        });
    }
}

/// An access token of the cluster.
pub fn mint(cluster: &Cluster, user: &str) -> anyhow::Result<String> {
    Ok(cluster.signer().issue(UserId::new(user)?, user, 0, SystemTime::now(), TOKEN_LIFETIME).token)
}
