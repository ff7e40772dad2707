//! What a world is going to do, drawn from its seed before it begins: who sends what and when, and
//! which faults strike. Everything random of a plan comes from here, so a seed is a world.

use std::time::Duration;

use bytes::Bytes;
use im_proto::client::{ContentType, SendMsg};
use im_proto::{ClientMsgId, GroupId, Target, UserId};
use im_timeline::SyncFault;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::broken::Planted;
use crate::log::Host;

/// Faults strike from here on; before, the world comes up undisturbed.
pub const FAULTS_FROM: Duration = Duration::from_millis(500);
/// Here the last fault ends: everything is started, repaired and released.
pub const FAULTS_UNTIL: Duration = Duration::from_secs(12);
/// From then on a world may take this long until every message is acked and every device stands at
/// the head of its timeline. What adds up: a dead link is noticed (2 s) and dialled again (1 s), a
/// client gives up on an answer (3 s) and waits out its backoff (2 s), twice, because what it then
/// reaches may be stale as well; the rest is for the backlog.
pub const CONVERGENCE: Duration = Duration::from_secs(20);

/// By how much the clocks of two gates differ at most: far more than it takes a device to come back at
/// the other gate. Which of its logins is the later one must not hang on what time of day gates believe
/// it is.
const CLOCKS_APART_MS_MAX: u64 = 5000;

/// The gates.
pub const GATES: [&str; 2] = ["gate-1", "gate-2"];
/// The routes, master first.
pub const ROUTES: [&str; 2] = ["route-1", "route-2"];
/// The routes of the other region, master first, in a world of two.
pub const FAR_ROUTES: [&str; 2] = ["route-3", "route-4"];
/// The gate of the other region, in a world of two.
pub const FAR_GATE: &str = GATES[1];
/// The im-services; a world with one has the first.
pub const SERVICES: [&str; 2] = ["service-1", "service-2"];
/// Where the store lives when several im-services share it.
pub const STORE: &str = "store";
/// Users with their devices.
pub const DEVICES: [(&str, &str); 5] = [("a", "a-1"), ("a", "a-2"), ("b", "b-1"), ("c", "c-1"), ("d", "d-1")];
/// Groups with their members; the first member is the owner.
pub const GROUPS: [(&str, &[&str]); 2] = [("all", &["a", "b", "c", "d"]), ("pair", &["c", "a"])];

/// What kind of world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One im-service, whose store dies with it.
    OneService,
    /// Two im-services before one store, which may die as well.
    TwoServices,
    /// Two regions: a gate and two routes in each, and the only im-service, with its store, in the first.
    TwoRegions,
}

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything here was drawn from.
    pub seed: u64,
    /// What kind of world.
    pub scenario: Scenario,
    /// A fault of the system itself, put in to see whether it is found.
    pub planted: Planted,
    /// Least and greatest delay of a frame.
    pub latency: (Duration, Duration),
    /// By how much each gate's clock is ahead of the right time.
    pub clocks: [Duration; GATES.len()],
    /// How long an fsync takes.
    pub fsync: Duration,
    /// Whether rows of timelines go as soon as every device has fetched them.
    pub trim: bool,
    /// One for each of [`DEVICES`].
    pub devices: Vec<DevicePlan>,
    /// In the order of their begin.
    pub strikes: Vec<Strike>,
}

/// What one device does.
#[derive(Clone, Debug)]
pub struct DevicePlan {
    /// The host that it is.
    pub device: Host,
    /// Whose it is.
    pub user: UserId,
    /// What it sends.
    pub steps: Vec<Step>,
    /// How long it takes over an entry.
    pub dawdle: Duration,
    /// Whether a restart forgets what was not acked, as an application that keeps no list would.
    pub forgetful: bool,
    /// Whether it resumes where the SDK has saved, and not at what it has itself written down.
    pub resumes_by_sdk: bool,
}

/// Messages that are handed over at once; the next step waits for all their acks.
#[derive(Clone, Debug)]
pub struct Step {
    /// Not before this.
    pub due: Duration,
    /// What.
    pub batch: Vec<SendMsg>,
}

