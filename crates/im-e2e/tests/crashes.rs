//! `kill -9` while people talk: whatever was acked is there, once, at its place; and the talk goes on.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_e2e::cluster::{Cluster, Plan};
use im_e2e::logs::ROUTE_DOWN;
use im_e2e::person::{Journal, Person};
use im_e2e::traffic::{Said, Traffic, Voice};
use im_e2e::verify::{self, Groups};
use im_proto::client::Entry;
use im_proto::{ClientMsgId, GroupId, Seq, Target, UserId};
use rand::seq::IndexedRandom as _;
use tokio::task::JoinSet;

const USERS: [&str; 6] = ["ann", "ben", "cyd", "dan", "eve", "fay"];
const GROUPS: [(&str, &[&str]); 2] = [("all", &USERS), ("some", &["ann", "cyd", "eve"])];

/// What is killed, step by step. Whatever a step kills is down at the same time.
const STEPS: [&[&str]; 5] = [
    &["im-service-1"],
    &["route-1"],
    &["route-1", "route-2"],
    &["gate-1"],
    &["gate-1", "gate-2", "route-1", "route-2", "im-service-1"],
];

/// Messages of each voice that must get through before the next step.
const FLOW: u64 = 5;

/// Rounds through all steps, unless `SIM_E2E_ROUNDS` asks for more.
const ROUNDS: u32 = 2;

/// Acked messages of each person that are said once more at the end.
const REPEATS: usize = 5;

