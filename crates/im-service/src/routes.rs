//! The links to the routes. Requests come in on any of them; what others are told goes out over the
//! link on which the cause came, else over the one that [`RouteLinks`] picks. While routes do not hold
//! the same logins (one has just come back, or a gate reaches only one of them), it goes out over all:
//! a receiver that is told twice knows it by the place.

use std::sync::Arc;
use std::time::Instant;

use im_link::{Handler, Link, LinkEnd, PushError, RouteLinks, link};
use im_proto::client::Command;
use im_proto::link::{Forward, LinkCommand, Revoke};
use im_proto::{Refusal, RefusalCode};
use im_session::Revocations;
use parking_lot::Mutex;
use proto_codec::{Codec, Flags, Frame};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::lanes::{Lanes, Request};
use crate::service::{Outcome, Service, Tell};

/// The routes of this im-service.
#[derive(Debug)]
pub(crate) struct Routes {
    links: RouteLinks<()>,
    /// What was taken back here and has not run out, for links that come up later.
    revocations: Mutex<Revocations>,
}

impl Routes {
    pub(crate) fn new(count: usize) -> Self {
        Self { links: RouteLinks::new(count), revocations: Mutex::default() }
    }

    /// Whether any is up.
    pub(crate) fn is_up(&self) -> bool {
        self.links.sender().is_some()
    }

    /// Tells every route that access tokens are void.
    pub(crate) fn revoke(&self, revoke: Revoke) {
        // A link that comes up right now is perhaps told twice.
        self.revocations.lock().add(link::now(), revoke.clone());
        self.links.for_each(|route| tell_revoke(&route.link, &revoke));
    }

    fn tell_revocations(&self, link: &Link) {
        let revocations: Vec<_> = self.revocations.lock().live(link::now()).collect();
        revocations.iter().for_each(|revoke| tell_revoke(link, revoke));
    }

    /// Tells others, over `preferred` where it is still up. What is lost here is noticed with the
    /// next heartbeat.
    pub(crate) fn tell(&self, preferred: Option<&Link>, tell: &Tell) {
        if !self.links.is_even() {
            return self.links.for_each(|route| count_lost(send(&route.link, tell)));
        }
        let link = preferred.filter(|link| !link.is_closed()).cloned();
        let link = link.or_else(|| self.links.sender().map(|route| route.link.clone()));
        count_lost(link.ok_or(PushError::Closed).and_then(|link| send(&link, tell)));
    }
}

fn send(link: &Link, tell: &Tell) -> Result<(), PushError> {
    match tell {
        Tell::Push(push) => link.tell(LinkCommand::Push, push),
        Tell::Relay(relay) => link.tell(LinkCommand::Relay, relay),
    }
}

/// A route that does not take it has to be told anew, by a link that comes up.
fn tell_revoke(link: &Link, revoke: &Revoke) {
    if link.tell(LinkCommand::Revoke, revoke).is_err() && !link.is_closed() {
        warn!(link = %link.id(), "a route takes too little to hear of revocations; its link is closed");
        link.close();
    }
}

fn count_lost(told: Result<(), PushError>) {
    if told.is_err() {
        metrics::counter!("sim_service_notifies_dropped_total").increment(1);
    }
}

/// Requests of one im-service that are served at once, sends aside.
pub(crate) const SERVED_MAX: usize = 4096;

/// What happens to the frames of one route's link.
pub(crate) struct RouteHandler {
    pub(crate) index: usize,
    pub(crate) routes: Arc<Routes>,
    pub(crate) service: Arc<Service>,
    pub(crate) lanes: Arc<Lanes>,
    /// One per request that is being served. A request that panics gives its place back, too.
    pub(crate) places: Arc<Semaphore>,
}

impl Handler for RouteHandler {
    fn on_up(&self, link: &Link) {
        self.routes.links.up(self.index, link, ());
        // There is nothing to register here: a route knows an im-service by its link.
        self.routes.links.registered(self.index, link);
        self.routes.tell_revocations(link);
    }

    fn on_frame(&self, link: &Link, frame: Frame) {
        match LinkCommand::from_number(frame.command) {
            LinkCommand::Forward => self.on_request(link, &frame),
            LinkCommand::RouteState => self.routes.links.heard(self.index, link, &frame),
            _ => debug!(link = %link.id(), command = frame.command, "a command that this im-service does not know"),
        }
    }

    fn on_tick(&self, link: &Link, _now: Instant) {
        self.routes.links.on_tick(self.index, link);
    }

    fn on_down(&self, link: &Link, _end: &LinkEnd) {
        self.routes.links.down(self.index, link);
    }
}

impl RouteHandler {
    fn on_request(&self, link: &Link, frame: &Frame) {
        let request = match Codec::Binary.decode::<Forward>("Forward", &frame.body) {
            Ok(forward) => Request { forward, link: link.clone(), sequence: frame.sequence },
            Err(error) => {
                warn!(link = %link.id(), peer = link.peer().name, %error, "a route sent what does not decode");
                let refusal = Refusal::new(RefusalCode::Internal, "the envelope does not decode");
                let _ = link.answer(LinkCommand::Forward, Flags::REFUSED, frame.sequence, &refusal);
                return;
            }
        };
        if request.forward.command == Command::SendMsg.number() {
            self.lanes.enter(request);
        } else {
            self.serve(request);
        }
    }

    fn serve(&self, request: Request) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return request.finish(&self.routes, Err(RefusalCode::Busy.into()));
        };
        let (routes, service) = (Arc::clone(&self.routes), Arc::clone(&self.service));
        tokio::spawn(async move {
            let outcome = service.serve(&request.forward).await;
            drop(place);
            request.finish(&routes, outcome);
        });
    }
}

impl Request {
    /// Answers, and tells others.
    pub(crate) fn finish(self, routes: &Routes, outcome: Result<Outcome, Refusal>) {
        match outcome {
            Ok(Outcome { answer, tell }) => {
                // An answer that finds no way back is asked for again by its client.
                let _ = self.link.answer_body(LinkCommand::Forward, self.sequence, &answer);
                if let Some(tell) = tell {
                    routes.tell(Some(&self.link), &tell);
                }
            }
            Err(refusal) => {
                debug!(user = %self.forward.user, command = self.forward.command, %refusal, "refused");
                let _ = self.link.answer(LinkCommand::Forward, Flags::REFUSED, self.sequence, &refusal);
            }
        }
    }
}
