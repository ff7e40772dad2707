//! One world from its first to its last step: hosts, faults at their times, the healing, the wait for
//! convergence, and what is left on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use im_timeline::check::Finding;
use im_timeline::{Disk, DumpRow, MemoryStore, Store};
use parking_lot::Mutex;
use turmoil::{Builder, Sim};

use crate::app::App;
use crate::check::{self, Violation};
use crate::log::{Event, EventLog, Host, Line};
use crate::network::BEGIN;
use crate::panics;
use crate::plan::{CONVERGENCE, DevicePlan, FAULTS_UNTIL, Fault, GATES, Plan, STORE, Scenario, Strike};
use crate::shared_store::EPOCH;
use crate::tiers::Cluster;

/// How far a world goes at once. Frames are delivered at the begin of a step.
const TICK: Duration = Duration::from_millis(5);

/// Steps between two looks at whether everything is done.
const LOOK_EVERY: u64 = 20;

/// Segments that wait in a simulated socket at most.
const SEGMENTS_MAX: usize = 256;

/// What became of a world.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that happened.
    pub log: Vec<Line>,
    /// Every invariant that does not hold.
    pub violations: Vec<Violation>,
    /// How much simulated time it took.
    pub took: Duration,
}

/// Lines of the log that a report shows.
const REPORT_LINES: usize = 80;

/// A report for a person: what does not hold, the last of what happened, and how to see it again.
pub fn report(plan: &Plan, outcome: &Outcome) -> String {
    use std::fmt::Write as _;
    let Plan { seed, scenario, .. } = plan;
    let mut report = format!("seed {seed}, {scenario:?}: {} invariants do not hold\n", outcome.violations.len());
    let from = outcome.log.len().saturating_sub(REPORT_LINES);
    let lines = outcome.log[from..].iter().map(ToString::to_string);
    let lines = ["the last lines of the log:".into()].into_iter().chain(lines);
    for line in lines.chain(outcome.violations.iter().map(|violation| format!("  * {violation}"))) {
        // Writing to a string does not fail.
        let _ = writeln!(report, "{line}");
    }
    report + &format!("replay: SIM_SEED={seed} cargo test -p im-sim --test worlds -- --nocapture\n")
}

/// Worlds of one process run one after the other, because they share the runtime's task numbers.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a world to its end and checks it.
pub fn run(plan: &Plan) -> Outcome {
    let _alone = ONE_AT_A_TIME.lock();
    align_task_numbers();
    let (log, disk) = (EventLog::default(), Disk::new(EPOCH));
    let cluster = Cluster::new(plan, log.clone(), disk.clone());
    let groups = Arc::new(AtomicBool::new(false));
    let app = |device: &DevicePlan| App::new(device.clone(), plan.planted, &cluster, Arc::clone(&groups));
    let apps: Vec<_> = plan.devices.iter().map(app).collect();
    panics::watch();
    let mut world = World::new(plan, &cluster, &apps);
    let mut violations = Vec::new();
    if let Err(violation) = world.run(plan, &apps) {
        violations.push(violation);
    }
    let took = world.sim.elapsed();
    drop(world);
    violations.extend(panics::take().into_iter().map(Violation::Panicked));
    let lines = log.lines();
    let (rows, findings) = what_is_left(plan, &disk);
    violations.extend(check::check(plan, &lines, &rows));
    violations.extend(findings.into_iter().map(|finding| Violation::Damaged(finding.to_string())));
    Outcome { log: lines, violations, took }
}

/// A runtime that is dropped drops its tasks in an order that depends on their numbers, which it deals
/// out to all tasks of a process, modulo a small power of two. Sockets say goodbye in that order, so
/// every world has to begin with the same remainder.
fn align_task_numbers() {
    const MODULUS: u64 = 64;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let number = || runtime.spawn(async {}).id().to_string().parse::<u64>();
    // A name that is no number any more cannot be aligned; the test of replays then tells.
    while number().is_ok_and(|number| number % MODULUS != 0) {}
}

