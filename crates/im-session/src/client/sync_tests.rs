//! The machine alone, hint by hint; then against a model server through a network that loses,
//! doubles and reorders everything.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use im_proto::client::{ContentType, Message};
use im_proto::{ClientMsgId, ConversationId, UserId};
use proptest::prelude::*;

use super::*;

const E1: Epoch = Epoch(7);
const E2: Epoch = Epoch(8);

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
}

fn at(epoch: Epoch, seq: u64) -> Position {
    Position { epoch, seq: Seq(seq) }
}

fn message(number: u64) -> Message {
    let (a, b) = (UserId::new("a").unwrap(), UserId::new("b").unwrap());
    Message {
        conversation: ConversationId::pair(&a, &b),
        seq: Seq(number),
        sender: a,
        client_msg_id: ClientMsgId::new(number.to_string()).unwrap(),
        time_ms: number,
        content_type: ContentType::Text,
        payload: Bytes::from(number.to_string()),
    }
}

fn entry(seq: u64) -> Entry {
    Entry { seq: Seq(seq), message: message(seq) }
}

fn notify(seq: u64, with_entry: bool, query_after_ms: u32) -> NewMsg {
    NewMsg { head: at(E1, seq), entry: with_entry.then(|| message(seq)), query_after_ms }
}

fn page(head: Position, entries: impl IntoIterator<Item = u64>) -> MsgPage {
    let entries: Vec<_> = entries.into_iter().map(entry).collect();
    let has_more = entries.last().is_some_and(|last| last.seq < head.seq);
    MsgPage { head, floor: Seq::ZERO, entries, has_more }
}

/// Takes what is handed out, as an application would that is quick.
fn drain(sync: &mut ClientSync, now: Instant) -> (Vec<SyncEvent>, Option<(PullId, Position)>) {
    let mut events = Vec::new();
    while let Some(HandOut { position, event }) = sync.poll_hand_out() {
        events.push(event);
        sync.on_taken(position);
    }
    (events, sync.poll_pull(now).map(|(id, asked)| (id, asked.after)))
}

fn messages(seqs: impl IntoIterator<Item = u64>) -> Vec<SyncEvent> {
    seqs.into_iter().map(|seq| SyncEvent::Message(entry(seq))).collect()
}

/// A machine that stands at `seq`, connected, with its first pull answered.
fn settled(now: Instant, seq: u64) -> ClientSync {
    let mut sync = ClientSync::new(at(E1, seq), backoff());
    sync.on_connected(now);
    let (id, after) = drain(&mut sync, now).1.unwrap();
    assert_eq!(after, at(E1, seq));
    sync.on_page(now, id, page(at(E1, seq), []), 0);
    assert!(sync.is_caught_up());
    sync
}

#[test]
fn the_next_entry_is_taken_without_a_pull() {
    let now = Instant::now();
    let mut sync = settled(now, 4);
    sync.on_notify(now, notify(5, true, 0));
    assert_eq!(drain(&mut sync, now), (messages([5]), None));
    sync.on_notify(now, notify(5, true, 0));
    assert_eq!(drain(&mut sync, now), (vec![], None), "the same notify again says nothing");
    assert!(sync.is_caught_up());
}

#[test]
fn an_own_message_is_an_entry_like_any_other() {
    let now = Instant::now();
    let mut sync = settled(now, 4);
    sync.on_own(now, E1, entry(5));
    assert_eq!(drain(&mut sync, now), (messages([5]), None));
    sync.on_own(now, E1, entry(7));
    assert_eq!(drain(&mut sync, now).1.unwrap().1, at(E1, 5), "6 is missing, so it is pulled with it");
}

#[test]
fn a_notify_ahead_of_the_next_pulls_once_and_after_the_wait_that_was_asked() {
    let now = Instant::now();
    let mut sync = settled(now, 4);
    sync.on_notify(now, notify(6, true, 500));
    sync.on_notify(now, notify(7, true, 900));
    assert_eq!(drain(&mut sync, now), (vec![], None));
    let due = sync.next_timeout().unwrap();
    assert_eq!(due, now + Duration::from_millis(500));
    let (id, after) = drain(&mut sync, due).1.unwrap();
    assert_eq!(after, at(E1, 4));
    sync.on_notify(due, notify(8, true, 0));
    assert_eq!(drain(&mut sync, due), (vec![], None), "never two pulls at once");
    sync.on_page(due, id, page(at(E1, 7), 5..=7), 0);
    let (events, pull) = drain(&mut sync, due);
    assert_eq!(events, messages(5..=7));
    let (id, after) = pull.unwrap();
    assert_eq!(after, at(E1, 7), "8 was heard of while the pull was under way");
    sync.on_page(due, id, page(at(E1, 8), [8]), 0);
    assert_eq!(drain(&mut sync, due), (messages([8]), None));
    assert!(sync.is_caught_up());
}

