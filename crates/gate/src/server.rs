//! The gate as a process: its settings, and the gate with its admin listener around it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use im_auth::Verifier;
use im_link::network::Sockets;
use im_link::server_tls::{Acceptor, RecordLayer};
use im_link::tls::{self, CertFiles, LinkTls};
use im_link::{CertSlot, LinkConfig, Network};
use im_proto::BootId;
use im_proto::limits::{GATES_MAX, TEXT_LEN_MAX};
use im_runtime::settings::{ByteSize, Secret};
use im_runtime::{Condition, Context, Operators, Signals, admin, setting_choice, settings};
use im_secure::IdentityKey;
use im_session::GateSessionConfig;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::interval;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::{Gate, GateConfig};
use crate::door::{Door, WebSocketDoor};
use crate::drain::DrainConfig;
use crate::encryption::Encryption;
use crate::limits::Limits;
use crate::proxy::IpRange;
use crate::rate::Rate;
use crate::reload::Reloader;
use crate::websocket::Origins;

settings! {
    /// The gate: holds client connections.
    pub struct GateSettings("gate") {
        /// Its name, unique among gates.
        pub name: String = "gate-1",
        /// Its region.
        pub region: String = "local",
        /// Where clients connect, with TLS.
        pub client_listen: SocketAddr = "0.0.0.0:8910",
        /// Listening sockets on client_listen, each with a queue and an accepting task of its own, among which
        /// the kernel spreads those who dial; 0 means one per worker thread. One will do until thousands dial
        /// in the same second.
        pub client_listeners: usize = "1" in 0..=1024,
        /// Whether other gates of this machine, run by the same user, may listen on client_listen too and get
        /// their share (SO_REUSEPORT). A gate that ends loses the connections that it had not accepted yet.
        pub client_share_port: bool = "false",
        /// Ranges of addresses, such as 10.0.0.0/8, whose connections begin with a PROXY header (version 1 or
        /// 2) that tells the client's own address: the balancers. Never a range that clients are in.
        pub proxy_from: Vec<IpRange> = "",
        /// Where browsers connect, by WebSocket over TLS; nowhere when empty.
        pub websocket_listen: Option<SocketAddr> = "",
        /// Sites whose pages may connect there, such as https://chat.example; "*" for all. Programs that are no
        /// browsers need not be listed.
        pub websocket_origins: Vec<String> = "",
        /// Where it answers over HTTP: /monitor, /healthz, /readyz, /metrics, and for operators alone /online and
        /// /debug/conns.
        pub http_listen: SocketAddr = "127.0.0.1:8911",
        /// What operators show, as "Authorization: Bearer …", to be let in from other machines. Without one they
        /// are let in from this machine alone.
        pub operator_token: Secret = "",
        /// The routes of the region, master first.
        pub routes: Vec<String> = "127.0.0.1:8920",
        /// Certificate chain shown to clients, PEM.
        pub client_cert: PathBuf = "keys/gate-server.pem",
        /// Its private key, PEM.
        pub client_key: PathBuf = "keys/gate-server.key.pem",
        /// Who makes and opens the records of TLS 1.3 towards clients once a handshake is over: lean, this
        /// server itself, with 250 bytes per connection; or rustls, which takes some 3,000, and does so in any
        /// case for handshakes and for TLS 1.2.
        pub tls_record_layer: TlsRecordLayer = "lean",
        /// Certificate shown to routes, PEM.
        pub link_cert: PathBuf = "keys/gate-link.pem",
        /// Its private key, PEM.
        pub link_key: PathBuf = "keys/gate-link.key.pem",
        /// Authority of the cluster: only routes with a certificate of it are trusted. PEM.
        pub link_ca: PathBuf = "keys/dev-ca.pem",
        /// Whether bodies are encrypted inside TLS, for where somebody else ends it: off, allowed (with the
        /// clients that ask for it) or required.
        pub encryption: EncryptionMode = "off",
        /// This gate's identity, whose public half clients pin: an Ed25519 private key, PEM. Needed where
        /// encryption is not off.
        pub identity_key: Option<PathBuf> = "",
        /// Public keys that access tokens may be signed with, PEM; two while a key is being replaced.
        pub token_keys: Vec<PathBuf> = "keys/token-ed25519.pub.pem",
        /// From accept to a completed login.
        pub login_timeout: Duration = "10s" in Duration::from_millis(100)..=Duration::from_secs(300),
        /// Silence after which a logged-in connection is closed; up to one part in 250 later.
        pub keep_alive: Duration = "180s" in Duration::from_secs(1)..=Duration::from_secs(86_400),
        /// Between heartbeats that clients are asked to keep; well under keep_alive.
        pub heartbeat: Duration = "30s" in Duration::from_millis(100)..=Duration::from_secs(3600),
        /// Connections held at once; a process also needs as many open files.
        pub connections_max: usize = "100000" in 1..=10_000_000,
        /// Bytes that may wait for one client. Over it notifies are dropped (the client pulls later), and a
        /// client that does not take its answers is let go.
        pub outbound_bytes_max: ByteSize = "256KiB" in ByteSize::kib(16)..=ByteSize::mib(64),
        /// Requests of one client under way at once; over it the gate stops reading from the client.
        pub client_in_flight_max: u32 = "64" in 1..=65_536,
        /// Requests under way at once to one route.
        pub link_in_flight_max: usize = "65536" in 1..=65_536,
        /// How long a request may take before its client is told to try again.
        pub request_timeout: Duration = "5s" in Duration::from_millis(100)..=Duration::from_secs(120),
        /// How often one connection may ask; over it requests are refused as RateLimited, with the time to wait,
        /// and a client that does not heed a thousand of those in a row is let go. "off": as it likes.
        pub messages_per_connection: Rate = "200/s burst 1000",
        /// How often one user may ask over all connections to this gate.
        pub messages_per_user: Rate = "400/s burst 2000",
        /// Connections that have not logged in, at once; more are closed as soon as they are accepted.
        pub unauthenticated_max: usize = "10000" in 1..=10_000_000,
        /// The same from one address; one IPv6 /64 counts as one.
        pub unauthenticated_per_address_max: u32 = "500" in 1..=10_000_000,
        /// How often one address may connect.
        pub handshakes_per_address: Rate = "50/s burst 1000",
        /// How often one user may log in, whatever the devices.
        pub logins_per_user: Rate = "5/s burst 100",
        /// Tokens that nobody signed, from one address; over it the address may not connect for a while.
        pub login_failures_per_address: Rate = "1/s burst 50",
        /// Tokens of one user that have run out; over it the client is told to take its time.
        pub login_failures_per_user: Rate = "1/s burst 20",
        /// Ranges that are not limited by address, because many are behind one: this machine, and balancers that
        /// do not speak the PROXY protocol.
        pub limits_exempt: Vec<IpRange> = "127.0.0.0/8, ::1",
        /// On SIGTERM: clients per second that are asked to connect elsewhere, so that the other gates are not
        /// stormed. More, where runtime.drain_deadline leaves no time for that.
        pub drain_rate: u32 = "1000" in 1..=1_000_000,
        /// Gates that clients are sent to then, "host:port", at most 16; empty: those that they know.
        pub drain_gates: Vec<String> = "",
    }
}

