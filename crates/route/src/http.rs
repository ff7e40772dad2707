//! What the route tells over HTTP, and what an operator may change there, beside the health, readiness
//! and metrics that every tier has.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use im_link::link;
use im_runtime::Operators;
use im_session::Role;
use serde::Serialize;

use crate::directory::Census;
use crate::lease::LeaseView;
use crate::regions::PeerView;
use crate::roles::Standing;
use crate::traffic::Traffic;

/// `/monitor`: 200 while the process lives. `/census`: how many of each. `/status`: role, links, users;
/// `PUT /master` makes this route its region's master; `/lease` answers 200 where this route has the lease,
/// else 409, so that `curl -f` decides whether a duty is this machine's. The last three are the operators'
/// alone. It is a `PUT` because a page in a browser on this machine cannot send one without being asked first.
pub(crate) fn router(traffic: Arc<Traffic>, operators: &Operators) -> Router {
    let theirs = Router::new().route("/status", get(status)).route("/master", put(master)).route("/lease", get(lease));
    Router::new()
        .route("/census", get(census))
        .route("/monitor", get(|| async { "ok\n" }))
        .with_state(Arc::clone(&traffic))
        .merge(operators.guard(theirs.with_state(traffic)))
}

#[derive(Serialize)]
struct CensusView {
    gates: usize,
    users: usize,
    logins: usize,
    im_services: usize,
}

#[derive(Serialize)]
struct Status {
    name: String,
    region: String,
    role: &'static str,
    /// When it became that, seconds ago and in milliseconds since 1970.
    role_for_seconds: u64,
    role_since_ms: u64,
    /// Who is master as far as this route knows, and how often the role has moved.
    master: String,
    term: u64,
    /// Gates and im-services that send here, of all that are linked.
    senders_here: usize,
    senders: usize,
    /// Whether requests find an im-service.
    serves: bool,
    #[serde(flatten)]
    census: CensusView,
    /// Routes of other regions.
    peers: Vec<PeerStatus>,
    /// The lease that names the master; null where none is kept.
    lease: Option<LeaseStatus>,
}

#[derive(Serialize)]
struct LeaseStatus {
    /// Who has it; null where nobody does, or nobody can tell.
    holder: Option<String>,
    /// Whether this route does, for certain.
    mine: bool,
    /// Why Redis could not be asked.
    trouble: Option<String>,
}

#[derive(Serialize)]
struct PeerStatus {
    region: String,
    name: String,
    /// Users it has told of; null where they are more than can be remembered.
    users: Option<usize>,
    is_master: bool,
    has_service: bool,
}

async fn census(State(traffic): State<Arc<Traffic>>) -> Json<CensusView> {
    Json(count(&traffic))
}

async fn status(State(traffic): State<Arc<Traffic>>) -> Json<Status> {
    Json(look(&traffic))
}

async fn master(State(traffic): State<Arc<Traffic>>) -> Json<Status> {
    traffic.roles.take();
    Json(look(&traffic))
}

async fn lease(State(traffic): State<Arc<Traffic>>) -> (StatusCode, Json<Option<LeaseStatus>>) {
    let lease = look_at_lease(&traffic);
    let is_ours = lease.as_ref().is_some_and(|lease| lease.mine);
    (if is_ours { StatusCode::OK } else { StatusCode::CONFLICT }, Json(lease))
}

fn look_at_lease(traffic: &Traffic) -> Option<LeaseStatus> {
    let LeaseView { holder, is_ours, trouble } = traffic.lease.as_ref()?.view();
    Some(LeaseStatus { holder, mine: is_ours, trouble })
}

fn count(traffic: &Traffic) -> CensusView {
    let Census { gates, users, logins } = traffic.directory.census();
    CensusView { gates, users, logins, im_services: traffic.services.len() }
}

fn look(traffic: &Traffic) -> Status {
    let Standing { role, since, mastership, senders_here, senders } = traffic.roles.standing();
    let lasts = link::now().saturating_duration_since(since);
    let peer = |PeerView { region, name, users, is_master, has_service }| PeerStatus {
        region,
        name,
        users,
        is_master,
        has_service,
    };
    Status {
        name: traffic.name.clone(),
        region: traffic.region.clone(),
        role: match role {
            Role::Master => "master",
            Role::Standby => "standby",
            Role::Unknown => "unknown",
        },
        role_for_seconds: lasts.as_secs(),
        role_since_ms: unix_ms(lasts),
        master: mastership.master,
        term: mastership.term,
        senders_here,
        senders,
        serves: traffic.services.serving().anywhere,
        census: count(traffic),
        peers: traffic.directory.regions().views().into_iter().map(peer).collect(),
        lease: look_at_lease(traffic),
    }
}

/// The time of day so long ago. For people.
fn unix_ms(ago: Duration) -> u64 {
    (SystemTime::now() - ago).duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