/// Clients notice a dead gate or route within seconds; this allows for a machine that is busy with
/// something else.
const FAILOVER_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_survives_kill_9_of_everything() {
    let rounds: u32 = std::env::var("SIM_E2E_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let plan = Plan { routes: 2, gates: 2, known_users_only: false, allowed: vec![ROUTE_DOWN], ..Plan::default() };
    let mut cluster = Cluster::start(plan).await.unwrap();
    let (people, groups) = gather(&cluster).await;
    let mut traffic = Traffic::start("talk", voices(&people));
    traffic.flow(FLOW).await.unwrap();
    let mut fickle = Fickle::start(&cluster, people[0].user().clone()).await;

    for round in 1..=rounds {
        for step in STEPS {
            for tier in step {
                cluster.kill(tier).await.unwrap();
            }
            let killed = Instant::now();
            // A single route that is gone is no reason to wait: the other one takes over.
            if step == ["route-1"] {
                let (first, all) = traffic.flow(FLOW).await.unwrap();
                println!("round {round}: route-1 is dead; acks flow after {first:.2?}, everybody's after {all:.2?}");
                assert!(all < FAILOVER_MAX, "the standby took over after {all:?}");
            }
            fickle.begin();
            for tier in step {
                cluster.restart(tier).unwrap();
            }
            cluster.wait_ready().await.unwrap();
            let (first, all) = traffic.flow(FLOW).await.unwrap();
            println!(
                "round {round}: {step:?} back {:.2?} after the kill; acks flow {first:.2?} later, everybody's {all:.2?}",
                killed.elapsed().saturating_sub(all),
            );
            fickle.crash(&cluster).await;
        }
    }

    let mut ledger = traffic.stop().await.unwrap();
    repeat_some(&people, &ledger).await;
    ledger.extend_from_slice(&fickle.said);
    println!("{} messages were acked", ledger.len());

    let gil = fickle.person().user().clone();
    let readout = verify::talk(&cluster, people, std::slice::from_ref(&gil), &ledger, &groups).await.unwrap();
    fickle.finish(&readout.timelines[&gil]).await;
    assert_eq!(cluster.finish().await.unwrap(), ledger.len() as u64);
}

/// Somebody whose application ends in the middle of sending, again and again, and whose next one
/// sends what has no ack under the same names.
struct Fickle {
    /// The application of now; `None` between two.
    person: Option<Person>,
    peer: UserId,
    /// The timeline as its applications saw it, what they saw twice once.
    seen: Vec<Entry>,
    /// Where the application of now began.
    from: Seq,
    sending: JoinSet<()>,
    round: usize,
    said: Vec<Said>,
}

/// Messages that are under way when the application ends.
const UNDER_WAY: usize = 4;

impl Fickle {
    async fn start(cluster: &Cluster, peer: UserId) -> Self {
        let person = Person::connect(cluster, "gil", "fickle").await.unwrap();
        let (sending, seen, said) = (JoinSet::new(), Vec::new(), Vec::new());
        Self { person: Some(person), peer, seen, from: Seq::ZERO, sending, round: 0, said }
    }

    /// Sends without waiting for acks.
    fn begin(&mut self) {
        self.round += 1;
        for said in self.messages() {
            let client = self.person().client().clone();
            let message = said.message();
            // What becomes of it nobody will know: that is the point.
            self.sending.spawn(async move { drop(client.send_as(message).await) });
        }
    }

    /// Ends in the middle, begins again, and sends again what was under way.
    async fn crash(&mut self, cluster: &Cluster) {
        self.sending.abort_all();
        while self.sending.join_next().await.is_some() {}
        let person = self.person.take().unwrap();
        let (person, journal, from) = person.crash(cluster, "fickle").await.unwrap();
        self.person = Some(person);
        self.merge(&journal);
        self.from = from;
        for mut said in self.messages() {
            let ack = self.person().say(&said.to, said.name.as_str(), &said.text).await.unwrap();
            said.ack = Some(ack);
            self.said.push(said);
        }
    }

    fn person(&self) -> &Person {
        self.person.as_ref().unwrap()
    }

    fn messages(&self) -> Vec<Said> {
        let message = |number| Said {
            sender: self.person().user().clone(),
            to: Target::User(self.peer.clone()),
            name: ClientMsgId::new(format!("fickle-{}-{number}", self.round)).unwrap(),
            text: format!("number {number} of round {}", self.round),
            ack: None,
        };
        (0..UNDER_WAY).map(message).collect()
    }

    /// Each application saw its part in order, and what two of them saw is the same.
    fn merge(&mut self, journal: &Journal) {
        journal.check(self.from).unwrap();
        let from = usize::try_from(self.from.0).unwrap();
        assert!(from <= self.seen.len(), "begins at {from}, but only {} were seen", self.seen.len());
        for (place, entry) in (from..).zip(&journal.entries) {
            match self.seen.get(place) {
                Some(before) => assert_eq!(before, entry),
                None => self.seen.push(entry.clone()),
            }
        }
    }

    /// All applications together saw the timeline.
    async fn finish(mut self, timeline: &[Entry]) {
        let count = timeline.len() - usize::try_from(self.from.0).unwrap();
        self.person().wait("at the end", |journal| journal.entries.len() >= count).await.unwrap();
        let journal = self.person().journal();
        self.merge(&journal);
        assert_eq!(self.seen, timeline);
    }
}

/// Everybody online, in their groups.
async fn gather(cluster: &Cluster) -> (Vec<Arc<Person>>, Groups) {
    let people = Person::connect_all(cluster, &USERS, "live").await.unwrap();
    let mut groups = BTreeMap::new();
    for (group, members) in GROUPS {
        let group = GroupId::new(group).unwrap();
        let members: Vec<_> = members.iter().map(|user| UserId::new(user).unwrap()).collect();
        people[0].client().create_group(group.clone(), "A group".into(), members.clone()).await.unwrap();
        groups.insert(group, members);
    }
    (people, groups)
}

/// Everybody has two voices: one for the next person and the one after, one for the groups.
fn voices(people: &[Arc<Person>]) -> Vec<Voice> {
    let mut voices = Vec::new();
    for (number, person) in people.iter().enumerate() {
        let peer = |step: usize| Target::User(people[(number + step) % people.len()].user().clone());
        voices.push(Voice { person: Arc::clone(person), to: vec![peer(1), peer(2)] });
        let member_of = GROUPS.iter().filter(|(_, members)| members.contains(&person.user().as_str()));
        let to = member_of.map(|(group, _)| Target::Group(GroupId::new(group).unwrap())).collect();
        voices.push(Voice { person: Arc::clone(person), to });
    }
    voices
}

/// Says again what was acked already: same place, and nothing new.
async fn repeat_some(people: &[Arc<Person>], ledger: &[Said]) {
    for person in people {
        let own: Vec<_> = ledger.iter().filter(|said| said.sender == *person.user()).collect();
        for said in own.choose_multiple(&mut rand::rng(), REPEATS) {
            let again = person.say(&said.to, said.name.as_str(), &said.text).await.unwrap();
            let ack = said.ack.as_ref().unwrap();
            assert!(again.repeated, "{said:?} counts as new when it is said again");
            assert_eq!((again.seq, again.position, again.receiver_seq), (ack.seq, ack.position, ack.receiver_seq));
        }
    }
}
