//! Which route a gate or an im-service sends to.
//!
//! Any route that is up would do: a route decides nothing, and two senders that disagree do no harm.
//! So this is about being quick and calm, not about being right: leave a route that cannot serve at
//! once, and do not move back and forth.
//!
//! Of the routes that are up, those whose requests find an im-service come first, among them the
//! master, among the others the one that stands first in the configuration. Who is master is rumour:
//! the greatest [`Mastership`] that anybody has told, passed on to every route, so that routes learn
//! from their senders what other routes are, without links among themselves. As long as nobody has
//! moved the role, the route that stands first has it.

use im_proto::link::{Mastership, RouteState, SenderState};

/// A sender's knowledge of its routes.
#[derive(Debug)]
pub struct RouteChoice {
    mastership: Mastership,
    seats: Vec<Option<Seat>>,
}

/// A route whose link is up.
#[derive(Debug)]
struct Seat {
    name: String,
    /// What it has told of itself. Before, it counts as one that cannot serve: a route that has just
    /// come back gets no requests until it can do something about them.
    state: Option<RouteState>,
}

impl RouteChoice {
    /// For so many routes, none of which is up.
    pub fn new(routes: usize) -> Self {
        Self { mastership: Mastership::default(), seats: (0..routes).map(|_| None).collect() }
    }

    /// The route of that index is up; `name` is what it calls itself.
    pub fn up(&mut self, index: usize, name: &str) {
        if index == 0 {
            self.learn(&Mastership { term: 0, master: name.to_owned() });
        }
        if let Some(seat) = self.seats.get_mut(index) {
            *seat = Some(Seat { name: name.to_owned(), state: None });
        }
    }

    /// The route of that index is gone.
    pub fn down(&mut self, index: usize) {
        if let Some(seat) = self.seats.get_mut(index) {
            *seat = None;
        }
    }

    /// The route of that index tells of itself.
    pub fn heard(&mut self, index: usize, state: RouteState) {
        self.learn(&state.mastership);
        if let Some(Some(seat)) = self.seats.get_mut(index) {
            seat.state = Some(state);
        }
    }

    fn learn(&mut self, mastership: &Mastership) {
        if *mastership > self.mastership {
            self.mastership.clone_from(mastership);
        }
    }

    /// The route to send to, among those that are `usable`.
    pub fn pick(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let up = self.seats.iter().enumerate().filter_map(|(index, seat)| Some((index, seat.as_ref()?)));
        up.filter(|(index, _)| usable(*index))
            .max_by_key(|(index, seat)| {
                let serves = seat.state.as_ref().is_some_and(|state| state.serves);
                (serves, seat.name == self.mastership.master, std::cmp::Reverse(*index))
            })
            .map(|(index, _)| index)
    }

    /// Whether every route that is up holds the same logins as far as anybody can tell, so that telling
    /// one of them reaches all that telling each of them would.
    pub fn is_even(&self) -> bool {
        let mut told = self.seats.iter().flatten().map(|seat| seat.state.as_ref().map(|state| state.gates));
        told.next().is_none_or(|first| told.all(|other| other == first))
    }

    /// What to tell the route of that index.
    pub fn state(&self, index: usize, registered: bool) -> SenderState {
        SenderState { mastership: self.mastership.clone(), uses: self.pick(|_| true) == Some(index), registered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(term: u64, master: &str, serves: bool, gates: u64) -> RouteState {
        let mastership = Mastership { term, master: master.into() };
        RouteState { mastership, serves, has_service: serves, gates }
    }

    fn two() -> RouteChoice {
        let mut choice = RouteChoice::new(2);
        choice.up(0, "r1");
        choice.up(1, "r2");
        choice
    }

    fn pick(choice: &RouteChoice) -> Option<usize> {
        choice.pick(|_| true)
    }

    #[test]
    fn the_first_is_master_until_somebody_moves_the_role() {
        let mut choice = two();
        choice.heard(0, state(0, "", true, 0));
        choice.heard(1, state(0, "", true, 0));
        assert_eq!(pick(&choice), Some(0));
        assert_eq!(choice.state(1, false).mastership, Mastership { term: 0, master: "r1".into() });
        choice.heard(1, state(1, "r2", true, 0));
        assert_eq!(pick(&choice), Some(1));
        assert!(choice.state(1, true).uses && !choice.state(0, true).uses);
        choice.heard(0, state(0, "r1", true, 0));
        assert_eq!(pick(&choice), Some(1), "older news change nothing");
    }

    #[test]
    fn a_master_that_cannot_serve_is_passed_over_while_another_can() {
        let mut choice = two();
        choice.heard(0, state(0, "r1", false, 0));
        assert_eq!(pick(&choice), Some(0), "nobody can: the master refuses as well as anybody");
        choice.heard(1, state(0, "r1", true, 0));
        assert_eq!(pick(&choice), Some(1));
        choice.heard(0, state(0, "r1", true, 0));
        assert_eq!(pick(&choice), Some(0));
    }

    #[test]
    fn a_route_that_comes_back_is_not_used_before_it_says_that_it_can_serve() {
        let mut choice = two();
        choice.heard(0, state(0, "r1", true, 0));
        choice.heard(1, state(0, "r1", true, 0));
        choice.down(0);
        assert_eq!(pick(&choice), Some(1));
        choice.up(0, "r1");
        assert_eq!(pick(&choice), Some(1));
        assert_eq!(choice.pick(|index| index == 0), Some(0), "unless there is no other");
        choice.down(1);
        choice.down(0);
        assert_eq!(pick(&choice), None);
    }

    #[test]
    fn routes_are_even_when_all_tell_the_same_gates() {
        let mut choice = two();
        choice.heard(0, state(0, "r1", true, 7));
        assert!(!choice.is_even(), "the other has told nothing");
        choice.heard(1, state(0, "r1", true, 3));
        assert!(!choice.is_even());
        choice.heard(1, state(0, "r1", true, 7));
        assert!(choice.is_even());
        choice.down(0);
        assert!(choice.is_even(), "one alone is");
    }
}