/// A fault and when it rules.
#[derive(Clone, Debug)]
pub struct Strike {
    /// Its begin.
    pub from: Duration,
    /// Its end; the repair.
    pub until: Duration,
    /// What it is.
    pub fault: Fault,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between two hosts; what was on its way is lost.
    Partition(Host, Host),
    /// Nothing passes from the first to the second.
    OneWay(Host, Host),
    /// What is on its way between two hosts stays there until the end.
    Hold(Host, Host),
    /// Frames between two hosts take this long.
    Slow(Host, Host, Duration),
    /// Processes die, and their sockets say so; the end starts them.
    Kill(Vec<Host>),
    /// Hosts die without a word; the end starts them.
    PowerLoss(Vec<Host>),
    /// The next fsync fails.
    Disk(SyncFault),
}

impl Plan {
    /// Draws a world.
    pub fn draw(seed: u64, scenario: Scenario) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let ms = Duration::from_millis;
        let latency_min = rng.random_range(0..4);
        let latency_max = latency_min + rng.random_range(1..60);
        let mut devices: Vec<_> =
            DEVICES.iter().map(|(user, device)| DevicePlan::draw(&mut rng, user, device)).collect();
        let trim = rng.random_bool(0.3);
        if trim {
            // A device that comes up after the others have fetched everything is told of trimmed
            // places, and rightly so: here everybody has one device.
            devices.retain(|device| device.device != "a-2");
        }
        Self {
            seed,
            scenario,
            planted: Planted::Nothing,
            latency: (ms(latency_min), ms(latency_max)),
            clocks: GATES.map(|_| ms(rng.random_range(0..CLOCKS_APART_MS_MAX))),
            fsync: ms(*[0, 1, 5, 20].choose(&mut rng).expect("a list that is not empty")),
            trim,
            devices,
            strikes: strikes(&mut rng, scenario),
        }
    }

    /// The same world with a fault of the system in it.
    #[must_use]
    pub fn with(self, planted: Planted) -> Self {
        Self { planted, ..self }
    }

    /// The routes of this world.
    pub fn routes(&self) -> impl Iterator<Item = &'static str> {
        routes(self.scenario)
    }

    /// The im-services of this world.
    pub fn services(&self) -> &'static [&'static str] {
        services(self.scenario)
    }
}

fn services(scenario: Scenario) -> &'static [&'static str] {
    match scenario {
        Scenario::OneService | Scenario::TwoRegions => &SERVICES[..1],
        Scenario::TwoServices => &SERVICES,
    }
}

fn routes(scenario: Scenario) -> impl Iterator<Item = &'static str> {
    let far: &[&str] = if scenario == Scenario::TwoRegions { &FAR_ROUTES } else { &[] };
    ROUTES.iter().chain(far).copied()
}

impl DevicePlan {
    fn draw(rng: &mut StdRng, user: &str, device: &str) -> Self {
        let user_id = user_id(user);
        let count = rng.random_range(4..12);
        let mut number = 0;
        let mut steps: Vec<Step> = (0..count)
            .map(|_| {
                let due = Duration::from_millis(rng.random_range(0..FAULTS_UNTIL.as_millis() as u64));
                let burst = if rng.random_bool(0.3) { rng.random_range(2..6) } else { 1 };
                let batch = (0..burst)
                    .map(|_| {
                        number += 1;
                        message(rng, user, &format!("{device}-{number}"))
                    })
                    .collect();
                Step { due, batch }
            })
            .collect();
        steps.sort_by_key(|step| step.due);
        let dawdle = Duration::from_millis(if rng.random_bool(0.2) { rng.random_range(1..150) } else { 0 });
        let resumes_by_sdk = rng.random_bool(0.4);
        Self { device: device.into(), user: user_id, steps, dawdle, forgetful: rng.random_bool(0.3), resumes_by_sdk }
    }
}

fn message(rng: &mut StdRng, sender: &str, id: &str) -> SendMsg {
    let groups = GROUPS.iter().filter(|(_, members)| members.contains(&sender)).map(|(group, _)| *group);
    let to = match groups.collect::<Vec<_>>().choose(rng) {
        Some(group) if rng.random_bool(0.5) => Target::Group(group_id(group)),
        // A note to oneself is a conversation, too.
        _ => {
            let (peer, _) = DEVICES.choose(rng).expect("a list that is not empty");
            Target::User(user_id(peer))
        }
    };
    // Some messages take more than one segment of the simulated network.
    let filling = if rng.random_bool(0.1) { 10_000 } else { rng.random_range(0..40) };
    SendMsg {
        to,
        client_msg_id: ClientMsgId::new(id).expect("letters, digits and dashes"),
        content_type: ContentType::Text,
        payload: Bytes::from(format!("{id}{}", ".".repeat(filling))),
    }
}

