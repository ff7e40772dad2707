//! Sends of one user are handed to the store in the order in which they came. A lane is a task that
//! prepares the sends of its users one after another and then lets their appends run side by side:
//! the store's queue keeps the order, and one fsync serves them all. What has gathered meanwhile goes
//! through the store as one batch, so that its many answers are one wake-up.

use std::future::Future;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use im_link::Link;
use im_proto::link::Forward;
use im_proto::{Refusal, RefusalCode};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::routes::Routes;
use crate::service::{Outcome, Sending, Service};

/// Lanes: enough that one that waits for a group's members does not hold up many, few enough that
/// batches are large.
const LANES: usize = 8;

/// Sends that wait in one lane, and as many whose appends run. All lanes together cover the window
/// of one route's link.
const LANE_DEPTH: usize = 8192;

/// Sends that go through the store together, at most. A batch is answered when its last one is durable,
/// so it is kept small against what one fsync serves.
const BATCH_MAX: usize = 128;

/// One for each request of a batch, in their order.
type Outcomes = Vec<Result<Outcome, Refusal>>;

/// A client's request with the way back.
pub(crate) struct Request {
    pub(crate) forward: Forward,
    pub(crate) link: Link,
    pub(crate) sequence: u32,
}

/// The lanes of one im-service.
pub(crate) struct Lanes {
    entries: Vec<mpsc::Sender<Request>>,
    hasher: ahash::RandomState,
    routes: Arc<Routes>,
}

impl Lanes {
    /// Starts the lanes. They end when this is dropped and what they hold is done. `random` spreads
    /// users over them in a way that users cannot foresee.
    pub(crate) fn start(service: &Arc<Service>, routes: &Arc<Routes>, tasks: &TaskTracker, random: u64) -> Self {
        let entries = (0..LANES).map(|_| {
            let (entry, requests) = mpsc::channel(LANE_DEPTH);
            tasks.spawn(run(requests, Arc::clone(service), Arc::clone(routes)));
            entry
        });
        let hasher = ahash::RandomState::with_seeds(random, 0, 0, 0);
        Self { entries: entries.collect(), hasher, routes: Arc::clone(routes) }
    }

    /// Puts a send into its user's lane; a full lane refuses.
    pub(crate) fn enter(&self, request: Request) {
        let lane = self.hasher.hash_one(request.forward.user.as_str()) as usize % self.entries.len();
        if let Err(error) = self.entries[lane].try_send(request) {
            error.into_inner().finish(&self.routes, Err(RefusalCode::Busy.into()));
        }
    }
}

async fn run(mut requests: mpsc::Receiver<Request>, service: Arc<Service>, routes: Arc<Routes>) {
    let mut batches = set_of(send);
    let mut arrived = Vec::new();
    let mut under_way = 0;
    loop {
        tokio::select! {
            biased;
            // First: a new batch is polled here before the next one is prepared, and so takes its
            // places in the store's queue in order.
            Some((batch, outcomes)) = batches.next(), if !batches.is_empty() => {
                under_way -= batch.len();
                finish(&routes, batch, outcomes);
            }
            count = requests.recv_many(&mut arrived, BATCH_MAX), if under_way < LANE_DEPTH => {
                if count == 0 { break }
                let (batch, sendings) = prepare(&service, &routes, &mut arrived).await;
                if !batch.is_empty() {
                    under_way += batch.len();
                    batches.push(send(Arc::clone(&service), batch, sendings));
                }
            }
        }
    }
    while let Some((batch, outcomes)) = batches.next().await {
        finish(&routes, batch, outcomes);
    }
}

/// Those that are good, with what is to be sent for them; the others are refused.
async fn prepare(service: &Service, routes: &Routes, arrived: &mut Vec<Request>) -> (Vec<Request>, Vec<Sending>) {
    let (mut batch, mut sendings) = (Vec::with_capacity(arrived.len()), Vec::with_capacity(arrived.len()));
    for request in arrived.drain(..) {
        match service.prepare_send(&request.forward).await {
            Ok(sending) => {
                batch.push(request);
                sendings.push(sending);
            }
            Err(refusal) => request.finish(routes, Err(refusal)),
        }
    }
    (batch, sendings)
}

async fn send(service: Arc<Service>, batch: Vec<Request>, sendings: Vec<Sending>) -> (Vec<Request>, Outcomes) {
    let outcomes = service.send(sendings).await;
    (batch, outcomes)
}

fn finish(routes: &Routes, batch: Vec<Request>, outcomes: Outcomes) {
    for (request, outcome) in batch.into_iter().zip(outcomes) {
        request.finish(routes, outcome);
    }
}

/// An empty set for the futures that `_send` makes, whose type has no name.
fn set_of<F: Future>(_send: impl Fn(Arc<Service>, Vec<Request>, Vec<Sending>) -> F) -> FuturesUnordered<F> {
    FuturesUnordered::new()
}
