//! The im-services that are linked, and the requests that wait on each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_link::{Link, LinkId};
use im_proto::link::LinkCommand;
use im_proto::{Refusal, RefusalCode};
use im_session::{Affinity, InFlight};
use parking_lot::{Mutex, RwLock};
use proto_codec::{Flags, Frame};
use tracing::debug;

/// The im-services of this route.
#[derive(Debug)]
pub(crate) struct Services {
    linked: RwLock<Vec<Arc<Service>>>,
    window: usize,
    patience: Duration,
}

#[derive(Debug)]
struct Service {
    link: Link,
    waiting: Mutex<InFlight<Waiting>>,
}

/// A request under way: whom to answer.
#[derive(Debug)]
struct Waiting {
    gate: Link,
    sequence: u32,
}

impl Waiting {
    fn refuse(self, refusal: &Refusal) {
        refuse(&self.gate, self.sequence, refusal);
    }
}

/// Refuses a request of a gate's client.
pub(crate) fn refuse(gate: &Link, sequence: u32, refusal: &Refusal) {
    // A gate whose buffer is full gives the request up by itself.
    let _ = gate.answer(LinkCommand::Forward, Flags::REFUSED, sequence, refusal);
}

impl Services {
    /// Each link gets a window of requests that wait for `patience` at most.
    pub(crate) fn new(window: usize, patience: Duration) -> Self {
        Self { linked: RwLock::default(), window, patience }
    }

    pub(crate) fn up(&self, link: &Link) {
        let waiting = Mutex::new(InFlight::new(self.window, self.patience));
        self.linked.write().push(Arc::new(Service { link: link.clone(), waiting }));
    }

    pub(crate) fn down(&self, link: &Link) {
        let gone: Vec<_> = {
            let mut linked = self.linked.write();
            linked.extract_if(.., |service| service.link.id() == link.id()).collect()
        };
        for service in gone {
            let lost: Vec<_> = service.waiting.lock().drain().collect();
            for waiting in lost {
                waiting.refuse(&Refusal::new(RefusalCode::Unavailable, "the link to the im-service broke"));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.linked.read().len()
    }

    /// Passes a gate's request to an im-service. Whatever happens, it is answered once.
    pub(crate) fn forward(&self, now: Instant, gate: &Link, affinity: Affinity, frame: &Frame) {
        let picked = {
            let linked = self.linked.read();
            affinity.pick(&linked, |service| &service.link.peer().name).cloned()
        };
        let Some(service) = picked else {
            let refusal = Refusal::new(RefusalCode::Unavailable, "no im-service can be reached");
            return refuse(gate, frame.sequence, &refusal);
        };
        let waiting = Waiting { gate: gate.clone(), sequence: frame.sequence };
        let admitted = service.waiting.lock().insert(now, waiting);
        let sequence = match admitted {
            Ok(sequence) => sequence,
            Err(waiting) => {
                return waiting.refuse(&Refusal::new(RefusalCode::Busy, "too many requests are waiting"));
            }
        };
        if service.link.pass(frame, sequence).is_err() {
            let waiting = service.waiting.lock().take(sequence);
            if let Some(waiting) = waiting {
                waiting.refuse(&Refusal::new(RefusalCode::Busy, "the im-service takes no more requests"));
            }
        }
    }

    /// Brings an im-service's answer to the gate that asked.
    pub(crate) fn answer(&self, link: &Link, frame: &Frame) {
        let Some(service) = self.find(link.id()) else { return };
        let waiting = service.waiting.lock().take(frame.sequence);
        match waiting {
            Some(waiting) => {
                let _ = waiting.gate.pass(frame, waiting.sequence);
            }
            None => debug!(link = %link.id(), sequence = frame.sequence, "an answer came too late"),
        }
    }

    /// Gives up what has waited too long.
    pub(crate) fn on_tick(&self, link: &Link, now: Instant) {
        let Some(service) = self.find(link.id()) else { return };
        loop {
            let expired = service.waiting.lock().expire(now);
            let Some(waiting) = expired else { return };
            waiting.refuse(&RefusalCode::DeadlineExceeded.into());
        }
    }

    fn find(&self, id: LinkId) -> Option<Arc<Service>> {
        self.linked.read().iter().find(|service| service.link.id() == id).cloned()
    }
}
