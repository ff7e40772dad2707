//! The im-service as a process: its settings, the store it opens, accounts over HTTP, the admin
//! listener, and the watch over the store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use im_auth::keys;
use im_link::tls::{CertFiles, LinkTls};
use im_link::{LinkConfig, Network};
use im_proto::BootId;
use im_runtime::settings::Secret;
use im_runtime::{Condition, Context, Operators, Readiness, admin, http, settings};
use im_timeline_api::Auth;
use tokio::net::TcpListener;
use tokio::time::interval;
use tracing::{info, warn};

use crate::accounts::{self, Accounts, AccountsConfig};
use crate::app::{ImService, ImServiceConfig};
use crate::backend::{Backend, MongoBackend, OpenedStore, Places, Standing, StoreWatch};
use crate::registry::{self, Instance};
use crate::service::ServiceConfig;
use crate::upkeep::Retention;

settings! {
    /// The im-service: timelines, groups, accounts.
    pub struct ImServiceSettings("im-service") {
        /// Its name, unique among im-services.
        pub name: String = "im-service-1",
        /// Its region.
        pub region: String = "local",
        /// The routes of the region, master first.
        pub routes: Vec<String> = "127.0.0.1:8920",
        /// Where accounts (/user/register, /user/login and the rest) and the timeline service (/timeline/send and
        /// the rest, /openapi.json, a page at /) are served over HTTP.
        pub http_listen: SocketAddr = "127.0.0.1:8000",
        /// Whether http_listen may be reached from other machines although it speaks plain HTTP, because
        /// something in front of it terminates TLS. Passwords pass here. For whom it speaks is then what it adds
        /// last to X-Forwarded-For; without that, failed logins and registrations are not counted by address.
        pub http_behind_tls: bool = "false",
        /// Where the timeline service answers over gRPC: timeline.v1.Timeline.
        pub grpc_listen: SocketAddr = "127.0.0.1:9000",
        /// Whether grpc_listen may be reached from other machines although it speaks plain HTTP/2, because
        /// something in front of it terminates TLS. Service tokens pass here.
        pub grpc_behind_tls: bool = "false",
        /// File of the tokens by which business systems use the timeline service, one per line, at least 32
        /// characters each. Without it nobody may.
        pub service_tokens: Option<PathBuf> = "",
        /// Whether the timeline service does without tokens: then whoever reaches its ports, which must be on
        /// loopback, acts for every user. For development.
        pub timeline_open: bool = "false",
        /// Addresses of an etcd, http://host:port, in which the timeline service is registered in the layout of
        /// go-kratos; none leaves that out.
        pub etcd: Vec<String> = "",
        /// The service's name in etcd; the instance is `name`.
        pub etcd_service: String = "timeline",
        /// Where others reach http_listen, host:port, where that is not the address itself.
        pub advertise_http: Option<String> = "",
        /// The same for grpc_listen.
        pub advertise_grpc: Option<String> = "",
        /// Where it answers over HTTP: /healthz, /readyz, /metrics, and for operators alone /accounts.
        pub admin_listen: SocketAddr = "127.0.0.1:8931",
        /// What operators show, as "Authorization: Bearer …", to be let in from other machines. Without one they
        /// are let in from this machine alone.
        pub operator_token: Secret = "",
        /// What keeps timelines, groups and accounts: embedded (the default), sqlite, or mongo, which several
        /// im-services may share.
        pub store: Backend = "embedded",
        /// The folder of an embedded or sqlite store.
        pub data: PathBuf = "data",
        /// Where MongoDB is, for store = "mongo": mongodb://user:password@host,host/?replicaSet=name (tls=true
        /// for TLS) or mongodb+srv://…; a replica set, of one member at least, or a sharded cluster. Secret
        /// because of the password.
        pub mongo_uri: Secret = "",
        /// The database in it.
        pub mongo_database: String = "im",
        /// How long MongoDB may take over anything; after it, who asked is told to try again. A send may wait
        /// for the one before it, so keep this below half of the gates' request_timeout.
        pub mongo_patience: Duration = "2s" in Duration::from_millis(100)..=Duration::from_secs(60),
        /// Where Redis is, for store = "mongo": redis://user:password@host:port/number,
        /// redis+sentinel://host:port,host:port/master-name or redis+cluster://host:port,host:port; rediss for
        /// TLS. It is a hint that saves reads of MongoDB; without one everything works too.
        pub redis_url: Secret = "",
        /// Certificate shown to routes, PEM.
        pub link_cert: PathBuf = "keys/im-service-link.pem",
        /// Its private key, PEM.
        pub link_key: PathBuf = "keys/im-service-link.key.pem",
        /// Authority of the cluster: only routes with a certificate of it are trusted. PEM.
        pub link_ca: PathBuf = "keys/dev-ca.pem",
        /// Folder of the key pair that signs access tokens; made at the first start. im-services that share a
        /// store need the same pair.
        pub token_keys: PathBuf = "keys",
        /// How long an access token is good. Gates believe it without asking.
        pub access_lifetime: Duration = "10m" in Duration::from_secs(1)..=Duration::from_secs(86_400),
        /// How long a refresh token is good when it is not used.
        pub refresh_lifetime: Duration = "30d" in Duration::from_secs(60)..=Duration::from_secs(366 * 86_400),
        /// Whether messages and invitations go only to users who have an account here. Off where access tokens
        /// come from elsewhere.
        pub known_users_only: bool = "true",
        /// How long rows of users' timelines are kept. Histories keep the messages.
        pub keep_entries: Duration = "7d" in Duration::from_secs(1)..=Duration::from_secs(3660 * 86_400),
        /// How far back a repeated send is recognised.
        pub keep_sent: Duration = "7d" in Duration::from_secs(60)..=Duration::from_secs(3660 * 86_400),
        /// Whether rows of a user's timeline go as soon as every device of the user has fetched them.
        pub trim_when_fetched: bool = "false",
        /// Between two sweeps of what is too old.
        pub sweep_every: Duration = "60s" in Duration::from_secs(1)..=Duration::from_secs(86_400),
    }
}

