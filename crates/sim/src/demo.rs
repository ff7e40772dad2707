//! `sim demo`: four people talk through all tiers, and what each of them sees is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use im_client::accounts::Accounts;
use im_client::{Client, ClientConfig, Event, Events, MemoryPosition, StaticToken, TlsDial};
use im_proto::client::{Direction, Entry, Message};
use im_proto::{ConversationId, DeviceId, GroupId, Seq, Target, UserId};
use im_runtime::logging::{self, LogFilter, LogFormat};
use im_runtime::{Context, Readiness, SettingsSource, Shutdown, Signals, metrics};
use serde::Deserialize;
use tokio::time::timeout;

use crate::tiers::{Ports, Reach, Tiers, TiersConfig};

const USERS: [&str; 4] = ["a", "b", "c", "d"];
const GROUP: &str = "group_a";
const GROUP_MEMBERS: [&str; 3] = ["a", "c", "d"];

/// Who says what to whom, in this order.
const SCRIPT: [(&str, &str, &str); 5] = [
    ("a", "b", "吃了吗？"),
    ("b", "a", "吃了"),
    ("a", GROUP, "大家好"),
    ("c", GROUP, "报三围"),
    ("a", GROUP, "初次见面，多多指教"),
];

/// Which lines of the script each user's timeline must hold, in this order.
const TIMELINES: [(&str, &[usize]); 4] =
    [("a", &[0, 1, 2, 3, 4]), ("b", &[0, 1]), ("c", &[2, 3, 4]), ("d", &[2, 3, 4])];

/// Everything here takes milliseconds, and a cluster that has lost a server is whole again in seconds;
/// whoever waits this long waits for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where people talk: what they need to connect, and what they are called there.
struct Stage {
    /// Where clients connect.
    gates: Vec<String>,
    /// Where accounts are served.
    accounts: String,
    /// The authority that clients trust.
    ca: PathBuf,
    /// Behind every name: in a cluster that runs for long, somebody may be called like that already.
    suffix: String,
}

/// A cluster as `scripts/dev-cluster` describes it.
#[derive(Deserialize)]
struct Described {
    gates: Vec<String>,
    accounts: String,
    ca: PathBuf,
}

impl Stage {
    fn of(tiers: &Tiers) -> Self {
        let (gates, accounts) = (vec![tiers.client_addr().to_string()], tiers.accounts_addr().to_string());
        Self { gates, accounts, ca: tiers.ca(), suffix: String::new() }
    }

    fn described(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| {
            format!("no cluster runs that {} describes; scripts/dev-cluster starts one", file.display())
        })?;
        let Described { gates, accounts, ca } =
            serde_json::from_str(&text).with_context(|| format!("{} describes no cluster", file.display()))?;
        Ok(Self { gates, accounts, ca, suffix: format!("-{:08x}", rand::random::<u32>()) })
    }

    /// What somebody of the script is called here.
    fn name(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }

    fn user(&self, name: &str) -> anyhow::Result<UserId> {
        Ok(UserId::new(self.name(name))?)
    }

    fn group(&self) -> anyhow::Result<GroupId> {
        Ok(GroupId::new(self.name(GROUP))?)
    }

    fn target(&self, name: &str) -> anyhow::Result<Target> {
        Ok(if name == GROUP { Target::Group(self.group()?) } else { Target::User(self.user(name)?) })
    }

    /// The name in the script.
    fn shown(&self, id: &str) -> String {
        id.strip_suffix(&self.suffix).unwrap_or(id).to_owned()
    }

    fn shown_conversation(&self, id: &ConversationId) -> String {
        id.as_str().split(':').map(|id| self.shown(id)).collect::<Vec<_>>().join(":")
    }

    /// `[seq=1] a -> b: 吃了吗？`
    fn line(&self, seq: Seq, message: &Message) -> String {
        let to = message.conversation.peer_of(&message.sender);
        let to = to.map_or_else(|| self.shown_conversation(&message.conversation), |peer| self.shown(peer.as_str()));
        let from = self.shown(message.sender.as_str());
        format!("[seq={seq}] {from} -> {to}: {}", String::from_utf8_lossy(&message.payload))
    }
}

