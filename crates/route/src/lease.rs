//! A lease in Redis that names the master, for operators and for duties that one instance is to do:
//! one key per region, whose value names a route and which ends by itself unless that route renews it.
//!
//! No request, notify or role ever looks at it. A route that believes to be master tries to hold it, and
//! Redis gives it to one; who is not master gives it back, and only looks. So where two routes believe to
//! be master, the lease still names one; and where Redis is away, forgets, or goes back in time, it names
//! nobody, or for a while two, and messages go their ways as before. A duty that hangs on it should bear
//! being done twice.
//!
//! Every look is a connection of its own: they are seconds apart, and so a server that was replaced, moved
//! by Sentinel or cut off needs no thought beyond the next look.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use im_session::Role;
use parking_lot::Mutex;
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisError};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::roles::Roles;

/// Where and for how long.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// The Redis.
    pub redis: LeaseServer,
    /// How long it lasts without being renewed, which is tried three times within it.
    pub time: Duration,
}

/// A Redis.
#[derive(Clone)]
pub struct LeaseServer(Place);

#[derive(Clone)]
enum Place {
    Single(Client),
    Sentinel { sentinels: Vec<String>, master: String },
}

/// A URL that names no Redis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a Redis, such as redis://host:6379 or redis+sentinel://host:26379,host:26379/master-name")]
pub struct NoRedis;

/// What a look may take: a third of the lease, but not longer than an operator would wait.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Takes or renews: it is ours if nobody has it, or we do. Says who has it then.
const TAKE: &str = "local holder = redis.call('GET', KEYS[1]) \
    if holder and holder ~= ARGV[1] then return holder end \
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
    return ARGV[1]";

/// Gives it back if it is ours. Says who has it then.
const LEAVE: &str = "local holder = redis.call('GET', KEYS[1]) \
    if holder ~= ARGV[1] then return holder end \
    redis.call('DEL', KEYS[1]) \
    return false";

/// What this route knows of the lease.
#[derive(Debug)]
pub(crate) struct Lease {
    config: LeaseConfig,
    key: String,
    /// The route's name and its run: a successor of the same name is another holder.
    own: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Who held it at the last look.
    holder: Option<String>,
    /// Until when it is surely ours: counted from before Redis was asked.
    ours_until: Option<Instant>,
    /// Why the last look failed.
    trouble: Option<String>,
}

/// The lease as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseView {
    /// The name of the route that has it, as far as is known.
    pub(crate) holder: Option<String>,
    /// Whether this route has it, for certain.
    pub(crate) is_ours: bool,
    /// Why nothing is known, or nothing new.
    pub(crate) trouble: Option<String>,
}

impl Lease {
    pub(crate) fn new(config: LeaseConfig, region: &str, name: &str, boot: u64) -> Self {
        let known = Known { trouble: Some("Redis was not asked yet".into()), ..Known::default() };
        Self { config, key: format!("sim:{region}:master"), own: format!("{name} {boot:016x}"), known: known.into() }
    }

    pub(crate) fn view(&self) -> LeaseView {
        let known = self.known.lock();
        LeaseView {
            holder: known.holder.as_deref().map(name_of),
            is_ours: known.ours_until.is_some_and(|until| Instant::now() < until),
            trouble: known.trouble.clone(),
        }
    }

