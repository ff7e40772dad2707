//! Which login of which user is on which gate. Soft state: it is rebuilt from what gates register
//! when they (re)connect, and losing it costs notifies, never messages.
//!
//! Fencing: a login is known by the gate's boot id and the session id together, and each entry
//! remembers over which link it was registered last. So a late goodbye of an old login, of an old
//! run of a gate, or of a link that was replaced meanwhile, never removes a newer login.

use std::collections::HashMap;

use im_proto::link::{SessionDown, SessionKey, SessionUp};
use im_proto::{BootId, DeviceId, SessionId, UserId};

/// The table of one route. `L` names a link and is never used again for another link.
#[derive(Debug)]
pub struct RouteTable<L> {
    users: HashMap<UserId, Vec<Login<L>>>,
    links: HashMap<L, Gate>,
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
    since_ms: u64,
}

#[derive(Debug)]
struct Gate {
    boot: BootId,
    sessions: HashMap<SessionId, UserId>,
}

/// A login that has to go, because the same device logged in later: tell its gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded<L> {
    /// The link of the gate that holds it.
    pub link: L,
    /// The login.
    pub session: SessionId,
}

impl<L: Copy + Eq + std::hash::Hash> Default for RouteTable<L> {
    fn default() -> Self {
        Self { users: HashMap::new(), links: HashMap::new() }
    }
}

impl<L: Copy + Eq + std::hash::Hash> RouteTable<L> {
    /// A gate's link came up. Its sessions follow one by one.
    pub fn gate_up(&mut self, link: L, boot: BootId) {
        self.links.insert(link, Gate { boot, sessions: HashMap::new() });
    }

    /// A gate's link went down: what was registered over it and nowhere later is forgotten.
    pub fn gate_down(&mut self, link: L) {
        let Some(gate) = self.links.remove(&link) else { return };
        for (session, user) in gate.sessions {
            self.forget(&user, |login| login.link == link && login.key.session == session);
        }
    }

    /// A user logged in, or a gate registers again after its link was replaced. Of two logins of
    /// one device the later stays; the other one is given back.
    pub fn session_up(&mut self, link: L, up: SessionUp) -> Option<Superseded<L>> {
        let gate = self.links.get_mut(&link)?;
        let login = Login {
            link,
            key: SessionKey { boot: gate.boot, session: up.session },
            device: up.device,
            since_ms: up.since_ms,
        };
        gate.sessions.insert(up.session, up.user.clone());
        let logins = self.users.entry(up.user.clone()).or_default();
        // The same login over a newer link: only the link changes.
        if let Some(known) = logins.iter_mut().find(|known| known.key == login.key) {
            let old = std::mem::replace(&mut known.link, link);
            if old != link {
                self.unlink(old, up.session);
            }
            return None;
        }
        let Some(rival) = logins.iter_mut().find(|known| known.device == login.device) else {
            logins.push(login);
            return None;
        };
        // Two clocks may agree to the millisecond; the key then decides, on every route alike.
        let age = |login: &Login<L>| (login.since_ms, login.key.boot, login.key.session);
        let loser = if age(&login) >= age(rival) { std::mem::replace(rival, login) } else { login };
        self.unlink(loser.link, loser.key.session);
        Some(Superseded { link: loser.link, session: loser.key.session })
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
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use im_proto::client::Platform;

    use super::*;

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

    fn down(session: u64) -> SessionDown {
        SessionDown { user: user(), session: SessionId(session) }
    }

    fn sessions(table: &RouteTable<u32>) -> Vec<(u32, u64, u64)> {
        table.logins(&user()).iter().map(|l| (l.link, l.key.boot.0, l.key.session.0)).collect()
    }

    #[test]
    fn a_late_goodbye_never_removes_a_newer_login() {
        let mut table = RouteTable::default();
        table.gate_up(1, BootId(10));
        table.gate_up(2, BootId(20));
        assert_eq!(table.session_up(1, up(1, "phone", 100)), None);
        let old = Superseded { link: 1, session: SessionId(1) };
        assert_eq!(table.session_up(2, up(1, "phone", 200)), Some(old));
        table.session_down(1, &down(1));
        assert_eq!(sessions(&table), [(2, 20, 1)]);
        table.gate_down(1);
        assert_eq!(sessions(&table), [(2, 20, 1)]);
        table.session_down(2, &down(1));
        assert_eq!((table.users_len(), table.logins_len()), (0, 0));
    }

    #[test]
    fn an_old_run_of_a_gate_never_removes_the_new_runs_login() {
        let mut table = RouteTable::default();
        table.gate_up(1, BootId(10));
        table.session_up(1, up(7, "phone", 100));
        table.gate_up(2, BootId(11));
        assert!(table.session_up(2, up(7, "phone", 200)).is_some());
        table.gate_down(1);
        assert_eq!(sessions(&table), [(2, 11, 7)]);
    }

    #[test]
    fn a_replaced_link_takes_its_sessions_along() {
        let mut table = RouteTable::default();
        table.gate_up(1, BootId(10));
        table.session_up(1, up(7, "phone", 100));
        table.gate_up(2, BootId(10));
        assert_eq!(table.session_up(2, up(7, "phone", 100)), None);
        table.gate_down(1);
        assert_eq!(sessions(&table), [(2, 10, 7)]);
        assert_eq!(table.logins_len(), 1);
    }

    #[test]
    fn of_two_logins_of_one_device_the_later_stays_whichever_comes_first() {
        for (first, second) in [(up(1, "phone", 100), up(2, "phone", 200)), (up(2, "phone", 200), up(1, "phone", 100))]
        {
            let mut table = RouteTable::default();
            table.gate_up(1, BootId(10));
            table.session_up(1, first);
            assert_eq!(table.session_up(1, second), Some(Superseded { link: 1, session: SessionId(1) }));
            assert_eq!(sessions(&table), [(1, 10, 2)]);
            assert_eq!(table.logins_len(), 1);
        }
    }

    #[test]
    fn devices_live_side_by_side() {
        let mut table = RouteTable::default();
        table.gate_up(1, BootId(10));
        table.session_up(1, up(1, "phone", 100));
        table.session_up(1, up(2, "desk", 100));
        assert_eq!(table.logins_len(), 2);
        table.session_down(1, &down(1));
        assert_eq!(sessions(&table), [(1, 10, 2)]);
    }

    #[test]
    fn a_session_of_an_unknown_link_is_passed_over() {
        let mut table = RouteTable::<u32>::default();
        assert_eq!(table.session_up(1, up(1, "phone", 100)), None);
        assert_eq!(table.users_len(), 0);
    }
}