/// A user of the world.
pub fn user_id(name: &str) -> UserId {
    UserId::new(name).expect("the names of users are letters")
}

/// A group of the world.
pub fn group_id(name: &str) -> GroupId {
    GroupId::new(name).expect("the names of groups are letters")
}

/// Who gets a message of `sender`, the sender included.
pub fn recipients(sender: &UserId, to: &Target) -> Vec<UserId> {
    match to {
        Target::User(peer) if peer == sender => vec![sender.clone()],
        Target::User(peer) => vec![sender.clone(), peer.clone()],
        Target::Group(group) => {
            let known = GROUPS.iter().find(|(name, _)| *name == group.as_str());
            known.map_or_else(Vec::new, |(_, members)| members.iter().map(|member| user_id(member)).collect())
        }
    }
}

fn strikes(rng: &mut StdRng, scenario: Scenario) -> Vec<Strike> {
    let count = rng.random_range(3..14);
    let mut strikes: Vec<_> = (0..count)
        .map(|_| {
            let span = (FAULTS_UNTIL - FAULTS_FROM).as_millis() as u64;
            let from = FAULTS_FROM + Duration::from_millis(rng.random_range(0..span));
            let lasts = Duration::from_millis(rng.random_range(50..4000));
            Strike { from, until: (from + lasts).min(FAULTS_UNTIL), fault: fault(rng, scenario) }
        })
        .collect();
    strikes.sort_by_key(|strike| strike.from);
    strikes
}

fn fault(rng: &mut StdRng, scenario: Scenario) -> Fault {
    match rng.random_range(0..100) {
        0..20 => {
            let (a, b) = pair(rng, scenario);
            Fault::Partition(a, b)
        }
        20..32 => {
            let (a, b) = pair(rng, scenario);
            if rng.random() { Fault::OneWay(a, b) } else { Fault::OneWay(b, a) }
        }
        32..45 => {
            let (a, b) = pair(rng, scenario);
            Fault::Hold(a, b)
        }
        45..55 => {
            let (a, b) = pair(rng, scenario);
            Fault::Slow(a, b, Duration::from_millis(rng.random_range(50..1500)))
        }
        55..90 => {
            let hosts = victims(rng, scenario);
            if rng.random_bool(0.6) { Fault::Kill(hosts) } else { Fault::PowerLoss(hosts) }
        }
        _ => Fault::Disk(if rng.random() { SyncFault::Lost } else { SyncFault::Kept }),
    }
}

/// Two hosts that speak with each other.
fn pair(rng: &mut StdRng, scenario: Scenario) -> (Host, Host) {
    let mut one = |of: &[&str]| of.choose(rng).expect("a list that is not empty").to_string();
    let devices = DEVICES.map(|(_, device)| device);
    let (gate, route, service, device) = (one(&GATES), one(&ROUTES), one(services(scenario)), one(&devices));
    let far = one(&FAR_ROUTES);
    let has_far = scenario == Scenario::TwoRegions;
    match rng.random_range(0..if has_far { 4 } else { 3 }) {
        0 => (device, gate),
        1 if has_far && gate == FAR_GATE => (gate, far),
        1 => (gate, route),
        2 => (route, service),
        _ => (far, route),
    }
}

fn victims(rng: &mut StdRng, scenario: Scenario) -> Vec<Host> {
    let devices = DEVICES.map(|(_, device)| device);
    let mut one = |of: &[&str]| vec![of.choose(rng).expect("a list that is not empty").to_string()];
    let (gate, service, device) = (one(&GATES), one(services(scenario)), one(&devices));
    let all = |of: &[&str]| of.iter().map(ToString::to_string).collect();
    let tiers = GATES.into_iter().chain(routes(scenario)).chain(services(scenario).iter().copied());
    match rng.random_range(0..15) {
        0..4 => service,
        4..6 => vec![ROUTES[0].into()],
        6 => vec![ROUTES[1].into()],
        7 => all(&ROUTES),
        8..10 => gate,
        10 => all(&GATES),
        11 => all(services(scenario)),
        12 => tiers.map(ToString::to_string).collect(),
        13 if scenario == Scenario::TwoServices => vec![STORE.into()],
        13 if scenario == Scenario::TwoRegions => vec![FAR_ROUTES[0].into()],
        _ => device,
    }
}
