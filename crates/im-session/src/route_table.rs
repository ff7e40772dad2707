//! Which login of which user is on which gate. Soft state: it is rebuilt from what gates register
//! when they (re)connect, and losing it costs notifies, never messages.
//!
//! Fencing: a login is known by the gate's boot id and the session id together, and each entry
//! remembers over which link it was registered last. So a late goodbye of an old login, of an old
//! run of a gate, or of a link that was replaced meanwhile, never removes a newer login.
//!
//! Of two logins of one device the later one stays; a [`LoginPolicy`] may have more of a user's logins
//! exclude each other. At one gate that is the one with the greater id.
//! At two gates the times of the logins decide, both by this route's clock: gates tell times of a
//! clock of their own that is never set, and [`PeerClock`] knows how far it is from ours. So it matters
//! neither in which order the two were heard of, live or when a gate registers again, nor what time of
//! day the machines believe it is. What is left is the delay of each link's fastest frame: logins
//! closer together than that are taken in the order of their arrival.

use std::collections::HashMap;
use std::time::Instant;

use im_proto::client::Platform;
use im_proto::link::{SessionDown, SessionKey, SessionUp};
use im_proto::{BootId, DeviceId, SessionId, UserId};

use crate::affinity::user_hash;
use crate::peer_clock::PeerClock;

/// Which logins of one user stay side by side. All routes of a region need the same: a login that one of
/// them lets go is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginPolicy {
    /// On how many devices.
    pub devices: Devices,
    /// How many at most; one more ends the eldest.
    pub logins_max: usize,
}

/// On how many devices one user is logged in at the same time. One device is always logged in once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// On any number.
    All,
    /// On one of each kind: a phone beside a desktop, and no second phone.
    OnePerKind,
    /// On one.
    One,
}

impl Default for LoginPolicy {
    /// Any device, a hundred at most: who has more has a program that makes a device of every start.
    fn default() -> Self {
        Self { devices: Devices::All, logins_max: 100 }
    }
}

/// The table of one route. `L` names a link and is never used again for another link.
#[derive(Debug)]
pub struct RouteTable<L> {
    users: HashMap<UserId, Vec<Login<L>>>,
    links: HashMap<L, Gate>,
    policy: LoginPolicy,
    /// Where this route's own clock begins.
    origin: Instant,
    /// Users who have come or gone since somebody asked.
    turned: Vec<Turned>,
}

/// A user has come online, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    /// The user, by [`user_hash`].
    pub user: u64,
    /// Whether there is a login now.
    pub is_online: bool,
}

/// One login as the table keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login<L> {
    /// The link of the gate that holds it.
    pub link: L,
    /// Which run of the gate, and which login there.
    pub key: SessionKey,
    /// On what device.
    pub device: DeviceId,
    /// Of what kind.
    platform: Platform,
    /// By the gate's clock.
    since_ms: u64,
}

#[derive(Debug)]
struct Gate {
    boot: BootId,
    /// From the first frame that tells a time; each login's announcement does.
    clock: Option<PeerClock>,
    sessions: HashMap<SessionId, UserId>,
}

/// A login that has to go, because a later one took its place: tell its gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded<L> {
    /// The link of the gate that holds it.
    pub link: L,
    /// The login.
    pub session: SessionId,
    /// Which rule says so.
    pub because: Because,
}

/// Why two logins of one user do not stay side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// They are of the same device.
    Device,
    /// [`LoginPolicy::devices`].
    Policy,
    /// [`LoginPolicy::logins_max`].
    TooMany,
}

impl<L: Copy + Eq + std::hash::Hash> RouteTable<L> {
    /// One that holds nobody.
    pub fn new(now: Instant, policy: LoginPolicy) -> Self {
        Self { users: HashMap::new(), links: HashMap::new(), policy, origin: now, turned: Vec::new() }
    }

    /// A gate's link came up. Its sessions follow one by one.
    pub fn gate_up(&mut self, link: L, boot: BootId) {
        self.links.insert(link, Gate { boot, clock: None, sessions: HashMap::new() });
    }

    /// A gate says what its clock shows.
    pub fn clock(&mut self, now: Instant, link: L, gate_ms: u64) {
        let now_ms = now.saturating_duration_since(self.origin).as_millis() as u64;
        let Some(gate) = self.links.get_mut(&link) else { return };
        match &mut gate.clock {
            Some(clock) => clock.heard(now, now_ms, gate_ms),
            none => *none = Some(PeerClock::new(now, now_ms, gate_ms)),
        }
    }

