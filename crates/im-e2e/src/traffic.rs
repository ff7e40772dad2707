//! People who keep sending while things are killed, and a ledger of all that they said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use im_proto::client::{ContentType, SendAck, SendMsg};
use im_proto::{ClientMsgId, Target, UserId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::PATIENCE;
use crate::person::Person;

/// Between an ack and the next message of the same voice: people think. It keeps the ledger at a
/// size that debug builds check in seconds.
const THINK: Duration = Duration::from_millis(15);

/// Something somebody said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Who.
    pub sender: UserId,
    /// To whom.
    pub to: Target,
    /// Under which name.
    pub name: ClientMsgId,
    /// What.
    pub text: String,
    /// Its place; `None` when its sender never heard of one.
    pub ack: Option<SendAck>,
}

impl Said {
    /// As it is sent.
    pub fn message(&self) -> SendMsg {
        SendMsg {
            to: self.to.clone(),
            client_msg_id: self.name.clone(),
            content_type: ContentType::Text,
            payload: self.text.clone().into(),
        }
    }
}

/// One who speaks: several voices may belong to one person, and each waits for its acks.
#[derive(Clone, Debug)]
pub struct Voice {
    /// Who speaks.
    pub person: Arc<Person>,
    /// To whom, in turn.
    pub to: Vec<Target>,
}

impl Voice {
    /// Two voices for everybody, who speak to everybody else in turn: so there is always something
    /// under way.
    pub fn round_table(people: &[Arc<Person>]) -> Vec<Self> {
        let voice = |person: &Arc<Person>| {
            let others = people.iter().map(|other| other.user()).filter(|other| *other != person.user());
            Self { person: Arc::clone(person), to: others.cloned().map(Target::User).collect() }
        };
        people.iter().chain(people).map(voice).collect()
    }
}

/// Voices that speak.
#[derive(Debug)]
pub struct Traffic {
    voices: JoinSet<anyhow::Result<Vec<Said>>>,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
}

/// How many messages were said and acked since the last mark, per voice.
#[derive(Debug)]
struct Progress {
    mark: AtomicU64,
    acked: watch::Sender<Vec<u64>>,
}

impl Traffic {
    /// Lets the voices speak. `round` keeps the names of one start apart from those of the next.
    pub fn start(round: &str, voices: Vec<Voice>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Progress { mark: AtomicU64::new(0), acked: watch::Sender::new(vec![0; voices.len()]) });
        let mut tasks = JoinSet::new();
        for (number, voice) in voices.into_iter().enumerate() {
            let prefix = format!("{round}-{number}");
            tasks.spawn(speak(voice, number, prefix, Arc::clone(&stop), Arc::clone(&progress)));
        }
        Self { voices: tasks, stop, progress }
    }

    /// Waits until every voice has said `count` further messages and got their acks, all of it after
    /// this call. Says how long the first ack of anybody took, and all of them.
    pub async fn flow(&mut self, count: u64) -> anyhow::Result<(Duration, Duration)> {
        let progress = Arc::clone(&self.progress);
        tokio::select! {
            biased;
            // A voice ends before it is told to when something is wrong, and knows what.
            Some(ended) = self.voices.join_next() => match ended? {
                Ok(_) => bail!("a voice fell silent"),
                Err(error) => Err(error),
            },
            flow = progress.reach(count) => flow,
        }
    }

    /// Lets every voice get the ack that it waits for, and gives the ledger.
    pub async fn stop(mut self) -> anyhow::Result<Vec<Said>> {
        self.stop.store(true, Ordering::SeqCst);
        let mut ledger = Vec::new();
        while let Some(voice) = self.voices.join_next().await {
            ledger.extend(voice??);
        }
        Ok(ledger)
    }
}

impl Progress {
    async fn reach(&self, count: u64) -> anyhow::Result<(Duration, Duration)> {
        let since = Instant::now();
        self.mark.fetch_add(1, Ordering::SeqCst);
        self.acked.send_modify(|acked| acked.fill(0));
        let mut acked = self.acked.subscribe();
        let first = timeout(PATIENCE, acked.wait_for(|acked| acked.iter().any(|acked| *acked > 0))).await;
        first.context("nobody gets an ack")??;
        let first = since.elapsed();
        let all = timeout(PATIENCE, acked.wait_for(|acked| acked.iter().all(|acked| *acked >= count))).await;
        let counts = || format!("not everybody gets {count} acks: {:?}", *self.acked.borrow());
        all.with_context(counts)??;
        Ok((first, since.elapsed()))
    }
}

async fn speak(
    voice: Voice,
    number: usize,
    prefix: String,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
) -> anyhow::Result<Vec<Said>> {
    let Voice { person, to } = voice;
    let mut said: Vec<Said> = Vec::new();
    for (count, to) in to.iter().cycle().enumerate() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("{prefix}-{count}");
        let text = format!("{} says {name} to {}", person.user(), to.conversation(person.user()));
        let mark = progress.mark.load(Ordering::SeqCst);
        let ack = person.say(to, &name, &text).await?;
        // A mark may have been set while this one was under way; then it does not count.
        if progress.mark.load(Ordering::SeqCst) == mark {
            progress.acked.send_modify(|acked| acked[number] += 1);
        }
        if let Some(before) = said.last().and_then(|before| before.ack.as_ref()) {
            ensure!(
                before.position.epoch == ack.position.epoch && before.position.seq < ack.position.seq,
                "{name} was said after the ack of the one before, at {:?}, and got {:?}",
                before.position,
                ack.position,
            );
        }
        let (sender, name) = (person.user().clone(), ClientMsgId::new(name)?);
        said.push(Said { sender, to: to.clone(), name, text, ack: Some(ack) });
        sleep(THINK).await;
    }
    Ok(said)
}
