//! The invariants: the promise of the system, checked on what the applications saw and on what is on
//! the disk at the end.

use std::collections::{BTreeMap, HashMap, HashSet};

use im_proto::client::{Entry, Message, SendAck, SendMsg};
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};
use im_timeline::DumpRow;

use crate::log::{Event, Host, Line};
use crate::plan::{Plan, recipients};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A host's software ended, which none does by itself.
    #[error("a host failed: {0}")]
    HostFailed(String),
    /// A tier, a client or an application panicked.
    #[error("a task panicked: {0}")]
    Panicked(String),
    /// Something was noted that must not happen in any world.
    #[error("{0}: {1}")]
    Wrong(Host, String),
    /// After the healing, this is still missing.
    #[error("no convergence in time: {}", .0.join("; "))]
    NotConverged(Vec<String>),
    /// The store's own check finds a contradiction in what is stored.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The places of a conversation or of a user's timeline are not 1, 2, 3, …
    #[error("the places of {timeline} are not dense: {found} where {expected} is due")]
    NotDense {
        /// Whose.
        timeline: String,
        /// What is due.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// Two messages of one sender have the same name.
    #[error("{0} of {1} is stored more than once")]
    StoredTwice(ClientMsgId, UserId),
    /// Something is stored that nobody sent, or not as it was sent.
    #[error("{0} is stored, and nobody sent it so")]
    NeverSent(ClientMsgId),
    /// An acked message is not at its place.
    #[error("{id} was acked at {place}, and there is {found}")]
    NotAtItsPlace {
        /// Which message.
        id: ClientMsgId,
        /// Where the ack says it is.
        place: String,
        /// What is there instead.
        found: String,
    },
    /// A message is not exactly once in the timeline of a recipient, or is in another's.
    #[error("{id} is {times} times in the timeline of {user}")]
    NotOnceInTimeline {
        /// Which message.
        id: ClientMsgId,
        /// Whose timeline.
        user: UserId,
        /// How often it is there.
        times: usize,
    },
    /// Two acks of one message tell different places.
    #[error("{0} was acked at two places")]
    AckedAtTwoPlaces(ClientMsgId),
    /// An application did not get its timeline one by one.
    #[error("{device} saw place {found} where {expected} was due")]
    SeenOutOfOrder {
        /// Which device.
        device: Host,
        /// What was due.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// An application saw what is not stored at that place.
    #[error("{device} saw {id} at {seq}, which is not stored there")]
    SawUnstored {
        /// Which device.
        device: Host,
        /// What it saw.
        id: ClientMsgId,
        /// Where.
        seq: Seq,
    },
    /// Messages of one sender are not in the order in which they were sent.
    #[error("{later} was sent behind {earlier} and stands before it")]
    OutOfOrder {
        /// The first.
        earlier: ClientMsgId,
        /// The second.
        later: ClientMsgId,
    },
}

/// What is on the disk, by place.
#[derive(Default)]
struct Stored {
    histories: BTreeMap<ConversationId, BTreeMap<Seq, Message>>,
    timelines: BTreeMap<UserId, BTreeMap<Seq, (ConversationId, Seq)>>,
    floors: BTreeMap<UserId, Seq>,
}

impl Stored {
    fn new(rows: &[DumpRow]) -> Self {
        let mut stored = Self::default();
        for row in rows {
            match row {
                DumpRow::Message(message) => {
                    let history = stored.histories.entry(message.conversation.clone()).or_default();
                    history.insert(message.seq, message.clone());
                }
                DumpRow::Entry { user, seq, conversation, conversation_seq, .. } => {
                    let timeline = stored.timelines.entry(user.clone()).or_default();
                    timeline.insert(*seq, (conversation.clone(), *conversation_seq));
                }
                DumpRow::Floor { user, floor } => {
                    stored.floors.insert(user.clone(), *floor);
                }
                DumpRow::Sent { .. } | DumpRow::Record { .. } => {}
            }
        }
        stored
    }

    fn floor(&self, user: &UserId) -> Seq {
        self.floors.get(user).copied().unwrap_or(Seq::ZERO)
    }

    fn message(&self, conversation: &ConversationId, seq: Seq) -> Option<&Message> {
        self.histories.get(conversation)?.get(&seq)
    }

    fn at(&self, user: &UserId, seq: Seq) -> Option<&Message> {
        let (conversation, place) = self.timelines.get(user)?.get(&seq)?;
        self.message(conversation, *place)
    }
}

/// Checks a world that has ended. Of each invariant, every breach is told.
pub fn check(plan: &Plan, log: &[Line], rows: &[DumpRow]) -> Vec<Violation> {
    let stored = Stored::new(rows);
    let mut violations: Vec<_> = log
        .iter()
        .filter_map(|line| match &line.event {
            Event::Wrong { host, what } => Some(Violation::Wrong(host.clone(), what.clone())),
            _ => None,
        })
        .collect();
    check_dense(&stored, &mut violations);
    check_stored(plan, log, &stored, &mut violations);
    check_acks(log, &stored, &mut violations);
    check_seen(plan, log, &stored, &mut violations);
    check_order(log, &stored, &mut violations);
    violations
}

/// Places are 1, 2, 3, …; of a timeline, from behind its floor.
fn check_dense(stored: &Stored, violations: &mut Vec<Violation>) {
    let histories = stored.histories.iter().map(|(id, rows)| {
        let places: Vec<_> = rows.keys().copied().collect();
        (format!("conversation {id}"), Seq::ZERO, places)
    });
    let timelines = stored.timelines.iter().map(|(user, rows)| {
        let places: Vec<_> = rows.keys().copied().collect();
        (format!("user {user}"), stored.floor(user), places)
    });
    for (timeline, floor, places) in histories.chain(timelines) {
        for (found, expected) in places.iter().zip(floor.0 + 1..) {
            if found.0 != expected {
                violations.push(Violation::NotDense { timeline, expected, found: found.0 });
                break;
            }
        }
    }
}

/// What is stored was sent so, once, and is once in the timeline of each recipient and in no other.
fn check_stored(plan: &Plan, log: &[Line], stored: &Stored, violations: &mut Vec<Violation>) {
    let begun = begun(log);
    let mut names = HashSet::new();
    let mut entries: HashMap<(&UserId, &ConversationId, Seq), usize> = HashMap::new();
    for (user, timeline) in &stored.timelines {
        for (conversation, seq) in timeline.values() {
            *entries.entry((user, conversation, *seq)).or_default() += 1;
        }
    }
    let users: HashSet<_> = plan.devices.iter().map(|device| &device.user).collect();
    for message in stored.histories.values().flat_map(BTreeMap::values) {
        let id = &message.client_msg_id;
        if !names.insert((&message.sender, id)) {
            violations.push(Violation::StoredTwice(id.clone(), message.sender.clone()));
        }
        let Some(sent) = begun.get(&(message.sender.clone(), id.clone())).filter(|sent| is_same(sent, message)) else {
            violations.push(Violation::NeverSent(id.clone()));
            continue;
        };
        let recipients = recipients(&message.sender, &sent.to);
        for user in &users {
            let times = entries.get(&(*user, &message.conversation, message.seq)).copied().unwrap_or_default();
            let due = usize::from(recipients.contains(user));
            // A trimmed row was fetched by every device, which is checked with what they saw.
            if times != due && !(times < due && stored.floor(user) > Seq::ZERO) {
                violations.push(Violation::NotOnceInTimeline { id: id.clone(), user: (*user).clone(), times });
            }
        }
    }
}

fn begun(log: &[Line]) -> HashMap<(UserId, ClientMsgId), &SendMsg> {
    log.iter()
        .filter_map(|line| match &line.event {
            Event::Begun { user, message, .. } => Some(((user.clone(), message.client_msg_id.clone()), message)),
            _ => None,
        })
        .collect()
}

fn is_same(sent: &SendMsg, stored: &Message) -> bool {
    sent.to.conversation(&stored.sender) == stored.conversation
        && sent.content_type == stored.content_type
        && sent.payload == stored.payload
}

/// What was acked is where the ack says, and every ack of one message says the same.
fn check_acks(log: &[Line], stored: &Stored, violations: &mut Vec<Violation>) {
    let mut acks: HashMap<(&UserId, &ClientMsgId), &SendAck> = HashMap::new();
    for line in log {
        let Event::Acked { user, message, ack, .. } = &line.event else { continue };
        let id = &message.client_msg_id;
        let first = acks.entry((user, id)).or_insert(ack);
        if (first.seq, first.position, first.receiver_seq) != (ack.seq, ack.position, ack.receiver_seq) {
            violations.push(Violation::AckedAtTwoPlaces(id.clone()));
        }
        let mut expect = |place: String, found: Option<&Message>| {
            if found.is_none_or(|found| found.sender != *user || found.client_msg_id != *id) {
                let found = found.map_or_else(|| "nothing".into(), |found| found.client_msg_id.to_string());
                violations.push(Violation::NotAtItsPlace { id: id.clone(), place, found });
            }
        };
        let conversation = &ack.conversation;
        expect(format!("{conversation}/{}", ack.seq), stored.message(conversation, ack.seq));
        if ack.position.seq > stored.floor(user) {
            expect(format!("{user}/{}", ack.position.seq), stored.at(user, ack.position.seq));
        }
        if let Some(peer) = conversation.peer_of(user).filter(|peer| ack.receiver_seq > stored.floor(peer)) {
            expect(format!("{peer}/{}", ack.receiver_seq), stored.at(&peer, ack.receiver_seq));
        }
    }
}

/// Each application got its timeline one by one from 1, and nothing that is not stored.
fn check_seen(plan: &Plan, log: &[Line], stored: &Stored, violations: &mut Vec<Violation>) {
    for device in &plan.devices {
        let mut last = 0;
        // A device that resumes where the SDK has saved may get the last entries again.
        let mut resumed = false;
        let mut first_ids: BTreeMap<Seq, ClientMsgId> = BTreeMap::new();
        for line in log {
            match &line.event {
                Event::Started(host) if *host == device.device => resumed = device.resumes_by_sdk,
                Event::Saw { device: host, entry: Entry { seq, message }, user } if *host == device.device => {
                    let again = resumed && seq.0 <= last;
                    if seq.0 != last + 1 && !again {
                        let (device, found) = (device.device.clone(), seq.0);
                        violations.push(Violation::SeenOutOfOrder { device, expected: last + 1, found });
                    }
                    (last, resumed) = (seq.0, false);
                    let same = |stored: &Message| stored == message;
                    let is_stored = stored.message(&message.conversation, message.seq).is_some_and(same)
                        && (*seq <= stored.floor(user) || stored.at(user, *seq).is_some_and(same))
                        && first_ids.entry(*seq).or_insert_with(|| message.client_msg_id.clone())
                            == &message.client_msg_id;
                    if !is_stored {
                        let (device, id) = (device.device.clone(), message.client_msg_id.clone());
                        violations.push(Violation::SawUnstored { device, id, seq: *seq });
                    }
                }
                _ => {}
            }
        }
    }
}

/// Of one device: what was sent to one target behind each other stands so, and what was sent behind
/// an ack stands behind the acked message in the sender's own timeline.
fn check_order(log: &[Line], stored: &Stored, violations: &mut Vec<Violation>) {
    let places: HashMap<(&UserId, &ClientMsgId), (&ConversationId, Seq)> = stored
        .histories
        .values()
        .flat_map(BTreeMap::values)
        .map(|message| ((&message.sender, &message.client_msg_id), (&message.conversation, message.seq)))
        .collect();
    let mut to_target: HashMap<(&Host, &ConversationId), (Seq, &ClientMsgId)> = HashMap::new();
    let mut acked: HashMap<&Host, (Seq, &ClientMsgId)> = HashMap::new();
    let mut floors: HashMap<(&UserId, &ClientMsgId), (Seq, &ClientMsgId)> = HashMap::new();
    for line in log {
        match &line.event {
            Event::Begun { device, user, message } => {
                let id = &message.client_msg_id;
                if let Some(before) = acked.get(device) {
                    floors.insert((user, id), *before);
                }
                // What was never acked may not be there.
                let Some((conversation, seq)) = places.get(&(user, id)) else { continue };
                if let Some((_, earlier)) = to_target.get(&(device, conversation)).filter(|(before, _)| before > seq) {
                    violations.push(Violation::OutOfOrder { earlier: (*earlier).clone(), later: id.clone() });
                }
                to_target.insert((device, conversation), (*seq, id));
            }
            Event::Acked { device, user, message, ack } => {
                let (id, own) = (&message.client_msg_id, ack.position.seq);
                if let Some((_, earlier)) = floors.get(&(user, id)).filter(|(before, _)| *before >= own) {
                    violations.push(Violation::OutOfOrder { earlier: (*earlier).clone(), later: id.clone() });
                }
                let last = acked.entry(device).or_insert((own, id));
                if last.0 < own {
                    *last = (own, id);
                }
            }
            _ => {}
        }
    }
}
