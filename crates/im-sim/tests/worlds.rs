//! Many worlds, and every invariant in each of them.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use im_sim::log::Event;
use im_sim::plan::{DevicePlan, Fault, GATES, Plan, Scenario, Strike};
use im_sim::world::{self, Outcome};

/// Worlds of each kind in a usual run: under 40 s on two cores in a debug build.
const SEEDS: u64 = 30;

/// Worlds among which each kind of trouble has to show, or the simulation has become too gentle.
const ENOUGH: u64 = 20;

#[test]
fn one_im_service_that_takes_its_store_along() {
    sweep(Scenario::OneService);
}

#[test]
fn two_im_services_before_one_store() {
    sweep(Scenario::TwoServices);
}

#[test]
fn two_regions_and_the_im_service_in_one_of_them() {
    sweep(Scenario::TwoRegions);
}

fn sweep(scenario: Scenario) {
    let (seeds, one) = seeds();
    let mut troubles = Troubles::default();
    for seed in seeds.clone() {
        let plan = Plan::draw(seed, scenario);
        let outcome = world::run(&plan);
        if one {
            println!("{plan:#?}");
            outcome.log.iter().for_each(|line| println!("{line}"));
        }
        assert!(outcome.violations.is_empty(), "{}", world::report(&plan, &outcome));
        troubles.count(&outcome);
    }
    println!("{troubles:?}");
    if seeds.end - seeds.start >= ENOUGH {
        troubles.expect_all();
    }
}

/// The seeds to run, and whether a person asked for just one.
fn seeds() -> (Range<u64>, bool) {
    match setting("SIM_SEED") {
        Some(seed) => (seed..seed + 1, true),
        None => (0..setting("SIM_SEEDS").unwrap_or(SEEDS), false),
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// What the worlds had to go through.
#[derive(Debug, Default)]
struct Troubles {
    acked: usize,
    /// Acks of a message that an earlier try had stored.
    repeats: usize,
    /// Connections that clients lost or did not get.
    offline: usize,
    /// Starts of hosts that had run before.
    restarts: usize,
}

impl Troubles {
    fn count(&mut self, outcome: &Outcome) {
        let mut hosts = HashSet::new();
        for line in &outcome.log {
            match &line.event {
                Event::Acked { ack, .. } => {
                    self.acked += 1;
                    self.repeats += usize::from(ack.repeated);
                }
                Event::State { state, .. } => self.offline += usize::from(state.starts_with("offline")),
                Event::Started(host) => self.restarts += usize::from(!hosts.insert(host)),
                _ => {}
            }
        }
    }

    fn expect_all(&self) {
        assert!(self.acked > 0 && self.repeats > 0 && self.offline > 0 && self.restarts > 0, "{self:?}");
    }
}

/// The same seed gives the same log, line by line and to the millisecond.
#[test]
fn a_seed_repeats() {
    for (seed, scenario) in
        [(12, Scenario::OneService), (14, Scenario::OneService), (22, Scenario::TwoServices), (5, Scenario::TwoRegions)]
    {
        let plan = Plan::draw(setting("SIM_SEED").unwrap_or(seed), scenario);
        let lines = |outcome: Outcome| outcome.log.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (first, second) = (lines(world::run(&plan)), lines(world::run(&plan)));
        for (index, (first_line, second_line)) in first.iter().zip(&second).enumerate() {
            assert_eq!(first_line, second_line, "seed {}: line {index}, behind {:#?}", plan.seed, &first[..index]);
        }
        assert_eq!(first.len(), second.len());
    }
}

/// Devices lose power and are back at once, perhaps at another gate, whose clocks (the time of day, and
/// the one that began with the gate) are seconds behind, while the gate before still holds their old login.
#[test]
fn a_device_that_comes_back_at_once_stays() {
    for seed in 0..4 {
        let mut plan = Plan::draw(seed, Scenario::OneService);
        plan.clocks = [Duration::from_secs(3), Duration::ZERO];
        let younger = Fault::Kill(vec![GATES[1].into()]);
        let younger = Strike { from: Duration::ZERO, until: Duration::from_secs(3), fault: younger };
        let times = (3..8).map(|round| Duration::from_millis(1500 * round));
        let returns = times.flat_map(|from| {
            let fault = |device: &DevicePlan| Fault::PowerLoss(vec![device.device.clone()]);
            let strike = move |fault| Strike { from, until: from + Duration::from_millis(300), fault };
            plan.devices.iter().map(fault).map(strike).collect::<Vec<_>>()
        });
        plan.strikes = [younger].into_iter().chain(returns).collect();
        let outcome = world::run(&plan);
        assert!(outcome.violations.is_empty(), "{}", world::report(&plan, &outcome));
    }
}