setting_choice! {
    /// Who makes and opens the records of TLS 1.3.
    pub enum TlsRecordLayer {
        /// This server.
        Lean = "lean",
        /// rustls.
        Rustls = "rustls",
    }
}

impl From<TlsRecordLayer> for RecordLayer {
    fn from(layer: TlsRecordLayer) -> Self {
        match layer {
            TlsRecordLayer::Lean => Self::Lean,
            TlsRecordLayer::Rustls => Self::Rustls,
        }
    }
}

setting_choice! {
    /// Whether bodies are encrypted inside TLS.
    pub enum EncryptionMode {
        /// Never.
        Off = "off",
        /// With the clients that ask for it.
        Allowed = "allowed",
        /// With all, or not at all.
        Required = "required",
    }
}

/// Between two looks at whether the gate is ready.
const READY_EVERY: Duration = Duration::from_millis(100);

impl GateSettings {
    pub(crate) fn client_files(&self) -> CertFiles {
        CertFiles { cert: self.client_cert.clone(), key: self.client_key.clone() }
    }

    pub(crate) fn link_files(&self) -> CertFiles {
        CertFiles { cert: self.link_cert.clone(), key: self.link_key.clone() }
    }

    /// These with what a reload takes as it is by default, to tell whether anything else has changed.
    pub(crate) fn without_reloadable(&self) -> Self {
        let default = Self::default();
        Self {
            client_cert: default.client_cert,
            client_key: default.client_key,
            link_cert: default.link_cert,
            link_key: default.link_key,
            token_keys: default.token_keys,
            messages_per_connection: default.messages_per_connection,
            messages_per_user: default.messages_per_user,
            unauthenticated_max: default.unauthenticated_max,
            unauthenticated_per_address_max: default.unauthenticated_per_address_max,
            handshakes_per_address: default.handshakes_per_address,
            logins_per_user: default.logins_per_user,
            login_failures_per_address: default.login_failures_per_address,
            login_failures_per_user: default.login_failures_per_user,
            limits_exempt: default.limits_exempt,
            drain_rate: default.drain_rate,
            drain_gates: default.drain_gates,
            ..self.clone()
        }
    }