/// Plays the script in a cluster that runs already.
pub(crate) async fn run_in(cluster: &Path, log: &LogFilter) -> anyhow::Result<()> {
    logging::init(LogFormat::Text, log).context("start logging")?;
    let stage = Stage::described(cluster)?;
    println!("In the cluster of {}:", cluster.display());
    println!("  clients over TLS {} · accounts over HTTP {}", stage.gates.join(", "), stage.accounts);
    println!("  each name has {:?} behind it there", stage.suffix);
    println!();
    play(&stage).await?;
    println!("All of it is as it should be.");
    Ok(())
}

/// Plays the script in a temporary folder on free ports; an error says what was not as it should be.
pub(crate) async fn run(log: &LogFilter) -> anyhow::Result<()> {
    logging::init(LogFormat::Text, log).context("start logging")?;
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let shutdown = Shutdown::new();
    let context = Context {
        signals: Signals::install(shutdown.clone()).context("take signals")?,
        shutdown,
        readiness: Readiness::default(),
        metrics: metrics::install().context("install the metrics recorder")?,
        source: SettingsSource::default(),
    };
    let data = folder.path().to_owned();
    let config = TiersConfig { data, ports: Ports::Free, known_users_only: true, reach: Reach::default() };
    let tiers = Tiers::start(&config, &context).await?;
    println!("Three tiers run in this process, on loopback sockets, in {}:", folder.path().display());
    println!("  clients over TLS {} · accounts over HTTP {}", tiers.client_addr(), tiers.accounts_addr());
    println!();
    let stage = Stage::of(&tiers);
    let played = tokio::select! {
        biased;
        () = context.shutdown.begun() => Err(anyhow!("stopped by a signal")),
        played = play(&stage) => played,
    };
    tiers.stop().await;
    let _ending = context.shutdown.drain(PATIENCE).await;
    played?;
    println!("All of it is as it should be.");
    Ok(())
}

async fn play(stage: &Stage) -> anyhow::Result<()> {
    let tokens = register(stage).await?;
    let live = connect_all(stage, &tokens, "laptop").await?;
    make_group(stage, &live).await?;
    for (from, to, text) in SCRIPT {
        let (client, _) = &live[from];
        let ack = client.send_text(stage.target(to)?, text).await.with_context(|| format!("{from} sends to {to}"))?;
        let conversation = stage.shown_conversation(&ack.conversation);
        println!("{from} says to {to}: {text}   [stored at {} of {conversation}]", ack.seq);
    }
    println!();

    // Those who were online got everything as it was said.
    for (user, (_, mut events)) in live {
        let seen = collect(&mut events, expected_len(user)).await.with_context(|| format!("{user} listens"))?;
        check(stage, user, "live", &seen)?;
    }
    // A new device syncs from the beginning.
    let fresh = connect_all(stage, &tokens, "telephone").await?;
    let mut histories = None;
    for (user, (client, mut events)) in fresh {
        let seen = collect(&mut events, expected_len(user)).await.with_context(|| format!("{user} syncs"))?;
        println!("{user} syncs from 0:");
        seen.iter().for_each(|entry| println!("  {}", stage.line(entry.seq, &entry.message)));
        check(stage, user, "synced", &seen)?;
        if user == "a" {
            histories = Some(client);
        }
    }
    println!();
    let client = histories.context("a has a client")?;
    check_history(stage, &client, ConversationId::pair(&stage.user("b")?, &stage.user("a")?), &[0, 1]).await?;
    check_history(stage, &client, ConversationId::group(&stage.group()?), &[2, 3, 4]).await?;
    println!();
    Ok(())
}