/// Everything that the disk holds, as the store tells it, and what the store's own check finds in it.
fn what_is_left(plan: &Plan, disk: &Disk) -> (Vec<DumpRow>, Vec<Finding>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::open(disk));
        let store = plan.planted.spoil(store, disk).await;
        let page = store.dump(None, usize::MAX - 1).await.expect("a store that was just opened");
        let report = im_timeline::check::check(&*store).await.expect("a store that was just opened");
        (page.rows, report.findings)
    })
}

struct World<'a> {
    sim: Sim<'a>,
    cluster: Cluster,
    disk: Disk,
    hosts: Vec<Host>,
    latency: (Duration, Duration),
    ruling: Vec<Fault>,
    links: BTreeMap<(Host, Host), Condition>,
    down: BTreeMap<Host, bool>,
}

/// In what state the way between two hosts is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Condition {
    #[default]
    Healthy,
    Slow(Duration),
    /// Nothing passes from the first to the second of these.
    OneWay(Host, Host),
    Hold,
    Partition,
}

impl World<'_> {
    fn new(plan: &Plan, cluster: &Cluster, apps: &[Arc<App>]) -> Self {
        let mut sim = Builder::new()
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .epoch(SystemTime::UNIX_EPOCH + BEGIN)
            .min_message_latency(plan.latency.0)
            .max_message_latency(plan.latency.1)
            .tcp_capacity(SEGMENTS_MAX)
            .rng_seed(plan.seed)
            .enable_random_order()
            .build();
        let mut hosts: Vec<Host> = Vec::new();
        if plan.scenario == Scenario::TwoServices {
            let cluster = cluster.clone();
            sim.host(STORE, move || cluster.clone().store());
        }
        for name in plan.routes() {
            let cluster = cluster.clone();
            sim.host(name, move || cluster.clone().route(name));
            hosts.push(name.into());
        }
        for &name in plan.services() {
            let cluster = cluster.clone();
            sim.host(name, move || cluster.clone().service(name));
            hosts.push(name.into());
        }
        for name in GATES {
            let cluster = cluster.clone();
            sim.host(name, move || cluster.clone().gate(name));
            hosts.push(name.into());
        }
        for app in apps {
            let app = Arc::clone(app);
            let name = app.plan().device.clone();
            hosts.push(name.clone());
            sim.host(name, move || Arc::clone(&app).run());
        }
        Self {
            sim,
            cluster: cluster.clone(),
            disk: cluster.disk.clone(),
            hosts,
            latency: plan.latency,
            ruling: Vec::new(),
            links: BTreeMap::new(),
            down: BTreeMap::new(),
        }
    }

    fn run(&mut self, plan: &Plan, apps: &[Arc<App>]) -> Result<(), Violation> {
        let mut begins: Vec<&Strike> = plan.strikes.iter().rev().collect();
        let mut ends: Vec<&Strike> = Vec::new();
        let mut steps = 0u64;
        loop {
            let now = self.sim.elapsed();
            while let Some(strike) = begins.pop_if(|strike| strike.from <= now) {
                self.begin(&strike.fault);
                ends.push(strike);
            }
            let over: Vec<_> = ends.extract_if(.., |strike| strike.until <= now).collect();
            for strike in over {
                self.end(&strike.fault);
            }
            self.sim.step().map_err(|error| Violation::HostFailed(error.to_string()))?;
            steps += 1;
            if now > FAULTS_UNTIL && steps.is_multiple_of(LOOK_EVERY) && self.unfinished(apps).is_empty() {
                return Ok(());
            }
            if now > FAULTS_UNTIL + CONVERGENCE {
                return Err(Violation::NotConverged(self.unfinished(apps)));
            }
        }
    }

    /// Which devices have not sent everything or not seen everything.
    fn unfinished(&self, apps: &[Arc<App>]) -> Vec<String> {
        let store = self.cluster.slot.get().ok();
        apps.iter()
            .filter_map(|app| {
                let (device, user) = (&app.plan().device, &app.plan().user);
                // The stores of this crate never wait to tell a head.
                let head = store.as_ref().and_then(|store| store.head(user).now_or_never()?.ok());
                let head = head.map_or(u64::MAX, |head| head.head.0);
                let taken = app.taken().seq.0;
                match (app.is_done(), taken == head) {
                    (true, true) => None,
                    (true, false) => Some(format!("{device} stands at {taken} of {head}")),
                    (false, _) => Some(format!("{device} has messages without an ack")),
                }
            })
            .collect()
    }

    fn begin(&mut self, fault: &Fault) {
        self.note(format!("begin {fault:?}"));
        if let Fault::Disk(fault) = fault {
            self.disk.fail_next_sync(*fault);
            return;
        }
        self.ruling.push(fault.clone());
        // The network first: a host that loses power says nothing any more.
        self.apply_links();
        self.apply_hosts();
    }

    fn end(&mut self, fault: &Fault) {
        let Some(index) = self.ruling.iter().position(|ruling| ruling == fault) else { return };
        self.note(format!("end   {fault:?}"));
        self.ruling.swap_remove(index);
        self.apply_links();
        self.apply_hosts();
    }

    fn apply_links(&mut self) {
        let pairs: Vec<_> = self
            .hosts
            .iter()
            .enumerate()
            .flat_map(|(index, a)| self.hosts[index + 1..].iter().map(move |b| (a.clone(), b.clone())))
            .collect();
        for pair in pairs {
            let wanted = self.ruling.iter().map(|fault| condition(fault, &pair)).max().unwrap_or_default();
            let is = self.links.get(&pair).cloned().unwrap_or_default();
            if is != wanted {
                self.change_link(&pair, &is, &wanted);
                self.links.insert(pair, wanted);
            }
        }
    }

    fn change_link(&self, (a, b): &(Host, Host), is: &Condition, wanted: &Condition) {
        let (a, b) = (a.as_str(), b.as_str());
        match is {
            Condition::Healthy => {}
            Condition::Slow(_) => {
                self.sim.set_link_latency(a, b, self.latency.0);
                self.sim.set_link_max_message_latency(a, b, self.latency.1);
            }
            // Both ways are open again, and what was held is on its way.
            Condition::OneWay(..) | Condition::Hold | Condition::Partition => self.sim.release(a, b),
        }
        match wanted {
            Condition::Healthy => {}
            Condition::Slow(latency) => self.sim.set_link_latency(a, b, *latency),
            Condition::OneWay(from, to) => self.sim.partition_oneway(from.as_str(), to.as_str()),
            Condition::Hold => self.sim.hold(a, b),
            Condition::Partition => self.sim.partition(a, b),
        }
    }

    fn apply_hosts(&mut self) {
        let down = |host: &Host, ruling: &[Fault]| {
            ruling.iter().any(|fault| match fault {
                Fault::Kill(hosts) | Fault::PowerLoss(hosts) => hosts.contains(host),
                _ => false,
            })
        };
        let store = STORE.to_owned();
        for host in self.hosts.iter().chain([&store]) {
            let wanted = down(host, &self.ruling);
            let is = self.down.insert(host.clone(), wanted).unwrap_or_default();
            if wanted && !is {
                let has_store = match self.cluster.scenario() {
                    Scenario::OneService | Scenario::TwoRegions => host == crate::plan::SERVICES[0],
                    Scenario::TwoServices => *host == store,
                };
                if has_store {
                    self.cluster.slot.clear();
                }
                self.sim.crash(host.as_str());
            } else if is && !wanted {
                self.sim.bounce(host.as_str());
            }
        }
    }

    fn note(&self, what: String) {
        self.cluster.log.note_at(self.sim.elapsed(), Event::Fault(what));
    }
}

fn condition(fault: &Fault, (a, b): &(Host, Host)) -> Condition {
    let between = |x: &Host, y: &Host| (x == a && y == b) || (x == b && y == a);
    match fault {
        Fault::Partition(x, y) if between(x, y) => Condition::Partition,
        Fault::OneWay(x, y) if between(x, y) => Condition::OneWay(x.clone(), y.clone()),
        Fault::Hold(x, y) if between(x, y) => Condition::Hold,
        Fault::Slow(x, y, latency) if between(x, y) => Condition::Slow(*latency),
        Fault::PowerLoss(hosts) if hosts.contains(a) || hosts.contains(b) => Condition::Partition,
        _ => Condition::Healthy,
    }
}