    fn config(&self, client_cert: Arc<CertSlot>, link_cert: Arc<CertSlot>) -> anyhow::Result<GateConfig> {
        Ok(GateConfig {
            name: self.name.clone(),
            region: self.region.clone(),
            boot: BootId(rand::random()),
            client_listen: self.client_listen.to_string(),
            door: self.door(),
            routes: self.routes.clone(),
            verifier: Verifier::from_files(&self.token_keys).context("load token keys")?,
            client_tls: Some(Acceptor::new(
                &tls::server_config_of(client_cert).context("set up TLS towards clients")?,
                self.tls_record_layer.into(),
            )),
            link_tls: LinkTls::dial_as(link_cert, &self.link_ca).context("load the cluster's authority")?,
            link: LinkConfig::default(),
            session: GateSessionConfig {
                login_timeout: self.login_timeout,
                keep_alive: self.keep_alive,
                heartbeat: self.heartbeat,
            },
            encryption: self.encryption()?,
            connections_max: self.connections_max,
            outbound_bytes_max: self.outbound_bytes_max.as_usize(),
            client_in_flight_max: self.client_in_flight_max,
            link_in_flight_max: self.link_in_flight_max,
            request_timeout: self.request_timeout,
            limits: self.limits(),
        })
    }

    fn door(&self) -> Door {
        let count = match self.client_listeners {
            0 => Handle::current().metrics().num_workers(),
            count => count,
        };
        Door {
            sockets: Sockets { count, shared: self.client_share_port },
            proxy_from: self.proxy_from.clone(),
            websocket: self.websocket_listen.map(|listen| WebSocketDoor {
                listen: listen.to_string(),
                origins: Origins::new(self.websocket_origins.clone()),
            }),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            messages_per_connection: self.messages_per_connection,
            messages_per_user: self.messages_per_user,
            unauthenticated_max: self.unauthenticated_max,
            unauthenticated_per_address_max: self.unauthenticated_per_address_max,
            handshakes_per_address: self.handshakes_per_address,
            logins_per_user: self.logins_per_user,
            login_failures_per_address: self.login_failures_per_address,
            login_failures_per_user: self.login_failures_per_user,
            exempt: self.limits_exempt.clone(),
        }
    }

    pub(crate) fn drain(&self) -> anyhow::Result<DrainConfig> {
        let longest = self.drain_gates.iter().map(String::len).max().unwrap_or(0);
        if self.drain_gates.len() > GATES_MAX as usize || longest > TEXT_LEN_MAX as usize {
            bail!("drain_gates holds at most {GATES_MAX} addresses of at most {TEXT_LEN_MAX} bytes each");
        }
        Ok(DrainConfig { rate: self.drain_rate, gates: self.drain_gates.clone() })
    }

    fn encryption(&self) -> anyhow::Result<Encryption> {
        let identity = || {
            let path =
                self.identity_key.as_deref().context("encryption needs an identity_key, which `sim keys` makes")?;
            let key = im_auth::keys::load_identity(path).context("load the identity key")?;
            IdentityKey::from_pkcs8(&key).with_context(|| format!("load the identity key {}", path.display()))
        };
        Ok(match self.encryption {
            EncryptionMode::Off => Encryption::Off,
            EncryptionMode::Allowed => Encryption::Allowed(identity()?),
            EncryptionMode::Required => Encryption::Required(identity()?),
        })
    }
}

/// A gate with its admin listener.
pub struct GateServer {
    gate: Arc<Gate>,
    http_addr: SocketAddr,
    drain: Arc<Mutex<DrainConfig>>,
    /// Ends the admin listener, which outlives the clients: operators watch a drain there.
    ended: CancellationToken,
    _ended_on_drop: DropGuard,
}