/// Between two looks at the store and the routes.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Accounts are asked seldom, but by many: a login keeps a connection for two hashes' time.
const HTTP_LIMITS: http::Limits = http::Limits {
    connections: 4096,
    head: Duration::from_secs(30),
    body: Duration::from_secs(30),
    age: Duration::from_secs(600),
};

impl ImServiceSettings {
    fn config(&self) -> anyhow::Result<ImServiceConfig> {
        if !self.http_listen.ip().is_loopback() && !self.http_behind_tls {
            bail!(
                "http_listen {} can be reached from other machines and speaks plain HTTP; \
                 set http_behind_tls = true if something in front of it terminates TLS",
                self.http_listen
            );
        }
        if !self.grpc_listen.ip().is_loopback() && !self.grpc_behind_tls {
            bail!(
                "grpc_listen {} can be reached from other machines and speaks plain HTTP/2; \
                 set grpc_behind_tls = true if something in front of it terminates TLS",
                self.grpc_listen
            );
        }
        let link = CertFiles { cert: self.link_cert.clone(), key: self.link_key.clone() };
        Ok(ImServiceConfig {
            name: self.name.clone(),
            region: self.region.clone(),
            boot: BootId(rand::random()),
            routes: self.routes.clone(),
            link_tls: LinkTls::dial(&link, &self.link_ca).context("load the link certificate")?,
            link: LinkConfig::default(),
            service: ServiceConfig { known_users_only: self.known_users_only },
            retention: Retention {
                entries: self.keep_entries,
                sent: self.keep_sent,
                trim_when_fetched: self.trim_when_fetched,
                sweep_every: self.sweep_every,
            },
        })
    }

    /// Where each kind of store finds what it keeps.
    fn places(&self) -> anyhow::Result<Places> {
        let redis = self.redis_url.is_set().then(|| self.redis_url.expose().to_owned());
        let mongo = self.mongo_uri.is_set().then(|| MongoBackend {
            uri: self.mongo_uri.expose().to_owned(),
            database: self.mongo_database.clone(),
            redis,
            patience: self.mongo_patience,
            keep_entries: self.keep_entries,
            keep_sent: self.keep_sent,
        });
        match self.store {
            Backend::Mongo if mongo.is_none() => bail!("store = \"mongo\" needs mongo_uri"),
            Backend::Embedded | Backend::Sqlite if mongo.is_some() => {
                bail!("mongo_uri is set, but the store is not \"mongo\"")
            }
            Backend::Embedded | Backend::Sqlite | Backend::Mongo => {}
        }
        Ok(Places { dir: self.data.clone(), mongo })
    }

    /// Who may use the timeline service.
    fn timeline_auth(&self) -> anyhow::Result<Auth> {
        if self.timeline_open {
            if self.service_tokens.is_some() {
                bail!("timeline_open and service_tokens contradict each other");
            }
            for listen in [self.http_listen, self.grpc_listen] {
                if !listen.ip().is_loopback() {
                    bail!("timeline_open lets everybody act for every user, and {listen} is not on loopback");
                }
            }
            warn!("the timeline service asks for no token (timeline_open): whoever reaches it acts for every user");
            return Ok(Auth::Open);
        }
        match &self.service_tokens {
            Some(path) => Auth::from_file(path).context("load service_tokens"),
            None => {
                info!("the timeline service lets nobody in: there is no service_tokens file");
                Ok(Auth::Tokens(Vec::new()))
            }
        }
    }

    fn accounts_config(&self) -> AccountsConfig {
        AccountsConfig {
            access_lifetime: self.access_lifetime,
            refresh_lifetime: self.refresh_lifetime,
            ..AccountsConfig::default()
        }
    }
}

/// An im-service with its listeners.
pub struct ImServiceServer {
    service: Arc<ImService>,
    http_addr: SocketAddr,
    grpc_addr: SocketAddr,
    admin_addr: SocketAddr,
}