    /// Holds it while this route is master, until the stop; then gives it back.
    pub(crate) async fn keep(self: Arc<Self>, roles: Arc<Roles>, stop: CancellationToken) {
        let looking = async {
            loop {
                let changed = roles.changed();
                self.look(roles.standing().role == Role::Master).await;
                tokio::select! {
                    () = sleep(self.config.time / 3) => {}
                    () = changed => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = looking => {}
        }
        if self.view().is_ours {
            self.look(false).await;
        }
    }

    async fn look(&self, is_master: bool) {
        let began = Instant::now();
        if !is_master {
            // Before Redis hears of it, so that nobody else has it while this route says that it does.
            self.known.lock().ours_until = None;
        }
        let script = if is_master { TAKE } else { LEAVE };
        let patience = LOOK_MAX.min(self.config.time / 3);
        let answer = match timeout(patience, self.ask(script)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {patience:?}")),
        };
        self.learn(began, answer);
    }

    fn learn(&self, began: Instant, answer: Result<Option<String>, String>) {
        let mut known = self.known.lock();
        match answer {
            Ok(holder) => {
                let (was_ours, is_ours) = (known.ours_until.is_some(), holder.as_ref() == Some(&self.own));
                if known.trouble.take().is_some() {
                    info!(?holder, "Redis tells who has the lease");
                }
                if was_ours != is_ours {
                    info!(held = is_ours, ?holder, "the lease has changed hands");
                }
                known.ours_until = is_ours.then(|| began + self.config.time);
                known.holder = holder;
            }
            Err(why) => {
                if known.trouble.is_none() {
                    warn!(
                        why,
                        "Redis does not tell who has the lease; nothing but duties that ask for it hangs on that"
                    );
                }
                metrics::counter!("sim_route_lease_failures_total").increment(1);
                // Ours it is until its time is over, whatever becomes of Redis; of others nothing is known.
                if known.ours_until.is_none_or(|until| until <= began) {
                    (known.ours_until, known.holder) = (None, None);
                }
                known.trouble = Some(why);
            }
        }
    }

    async fn ask(&self, script: &str) -> Result<Option<String>, RedisError> {
        let client = self.config.redis.client().await?;
        // The whole has a deadline; the driver's own would be shorter than a lease may want.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(1).arg(&self.key).arg(&self.own).arg(self.config.time.as_millis() as u64);
        command.query_async(&mut connection).await
    }
}

/// The name in a holder's value; all of it where somebody else has written it.
fn name_of(holder: &str) -> String {
    holder.rsplit_once(' ').map_or(holder, |(name, _)| name).to_owned()
}

impl LeaseServer {
    /// `redis://user:password@host:port/number` or `redis+sentinel://host:port,host:port/master-name`.
    pub fn parse(url: &str) -> Result<Self, NoRedis> {
        let Some(rest) = url.strip_prefix("redis+sentinel://") else {
            return Client::open(url).map(|client| Self(Place::Single(client))).map_err(|_| NoRedis);
        };
        let (hosts, master) = rest.split_once('/').filter(|(_, master)| !master.is_empty()).ok_or(NoRedis)?;
        let sentinels: Vec<_> = hosts.split(',').map(|host| format!("redis://{host}")).collect();
        if sentinels.iter().any(|sentinel| sentinel.as_str().into_connection_info().is_err()) {
            return Err(NoRedis);
        }
        Ok(Self(Place::Sentinel { sentinels, master: master.to_owned() }))
    }

    /// Whoever is to be asked now.
    async fn client(&self) -> Result<Client, RedisError> {
        match &self.0 {
            Place::Single(client) => Ok(client.clone()),
            Place::Sentinel { sentinels, master } => {
                let server = SentinelServerType::Master;
                SentinelClient::build(sentinels.clone(), master.clone(), None, server)?.async_get_client().await
            }
        }
    }
}

impl fmt::Debug for LeaseServer {
    /// Without the password that a URL may hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Single(client) => write!(f, "LeaseServer({})", client.get_connection_info().addr()),
            Place::Sentinel { master, .. } => write!(f, "LeaseServer(sentinels of {master})"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn lease() -> Lease {
        let redis = LeaseServer::parse("redis://127.0.0.1:1").unwrap();
        Lease::new(LeaseConfig { redis, time: TIME }, "eu", "route-1", 7)
    }

    #[test]
    fn urls() {
        for good in ["redis://h:6379", "redis://u:p@h:6379/2", "redis+sentinel://a:26379,b:26379/mymaster"] {
            LeaseServer::parse(good).unwrap();
        }
        for bad in ["", "h:6379", "http://h", "redis+sentinel://a:26379", "redis+sentinel:///m", "redis+cluster://h:1"]
        {
            assert_eq!(LeaseServer::parse(bad).unwrap_err(), NoRedis, "{bad}");
        }
        assert!(!format!("{:?}", LeaseServer::parse("redis://u:secret@h:1").unwrap()).contains("secret"));
    }

    /// What is held stays held for its time when Redis dies, and not for longer.
    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_with_its_time_counted_from_before_the_question() {
        let lease = lease();
        assert_eq!((lease.key.as_str(), lease.own.as_str()), ("sim:eu:master", "route-1 0000000000000007"));
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        lease.learn(asked, Ok(Some(lease.own.clone())));
        let view = |is_ours, trouble: Option<&str>| LeaseView {
            holder: Some("route-1".into()),
            is_ours,
            trouble: trouble.map(str::to_owned),
        };
        assert_eq!(lease.view(), view(true, None));
        tokio::time::advance(Duration::from_secs(8)).await;
        lease.learn(Instant::now(), Err("gone".into()));
        assert_eq!(lease.view(), view(true, Some("gone")));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!lease.view().is_ours, "to the instant, without another look");
        lease.learn(Instant::now(), Err("still gone".into()));
        assert_eq!(lease.view(), LeaseView { holder: None, is_ours: false, trouble: Some("still gone".into()) });
        lease.learn(Instant::now(), Ok(Some("route-1 0000000000000008".into())));
        assert_eq!(lease.view(), view(false, None), "another run of the same name is somebody else");
    }
}