    /// A gate's link went down: what was registered over it and nowhere later is forgotten.
    pub fn gate_down(&mut self, link: L) {
        let Some(gate) = self.links.remove(&link) else { return };
        for (session, user) in gate.sessions {
            self.forget(&user, |login| login.link == link && login.key.session == session);
        }
    }

    /// A user logged in, or a gate registers again after its link was replaced. Of two logins that do not
    /// stay side by side the later one stays. Those that have to go are given back, the new one perhaps
    /// among them.
    #[must_use = "they go only when they are told to"]
    pub fn session_up(&mut self, now: Instant, link: L, up: SessionUp) -> Vec<Superseded<L>> {
        self.clock(now, link, up.since_ms);
        let Some(gate) = self.links.get_mut(&link) else { return Vec::new() };
        let login = Login {
            link,
            key: SessionKey { boot: gate.boot, session: up.session },
            device: up.device,
            platform: up.platform,
            since_ms: up.since_ms,
        };
        gate.sessions.insert(up.session, up.user.clone());
        let (links, policy) = (&self.links, self.policy);
        let logins = self.users.entry(up.user.clone()).or_insert_with(|| {
            self.turned.push(Turned { user: user_hash(&up.user), is_online: true });
            Vec::new()
        });
        // The same login over a newer link: only the link changes.
        if let Some(known) = logins.iter_mut().find(|known| known.key == login.key) {
            let old = std::mem::replace(&mut known.link, link);
            if old != link {
                self.unlink(old, up.session);
            }
            return Vec::new();
        }
        let mut superseded = Vec::new();
        // It may have beaten some and lost against others: a login goes as soon as a later rival is known.
        let mut lost = None;
        logins.retain(|known| match policy.excludes(known, &login) {
            Some(because) if is_later(links, &login, known) => {
                superseded.push(known.superseded(because));
                false
            }
            because => {
                lost = lost.or(because);
                true
            }
        });
        match lost {
            Some(because) => superseded.push(login.superseded(because)),
            None => logins.push(login),
        }
        if logins.len() > policy.logins_max.max(1) {
            let eldest = (1..logins.len())
                .fold(0, |eldest, other| if is_later(links, &logins[other], &logins[eldest]) { eldest } else { other });
            superseded.push(logins.remove(eldest).superseded(Because::TooMany));
        }
        for gone in &superseded {
            self.unlink(gone.link, gone.session);
        }
        superseded
    }

    /// A login ended. Nothing happens unless it is still the one registered over this link.
    pub fn session_down(&mut self, link: L, down: &SessionDown) {
        self.unlink(link, down.session);
        self.forget(&down.user, |login| login.link == link && login.key.session == down.session);
    }

    /// Where a user is online.
    pub fn logins(&self, user: &UserId) -> &[Login<L>] {
        self.users.get(user).map_or(&[], Vec::as_slice)
    }

    /// Every user who is online, by [`user_hash`].
    pub fn users(&self) -> impl Iterator<Item = u64> {
        self.users.keys().map(user_hash)
    }

    /// Who has come or gone since this was asked last, in order. Whoever changes the table asks.
    pub fn take_turned(&mut self) -> Vec<Turned> {
        std::mem::take(&mut self.turned)
    }

    /// How many users are online.
    pub fn users_len(&self) -> usize {
        self.users.len()
    }

    /// How many logins there are.
    pub fn logins_len(&self) -> usize {
        self.links.values().map(|gate| gate.sessions.len()).sum()
    }

    fn unlink(&mut self, link: L, session: SessionId) {
        if let Some(gate) = self.links.get_mut(&link) {
            gate.sessions.remove(&session);
        }
    }

    fn forget(&mut self, user: &UserId, gone: impl Fn(&Login<L>) -> bool) {
        let Some(logins) = self.users.get_mut(user) else { return };
        logins.retain(|login| !gone(login));
        if logins.is_empty() {
            self.users.remove(user);
            self.turned.push(Turned { user: user_hash(user), is_online: false });
        }
    }
}

