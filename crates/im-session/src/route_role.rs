//! Whether a route is master or standby, as it knows it itself, and how the role moves.
//!
//! The role is advice to senders ([`RouteChoice`](crate::RouteChoice)), never a right: a route that
//! wrongly believes to be master forwards as well as any other. So it needs no vote:
//!
//! ```text
//!             somebody tells of a greater mastership of another route
//!           ┌──────────────────────────────────────────────────────────┐
//!        Master                                                     Standby
//!           └──────────────────────────────────────────────────────────┘
//!             an operator says so, or every sender has sent here for a while
//! ```
//!
//! The second cause follows a master that died: its senders are here already, and when it comes back it
//! hears from them that the role has moved. So they need not move again, and a master that keeps dying
//! does not keep them moving.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use im_proto::BootId;
use im_proto::link::{Mastership, SenderState};

/// How long every sender has to send here before a standby takes the role: long enough that a link
/// which breaks and is dialled again at once moves nothing.
pub const CLAIM_AFTER: Duration = Duration::from_secs(1);

/// What a route is to its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Senders come here.
    Master,
    /// Senders come here when the master cannot serve.
    Standby,
    /// No sender has told yet.
    Unknown,
}

/// One route's knowledge of its role. `L` names a link.
#[derive(Debug)]
pub struct RouteRole<L> {
    name: String,
    mastership: Mastership,
    /// When the role became what it is.
    since: Instant,
    senders: HashMap<L, Sender>,
    /// Since when every sender sends here.
    used_by_all: Option<Instant>,
}

#[derive(Debug)]
struct Sender {
    boot: BootId,
    uses: bool,
    registered: bool,
}

impl<L: Copy + Eq + std::hash::Hash> RouteRole<L> {
    /// Of the route of that name, which knows nothing yet.
    pub fn new(now: Instant, name: String) -> Self {
        let mastership = Mastership::default();
        Self { name, mastership, since: now, senders: HashMap::new(), used_by_all: None }
    }

    /// A gate or an im-service is linked.
    pub fn up(&mut self, now: Instant, link: L, boot: BootId) {
        self.senders.insert(link, Sender { boot, uses: false, registered: false });
        self.count(now);
    }

    /// Its link is gone.
    pub fn down(&mut self, now: Instant, link: L) {
        self.senders.remove(&link);
        self.count(now);
    }

    /// It tells of itself.
    pub fn heard(&mut self, now: Instant, link: L, state: SenderState) {
        if let Some(sender) = self.senders.get_mut(&link) {
            (sender.uses, sender.registered) = (state.uses, state.registered);
            self.learn(now, state.mastership);
            self.count(now);
        }
    }

    /// An operator wants this route to be master.
    pub fn take(&mut self, now: Instant) {
        let mastership = Mastership { term: self.mastership.term.saturating_add(1), master: self.name.clone() };
        self.learn(now, mastership);
    }

    /// Takes the role if every sender has been here for long enough. To be called now and then.
    pub fn on_tick(&mut self, now: Instant) {
        let is_due = self.used_by_all.is_some_and(|since| now.saturating_duration_since(since) >= CLAIM_AFTER);
        if is_due && self.role() == Role::Standby {
            self.take(now);
        }
    }

    /// What this route is.
    pub fn role(&self) -> Role {
        match &self.mastership.master {
            master if master.is_empty() => Role::Unknown,
            master if *master == self.name => Role::Master,
            _ => Role::Standby,
        }
    }

    /// When it became that.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The newest mastership that it knows.
    pub fn mastership(&self) -> &Mastership {
        &self.mastership
    }

    /// How many senders send here, of how many.
    pub fn users(&self) -> (usize, usize) {
        (self.senders.values().filter(|sender| sender.uses).count(), self.senders.len())
    }

    /// The senders that have registered everything, folded into one number: a sum, so that order does
    /// not matter, of mixed boot ids, so that two sets hardly ever agree by chance.
    pub fn registered(&self) -> u64 {
        let registered = self.senders.values().filter(|sender| sender.registered);
        registered.fold(0, |sum: u64, sender| sum.wrapping_add(crate::affinity::mix(sender.boot.0)))
    }

    fn learn(&mut self, now: Instant, mastership: Mastership) {
        if mastership > self.mastership {
            let before = self.role();
            self.mastership = mastership;
            if self.role() != before {
                self.since = now;
            }
        }
    }

    fn count(&mut self, now: Instant) {
        let by_all = !self.senders.is_empty() && self.senders.values().all(|sender| sender.uses);
        self.used_by_all = if by_all { self.used_by_all.or(Some(now)) } else { None };
    }
}

#[cfg(test)]
mod tests {
    use im_proto::link::RouteState;

    use super::*;
    use crate::RouteChoice;

    const TICK: Duration = Duration::from_millis(100);

    /// Two routes and some senders whose links the test cuts and mends. What is told arrives at once.
    struct World {
        now: Instant,
        routes: Vec<RouteRole<usize>>,
        senders: Vec<RouteChoice>,
        cut: Vec<[bool; 2]>,
        serves: [bool; 2],
        picked: Vec<Option<usize>>,
        moves: Vec<u32>,
    }

    impl World {
        fn new(senders: usize) -> Self {
            let now = Instant::now();
            let routes = ["r1", "r2"].map(|name| RouteRole::new(now, name.into())).into();
            let mut world = Self {
                now,
                routes,
                senders: (0..senders).map(|_| RouteChoice::new(2)).collect(),
                cut: vec![[true; 2]; senders],
                serves: [true; 2],
                picked: vec![None; senders],
                moves: vec![0; senders],
            };
            (0..senders).for_each(|sender| (0..2).for_each(|route| world.mend(sender, route)));
            world.settle();
            world.moves.fill(0);
            world
        }

