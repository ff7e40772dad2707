//! What is to be sent. A message stays here from the moment the application hands it over until the
//! server acks or finally refuses it; a lost connection only means that it is sent again, under the
//! same `client_msg_id`, which the server recognises.
//!
//! Order: messages to one target get their places in the order in which they were pushed. Only one
//! message per target is therefore in flight at a time; with two, a refusal of the first (busy, rate
//! limited) would let the second overtake. Different targets do not wait for each other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use im_proto::client::SendMsg;
use im_proto::{Refusal, Retry, Target};

use crate::Backoff;

/// Which push this was. Ascending; a resend keeps its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendNumber(u64);

/// A message with what its owner wants back when it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued<T> {
    /// The message.
    pub message: SendMsg,
    /// The owner's.
    pub tag: T,
}

/// The queue holds as many messages as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many messages wait to be sent")]
pub struct QueueFull<T>(pub T);

/// The queue. See the module for its promises.
#[derive(Debug)]
pub struct SendQueue<T> {
    /// Messages at most, waiting and in flight: what a person can type, or a bot may have on its
    /// way, while the network is away.
    len_max: usize,
    len: usize,
    next_number: u64,
    backoff: Backoff,
    /// One lane per target that has messages; never an empty one.
    lanes: HashMap<Target, Lane<T>>,
    /// Lanes whose first message may go now, by its number: the oldest goes first.
    ready: BTreeMap<SendNumber, Target>,
    /// First messages that wait for an answer.
    in_flight: HashMap<SendNumber, Target>,
    /// First messages that were put off.
    deferred: BTreeMap<(Instant, SendNumber), Target>,
}

#[derive(Debug)]
struct Lane<T> {
    messages: VecDeque<(SendNumber, Queued<T>)>,
    /// How long the first message is put off the next time.
    backoff: Backoff,
}

impl<T> SendQueue<T> {
    /// A queue of at most `len_max` messages, which puts off by `backoff` what the server cannot take yet.
    pub fn new(len_max: usize, backoff: Backoff) -> Self {
        Self {
            len_max,
            len: 0,
            next_number: 0,
            backoff,
            lanes: HashMap::new(),
            ready: BTreeMap::new(),
            in_flight: HashMap::new(),
            deferred: BTreeMap::new(),
        }
    }

    /// Messages that are not settled yet.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether everything is settled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a message; gives the tag back when there is no room.
    pub fn push(&mut self, message: SendMsg, tag: T) -> Result<SendNumber, QueueFull<T>> {
        if self.len == self.len_max {
            return Err(QueueFull(tag));
        }
        let number = SendNumber(self.next_number);
        self.next_number += 1;
        self.len += 1;
        let target = message.to.clone();
        let backoff = &self.backoff;
        let lane = self
            .lanes
            .entry(target.clone())
            .or_insert_with(|| Lane { messages: VecDeque::new(), backoff: backoff.clone() });
        lane.messages.push_back((number, Queued { message, tag }));
        if lane.messages.len() == 1 {
            self.ready.insert(number, target);
        }
        Ok(number)
    }

    /// The next message to put on the wire; it counts as in flight from here on. Call it while the
    /// connection's window has room.
    pub fn poll_send(&mut self, now: Instant) -> Option<(SendNumber, &SendMsg)> {
        while let Some(entry) = self.deferred.first_entry() {
            let (due, number) = *entry.key();
            if due > now {
                break;
            }
            self.ready.insert(number, entry.remove());
        }
        let (number, target) = self.ready.pop_first()?;
        self.in_flight.insert(number, target.clone());
        let (_, queued) = self.lanes.get(&target)?.messages.front()?;
        Some((number, &queued.message))
    }

