//! Whether the simulation finds what is wrong: for each planted fault, one of the first seeds has to
//! tell the right invariant, in a world that is clean without the fault.

use im_sim::broken::Planted;
use im_sim::check::Violation;
use im_sim::plan::{Plan, Scenario};
use im_sim::world;

/// Seeds tried for one fault. Each fault shows in more than every second world.
const SEEDS: u64 = 8;

fn is_found(planted: Planted, scenario: Scenario, expected: impl Fn(&Violation) -> bool) {
    for seed in 0..SEEDS {
        let plan = Plan::draw(seed, scenario);
        let outcome = world::run(&plan.clone().with(planted));
        println!("seed {seed}: {:?}", outcome.violations);
        if outcome.violations.iter().any(&expected) {
            let clean = world::run(&plan);
            assert_eq!(clean.violations, [], "seed {seed} without the planted fault");
            return;
        }
    }
    panic!("{planted:?} was not found in {SEEDS} worlds");
}

#[test]
fn acks_before_the_message_is_durable() {
    is_found(Planted::AcksBeforeDurable, Scenario::OneService, |violation| {
        matches!(violation, Violation::NotAtItsPlace { .. })
    });
}

#[test]
fn a_timeline_with_a_hole() {
    is_found(Planted::LeavesAHole, Scenario::OneService, |violation| matches!(violation, Violation::NotDense { .. }));
}

#[test]
fn a_retry_that_is_stored_again() {
    is_found(Planted::ForgetsNames, Scenario::OneService, |violation| matches!(violation, Violation::StoredTwice(..)));
}

#[test]
fn a_member_who_is_left_out() {
    is_found(Planted::LeavesAMemberOut, Scenario::TwoServices, |violation| {
        matches!(violation, Violation::NotOnceInTimeline { times: 0, .. })
    });
}

#[test]
fn a_client_that_resumes_too_far() {
    is_found(Planted::ResumesTooFar, Scenario::OneService, |violation| {
        matches!(violation, Violation::SeenOutOfOrder { .. })
    });
}