#[test]
fn a_slow_application_is_asked_for_nothing_more() {
    let now = Instant::now();
    let mut sync = settled(now, 0);
    sync.on_head(now, at(E1, 4));
    let (id, _) = drain(&mut sync, now).1.unwrap();
    sync.on_page(now, id, page(at(E1, 4), [1, 2]), 0);
    let positions: Vec<_> = std::iter::from_fn(|| sync.poll_hand_out()).map(|hand_out| hand_out.position).collect();
    assert_eq!(positions, [at(E1, 1), at(E1, 2)]);
    assert_eq!((sync.poll_pull(now), sync.next_timeout()), (None, None));
    sync.on_taken(at(E1, 1));
    assert_eq!(sync.poll_pull(now), None);
    sync.on_taken(at(E1, 2));
    assert_eq!(sync.poll_pull(now).unwrap().1.after, at(E1, 2));
}

#[test]
fn a_restored_store_begins_again() {
    let now = Instant::now();
    let mut sync = settled(now, 4);
    sync.on_head(now, at(E2, 2));
    let (id, _) = drain(&mut sync, now).1.unwrap();
    sync.on_page(now, id, page(at(E2, 2), []), 0);
    let (events, pull) = drain(&mut sync, now);
    assert_eq!(events, [SyncEvent::Restored { epoch: E2 }]);
    let (id, after) = pull.unwrap();
    assert_eq!(after, at(E2, 0));
    sync.on_page(now, id, page(at(E2, 2), [1, 2]), 0);
    assert_eq!(drain(&mut sync, now), (messages([1, 2]), None));
    assert_eq!(sync.taken(), at(E2, 2));
}

#[test]
fn a_server_that_does_not_know_the_position_is_synced_from_its_beginning() {
    let now = Instant::now();
    let mut sync = settled(now, 4);
    sync.on_head(now, at(E1, 5));
    let (id, _) = drain(&mut sync, now).1.unwrap();
    sync.on_pull_failed(now, id, Some(&RefusalCode::BadPosition.into()), 0);
    let due = sync.next_timeout().unwrap();
    let (id, after) = drain(&mut sync, due).1.unwrap();
    assert_eq!(after, Position::default());
    sync.on_page(due, id, page(at(E1, 1), [1]), 0);
    let (events, _) = drain(&mut sync, due);
    assert_eq!(events[0], SyncEvent::Restored { epoch: E1 });
    assert_eq!(events[1..], messages([1]));
}

#[test]
fn trimmed_places_are_told_and_passed_over() {
    let now = Instant::now();
    let mut sync = settled(now, 2);
    sync.on_head(now, at(E1, 9));
    let (id, _) = drain(&mut sync, now).1.unwrap();
    sync.on_page(now, id, MsgPage { floor: Seq(7), ..page(at(E1, 9), [8, 9]) }, 0);
    let (events, _) = drain(&mut sync, now);
    assert_eq!(events[0], SyncEvent::Trimmed { from: Seq(3), to: Seq(7) });
    assert_eq!(events[1..], messages([8, 9]));
}

#[test]
fn a_first_position_is_no_restore() {
    let now = Instant::now();
    let mut sync = ClientSync::new(Position::default(), backoff());
    sync.on_connected(now);
    let (id, after) = drain(&mut sync, now).1.unwrap();
    assert_eq!(after, Position::default());
    sync.on_page(now, id, page(at(E1, 2), [1, 2]), 0);
    assert_eq!(drain(&mut sync, now), (messages([1, 2]), None));
}

#[test]
fn failures_and_empty_promises_back_off() {
    let now = Instant::now();
    let mut sync = settled(now, 4);
    sync.on_head(now, at(E1, 6));
    let (id, _) = drain(&mut sync, now).1.unwrap();
    sync.on_pull_failed(now, id, Some(&RefusalCode::Busy.into()), u64::MAX);
    assert_eq!(sync.next_timeout(), Some(now + Duration::from_millis(100)));
    let later = now + Duration::from_millis(100);
    let (id, _) = drain(&mut sync, later).1.unwrap();
    sync.on_page(later, id, MsgPage { has_more: false, ..page(at(E1, 6), []) }, u64::MAX);
    assert_eq!(sync.next_timeout(), Some(later + Duration::from_millis(200)), "the page brought nothing");
}