    /// When a message that was put off may go.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deferred.first_key_value().map(|(&(due, _), _)| due)
    }

    /// The server acked it. `None` for an answer that nobody waits for any more.
    pub fn on_ack(&mut self, number: SendNumber) -> Option<Queued<T>> {
        self.settle(number)
    }

    /// The server refused it. The message comes back when that is final; otherwise it stays and will
    /// be tried again.
    pub fn on_refused(
        &mut self,
        now: Instant,
        number: SendNumber,
        refusal: &Refusal,
        random: u64,
    ) -> Option<Queued<T>> {
        match refusal.code.retry() {
            Retry::Never => self.settle(number),
            Retry::Later | Retry::AfterLogin | Retry::Reconnect => {
                self.defer(now, number, Duration::from_millis(refusal.retry_after_ms.into()), random);
                None
            }
        }
    }

    /// No answer in time, on a connection that lives: it may have been stored, and the next try tells.
    pub fn on_timeout(&mut self, now: Instant, number: SendNumber, random: u64) {
        self.defer(now, number, Duration::ZERO, random);
    }

    /// The connection is gone, and with it every answer: all that was in flight goes again, oldest
    /// first. What was put off no longer waits, because another gate may have room.
    pub fn on_disconnected(&mut self) {
        self.ready.extend(self.in_flight.drain());
        let deferred = std::mem::take(&mut self.deferred);
        self.ready.extend(deferred.into_iter().map(|((_, number), target)| (number, target)));
    }

    /// Gives everything back, oldest first: the session is over.
    pub fn drain(&mut self) -> Vec<Queued<T>> {
        let mut all: Vec<_> = self.lanes.drain().flat_map(|(_, lane)| lane.messages).collect();
        all.sort_by_key(|(number, _)| *number);
        self.ready.clear();
        self.in_flight.clear();
        self.deferred.clear();
        self.len = 0;
        all.into_iter().map(|(_, queued)| queued).collect()
    }

    fn settle(&mut self, number: SendNumber) -> Option<Queued<T>> {
        let target = self.in_flight.remove(&number)?;
        let lane = self.lanes.get_mut(&target)?;
        let (_, queued) = lane.messages.pop_front()?;
        lane.backoff.reset();
        self.len -= 1;
        match lane.messages.front() {
            Some(&(next, _)) => {
                self.ready.insert(next, target);
            }
            None => {
                self.lanes.remove(&target);
            }
        }
        Some(queued)
    }

    fn defer(&mut self, now: Instant, number: SendNumber, at_least: Duration, random: u64) {
        let Some(target) = self.in_flight.remove(&number) else { return };
        let Some(lane) = self.lanes.get_mut(&target) else { return };
        let delay = lane.backoff.next(random).max(at_least);
        self.deferred.insert((now + delay, number), target);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use im_proto::client::ContentType;
    use im_proto::{ClientMsgId, RefusalCode, UserId};

    use super::*;

    fn message(to: &str, id: u32) -> SendMsg {
        SendMsg {
            to: Target::User(UserId::new(to).unwrap()),
            client_msg_id: ClientMsgId::new(id.to_string()).unwrap(),
            content_type: ContentType::Text,
            payload: Bytes::new(),
        }
    }

    fn queue(len_max: usize) -> SendQueue<u32> {
        SendQueue::new(len_max, Backoff::new(Duration::from_millis(100), Duration::from_secs(5)))
    }

    fn pushed(messages: &[(&str, u32)]) -> SendQueue<u32> {
        let mut queue = queue(100);
        for &(to, id) in messages {
            queue.push(message(to, id), id).unwrap();
        }
        queue
    }

    /// Sends all that may go and returns the client message ids in that order.
    fn sent(queue: &mut SendQueue<u32>, now: Instant) -> Vec<(SendNumber, String)> {
        std::iter::from_fn(|| queue.poll_send(now).map(|(n, m)| (n, m.client_msg_id.to_string()))).collect()
    }

    fn ids(sent: &[(SendNumber, String)]) -> Vec<&str> {
        sent.iter().map(|(_, id)| id.as_str()).collect()
    }

    #[test]
    fn one_message_per_target_is_in_flight_and_targets_do_not_wait_for_each_other() {
        let now = Instant::now();
        let mut queue = pushed(&[("b", 1), ("b", 2), ("c", 3), ("b", 4)]);
        let first = sent(&mut queue, now);
        assert_eq!(ids(&first), ["1", "3"]);
        assert_eq!(queue.on_ack(first[0].0).unwrap().tag, 1);
        let second = sent(&mut queue, now);
        assert_eq!(ids(&second), ["2"]);
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn what_was_in_flight_goes_again_oldest_first() {
        let now = Instant::now();
        let mut queue = pushed(&[("b", 1), ("c", 2), ("d", 3), ("b", 4)]);
        let first = sent(&mut queue, now);
        assert_eq!(ids(&first), ["1", "2", "3"]);
        queue.on_ack(first[1].0).unwrap();
        queue.on_disconnected();
        assert_eq!(queue.on_ack(first[0].0), None, "an answer from the lost connection settles nothing");
        assert_eq!(ids(&sent(&mut queue, now)), ["1", "3"]);
    }

    #[test]
    fn a_refusal_for_now_keeps_the_lane_in_order() {
        let now = Instant::now();
        let mut queue = pushed(&[("b", 1), ("b", 2)]);
        let (number, _) = sent(&mut queue, now)[0];
        assert_eq!(queue.on_refused(now, number, &RefusalCode::Busy.into(), u64::MAX), None);
        assert_eq!(ids(&sent(&mut queue, now)), [""; 0]);
        let due = queue.next_timeout().unwrap();
        assert_eq!(due, now + Duration::from_millis(100));
        assert_eq!(ids(&sent(&mut queue, due)), ["1"], "the second must not overtake the first");
    }

    #[test]
    fn the_server_may_ask_for_a_longer_wait() {
        let now = Instant::now();
        let mut queue = pushed(&[("b", 1)]);
        let (number, _) = sent(&mut queue, now)[0];
        let refusal = Refusal { retry_after_ms: 3000, ..RefusalCode::RateLimited.into() };
        queue.on_refused(now, number, &refusal, 0);
        assert_eq!(queue.next_timeout(), Some(now + Duration::from_secs(3)));
    }

    #[test]
    fn a_final_refusal_comes_back_and_frees_the_lane() {
        let now = Instant::now();
        let mut queue = pushed(&[("b", 1), ("b", 2)]);
        let (number, _) = sent(&mut queue, now)[0];
        assert_eq!(queue.on_refused(now, number, &RefusalCode::NotAMember.into(), 0).unwrap().tag, 1);
        assert_eq!(ids(&sent(&mut queue, now)), ["2"]);
    }

    #[test]
    fn a_full_queue_gives_the_message_back() {
        let mut queue = queue(2);
        queue.push(message("b", 1), 1).unwrap();
        queue.push(message("b", 2), 2).unwrap();
        assert_eq!(queue.push(message("b", 3), 3), Err(QueueFull(3)));
        assert_eq!(queue.drain().iter().map(|q| q.tag).collect::<Vec<_>>(), [1, 2]);
        assert!(queue.is_empty() && queue.poll_send(Instant::now()).is_none());
    }
}
