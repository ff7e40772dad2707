//! The links to the routes, master first. Requests come in on any of them; what others are told
//! goes out over the link on which the cause came, else over the first that is up.

use std::sync::Arc;
use std::time::Instant;

use im_link::{Handler, Link, LinkEnd, PushError};
use im_proto::client::Command;
use im_proto::link::{Forward, LinkCommand};
use im_proto::{Refusal, RefusalCode};
use parking_lot::RwLock;
use proto_codec::{Codec, Flags, Frame};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::lanes::{Lanes, Request};
use crate::service::{Outcome, Service, Tell};

/// The routes of this im-service.
#[derive(Debug)]
pub(crate) struct Routes(RwLock<Vec<Option<Link>>>);

impl Routes {
    pub(crate) fn new(count: usize) -> Self {
        Self(RwLock::new(vec![None; count]))
    }

    /// Whether any is up.
    pub(crate) fn is_up(&self) -> bool {
        self.first().is_some()
    }

    fn first(&self) -> Option<Link> {
        self.0.read().iter().flatten().find(|link| !link.is_closed()).cloned()
    }

    fn set(&self, index: usize, link: Option<Link>) {
        if let Some(slot) = self.0.write().get_mut(index) {
            *slot = link;
        }
    }

    /// Clears the slot unless a newer link has taken it.
    fn clear(&self, index: usize, link: &Link) {
        if let Some(slot) = self.0.write().get_mut(index) {
            slot.take_if(|known| known.id() == link.id());
        }
    }

    /// Tells others, over `preferred` where it is still up. What is lost here is noticed with the
    /// next heartbeat.
    pub(crate) fn tell(&self, preferred: Option<&Link>, tell: &Tell) {
        let link = preferred.filter(|link| !link.is_closed()).cloned().or_else(|| self.first());
        let told = link.ok_or(PushError::Closed).and_then(|link| match tell {
            Tell::Push(push) => link.tell(LinkCommand::Push, push),
            Tell::Relay(relay) => link.tell(LinkCommand::Relay, relay),
        });
        if told.is_err() {
            metrics::counter!("sim_service_notifies_dropped_total").increment(1);
        }
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
        self.routes.set(self.index, Some(link.clone()));
    }

    fn on_frame(&self, link: &Link, frame: Frame) {
        if frame.command != LinkCommand::Forward.number() {
            debug!(link = %link.id(), command = frame.command, "a command that this im-service does not know");
            return;
        }
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

    fn on_tick(&self, _link: &Link, _now: Instant) {}

    fn on_down(&self, link: &Link, _end: &LinkEnd) {
        self.routes.clear(self.index, link);
    }
}

impl RouteHandler {
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