#[test]
fn a_heartbeat_confirms_what_came_live() {
    let now = Instant::now();
    let mut sync = settled(now, 4);
    sync.on_notify(now, notify(5, true, 0));
    drain(&mut sync, now);
    sync.on_head(now, at(E1, 5));
    let (id, after) = drain(&mut sync, now).1.unwrap();
    assert_eq!(after, at(E1, 5), "the server learns that 5 is fetched");
    sync.on_page(now, id, page(at(E1, 5), []), 0);
    sync.on_head(now, at(E1, 5));
    assert_eq!(drain(&mut sync, now), (vec![], None), "and is told once");
}

/// A server: the timelines of all its lives, the last of which is the present one.
#[derive(Debug)]
struct Server {
    epoch: Epoch,
    floor: u64,
    lives: BTreeMap<Epoch, Vec<Message>>,
    next_message: u64,
}

impl Server {
    fn new() -> Self {
        Self { epoch: Epoch(1), floor: 0, lives: BTreeMap::from([(Epoch(1), Vec::new())]), next_message: 0 }
    }

    fn timeline(&self) -> &Vec<Message> {
        &self.lives[&self.epoch]
    }

    fn head(&self) -> Position {
        at(self.epoch, self.timeline().len() as u64)
    }

    fn append(&mut self) -> NewMsg {
        self.next_message += 1;
        let message = message(self.next_message);
        self.lives.get_mut(&self.epoch).unwrap().push(message.clone());
        NewMsg { head: self.head(), entry: Some(message), query_after_ms: 0 }
    }

    fn restore(&mut self, keep: usize) {
        let mut timeline = self.timeline().clone();
        timeline.truncate(keep);
        self.floor = self.floor.min(timeline.len() as u64);
        self.epoch = Epoch(self.epoch.0 + 1);
        self.lives.insert(self.epoch, timeline);
    }

    fn pull(&self, asked: GetMsg, rows: usize) -> MsgPage {
        let (head, floor) = (self.head(), Seq(self.floor));
        if asked.after.epoch != self.epoch && asked.after != Position::default() {
            return MsgPage { head, floor, entries: vec![], has_more: false };
        }
        let from = asked.after.seq.max(floor).0;
        let entries: Vec<_> = (from..head.seq.0)
            .take(rows)
            .map(|index| Entry { seq: Seq(index + 1), message: self.timeline()[index as usize].clone() })
            .collect();
        let has_more = from + (entries.len() as u64) < head.seq.0;
        MsgPage { head, floor, entries, has_more }
    }
}

/// What the application saw; checks order and content as it comes.
#[derive(Debug, Default)]
struct Application {
    position: Position,
    /// Handed out, not done with yet.
    open: VecDeque<Position>,
}

impl Application {
    fn receive(&mut self, server: &Server, position: Position, event: SyncEvent) {
        match event {
            SyncEvent::Message(entry) => {
                if self.position.epoch == Epoch::default() {
                    self.position.epoch = position.epoch;
                }
                assert_eq!(position, at(self.position.epoch, self.position.seq.0 + 1), "once and in order");
                assert_eq!(entry.seq, position.seq);
                assert_eq!(entry.message, server.lives[&position.epoch][entry.seq.0 as usize - 1]);
            }
            SyncEvent::Restored { epoch } => {
                assert_eq!(position, at(epoch, 0));
                assert!(epoch > self.position.epoch);
            }
            SyncEvent::Trimmed { from, to } => {
                assert_eq!(from, self.position.seq.next());
                assert_eq!(position.seq, to);
            }
        }
        self.position = position;
        self.open.push_back(position);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        own: bool,
    },
    /// Hand over some notify that was ever sent: late, again, out of order.
    Notify(prop::sample::Index),
    /// A notify that lost its entry and asks to wait.
    BareNotify(prop::sample::Index, u32),
    Heartbeat,
    /// The server answers the open pull.
    Answer {
        rows: usize,
    },
    /// Hand over some page that was ever made; usually to a pull that is long over.
    OldPage(prop::sample::Index),
    FailPull,
    Disconnect,
    Connect,
    /// The application receives, and finishes with, some.
    Receive(usize),
    Finish(usize),
    Trim(usize),
    Restore(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(|own| Step::Append { own }),
        6 => any::<prop::sample::Index>().prop_map(Step::Notify),
        2 => (any::<prop::sample::Index>(), 0..2000u32).prop_map(|(index, ms)| Step::BareNotify(index, ms)),
        2 => Just(Step::Heartbeat),
        6 => (1..5usize).prop_map(|rows| Step::Answer { rows }),
        2 => any::<prop::sample::Index>().prop_map(Step::OldPage),
        1 => Just(Step::FailPull),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Connect),
        5 => (1..6usize).prop_map(Step::Receive),
        5 => (1..6usize).prop_map(Step::Finish),
        1 => (0..10usize).prop_map(Step::Trim),
        1 => (0..10usize).prop_map(Step::Restore),
        3 => (0..3000u64).prop_map(Step::Wait),
    ]
}