impl LoginPolicy {
    /// Why these two logins of one user do not stay side by side, if so.
    fn excludes<L>(&self, one: &Login<L>, other: &Login<L>) -> Option<Because> {
        let by_policy = match self.devices {
            Devices::All => false,
            Devices::OnePerKind => one.platform == other.platform,
            Devices::One => true,
        };
        if one.device == other.device { Some(Because::Device) } else { by_policy.then_some(Because::Policy) }
    }
}

impl<L: Copy> Login<L> {
    fn superseded(&self, because: Because) -> Superseded<L> {
        Superseded { link: self.link, session: self.key.session, because }
    }
}

/// Whether a login began after another one. Of two that are as old the one heard of now counts as later.
fn is_later<L: Eq + std::hash::Hash>(links: &HashMap<L, Gate>, login: &Login<L>, other: &Login<L>) -> bool {
    if login.key.boot == other.key.boot {
        login.key.session > other.key.session
    } else {
        here_ms(links, login) >= here_ms(links, other)
    }
}

/// When a login began, by this route's clock.
fn here_ms<L: Eq + std::hash::Hash>(links: &HashMap<L, Gate>, login: &Login<L>) -> i64 {
    // A login is forgotten with its link, and has told a time itself.
    links.get(&login.link).and_then(|gate| gate.clock.as_ref()).map_or(i64::MIN, |clock| clock.here_ms(login.since_ms))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use im_proto::client::Platform;

    use super::*;

    fn table() -> (RouteTable<u32>, Instant) {
        let now = Instant::now();
        (RouteTable::new(now, LoginPolicy::default()), now)
    }

    fn user() -> UserId {
        UserId::new("a").unwrap()
    }

    fn up(session: u64, device: &str, since_ms: u64) -> SessionUp {
        SessionUp {
            user: user(),
            session: SessionId(session),
            device: DeviceId::new(device).unwrap(),
            platform: Platform::Bot,
            since_ms,
        }
    }

    fn same_device(link: u32, session: u64) -> Superseded<u32> {
        Superseded { link, session: SessionId(session), because: Because::Device }
    }

    fn down(session: u64) -> SessionDown {
        SessionDown { user: user(), session: SessionId(session) }
    }

    fn sessions(table: &RouteTable<u32>) -> Vec<(u32, u64, u64)> {
        table.logins(&user()).iter().map(|l| (l.link, l.key.boot.0, l.key.session.0)).collect()
    }

    #[test]
    fn a_late_goodbye_never_removes_a_newer_login() {
        let (mut table, now) = table();
        table.gate_up(1, BootId(10));
        table.gate_up(2, BootId(20));
        assert_eq!(table.session_up(now, 1, up(1, "phone", 100)), []);
        assert_eq!(table.session_up(now, 2, up(1, "phone", 200)), [same_device(1, 1)]);
        table.session_down(1, &down(1));
        assert_eq!(sessions(&table), [(2, 20, 1)]);
        table.gate_down(1);
        assert_eq!(sessions(&table), [(2, 20, 1)]);
        table.session_down(2, &down(1));
        assert_eq!((table.users_len(), table.logins_len()), (0, 0));
    }

    #[test]
    fn an_old_run_of_a_gate_never_removes_the_new_runs_login() {
        let (mut table, now) = table();
        table.gate_up(1, BootId(10));
        let _ = table.session_up(now, 1, up(7, "phone", 100));
        table.gate_up(2, BootId(11));
        assert_eq!(table.session_up(now, 2, up(7, "phone", 200)), [same_device(1, 7)]);
        table.gate_down(1);
        assert_eq!(sessions(&table), [(2, 11, 7)]);
    }

    #[test]
    fn a_replaced_link_takes_its_sessions_along() {
        let (mut table, now) = table();
        table.gate_up(1, BootId(10));
        let _ = table.session_up(now, 1, up(7, "phone", 100));
        table.gate_up(2, BootId(10));
        assert_eq!(table.session_up(now, 2, up(7, "phone", 100)), []);
        table.gate_down(1);
        assert_eq!(sessions(&table), [(2, 10, 7)]);
        assert_eq!(table.logins_len(), 1);
    }

    #[test]
    fn of_two_logins_of_one_device_the_later_stays_whichever_comes_first() {
        for (first, second) in [(up(1, "phone", 100), up(2, "phone", 200)), (up(2, "phone", 200), up(1, "phone", 100))]
        {
            let (mut table, now) = table();
            table.gate_up(1, BootId(10));
            let _ = table.session_up(now, 1, first);
            assert_eq!(table.session_up(now, 1, second), [same_device(1, 1)]);
            assert_eq!(sessions(&table), [(1, 10, 2)]);
            assert_eq!(table.logins_len(), 1);
        }
    }

    #[test]
    fn it_tells_who_came_and_who_went() {
        let (mut table, now) = table();
        let turned = |is_online| Turned { user: user_hash(&user()), is_online };
        table.gate_up(1, BootId(10));
        table.gate_up(2, BootId(20));
        let _ = table.session_up(now, 1, up(1, "phone", 100));
        let _ = table.session_up(now, 2, up(1, "desk", 100));
        assert_eq!(table.take_turned(), [turned(true)], "a second login changes nothing");
        table.gate_down(1);
        assert_eq!(table.take_turned(), []);
        assert_eq!(table.users().collect::<Vec<_>>(), [user_hash(&user())]);
        table.session_down(2, &down(1));
        table.session_down(2, &down(1));
        let _ = table.session_up(now, 2, up(2, "desk", 200));
        table.gate_down(2);
        assert_eq!(table.take_turned(), [turned(false), turned(true), turned(false)]);
        assert_eq!(table.users().count(), 0);
    }

    #[test]
    fn devices_live_side_by_side() {
        let (mut table, now) = table();
        table.gate_up(1, BootId(10));
        let _ = table.session_up(now, 1, up(1, "phone", 100));
        let _ = table.session_up(now, 1, up(2, "desk", 100));
        assert_eq!(table.logins_len(), 2);
        table.session_down(1, &down(1));
        assert_eq!(sessions(&table), [(1, 10, 2)]);
    }

    #[test]
    fn a_session_of_an_unknown_link_is_passed_over() {
        let (mut table, now) = table();
        assert_eq!(table.session_up(now, 1, up(1, "phone", 100)), []);
        assert_eq!(table.users_len(), 0);
    }

    /// Two gates, one link each, whose clocks differ by far more than the logins' distance. Their clocks
    /// are known from frames that took 1 ms.
    fn two_gates(ahead_ms: [u64; 2]) -> (RouteTable<u32>, Instant) {
        let (mut table, start) = table();
        for (link, ahead_ms) in [1, 2].into_iter().zip(ahead_ms) {
            table.gate_up(link, BootId(u64::from(link) * 10));
            table.clock(start + Duration::from_millis(1), link, ahead_ms);
        }
        (table, start)
    }

    /// A device leaves gate 1 and logs in at gate 2 half a second later: the second login stays, whatever
    /// the clocks say, and in whatever order the two are heard of.
    #[test]
    fn clocks_that_differ_and_frames_that_overtake_change_nothing() {
        for ahead_ms in [[0, 3000], [3000, 0], [1_000_000, 5]] {
            let first = up(7, "phone", ahead_ms[0] + 1000);
            let second = up(1, "phone", ahead_ms[1] + 1500);
            let at = |start: Instant, ms| start + Duration::from_millis(ms);

            let (mut table, start) = two_gates(ahead_ms);
            assert_eq!(table.session_up(at(start, 1001), 1, first.clone()), []);
            let gone = [same_device(1, 7)];
            assert_eq!(table.session_up(at(start, 1501), 2, second.clone()), gone, "live, in order");
            assert_eq!(sessions(&table), [(2, 20, 1)]);

            let (mut table, start) = two_gates(ahead_ms);
            assert_eq!(table.session_up(at(start, 1501), 2, second.clone()), []);
            assert_eq!(table.session_up(at(start, 2400), 1, first.clone()), gone, "the first was held up");
            assert_eq!(sessions(&table), [(2, 20, 1)]);

            // The link of gate 1 breaks, which does not know yet that its login is dead, and comes back.
            table.gate_down(1);
            table.gate_up(3, BootId(10));
            table.clock(at(start, 9001), 3, ahead_ms[0] + 9000);
            let gone = [same_device(3, 7)];
            assert_eq!(table.session_up(at(start, 9002), 3, first.clone()), gone, "registered again");
            assert_eq!(sessions(&table), [(2, 20, 1)]);

            // And a route that has just started hears of both in either order.
            for order in [[1, 2], [2, 1]] {
                let (mut table, start) = two_gates(ahead_ms.map(|ahead_ms| ahead_ms + 20_000));
                for link in order {
                    let again = if link == 1 { first.clone() } else { second.clone() };
                    let _ = table.session_up(at(start, 5), link, again);
                }
                assert_eq!(sessions(&table), [(2, 20, 1)], "{order:?}");
            }
        }
    }

    #[test]
    fn a_login_that_just_arrived_beats_one_as_old() {
        let (mut table, start) = two_gates([0, 0]);
        let now = start + Duration::from_millis(10);
        assert_eq!(table.session_up(now, 2, up(1, "phone", 9)), []);
        let gone = [same_device(2, 1)];
        assert_eq!(table.session_up(now, 1, up(1, "phone", 9)), gone);
    }

    const ONE: LoginPolicy = LoginPolicy { devices: Devices::One, logins_max: 100 };
    const ONE_PER_KIND: LoginPolicy = LoginPolicy { devices: Devices::OnePerKind, logins_max: 100 };

    fn up_on(session: u64, device: &str, platform: Platform, since_ms: u64) -> SessionUp {
        SessionUp { platform, ..up(session, device, since_ms) }
    }

    fn by_policy(link: u32, session: u64) -> Superseded<u32> {
        Superseded { link, session: SessionId(session), because: Because::Policy }
    }

    /// Three devices, the first two of one kind, at three gates.
    fn three_devices(policy: LoginPolicy) -> (RouteTable<u32>, Vec<Superseded<u32>>) {
        let now = Instant::now();
        let mut table = RouteTable::new(now, policy);
        let devices = [("old", Platform::Mobile), ("desk", Platform::Desktop), ("new", Platform::Mobile)];
        let mut gone = Vec::new();
        for (link, (device, platform)) in (1..).zip(devices) {
            table.gate_up(link, BootId(u64::from(link)));
            let at = now + Duration::from_millis(u64::from(link));
            gone.extend(table.session_up(at, link, up_on(7, device, platform, u64::from(link))));
        }
        (table, gone)
    }

    #[test]
    fn a_policy_says_which_devices_stay_side_by_side() {
        let (table, gone) = three_devices(LoginPolicy::default());
        assert_eq!((gone, sessions(&table).len()), (vec![], 3));
        let (table, gone) = three_devices(ONE_PER_KIND);
        assert_eq!((gone, sessions(&table)), (vec![by_policy(1, 7)], vec![(2, 2, 7), (3, 3, 7)]));
        let (table, gone) = three_devices(ONE);
        assert_eq!((gone, sessions(&table)), (vec![by_policy(1, 7), by_policy(2, 7)], vec![(3, 3, 7)]));
        assert_eq!(table.logins_len(), 1);
    }

    #[test]
    fn a_later_login_stays_also_when_it_is_heard_of_first() {
        for reversed in [false, true] {
            let (mut table, start) = (RouteTable::new(Instant::now(), ONE), Instant::now());
            let mut logins = [(1, up(1, "phone", 1000)), (2, up_on(1, "desk", Platform::Desktop, 1500))];
            for (link, _) in &logins {
                table.gate_up(*link, BootId(u64::from(*link) * 10));
                table.clock(start, *link, 0);
            }
            if reversed {
                logins.reverse();
            }
            let now = start + Duration::from_millis(1600);
            let gone: Vec<_> = logins.into_iter().flat_map(|(link, up)| table.session_up(now, link, up)).collect();
            assert_eq!((gone, sessions(&table)), (vec![by_policy(1, 1)], vec![(2, 20, 1)]), "reversed: {reversed}");
        }
    }

    #[test]
    fn of_too_many_logins_the_eldest_goes() {
        let now = Instant::now();
        let mut table = RouteTable::new(now, LoginPolicy { logins_max: 3, ..LoginPolicy::default() });
        table.gate_up(1, BootId(10));
        for session in 1..=3 {
            assert_eq!(table.session_up(now, 1, up(session, &format!("d{session}"), session)), []);
        }
        for session in 4..=1000 {
            let gone = table.session_up(now, 1, up(session, &format!("d{session}"), session));
            let eldest = Superseded { link: 1, session: SessionId(session - 3), because: Because::TooMany };
            assert_eq!(gone, [eldest]);
        }
        assert_eq!(table.logins_len(), 3);
        // Another user is not concerned.
        let other = SessionUp { user: UserId::new("b").unwrap(), ..up(5000, "d", 5000) };
        assert_eq!(table.session_up(now, 1, other), []);
    }
}