async fn register(stage: &Stage) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let accounts = Accounts::new(stage.accounts.clone());
    let mut tokens = BTreeMap::new();
    for user in USERS {
        // A password that nobody knows and nobody needs again.
        let password = format!("{:032x}", rand::random::<u128>());
        let login = accounts.register_within(&stage.name(user), &password, PATIENCE).await;
        let login = login.with_context(|| format!("register {user}"))?;
        tokens.insert(user, login.access_token);
    }
    println!("Registered {}.", USERS.join(", "));
    Ok(tokens)
}

type Clients = BTreeMap<&'static str, (Client, Events)>;

async fn connect_all(stage: &Stage, tokens: &BTreeMap<&'static str, String>, device: &str) -> anyhow::Result<Clients> {
    let dial = Arc::new(TlsDial::new(&stage.ca).context("load the certificate")?);
    let mut clients = Clients::new();
    for (user, token) in tokens {
        let config = ClientConfig::new(stage.gates.clone(), DeviceId::new(device)?);
        let token = Arc::new(StaticToken::new(token.clone()));
        let (client, events) = Client::start(config, dial.clone(), token, Arc::new(MemoryPosition::default())).await?;
        timeout(PATIENCE, client.online()).await.with_context(|| format!("{user} logs in"))??;
        clients.insert(user, (client, events));
    }
    Ok(clients)
}

async fn make_group(stage: &Stage, clients: &Clients) -> anyhow::Result<()> {
    let members = GROUP_MEMBERS.into_iter().map(|user| stage.user(user)).collect::<anyhow::Result<Vec<_>>>()?;
    let (owner, _) = &clients["a"];
    owner.create_group(stage.group()?, "Group A".into(), members).await.context("make the group")?;
    Ok(())
}

/// The next `count` entries of a timeline.
async fn collect(events: &mut Events, count: usize) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(count);
    while entries.len() < count {
        match timeout(PATIENCE, events.next()).await.context("nothing more came")? {
            Some(Event::Message(entry)) => entries.push(entry),
            Some(_) => {}
            None => break,
        }
    }
    Ok(entries)
}

fn check(stage: &Stage, user: &str, how: &str, seen: &[Entry]) -> anyhow::Result<()> {
    let expected = expected(user);
    ensure!(seen.len() == expected.len(), "{user} saw {} messages {how}, not {}", seen.len(), expected.len());
    for (place, (entry, script)) in seen.iter().zip(expected).enumerate() {
        let (from, _, text) = SCRIPT[*script];
        let right = entry.seq == Seq(place as u64 + 1)
            && entry.message.sender == stage.user(from)?
            && entry.message.payload == text.as_bytes();
        ensure!(right, "{user} saw {how}, at place {}: {}", place + 1, stage.line(entry.seq, &entry.message));
    }
    Ok(())
}

async fn check_history(
    stage: &Stage,
    client: &Client,
    conversation: ConversationId,
    script: &[usize],
) -> anyhow::Result<()> {
    let page =
        client.history(conversation.clone(), Seq::ZERO, Direction::Forward, 0).await.context("read a history")?;
    let conversation = stage.shown_conversation(&conversation);
    println!("History of {conversation}:");
    page.messages.iter().for_each(|message| println!("  {}", stage.line(message.seq, message)));
    ensure!(page.messages.len() == script.len(), "the history of {conversation} has {} messages", page.messages.len());
    for (place, (message, script)) in page.messages.iter().zip(script).enumerate() {
        let (from, _, text) = SCRIPT[*script];
        let right = message.seq == Seq(place as u64 + 1)
            && message.sender == stage.user(from)?
            && message.payload == text.as_bytes();
        ensure!(
            right,
            "the history of {conversation} has at place {}: {}",
            place + 1,
            stage.line(message.seq, message)
        );
    }
    Ok(())
}

fn expected(user: &str) -> &'static [usize] {
    TIMELINES.iter().find(|(name, _)| *name == user).map_or(&[], |(_, lines)| lines)
}

fn expected_len(user: &str) -> usize {
    expected(user).len()
}
