//! The links of one gate or im-service to its routes: which is up, which to send to, and what is told
//! to each about the others. The choice itself is [`RouteChoice`]'s; this keeps the links beside it.

use std::sync::Arc;

use im_proto::link::{LinkCommand, RouteState, SenderState};
use im_session::RouteChoice;
use parking_lot::{Mutex, RwLock};
use proto_codec::{Codec, Frame};
use tracing::warn;

use crate::link::Link;

/// The routes in the order of the configuration, each with what the tier keeps beside its link.
#[derive(Debug)]
pub struct RouteLinks<T>(RwLock<State<T>>);

#[derive(Debug)]
struct State<T> {
    routes: Vec<Option<Arc<RouteLink<T>>>>,
    choice: RouteChoice,
}

/// A route whose link is up.
#[derive(Debug)]
pub struct RouteLink<T> {
    /// Its link.
    pub link: Link,
    /// What the tier keeps beside it.
    pub beside: T,
    own: Mutex<Own>,
}

/// What is told on a link about this tier.
#[derive(Debug, Default)]
struct Own {
    registered: bool,
    told: Option<SenderState>,
}

impl<T> RouteLinks<T> {
    /// Room for so many routes.
    pub fn new(count: usize) -> Self {
        let routes = (0..count).map(|_| None).collect();
        Self(RwLock::new(State { routes, choice: RouteChoice::new(count) }))
    }

    /// The link of the route of that index is up.
    pub fn up(&self, index: usize, link: &Link, beside: T) -> Arc<RouteLink<T>> {
        let route = Arc::new(RouteLink { link: link.clone(), beside, own: Mutex::default() });
        let mut state = self.0.write();
        state.choice.up(index, &link.peer().name);
        if let Some(slot) = state.routes.get_mut(index) {
            *slot = Some(Arc::clone(&route));
        }
        state.tell_all();
        route
    }

    /// The link is gone. Nothing happens, and nothing is given back, where a newer one has its place.
    pub fn down(&self, index: usize, link: &Link) -> Option<Arc<RouteLink<T>>> {
        let mut state = self.0.write();
        let gone = state.routes.get_mut(index)?.take_if(|route| route.link.id() == link.id())?;
        state.choice.down(index);
        state.tell_all();
        Some(gone)
    }

    /// A route tells of itself.
    pub fn heard(&self, index: usize, link: &Link, frame: &Frame) {
        match Codec::Binary.decode::<RouteState>("RouteState", &frame.body) {
            Ok(told) => {
                let mut state = self.0.write();
                if state.at(index, link).is_some() {
                    state.choice.heard(index, told);
                    state.tell_all();
                }
            }
            Err(error) => warn!(link = %link.id(), %error, "a route sent what does not decode"),
        }
    }

    /// Everything that this tier has is registered on that link. The route may count on it.
    pub fn registered(&self, index: usize, link: &Link) {
        let state = self.0.read();
        let Some(route) = state.at(index, link) else { return };
        route.own.lock().registered = true;
        state.tell(index, route);
    }

    /// Tells the route again what found no room before. To be called with every tick of the link.
    pub fn on_tick(&self, index: usize, link: &Link) {
        let state = self.0.read();
        if let Some(route) = state.at(index, link) {
            state.tell(index, route);
        }
    }

    /// The route to send to.
    pub fn sender(&self) -> Option<Arc<RouteLink<T>>> {
        let state = self.0.read();
        let usable = |index: usize| state.routes[index].as_ref().is_some_and(|route| !route.link.is_closed());
        state.choice.pick(usable).and_then(|index| state.routes[index].clone())
    }

    /// The route of that index, if this is still its link.
    pub fn at(&self, index: usize, link: &Link) -> Option<Arc<RouteLink<T>>> {
        self.0.read().at(index, link).cloned()
    }

    /// Every route that is up.
    pub fn for_each(&self, act: impl FnMut(&RouteLink<T>)) {
        self.0.read().routes.iter().flatten().map(|route| &**route).for_each(act);
    }

    /// Whether telling one route reaches all that telling each would: see [`RouteChoice::is_even`].
    pub fn is_even(&self) -> bool {
        self.0.read().choice.is_even()
    }
}

impl<T> State<T> {
    fn at(&self, index: usize, link: &Link) -> Option<&Arc<RouteLink<T>>> {
        self.routes.get(index)?.as_ref().filter(|route| route.link.id() == link.id())
    }

    fn tell_all(&self) {
        let routes = self.routes.iter().enumerate().filter_map(|(index, route)| Some((index, route.as_ref()?)));
        routes.for_each(|(index, route)| self.tell(index, route));
    }

    /// Tells a route what it does not know yet of this tier.
    fn tell(&self, index: usize, route: &RouteLink<T>) {
        let mut own = route.own.lock();
        let now = self.choice.state(index, own.registered);
        if own.told.as_ref() != Some(&now) && route.link.tell(LinkCommand::SenderState, &now).is_ok() {
            own.told = Some(now);
        }
    }
}