impl GateServer {
    /// Loads what the settings name, binds, and serves in the background until the shutdown.
    pub async fn start(settings: &GateSettings, network: Arc<dyn Network>, context: &Context) -> anyhow::Result<Self> {
        let client_cert = CertSlot::load(&settings.client_files()).context("load the client certificate")?;
        let link_cert = CertSlot::load(&settings.link_files()).context("load the link certificate")?;
        let config = settings.config(Arc::clone(&client_cert), Arc::clone(&link_cert))?;
        let drain = Arc::new(Mutex::new(settings.drain()?));
        let listener = TcpListener::bind(settings.http_listen)
            .await
            .with_context(|| format!("bind http_listen {}", settings.http_listen))?;
        let http_addr = listener.local_addr()?;
        let gate = Gate::start(config, network).await.with_context(|| match settings.websocket_listen {
            None => format!("bind client_listen {}", settings.client_listen),
            Some(also) => format!("bind client_listen {} and websocket_listen {also}", settings.client_listen),
        })?;
        let gate = Arc::new(gate);
        let Context { shutdown, readiness, signals, metrics, source } = context;
        let operators = Operators::new(settings.operator_token.clone());
        let ended = CancellationToken::new();
        let until = {
            let (ended, begun) = (ended.clone(), shutdown.begun());
            async move {
                begun.await;
                ended.cancelled().await;
            }
        };
        // Before anybody can ask: a gate that nobody has looked at yet is not ready.
        let condition = readiness.condition("gate: route");
        shutdown.spawn_vital(
            "gate admin listener",
            admin::serve(listener, readiness.clone(), metrics.clone(), gate.http(&operators), until),
        );
        let reloader = Reloader {
            gate: Arc::clone(&gate),
            client_cert,
            link_cert,
            drain: Arc::clone(&drain),
            started_with: settings.clone(),
        };
        shutdown.spawn(ended.clone().run_until_cancelled_owned(reloader.run(signals.clone(), source.clone())));
        shutdown.spawn(ended.clone().run_until_cancelled_owned(tell(Arc::clone(&gate), signals.clone())));
        shutdown.spawn(watch(Arc::clone(&gate), condition, ended.clone()));
        let websocket = gate.websocket_addr().map(tracing::field::display);
        tracing::info!(clients = %gate.client_addr(), websocket, http = %http_addr, "the gate listens");
        Ok(Self { gate, http_addr, drain, _ended_on_drop: ended.clone().drop_guard(), ended })
    }

    /// Where clients connect.
    pub fn client_addr(&self) -> SocketAddr {
        self.gate.client_addr()
    }

    /// Where browsers connect, if anywhere.
    pub fn websocket_addr(&self) -> Option<SocketAddr> {
        self.gate.websocket_addr()
    }

    /// Where it answers over HTTP.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Lets the clients go elsewhere, and ends; within `time_left`.
    pub async fn drain(&self, time_left: Duration) {
        let config = self.drain.lock().clone();
        self.gate.drain(&config, time_left).await;
        self.ended.cancel();
    }

    /// Ends every connection.
    pub async fn stop(&self) {
        self.gate.stop().await;
        self.ended.cancel();
    }
}

/// Runs a gate until the shutdown: what `sim-gate` does.
pub async fn serve(settings: GateSettings, context: Context) -> anyhow::Result<()> {
    let server = GateServer::start(&settings, im_link::Tcp::shared(), &context).await?;
    context.shutdown.begun().await;
    server.drain(context.shutdown.time_left()).await;
    Ok(())
}

/// Keeps readiness and gauges up to date until the end.
async fn watch(gate: Arc<Gate>, condition: Condition, ended: CancellationToken) {
    metrics::gauge!("sim_gate_draining").set(0.0);
    let mut ticks = interval(READY_EVERY);
    let looking = async {
        loop {
            ticks.tick().await;
            if gate.is_ready() {
                condition.ready();
            } else {
                condition.not_ready("no route can be reached");
            }
            metrics::gauge!("sim_gate_sessions").set(gate.sessions_len() as f64);
            metrics::gauge!("sim_gate_connections").set(gate.connections_len() as f64);
            metrics::gauge!("sim_gate_unauthenticated").set(gate.guests_len() as f64);
        }
    };
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        () = looking => {}
    }
}

/// Logs what is going on each time it is asked for.
async fn tell(gate: Arc<Gate>, signals: Signals) {
    let mut asked = signals.diagnostics();
    loop {
        asked.next().await;
        gate.tell_diagnostics();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use im_auth::keys;

    use super::*;

    #[test]
    fn encryption_is_off_by_default_and_needs_an_identity_otherwise() {
        let off = GateSettings::default();
        assert!(matches!(off.encryption(), Ok(Encryption::Off)));

        let required = |identity_key| GateSettings {
            encryption: EncryptionMode::Required,
            identity_key,
            ..GateSettings::default()
        };
        let error = required(None).encryption().unwrap_err();
        assert!(error.to_string().contains("identity_key"), "{error}");

        let dir = tempfile::tempdir().unwrap();
        let pinned = keys::load_or_create_identity(dir.path()).unwrap();
        let private = dir.path().join(keys::IDENTITY_PRIVATE_FILE);
        let Ok(Encryption::Required(identity)) = required(Some(private)).encryption() else { panic!("it has its key") };
        assert_eq!(identity.public().as_bytes(), pinned.as_bytes());
        assert_eq!(keys::load_or_create_identity(dir.path()).unwrap(), pinned, "an identity stays");

        let public = dir.path().join(keys::IDENTITY_PUBLIC_FILE);
        assert!(required(Some(public)).encryption().is_err(), "a public key is no identity");
    }
}
