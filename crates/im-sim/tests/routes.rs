//! That messages come at once, and not with the next heartbeat: while a master dies and comes back, while
//! two senders disagree about who is master, and across regions. Nothing here would be lost if it failed,
//! so the invariants of the other worlds would not show it.
#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::time::Duration;

use im_proto::client::SendMsg;
use im_proto::{ClientMsgId, UserId};
use im_sim::log::{Event, Line};
use im_sim::plan::{FAULTS_UNTIL, Fault, GATES, Plan, ROUTES, SERVICES, Scenario, Strike, recipients};
use im_sim::world::{self, Outcome};

const SEEDS: u64 = 6;

/// What a message may take from its sender's ack to every device of every receiver: five hops of at most
/// 64 ms, and some for what is handed over in order. Heartbeats come once a second.
const PROMPT: Duration = Duration::from_millis(600);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A world without faults but these, and with devices that take what comes.
fn plan(seed: u64, scenario: Scenario, strikes: Vec<Strike>) -> Plan {
    let mut plan = Plan::draw(seed, scenario);
    plan.trim = false;
    plan.devices.iter_mut().for_each(|device| device.dawdle = Duration::ZERO);
    Plan { strikes, ..plan }
}

fn run(plan: &Plan) -> Outcome {
    let outcome = world::run(plan);
    assert!(outcome.violations.is_empty(), "{}", world::report(plan, &outcome));
    outcome
}

struct Acked<'a> {
    at: Duration,
    user: &'a UserId,
    message: &'a SendMsg,
}

fn acked(outcome: &Outcome) -> impl Iterator<Item = Acked<'_>> {
    outcome.log.iter().filter_map(|Line { at, event }| match event {
        Event::Acked { user, message, .. } => Some(Acked { at: *at, user, message }),
        _ => None,
    })
}

/// How much later than the ack the slowest device saw each message that was acked in that time.
fn lateness(plan: &Plan, outcome: &Outcome, when: &Range<Duration>) -> Vec<(ClientMsgId, Duration)> {
    let late = |acked: Acked<'_>| {
        let recipients = recipients(acked.user, &acked.message.to);
        let devices = plan.devices.iter().filter(|device| recipients.contains(&device.user));
        let slowest = devices.map(|receiver| {
            let saw = outcome.log.iter().find(|line| {
                matches!(&line.event, Event::Saw { device, entry, .. } if *device == receiver.device
                    && entry.message.sender == *acked.user
                    && entry.message.client_msg_id == acked.message.client_msg_id)
            });
            saw.expect("the invariants hold").at.saturating_sub(acked.at)
        });
        (acked.message.client_msg_id.clone(), slowest.max().unwrap())
    };
    let messages = acked(outcome).filter(|acked| when.contains(&acked.at));
    messages.map(late).collect()
}

fn expect_prompt(plan: &Plan, outcome: &Outcome, when: Range<Duration>) {
    let lateness = lateness(plan, outcome, &when);
    assert!(!lateness.is_empty(), "seed {}: nothing was acked in {when:?}", plan.seed);
    for (message, late) in lateness {
        assert!(late <= PROMPT, "{message} came {late:?} after its ack\n{}", world::report(plan, outcome));
    }
}

/// The longest that a message waited for its ack.
fn longest_wait(outcome: &Outcome) -> Duration {
    let begun = outcome.log.iter().filter_map(|Line { at, event }| match event {
        Event::Begun { user, message, .. } => Some((*at, user, &message.client_msg_id)),
        _ => None,
    });
    let wait = |(at, user, id): (Duration, &UserId, &ClientMsgId)| {
        let ack = acked(outcome).find(|acked| acked.user == user && acked.message.client_msg_id == *id);
        ack.unwrap().at - at
    };
    begun.map(wait).max().unwrap()
}

#[test]
fn an_undisturbed_world_is_prompt() {
    for seed in 0..SEEDS {
        for scenario in [Scenario::OneService, Scenario::TwoServices, Scenario::TwoRegions] {
            let plan = plan(seed, scenario, Vec::new());
            expect_prompt(&plan, &run(&plan), ms(0)..FAULTS_UNTIL);
        }
    }
}

/// A master is killed, stays away for three seconds, and comes back knowing nobody.
#[test]
fn a_killed_master_is_replaced_within_a_second_and_its_return_disturbs_nobody() {
    for seed in 0..SEEDS {
        let (from, until) = (ms(4000), ms(7000));
        let fault = Fault::Kill(vec![ROUTES[0].into()]);
        let plan = plan(seed, Scenario::OneService, vec![Strike { from, until, fault }]);
        let outcome = run(&plan);
        expect_prompt(&plan, &outcome, from + ms(1000)..FAULTS_UNTIL);
        let wait = longest_wait(&outcome);
        println!("seed {seed}: no message waited longer than {wait:?}");
        assert!(wait <= ms(1500), "a message waited {wait:?} for its ack");
    }
}

/// The two gates are each cut from another route for longer than it takes to notice, so that each sends
/// to a route that cannot reach the other gate's users.
#[test]
fn gates_that_disagree_about_the_master_do_no_harm() {
    for seed in 0..SEEDS {
        let (from, until) = (ms(2000), ms(8000));
        let cut = |gate: &str, route: &str| {
            let fault = Fault::Partition(gate.into(), route.into());
            Strike { from, until, fault }
        };
        let strikes = vec![cut(GATES[0], ROUTES[1]), cut(GATES[1], ROUTES[0])];
        let plan = plan(seed, Scenario::OneService, strikes);
        let outcome = run(&plan);
        // Silence is noticed after two seconds; what goes on, goes on over both.
        expect_prompt(&plan, &outcome, from + ms(2500)..until);
        expect_prompt(&plan, &outcome, until + ms(2000)..FAULTS_UNTIL + ms(1000));
    }
}

/// The im-service loses its link to the master alone: requests go where they can be served.
#[test]
fn a_master_without_an_im_service_is_passed_over() {
    for seed in 0..SEEDS {
        let (from, until) = (ms(3000), ms(9000));
        let fault = Fault::Partition(ROUTES[0].into(), SERVICES[0].into());
        let plan = plan(seed, Scenario::OneService, vec![Strike { from, until, fault }]);
        let outcome = run(&plan);
        expect_prompt(&plan, &outcome, from + ms(3000)..FAULTS_UNTIL);
        let wait = longest_wait(&outcome);
        assert!(wait <= ms(5000), "seed {seed}: a message waited {wait:?} for its ack");
    }
}

/// Two regions are cut from each other and find each other again, without a hand.
#[test]
fn a_cut_between_regions_heals() {
    use im_sim::plan::FAR_ROUTES;
    for seed in 0..SEEDS {
        let (from, until) = (ms(2000), ms(6000));
        let pairs = ROUTES.iter().flat_map(|near| FAR_ROUTES.iter().map(move |far| (*near, *far)));
        let cut = |(near, far): (&str, &str)| {
            let fault = Fault::Partition(near.into(), far.into());
            Strike { from, until, fault }
        };
        let plan = plan(seed, Scenario::TwoRegions, pairs.map(cut).collect());
        let outcome = run(&plan);
        expect_prompt(&plan, &outcome, until + ms(3000)..FAULTS_UNTIL + ms(3000));
    }
}