impl ImServiceServer {
    /// Opens the store, loads what the settings name, binds, and serves in the background until the shutdown.
    pub async fn start(
        settings: &ImServiceSettings,
        network: Arc<dyn Network>,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let (config, timeline_auth) = (settings.config()?, settings.timeline_auth()?);
        let signer = keys::load_or_create(&settings.token_keys).context("load the token keys")?;
        let (http_listener, http_addr) = bind("http_listen", settings.http_listen).await?;
        let (grpc_listener, grpc_addr) = bind("grpc_listen", settings.grpc_listen).await?;
        let (admin_listener, admin_addr) = bind("admin_listen", settings.admin_listen).await?;
        let OpenedStore { store, watch: store_watch } = settings.store.open(&settings.places()?).await?;

        let accounts_config = settings.accounts_config();
        let accounts = {
            let store = Arc::clone(&store);
            // Making it takes the time of a password hash.
            let made = tokio::task::spawn_blocking(move || Accounts::new(store, signer, accounts_config)).await?;
            Arc::new(made.context("start accounts")?)
        };
        let service = Arc::new(ImService::start(config, store, &network));
        let Context { shutdown, readiness, metrics, .. } = context;
        let conditions = Conditions::new(readiness);
        shutdown.spawn(Arc::clone(&service).end_revoked(accounts.revocations(), settings.access_lifetime));
        let operators = Operators::new(settings.operator_token.clone());
        let for_operators = accounts::operators_router(Arc::clone(&accounts), &operators);
        let mut accounts_router = accounts::router(accounts);
        if settings.http_behind_tls {
            accounts_router = accounts::behind_proxy(accounts_router);
        }
        let api = service.timeline_api(shutdown.child_token());
        let router = accounts_router.merge(im_timeline_api::http::router(Arc::clone(&api), timeline_auth.clone()));
        shutdown.spawn_vital("HTTP listener", http::serve(http_listener, router, HTTP_LIMITS, shutdown.begun()));
        let is_ready = {
            let readiness = readiness.clone();
            move || readiness.unmet().is_empty()
        };
        shutdown.spawn_vital(
            "gRPC listener",
            im_timeline_api::grpc::serve(grpc_listener, api, timeline_auth, is_ready, shutdown.begun()),
        );
        shutdown.spawn_vital(
            "im-service admin listener",
            admin::serve(admin_listener, readiness.clone(), metrics.clone(), for_operators, shutdown.begun()),
        );
        let etcd = registry::etcd_addresses(&settings.etcd)?;
        if !etcd.is_empty() {
            let at = |said: &Option<String>, address: SocketAddr| said.clone().unwrap_or_else(|| address.to_string());
            let instance = Instance {
                name: settings.etcd_service.clone(),
                id: settings.name.clone(),
                endpoints: vec![
                    format!("http://{}", at(&settings.advertise_http, http_addr)),
                    format!("grpc://{}", at(&settings.advertise_grpc, grpc_addr)),
                ],
            };
            shutdown.spawn(instance.keep(etcd, shutdown.child_token()));
        }
        shutdown.spawn_vital("store watch", watch(Arc::clone(&service), store_watch, conditions, context.clone()));
        info!(http = %http_addr, grpc = %grpc_addr, admin = %admin_addr, store = ?settings.store,
            "the im-service listens");
        Ok(Self { service, http_addr, grpc_addr, admin_addr })
    }

    /// Where accounts and the timeline service are served over HTTP.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where the timeline service is served over gRPC.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where it answers operators.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Finishes what is under way and closes the store.
    pub async fn stop(&self) {
        self.service.stop().await;
    }
}

/// Runs an im-service until the shutdown: what `sim-im-service` does.
pub async fn serve(settings: ImServiceSettings, context: Context) -> anyhow::Result<()> {
    let server = ImServiceServer::start(&settings, im_link::Tcp::shared(), &context).await?;
    context.shutdown.begun().await;
    server.stop().await;
    Ok(())
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("bind {key} {address}"))?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// What must hold before work may come. Registered before anybody can ask: a process without conditions
/// would count as ready.
struct Conditions {
    store: Condition,
    route: Condition,
}

impl Conditions {
    fn new(readiness: &Readiness) -> Self {
        Self { store: readiness.condition("im-service: store"), route: readiness.condition("im-service: route") }
    }
}

/// Keeps readiness up to date until the shutdown. Ends early, and with it the process, when the
/// store will not recover: a supervisor then starts a new one, which reads what is durable.
async fn watch(service: Arc<ImService>, store: StoreWatch, conditions: Conditions, context: Context) {
    let Conditions { store: store_condition, route: route_condition } = conditions;
    let mut ticks = interval(WATCH_EVERY);
    let looking = async {
        loop {
            ticks.tick().await;
            match store.standing() {
                Standing::Well => store_condition.ready(),
                Standing::Degraded(reason) => store_condition.degraded(reason),
                Standing::Away(reason) => store_condition.not_ready(reason),
                Standing::Lost(reason) => {
                    tracing::error!(reason, "the store is lost; the process ends");
                    return;
                }
            }
            if service.is_ready() {
                route_condition.ready();
            } else {
                route_condition.not_ready("no route can be reached");
            }
        }
    };
    tokio::select! {
        biased;
        () = context.shutdown.begun() => {}
        () = looking => {}
    }
}
