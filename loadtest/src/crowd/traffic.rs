//! What the clients do to each other: acts that are due at an even pace, whether or not the ones
//! before have come to their end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use im_proto::client::{ContentType, Direction, SendMsg, SignalKind};
use im_proto::{ClientMsgId, Seq, Target};
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::Shared;
use super::orders::Mix;
use crate::schedule::Schedule;
use crate::worker::Ack;

/// The grain of the pace.
const GRAIN: Duration = Duration::from_millis(5);
/// Acts under way at once: what a second or two of a usual rate brings while nobody answers. More are
/// left out, and counted.
const UNDER_WAY_MAX: u64 = 20_000;
/// Bytes of a message.
const PAYLOAD_LEN: usize = 200;
/// Rows of a page of history.
const PAGE_ROWS: u16 = 20;

/// Goes on until it is dropped.
pub(super) struct Traffic(JoinHandle<()>);

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Send,
    Read,
    Signal,
    History,
    Conversations,
    /// Logs off, and on again.
    Restart,
}

impl Act {
    /// Act number `n`: of a thousand of people's, 850 are messages.
    fn number(n: u64, mix: Mix) -> Self {
        if mix == Mix::Messages {
            return Self::Send;
        }
        // 7 has no factor in common with 1000, so acts of a kind do not come in a row.
        match n.wrapping_mul(7) % 1000 {
            0..850 => Self::Send,
            850..920 => Self::Read,
            920..970 => Self::Signal,
            970..985 => Self::History,
            985..995 => Self::Conversations,
            _ => Self::Restart,
        }
    }
}

impl Traffic {
    pub(super) fn start(shared: Arc<Shared>, per_second: f64, mix: Mix) -> Self {
        Self(tokio::spawn(async move {
            // One line of acts; whose turn each is, its number tells.
            let schedule = Schedule::new(Instant::now(), per_second, 1);
            let mut grains = interval(GRAIN);
            let mut done = 0;
            loop {
                grains.tick().await;
                let due = schedule.due_count(Instant::now());
                for n in done..due {
                    begin(&shared, n, schedule.due(0, n), Act::number(n, mix));
                }
                done = due;
            }
        }))
    }
}

/// Begins an act of the client whose turn it is.
fn begin(shared: &Arc<Shared>, n: u64, due: Instant, act: Act) {
    if shared.under_way.load(Relaxed) >= UNDER_WAY_MAX {
        shared.skipped.fetch_add(1, Relaxed);
        return;
    }
    let index = (n % shared.members.len() as u64) as usize;
    // The last of an odd number has nobody to talk to.
    if index ^ 1 >= shared.members.len() {
        return;
    }
    let shared = Arc::clone(shared);
    shared.under_way.fetch_add(1, Relaxed);
    tokio::spawn(async move {
        if act == Act::Restart {
            shared.restart(index).await;
        } else if shared.enter(index) {
            match act {
                Act::Send => shared.send(index, due).await,
                other => shared.call(index, other).await,
            }
            shared.members[index].notes.lock().busy -= 1;
        }
        shared.under_way.fetch_sub(1, Relaxed);
    });
}

impl Shared {
    /// Whether the client is there; it then stays until it has done what it does.
    fn enter(&self, index: usize) -> bool {
        let mut notes = self.members[index].notes.lock();
        if notes.is_restarting {
            return false;
        }
        notes.busy += 1;
        true
    }

    async fn send(&self, index: usize, due: Instant) {
        let (member, peer) = (&self.members[index], &self.members[index ^ 1]);
        let Some(client) = member.client.lock().clone() else { return };
        let number = {
            let mut notes = member.notes.lock();
            notes.sent += 1;
            notes.sent
        };
        let client_msg_id = ClientMsgId::new(number.to_string()).expect("a few digits");
        let message = SendMsg {
            to: Target::User(peer.user.clone()),
            client_msg_id,
            content_type: ContentType::Text,
            payload: Bytes::from_static(&[b'.'; PAYLOAD_LEN]),
        };
        self.sent.fetch_add(1, Relaxed);
        match client.send_as(message).await {
            Ok(ack) => {
                self.ack.lock().record(due.elapsed());
                self.acked.fetch_add(1, Relaxed);
                self.repeated.fetch_add(u64::from(ack.repeated), Relaxed);
                member.notes.lock().acks.push(Ack {
                    number,
                    conversation_seq: ack.seq.0,
                    sender_seq: ack.position.seq.0,
                    receiver_seq: ack.receiver_seq.0,
                });
            }
            Err(error) => self.failed.lock().add(error.to_string()),
        }
    }

    async fn call(&self, index: usize, act: Act) {
        let (member, peer) = (&self.members[index], &self.members[index ^ 1]);
        let Some(client) = member.client.lock().clone() else { return };
        let peer = Target::User(peer.user.clone());
        let conversation = peer.conversation(&member.user);
        let head = member.notes.lock().rows.last().map_or(0, |row| row.conversation_seq);
        if head == 0 {
            // Nothing was said yet, so there is nothing to read.
            return;
        }
        let done = match act {
            Act::Read => client.read(conversation, Seq(head)).await,
            Act::Signal => client.signal(peer, SignalKind::Typing, Bytes::new()).await,
            Act::History => client.history(conversation, Seq::ZERO, Direction::Backward, PAGE_ROWS).await.map(drop),
            Act::Conversations => client.conversations(None, PAGE_ROWS).await.map(drop),
            Act::Send | Act::Restart => Ok(()),
        };
        match done {
            Ok(()) => {
                self.acts.fetch_add(1, Relaxed);
            }
            Err(error) => self.acts_failed.lock().add(format!("{act:?}: {error}")),
        }
    }

    /// Logs off and on again, unless the client is in the middle of something.
    async fn restart(self: &Arc<Self>, index: usize) {
        let member = &self.members[index];
        {
            let mut notes = member.notes.lock();
            if notes.busy > 0 || notes.is_restarting || !notes.is_caught_up {
                return;
            }
            notes.is_restarting = true;
        }
        let client = member.client.lock().take();
        if let Some(client) = client {
            client.close().await;
        }
        let listener = member.listener.lock().take();
        if let Some(listener) = listener {
            // It ends with the client's last event; one that panicked leaves rows that the audit sees.
            let _ = listener.await;
        }
        member.resume_behind_last_row();
        let joined = self.join(index).await.context("log in again");
        member.notes.lock().is_restarting = false;
        match joined {
            Ok(()) => {
                self.acts.fetch_add(1, Relaxed);
            }
            Err(error) => self.acts_failed.lock().add(format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn people_mostly_write() {
        let mut counts = HashMap::new();
        for n in 0..1000 {
            *counts.entry(format!("{:?}", Act::number(n, Mix::People))).or_insert(0) += 1;
        }
        let expected =
            [("Send", 850), ("Read", 70), ("Signal", 50), ("History", 15), ("Conversations", 10), ("Restart", 5)];
        assert_eq!(counts, expected.map(|(act, count)| (act.to_owned(), count)).into());
        assert!((0..1000).all(|n| Act::number(n, Mix::Messages) == Act::Send));
    }
}
