//! The routes of other regions: which of this region's users they are told about, which of theirs they
//! hold, and what crosses.
//!
//! **Each tells the others who is online**, eight bytes for a user who comes or goes. The other ways were
//! to ask before a notify crosses, or to send every notify everywhere: both cost traffic for every
//! message, where this costs some for every first login and last goodbye of a user, of which there are
//! far fewer; and a notify that had to ask first would come late. What it costs is memory: sixteen bytes
//! or so for each user of another region, per link, up to [`PEER_USERS_MAX`]; a route that tells of more
//! is taken to hold everybody, which costs traffic and nothing else.
//!
//! A change is told at once and in order on the link on which requests of this region may go as well, so
//! that whoever logs in and pulls is known over there before the pull is answered. A new link begins with
//! everybody who is online. What is lost with a link is soft, and the next one begins anew.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use im_link::{Link, LinkId};
use im_proto::UserId;
use im_proto::limits::LINK_PRESENCE_MAX;
use im_proto::link::{LinkCommand, Presence, Push, Relay, Revoke, RouteState};
use im_session::{Turned, user_hash};
use parking_lot::Mutex;
use tracing::warn;

use crate::directory::tell_revoke;

/// Users of one other route that are remembered: a hash set of 64 MiB.
pub(crate) const PEER_USERS_MAX: usize = 4_000_000;

/// Users who were online when a link came up, told per tick: a million takes a second, and a burst stays
/// far under the link's outbound bound.
const TOLD_PER_TICK: usize = 3 * LINK_PRESENCE_MAX as usize;

/// The links to routes of other regions. Its lock is taken with the directory's held, never the other way
/// round, so that what is told is in the order in which it happened.
#[derive(Debug, Default)]
pub(crate) struct Regions(Mutex<BTreeMap<LinkId, Peer>>);

#[derive(Debug)]
struct Peer {
    link: Link,
    /// Users who were online when the link came up, have not changed since, and are still to be told.
    untold: BTreeSet<u64>,
    /// Users who are online there.
    holds: Held,
    state: Option<RouteState>,
}

/// The users of another route.
#[derive(Debug)]
enum Held {
    These(HashSet<u64>),
    /// More than can be remembered.
    Everybody,
}

/// A link to another region as an operator sees it.
#[derive(Clone, Debug)]
pub(crate) struct PeerView {
    pub(crate) region: String,
    pub(crate) name: String,
    /// Users it has told of; `None` where they are too many.
    pub(crate) users: Option<usize>,
    pub(crate) is_master: bool,
    pub(crate) has_service: bool,
}

impl Held {
    /// Users have come or gone. Says whether they have just become too many.
    fn hear(&mut self, presence: Presence, max: usize) -> bool {
        let Self::These(users) = self else { return false };
        users.extend(presence.up);
        for user in presence.down {
            users.remove(&user);
        }
        let too_many = users.len() > max;
        if too_many {
            *self = Self::Everybody;
        }
        too_many
    }

    fn contains(&self, user: u64) -> bool {
        match self {
            Self::These(users) => users.contains(&user),
            Self::Everybody => true,
        }
    }
}

impl Peer {
    /// Whether it says that it is its region's master.
    fn is_master(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.mastership.master == self.link.peer().name)
    }

    /// The gates that have registered everything with it, folded into one number.
    fn gates(&self) -> Option<u64> {
        self.state.as_ref().map(|state| state.gates)
    }

    fn region(&self) -> &str {
        &self.link.peer().region
    }

    /// Tells of users. A route that does not take it has to be told anew from the begin.
    fn tell(&self, presence: &Presence) {
        if self.link.tell(LinkCommand::Presence, presence).is_err() && !self.link.is_closed() {
            warn!(link = %self.link.id(), "a route of another region takes too little; its link is closed");
            self.link.close();
        }
    }

    fn tell_some(&mut self) {
        for _ in 0..TOLD_PER_TICK / LINK_PRESENCE_MAX as usize {
            let mut up = Vec::new();
            while let Some(user) = self.untold.pop_first() {
                up.push(user);
                if up.len() == LINK_PRESENCE_MAX as usize {
                    break;
                }
            }
            if up.is_empty() {
                return;
            }
            self.tell(&Presence { up, down: Vec::new() });
        }
    }
}

impl Regions {
    /// A route of another region is linked; these users are online here.
    pub(crate) fn up(&self, link: &Link, online: impl Iterator<Item = u64>) {
        let mut peer =
            Peer { link: link.clone(), untold: online.collect(), holds: Held::These(HashSet::new()), state: None };
        peer.tell_some();
        self.0.lock().insert(link.id(), peer);
    }

    pub(crate) fn down(&self, link: &Link) {
        self.0.lock().remove(&link.id());
    }

    pub(crate) fn on_tick(&self, link: &Link) {
        if let Some(peer) = self.0.lock().get_mut(&link.id()) {
            peer.tell_some();
        }
    }

