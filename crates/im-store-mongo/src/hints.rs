//! What Redis is asked: how far a timeline probably reaches.
//!
//! Heads that were committed are told to Redis, and asked of it when a process meets a timeline that it
//! does not remember. That is all. A number from here is used only in a transaction that compares it
//! with the head in MongoDB, so a Redis that lost its data, went back to an old state, belongs to
//! somebody else or is not there at all costs one read of MongoDB and nothing more. Keys carry the
//! epoch, so that a restored store does not meet its own future.

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_proto::Epoch;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::OpenError;
use crate::place::{CONNECT_MAX, Connection, Place};

/// How long a question may take. Asking MongoDB instead takes about a millisecond.
pub(crate) const ASK_MAX: Duration = Duration::from_millis(100);
/// Between two looks at a connection that seems well; a failover is noticed this late at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two tries to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Batches whose heads wait to be told. When Redis is slower than that, later ones are not told.
const TELL_MAX: usize = 64;
/// Far above any timeline, and far below where numbers end: counting on from a hint never overflows.
const HINT_MAX: u64 = 1 << 60;
/// Keys in one command, so that Redis is never held up for long.
const KEYS_MAX: usize = 1000;

struct Shared {
    connection: Mutex<Option<Connection>>,
    /// Since when there is none, and the last reason.
    down: Mutex<Option<(Instant, String)>>,
    /// Somebody has seen the connection fail.
    failed: Notify,
}

/// The hints of one store. Without a Redis it knows nothing.
pub(crate) struct Hints {
    shared: Option<Arc<Shared>>,
    tell: mpsc::Sender<Vec<(String, u64)>>,
    prefix: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Hints {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Hints {
    pub(crate) fn start(url: Option<&str>, epoch: Epoch) -> Result<Self, OpenError> {
        let prefix = format!("sim:{:x}:", epoch.0);
        let (tell, told) = mpsc::channel(TELL_MAX);
        let Some(url) = url else {
            return Ok(Self { shared: None, tell, prefix, tasks: Vec::new() });
        };
        let place = Place::parse(url).map_err(|error| OpenError::Redis(error.to_string()))?;
        let shared = Arc::new(Shared {
            connection: Mutex::new(None),
            down: Mutex::new(Some((Instant::now(), "not connected yet".into()))),
            failed: Notify::new(),
        });
        let tasks = vec![
            tokio::spawn(keep(place, Arc::clone(&shared))),
            tokio::spawn(tell_all(told, Arc::clone(&shared), prefix.clone())),
        ];
        Ok(Self { shared: Some(shared), tell, prefix, tasks })
    }

    /// What Redis says of some timelines, in their order. It may be wrong, and it may say nothing.
    pub(crate) async fn ask(&self, timelines: &[String]) -> Vec<Option<u64>> {
        let mut answers = Vec::with_capacity(timelines.len());
        if let Some(shared) = &self.shared {
            for part in timelines.chunks(KEYS_MAX) {
                let mut command = redis::cmd("MGET");
                for timeline in part {
                    command.arg(format!("{}{timeline}", self.prefix));
                }
                let Some(found) = shared.query::<Vec<Option<String>>>(&command).await else { break };
                // What is no number, or none that a timeline reaches, is no hint.
                let number = |value: String| value.parse().ok().filter(|number| *number <= HINT_MAX);
                answers.extend(found.into_iter().map(|value| value.and_then(number)));
            }
        }
        answers.resize(timelines.len(), None);
        answers
    }

    /// Tells Redis of heads that are committed. Does not wait.
    pub(crate) fn tell(&self, heads: Vec<(String, u64)>) {
        if self.shared.is_some() {
            // When many wait already the hint is left out: it is one.
            drop(self.tell.try_send(heads));
        }
    }

    /// Since when Redis is away, and why; `None` while it answers, or where none is wanted.
    pub(crate) fn down(&self) -> Option<(Instant, String)> {
        self.shared.as_ref().and_then(|shared| shared.down.lock().clone())
    }
}

impl Shared {
    async fn query<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut connection = self.connection.lock().clone()?;
        match tokio::time::timeout(ASK_MAX, connection.query(command)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                self.lose(error.to_string());
                None
            }
            Err(_) => {
                self.lose(format!("no answer within {ASK_MAX:?}"));
                None
            }
        }
    }

    /// The connection is not to be trusted any more. An error other than of the connection, such as a
    /// replica's refusal to write, also says that this is the wrong server.
    fn lose(&self, why: String) {
        *self.connection.lock() = None;
        self.down.lock().get_or_insert_with(|| (Instant::now(), why));
        self.failed.notify_one();
    }
}

/// Keeps a connection to whatever is Redis now.
async fn keep(mut place: Place, shared: Arc<Shared>) {
    loop {
        match tokio::time::timeout(CONNECT_MAX, place.connect()).await {
            Ok(Ok((connection, address))) => {
                *shared.connection.lock() = Some(connection);
                *shared.down.lock() = None;
                look_after(&mut place, &shared, &address).await;
            }
            Ok(Err(error)) => shared.lose(error.to_string()),
            Err(_) => shared.lose(format!("no connection within {CONNECT_MAX:?}")),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Returns when the connection is no good any more.
async fn look_after(place: &mut Place, shared: &Shared, address: &str) {
    loop {
        // A failure that was noted while connecting is an old one; the look below tells.
        drop(tokio::time::timeout(LOOK_EVERY, shared.failed.notified()).await);
        if shared.connection.lock().is_none() {
            return;
        }
        if shared.query::<String>(&redis::cmd("PING")).await.is_none() {
            return;
        }
        if let Some(now) = place.address().await
            && now != address
        {
            shared.lose(format!("the master has moved from {address} to {now}"));
            return;
        }
    }
}

async fn tell_all(mut told: mpsc::Receiver<Vec<(String, u64)>>, shared: Arc<Shared>, prefix: String) {
    while let Some(heads) = told.recv().await {
        for part in heads.chunks(KEYS_MAX) {
            let mut command = redis::cmd("MSET");
            for (timeline, head) in part {
                command.arg(format!("{prefix}{timeline}")).arg(*head);
            }
            let _told: Option<()> = shared.query(&command).await;
        }
    }
}
