//! The im-service put together, and started.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_link::tls::LinkTls;
use im_link::{Identity, LinkConfig, Network, link};
use im_proto::client::KickReason;
use im_proto::link::{Push, Revoke, Tier};
use im_proto::{BootId, GroupId, Refusal, UserId};
use im_timeline::Store;
use im_timeline_api::{Host, TimelineApi};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::accounts::{Revocation, RevocationCause};
use crate::lanes::Lanes;
use crate::routes::{RouteHandler, Routes, SERVED_MAX};
use crate::service::{Service, ServiceConfig, Tell};
use crate::upkeep::{self, Retention};

/// What an im-service needs to know.
pub struct ImServiceConfig {
    /// Its name, unique among im-services.
    pub name: String,
    /// Its region.
    pub region: String,
    /// This run of it, drawn at random.
    pub boot: BootId,
    /// The routes of the region, `host:port`, master first.
    pub routes: Vec<String>,
    /// TLS towards routes.
    pub link_tls: LinkTls,
    /// Times and bounds of links.
    pub link: LinkConfig,
    /// What the service itself does.
    pub service: ServiceConfig,
    /// How long things are kept.
    pub retention: Retention,
}

/// An im-service that runs.
pub struct ImService {
    service: Arc<Service>,
    routes: Arc<Routes>,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl ImService {
    /// Dials the routes and serves in the background. Needs a runtime around it.
    pub fn start(config: ImServiceConfig, store: Arc<dyn Store>, network: &Arc<dyn Network>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let service = Arc::new(Service::new(Arc::clone(&store), config.service));
        let routes = Arc::new(Routes::new(config.routes.len()));
        let lanes = Arc::new(Lanes::start(&service, &routes, &tasks, network.random()));
        let places = Arc::new(Semaphore::new(SERVED_MAX));
        let identity = Identity { tier: Tier::ImService, name: config.name, boot: config.boot, region: config.region };
        for (index, address) in config.routes.into_iter().enumerate() {
            let handler = RouteHandler {
                index,
                routes: Arc::clone(&routes),
                service: Arc::clone(&service),
                lanes: Arc::clone(&lanes),
                places: Arc::clone(&places),
            };
            tasks.spawn(link::maintain(
                Arc::clone(network),
                address,
                config.link_tls.clone(),
                identity.clone(),
                config.link,
                Arc::new(handler),
                stop.clone(),
            ));
        }
        let retention = config.retention;
        tasks.spawn(upkeep::write_fetched(Arc::clone(&service), Arc::clone(&store), retention, stop.clone()));
        tasks.spawn(upkeep::sweep(Arc::clone(&store), retention, stop.clone()));
        Self { service, routes, store, stop, tasks }
    }

    /// The timeline service over the same timelines. Its streams end when `stop` is cancelled.
    pub fn timeline_api(&self, stop: CancellationToken) -> Arc<TimelineApi> {
        let (service, routes) = (Arc::clone(&self.service), Arc::clone(&self.routes));
        let watchers = Arc::clone(&service.watchers);
        TimelineApi::new(Arc::clone(&self.store), Arc::new(TimelineHost { service, routes }), watchers, stop)
    }

    /// Whether a route can be reached.
    pub fn is_ready(&self) -> bool {
        self.routes.is_up()
    }

    /// Has gates end the connections of logins that were taken back, and refuse their access tokens, which
    /// last for `access_lifetime` at most.
    pub(crate) async fn end_revoked(
        self: Arc<Self>,
        mut revocations: broadcast::Receiver<Revocation>,
        access_lifetime: Duration,
    ) {
        let lasts = access_lifetime + im_auth::LEEWAY;
        let lasts_ms = u32::try_from(lasts.as_millis()).unwrap_or(u32::MAX);
        loop {
            let heard = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                revocation = revocations.recv() => revocation,
            };
            match heard {
                Ok(Revocation { user, generation, login, cause }) => {
                    let reason = match cause {
                        RevocationCause::Banned => KickReason::Forbidden,
                        _ => KickReason::Revoked,
                    };
                    metrics::counter!("sim_service_revocations_total").increment(1);
                    self.routes.revoke(Revoke { user, below: generation, login, reason, lasts_ms });
                }
                // Those that were missed lose their login with their access token, minutes later.
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    warn!(missed, "revocations came faster than they could be passed on");
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Ends the links, finishes what is under way, and closes the store.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.store.close().await;
    }
}

/// What the timeline service needs of this im-service.
struct TimelineHost {
    service: Arc<Service>,
    routes: Arc<Routes>,
}

#[async_trait]
impl Host for TimelineHost {
    fn announce(&self, push: Push) {
        self.service.watchers.wake(push.targets.iter().map(|target| &target.user));
        self.routes.tell(None, &Tell::Push(push));
    }

    async fn admit_members(&self, group: &GroupId, members: &[UserId]) -> Result<(), Refusal> {
        self.service.admit_members(group, members).await
    }
}