    /// Users have come or gone here.
    pub(crate) fn turned(&self, turned: &[Turned]) {
        if turned.is_empty() {
            return;
        }
        for peer in self.0.lock().values_mut() {
            for part in turned.chunks(LINK_PRESENCE_MAX as usize) {
                for turned in part {
                    peer.untold.remove(&turned.user);
                }
                let users = |is_online| {
                    let mut users: Vec<_> =
                        part.iter().filter(|turned| turned.is_online == is_online).map(|turned| turned.user).collect();
                    // A gate's users leave in no order; a simulation wants one.
                    users.sort_unstable();
                    users
                };
                peer.tell(&Presence { up: users(true), down: users(false) });
            }
        }
    }

    /// Users have come or gone there.
    pub(crate) fn heard(&self, link: &Link, presence: Presence) {
        let mut peers = self.0.lock();
        let Some(Peer { holds, .. }) = peers.get_mut(&link.id()) else { return };
        if holds.hear(presence, PEER_USERS_MAX) {
            warn!(link = %link.id(), peer = link.peer().name, "more users than can be remembered; all that is told goes there");
        }
    }

    /// A route of another region tells of itself.
    pub(crate) fn told(&self, link: &Link, state: RouteState) {
        if let Some(peer) = self.0.lock().get_mut(&link.id()) {
            peer.state = Some(state);
        }
    }

    /// Brings a message's places to the regions where receivers are online.
    pub(crate) fn push(&self, push: &Push) {
        for (link, targets) in self.crossing(&push.targets, |target| &target.user) {
            let part = Push { targets, ..push.clone() };
            count_lost(link.tell(LinkCommand::Push, &part).is_ok());
        }
    }

    /// Brings a frame to the regions where its receivers are online.
    pub(crate) fn relay(&self, relay: &Relay) {
        for (link, users) in self.crossing(&relay.users, |user| user) {
            let part = Relay { users, ..relay.clone() };
            count_lost(link.tell(LinkCommand::Relay, &part).is_ok());
        }
    }

    /// Access tokens are void everywhere.
    pub(crate) fn revoke(&self, revoke: &Revoke) {
        let links: Vec<_> = self.0.lock().values().map(|peer| peer.link.clone()).collect();
        links.iter().for_each(|link| tell_revoke(link, revoke));
    }

    /// Which receivers to tell over which link: of each region that holds one, one route; all that hold one
    /// while the region's routes do not know the same gates, because one may know a receiver's phone and the
    /// other the laptop. Who is told twice knows it by the place.
    fn crossing<T: Clone>(&self, targets: &[T], user: impl Fn(&T) -> &UserId) -> Vec<(Link, Vec<T>)> {
        let peers = self.0.lock();
        if peers.is_empty() {
            return Vec::new();
        }
        // Masters first.
        let mut peers: Vec<_> = peers.values().filter(|peer| !peer.link.is_closed()).collect();
        let order = |peer: &Peer| (!peer.is_master(), peer.link.id());
        peers.sort_by(|a, b| a.region().cmp(b.region()).then_with(|| order(a).cmp(&order(b))));
        let is_even = |peer: &Peer| {
            let mut same_region = peers.iter().filter(|other| other.region() == peer.region());
            same_region.all(|other| other.gates() == peer.gates())
        };
        let peers: Vec<_> = peers.iter().map(|peer| (*peer, is_even(peer))).collect();
        let mut crossing: Vec<(Link, Vec<T>)> = Vec::new();
        for target in targets {
            let hash = user_hash(user(target));
            let mut last_region = None;
            for (peer, is_even) in peers.iter().filter(|(peer, _)| peer.holds.contains(hash)) {
                if last_region.replace(peer.region()) == Some(peer.region()) && *is_even {
                    continue;
                }
                match crossing.iter_mut().find(|(link, _)| link.id() == peer.link.id()) {
                    Some((_, targets)) => targets.push(target.clone()),
                    None => crossing.push((peer.link.clone(), vec![target.clone()])),
                }
            }
        }
        crossing
    }

    pub(crate) fn views(&self) -> Vec<PeerView> {
        let peers = self.0.lock();
        let view = |peer: &Peer| PeerView {
            region: peer.region().to_owned(),
            name: peer.link.peer().name.clone(),
            users: match &peer.holds {
                Held::These(users) => Some(users.len()),
                Held::Everybody => None,
            },
            is_master: peer.is_master(),
            has_service: peer.state.as_ref().is_some_and(|state| state.has_service),
        };
        peers.values().map(view).collect()
    }
}

fn count_lost(told: bool) {
    let name = if told { "sim_route_crossed_total" } else { "sim_route_crossings_dropped_total" };
    metrics::counter!(name).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_users_than_can_be_remembered_are_taken_for_everybody() {
        let presence = |up: &[u64], down: &[u64]| Presence { up: up.to_vec(), down: down.to_vec() };
        let mut held = Held::These(HashSet::new());
        assert!(!held.hear(presence(&[1, 2], &[]), 2));
        assert!(!held.hear(presence(&[3], &[1]), 2), "as many as before");
        assert!(held.contains(3) && !held.contains(1));
        assert!(held.hear(presence(&[1], &[]), 2), "one more than can be remembered");
        assert!(held.contains(9));
        assert!(!held.hear(presence(&[], &[9]), 2), "told once");
        assert!(held.contains(9));
    }
}
