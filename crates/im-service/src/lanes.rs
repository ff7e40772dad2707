//! Sends of one user are handed to the store in the order in which they came. A lane is a task that
//! prepares the sends of its users one after another and then lets their appends run side by side:
//! the store's queue keeps the order, and one fsync serves them all.

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

/// Lanes: enough that one that waits for a group's members does not hold up many.
const LANES: usize = 16;

/// Sends that wait in one lane, and as many whose appends run. All lanes together cover the window
/// of one route's link.
const LANE_DEPTH: usize = 4096;

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
    let mut appends = set_of(run_send);
    loop {
        tokio::select! {
            biased;
            // First: a new append is polled here before the next send is prepared, and so takes its
            // place in the store's queue in order.
            Some((request, outcome)) = appends.next(), if !appends.is_empty() => request.finish(&routes, outcome),
            request = requests.recv(), if appends.len() < LANE_DEPTH => {
                let Some(request) = request else { break };
                match service.prepare_send(&request.forward).await {
                    Ok(sending) => appends.push(run_send(request, sending)),
                    Err(refusal) => request.finish(&routes, Err(refusal)),
                }
            }
        }
    }
    while let Some((request, outcome)) = appends.next().await {
        request.finish(&routes, outcome);
    }
}

async fn run_send(request: Request, sending: Sending) -> (Request, Result<Outcome, Refusal>) {
    let outcome = sending.run().await;
    (request, outcome)
}

/// An empty set for the futures that `_run` makes, whose type has no name.
fn set_of<F: Future>(_run: impl Fn(Request, Sending) -> F) -> FuturesUnordered<F> {
    FuturesUnordered::new()
}