        fn mend(&mut self, sender: usize, route: usize) {
            self.cut[sender][route] = false;
            self.routes[route].up(self.now, sender, BootId(sender as u64));
            self.senders[sender].up(route, ["r1", "r2"][route]);
        }

        fn sever(&mut self, sender: usize, route: usize) {
            self.cut[sender][route] = true;
            self.routes[route].down(self.now, sender);
            self.senders[sender].down(route);
        }

        fn kill(&mut self, route: usize) {
            (0..self.senders.len()).for_each(|sender| self.sever(sender, route));
            self.routes[route] = RouteRole::new(self.now, ["r1", "r2"][route].into());
        }

        fn start(&mut self, route: usize) {
            (0..self.senders.len()).for_each(|sender| self.mend(sender, route));
        }

        fn picks(&self) -> Vec<Option<usize>> {
            self.senders.iter().map(|choice| choice.pick(|_| true)).collect()
        }

        /// Everybody tells everybody, until nothing is new.
        fn settle(&mut self) {
            for _ in 0..4 {
                for sender in 0..self.senders.len() {
                    for route in (0..2).filter(|route| !self.cut[sender][*route]) {
                        let told = RouteState {
                            mastership: self.routes[route].mastership().clone(),
                            serves: self.serves[route],
                            has_service: self.serves[route],
                            gates: self.routes[route].registered(),
                        };
                        self.senders[sender].heard(route, told);
                    }
                    for route in (0..2).filter(|route| !self.cut[sender][*route]) {
                        let told = self.senders[sender].state(route, true);
                        self.routes[route].heard(self.now, sender, told);
                    }
                }
                for (sender, picked) in self.picks().into_iter().enumerate() {
                    self.moves[sender] += u32::from(std::mem::replace(&mut self.picked[sender], picked) != picked);
                }
            }
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                self.now += TICK;
                let now = self.now;
                self.routes.iter_mut().for_each(|route| route.on_tick(now));
                self.settle();
            }
        }

        fn roles(&self) -> [Role; 2] {
            [self.routes[0].role(), self.routes[1].role()]
        }
    }

    #[test]
    fn the_first_route_is_master_and_both_know() {
        let mut world = World::new(3);
        world.run(Duration::from_secs(5));
        assert_eq!(world.roles(), [Role::Master, Role::Standby]);
        assert_eq!(world.picks(), [Some(0); 3]);
        assert_eq!((world.routes[0].users(), world.routes[1].users()), ((3, 3), (0, 3)));
        assert!(world.senders.iter().all(RouteChoice::is_even));
    }

    #[test]
    fn a_switch_moves_every_sender_and_back() {
        let mut world = World::new(3);
        for (to, roles) in [(1, [Role::Standby, Role::Master]), (0, [Role::Master, Role::Standby])] {
            world.run(Duration::from_secs(3));
            let now = world.now;
            world.routes[to].take(now);
            world.settle();
            assert_eq!((world.roles(), world.picks()), (roles, vec![Some(to); 3]));
            assert_eq!(world.routes[to].since(), now);
        }
        world.run(Duration::from_secs(5));
        assert_eq!(world.moves, [2, 2, 2]);
    }

    #[test]
    fn who_comes_back_after_its_death_is_standby_and_nobody_moves_again() {
        let mut world = World::new(3);
        for _ in 0..5 {
            world.kill(0);
            world.settle();
            assert_eq!(world.picks(), [Some(1); 3], "at once");
            world.run(Duration::from_secs(2));
            world.start(0);
            world.run(Duration::from_secs(2));
            assert_eq!(world.roles(), [Role::Standby, Role::Master]);
        }
        assert_eq!(world.moves, [1, 1, 1]);
    }

    #[test]
    fn a_link_that_breaks_for_a_moment_moves_no_role() {
        let mut world = World::new(1);
        world.sever(0, 0);
        world.run(CLAIM_AFTER - TICK);
        world.mend(0, 0);
        world.run(Duration::from_secs(5));
        assert_eq!((world.roles(), world.picks()), ([Role::Master, Role::Standby], vec![Some(0)]));
    }

    #[test]
    fn senders_that_are_cut_from_the_master_take_no_others_along() {
        let mut world = World::new(3);
        world.sever(0, 0);
        world.run(Duration::from_secs(5));
        assert_eq!((world.roles(), world.picks()), ([Role::Master, Role::Standby], vec![Some(1), Some(0), Some(0)]));
        world.mend(0, 0);
        world.run(Duration::from_secs(5));
        assert_eq!((world.picks(), world.moves), (vec![Some(0); 3], vec![2, 0, 0]));
    }

    #[test]
    fn two_masters_become_one_when_anybody_sees_both() {
        let mut world = World::new(4);
        for sender in 0..4 {
            world.sever(sender, if sender < 2 { 1 } else { 0 });
        }
        world.run(Duration::from_secs(3));
        assert_eq!(world.roles(), [Role::Master, Role::Master]);
        world.mend(0, 1);
        world.run(Duration::from_secs(3));
        assert_eq!(world.roles(), [Role::Standby, Role::Master], "the later claim stands");
        assert_eq!(world.picks(), [Some(1), Some(0), Some(1), Some(1)], "who cannot reach it still has the other");
    }

    #[test]
    fn a_master_without_an_im_service_is_left_and_the_role_follows() {
        let mut world = World::new(3);
        world.serves[0] = false;
        world.settle();
        assert_eq!(world.picks(), [Some(1); 3]);
        world.run(Duration::from_secs(2));
        assert_eq!(world.roles(), [Role::Standby, Role::Master]);
        world.serves[0] = true;
        world.run(Duration::from_secs(2));
        assert_eq!((world.picks(), world.moves), (vec![Some(1); 3], vec![1; 3]));
    }
}
