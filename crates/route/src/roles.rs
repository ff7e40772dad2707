//! What this route is to its region, and who has been told so. The rules are [`RouteRole`]'s.

use std::collections::BTreeMap;
use std::time::Instant;

use im_link::{Link, LinkId, link};
use im_proto::link::{LinkCommand, Mastership, RouteState, SenderState, Tier};
use im_session::{Role, RouteRole};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tracing::info;

/// The role with everybody who hears of it. One lock, and the last one that is taken.
#[derive(Debug)]
pub(crate) struct Roles {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    role: RouteRole<LinkId>,
    serving: Serving,
    /// In order, so that a simulation tells them in the same order every time.
    hearers: BTreeMap<LinkId, Hearer>,
}

/// Where requests could go from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Serving {
    /// Anywhere at all.
    pub(crate) anywhere: bool,
    /// To an im-service of this region.
    pub(crate) here: bool,
}

#[derive(Debug)]
struct Hearer {
    link: Link,
    told: Option<RouteState>,
}

/// The role as an operator sees it.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    pub(crate) since: Instant,
    pub(crate) mastership: Mastership,
    /// Gates and im-services that send here.
    pub(crate) senders_here: usize,
    /// All of them that are linked.
    pub(crate) senders: usize,
}

impl Roles {
    pub(crate) fn new(name: String) -> Self {
        let role = RouteRole::new(link::now(), name);
        let state = Mutex::new(State { role, serving: Serving::default(), hearers: BTreeMap::new() });
        Self { state, changed: Notify::new() }
    }

    /// Somebody is linked who is to hear of the role: gates and im-services, who also spread it, and
    /// routes of other regions.
    pub(crate) fn up(&self, link: &Link) {
        self.change(|state, now| {
            if link.peer().tier != Tier::Route {
                state.role.up(now, link.id(), link.peer().boot);
            }
            state.hearers.insert(link.id(), Hearer { link: link.clone(), told: None });
        });
    }

    pub(crate) fn down(&self, link: &Link) {
        self.change(|state, now| {
            state.hearers.remove(&link.id());
            state.role.down(now, link.id());
        });
    }

    /// A gate or an im-service tells of itself.
    pub(crate) fn heard(&self, link: &Link, told: SenderState) {
        self.change(|state, now| state.role.heard(now, link.id(), told));
    }

    /// Where requests could go has changed, or not.
    pub(crate) fn serving(&self, serving: Serving) {
        self.change(|state, _| state.serving = serving);
    }

    /// An operator wants this route to be master.
    pub(crate) fn take(&self) {
        self.change(|state, now| state.role.take(now));
    }

    /// Called with every tick of every link: takes the role where that is due, and tells again what
    /// found no room before.
    pub(crate) fn on_tick(&self, serving: Serving) {
        self.change(|state, now| {
            state.serving = serving;
            state.role.on_tick(now);
        });
    }

    /// The next change of the role, seen from the call on.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn standing(&self) -> Standing {
        let State { role, .. } = &*self.state.lock();
        let (senders_here, senders) = role.users();
        Standing {
            role: role.role(),
            since: role.since(),
            mastership: role.mastership().clone(),
            senders_here,
            senders,
        }
    }

    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        let mut state = self.state.lock();
        let before = state.role.role();
        change(&mut state, link::now());
        let (role, mastership) = (state.role.role(), state.role.mastership().clone());
        if role != before {
            info!(?role, term = mastership.term, master = mastership.master, "the role has changed");
            self.changed.notify_waiters();
        }
        let now = RouteState {
            mastership,
            serves: state.serving.anywhere,
            has_service: state.serving.here,
            gates: state.role.registered(),
        };
        for hearer in state.hearers.values_mut().filter(|hearer| hearer.told.as_ref() != Some(&now)) {
            if hearer.link.tell(LinkCommand::RouteState, &now).is_ok() {
                hearer.told = Some(now.clone());
            }
        }
    }
}