struct World {
    now: Instant,
    server: Server,
    sync: ClientSync,
    application: Application,
    notifies: Vec<NewMsg>,
    pages: Vec<(PullId, MsgPage)>,
    open_pull: Option<(PullId, GetMsg)>,
    connected: bool,
}

impl World {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            server: Server::new(),
            sync: ClientSync::new(Position::default(), backoff()),
            application: Application::default(),
            notifies: vec![],
            pages: vec![],
            open_pull: None,
            connected: false,
        }
    }

    fn apply(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Append { own } => {
                let notify = self.server.append();
                if own && self.connected {
                    let entry = Entry { seq: notify.head.seq, message: notify.entry.clone().unwrap() };
                    self.sync.on_own(now, notify.head.epoch, entry);
                }
                self.notifies.push(notify);
            }
            Step::Notify(index) if self.connected && !self.notifies.is_empty() => {
                self.sync.on_notify(now, index.get(&self.notifies).clone());
            }
            Step::BareNotify(index, query_after_ms) if self.connected && !self.notifies.is_empty() => {
                let head = index.get(&self.notifies).head;
                self.sync.on_notify(now, NewMsg { head, entry: None, query_after_ms });
            }
            Step::Heartbeat if self.connected => self.sync.on_head(now, self.server.head()),
            Step::Answer { rows } => {
                if let Some((id, asked)) = self.open_pull.take() {
                    let page = self.server.pull(asked, rows);
                    self.pages.push((id, page.clone()));
                    self.sync.on_page(now, id, page, 0);
                }
            }
            Step::OldPage(index) if !self.pages.is_empty() => {
                let (id, page) = index.get(&self.pages).clone();
                self.sync.on_page(now, id, page, 0);
            }
            Step::FailPull => {
                if let Some((id, _)) = self.open_pull.take() {
                    self.sync.on_pull_failed(now, id, None, 0);
                }
            }
            Step::Disconnect => {
                self.connected = false;
                self.open_pull = None;
                self.sync.on_disconnected();
            }
            Step::Connect if !self.connected => {
                self.connected = true;
                self.sync.on_connected(now);
            }
            Step::Receive(count) => (0..count).for_each(|_| self.poll()),
            Step::Finish(count) => {
                for position in self.application.open.drain(..count.min(self.application.open.len())) {
                    self.sync.on_taken(position);
                }
            }
            Step::Trim(through) => {
                self.server.floor = self.server.floor.max((through as u64).min(self.server.head().seq.0));
            }
            Step::Restore(keep) => self.server.restore(keep),
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
            Step::Notify(_) | Step::BareNotify(..) | Step::Heartbeat | Step::OldPage(_) | Step::Connect => {}
        }
    }

    fn poll(&mut self) {
        if let Some(HandOut { position, event }) = self.sync.poll_hand_out() {
            self.application.receive(&self.server, position, event);
        } else if let Some((id, asked)) = self.sync.poll_pull(self.now) {
            assert!(self.connected, "a pull needs a connection");
            assert_eq!(self.open_pull.replace((id, asked)), None, "never two pulls at once");
            let open = self.application.open.iter().filter(|position| position.epoch == asked.after.epoch);
            assert!(open.clone().all(|position| position.seq == Seq::ZERO), "only what is taken is confirmed");
        }
        assert!(self.sync.hand_outs.len() <= HAND_OUTS_MAX + PAGE_ROWS_MAX as usize);
    }

    /// The network is calm: everything is answered, nothing is lost. How many rounds it took.
    fn calm_down(&mut self) -> usize {
        self.apply(Step::Connect);
        for round in 0..200 {
            self.apply(Step::Heartbeat);
            for _ in 0..20 {
                self.apply(Step::Receive(10));
                self.apply(Step::Finish(10));
                self.apply(Step::Answer { rows: 4 });
            }
            if self.sync.is_caught_up() && self.sync.taken() == self.server.head() {
                return round;
            }
            self.apply(Step::Wait(6000));
        }
        panic!("not caught up: {:?} of {:?}", self.sync, self.server.head());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_entry_once_and_in_order_through_any_network(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.apply(step));
        world.calm_down();
        prop_assert_eq!(world.application.position.seq, world.server.head().seq);
    }
}
