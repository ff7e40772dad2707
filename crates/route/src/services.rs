//! Who may serve requests (the im-services that are linked, and routes of other regions that have some),
//! and the requests that wait on each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_link::{Link, LinkId};
use im_proto::link::LinkCommand;
use im_proto::{Refusal, RefusalCode};
use im_session::{Affinity, InFlight};
use parking_lot::{Mutex, RwLock};
use proto_codec::{Flags, Frame};
use tracing::debug;

use crate::roles::Serving;

/// Everybody to whom this route may pass requests.
#[derive(Debug)]
pub(crate) struct Services {
    /// The best first.
    linked: RwLock<Vec<Ranked>>,
    window: usize,
    patience: Duration,
}

#[derive(Debug)]
struct Ranked {
    rank: Rank,
    service: Arc<Service>,
}

/// How good it is to pass a request there; requests go to the best there are. The order is that of the
/// variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// A route of another region that has no im-service itself.
    Useless,
    /// A standby of another region.
    Standby,
    /// The master of another region.
    Master,
    /// An im-service of this region.
    Here,
}

/// How far a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// One of this region's im-services, because it has come from another region already: two regions
    /// that each take the other for able must not hand it to and fro.
    Here,
    /// Another region, if there is no im-service here.
    Anywhere,
}

#[derive(Debug)]
struct Service {
    link: Link,
    /// What decides between those of one rank: the same for any two routes, whatever happened before.
    name: String,
    waiting: Mutex<InFlight<Waiting>>,
}

/// A request under way: whom to answer.
#[derive(Debug)]
struct Waiting {
    asker: Link,
    sequence: u32,
}

impl Waiting {
    fn refuse(self, refusal: &Refusal) {
        refuse(&self.asker, self.sequence, refusal);
    }
}

/// Refuses a request of a gate's client.
pub(crate) fn refuse(asker: &Link, sequence: u32, refusal: &Refusal) {
    // An asker whose buffer is full gives the request up by itself.
    let _ = asker.answer(LinkCommand::Forward, Flags::REFUSED, sequence, refusal);
}

impl Services {
    /// Each link gets a window of requests that wait for `patience` at most.
    pub(crate) fn new(window: usize, patience: Duration) -> Self {
        Self { linked: RwLock::default(), window, patience }
    }

    /// Somebody who may serve is linked. `name` is unique among those of the same rank.
    pub(crate) fn up(&self, link: &Link, name: String, rank: Rank) {
        let waiting = Mutex::new(InFlight::new(self.window, self.patience));
        let service = Arc::new(Service { link: link.clone(), name, waiting });
        let mut linked = self.linked.write();
        linked.push(Ranked { rank, service });
        sort(&mut linked);
    }

    /// What another region's route tells of itself changes how good it is.
    pub(crate) fn rank(&self, link: &Link, rank: Rank) {
        let mut linked = self.linked.write();
        if let Some(ranked) = linked.iter_mut().find(|ranked| ranked.service.link.id() == link.id()) {
            ranked.rank = rank;
            sort(&mut linked);
        }
    }

    pub(crate) fn down(&self, link: &Link) {
        let gone: Vec<_> = {
            let mut linked = self.linked.write();
            linked.extract_if(.., |ranked| ranked.service.link.id() == link.id()).collect()
        };
        for Ranked { service, .. } in gone {
            let lost: Vec<_> = service.waiting.lock().drain().collect();
            for waiting in lost {
                waiting.refuse(&Refusal::new(RefusalCode::Unavailable, "the link to the im-service broke"));
            }
        }
    }

    /// Where requests could go right now.
    pub(crate) fn serving(&self) -> Serving {
        match self.linked.read().first() {
            None | Some(Ranked { rank: Rank::Useless, .. }) => Serving::default(),
            Some(Ranked { rank, .. }) => Serving { anywhere: true, here: *rank == Rank::Here },
        }
    }

    /// The im-services of this region.
    pub(crate) fn len(&self) -> usize {
        self.linked.read().iter().filter(|ranked| ranked.rank == Rank::Here).count()
    }

    /// Passes a request on. Whatever happens, it is answered once.
    pub(crate) fn forward(&self, now: Instant, asker: &Link, affinity: Affinity, frame: &Frame, reach: Reach) {
        let Some(service) = self.pick(affinity, reach) else {
            let refusal = Refusal::new(RefusalCode::Unavailable, "no im-service can be reached");
            return refuse(asker, frame.sequence, &refusal);
        };
        let waiting = Waiting { asker: asker.clone(), sequence: frame.sequence };
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

    fn pick(&self, affinity: Affinity, reach: Reach) -> Option<Arc<Service>> {
        let linked = self.linked.read();
        let best = linked.first()?.rank;
        if best == Rank::Useless || (reach == Reach::Here && best != Rank::Here) {
            return None;
        }
        let as_good = &linked[..linked.partition_point(|ranked| ranked.rank == best)];
        affinity.pick(as_good, |ranked| &ranked.service.name).map(|ranked| Arc::clone(&ranked.service))
    }

    /// Brings an answer to the one who asked.
    pub(crate) fn answer(&self, link: &Link, frame: &Frame) {
        let Some(service) = self.find(link.id()) else { return };
        let waiting = service.waiting.lock().take(frame.sequence);
        match waiting {
            Some(waiting) => {
                let _ = waiting.asker.pass(frame, waiting.sequence);
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
        let linked = self.linked.read();
        linked.iter().find(|ranked| ranked.service.link.id() == id).map(|ranked| Arc::clone(&ranked.service))
    }
}

fn sort(linked: &mut [Ranked]) {
    linked.sort_by_key(|ranked| std::cmp::Reverse(ranked.rank));
}
