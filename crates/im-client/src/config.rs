//! What an application chooses.

use std::time::Duration;

use im_proto::DeviceId;
use im_proto::client::Platform;
use im_secure::IdentityPublicKey;
use im_session::client::ConnectionLimits;
use proto_codec::Codec;

/// Settings of a client. [`new`](Self::new) sets every default; change fields as wanted.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Gates to try, `host:port`, in turn. The first try begins at a random one, so that clients
    /// spread.
    pub gates: Vec<String>,
    /// This installation. The server keeps one sync position per user and device.
    pub device: DeviceId,
    /// Its kind. Default [`Platform::Bot`].
    pub platform: Platform,
    /// The application's name, for the server's log.
    pub app_id: String,
    /// The codec of the connection, where the gate has it. Default [`Codec::Binary`], the shortest and
    /// quickest; [`Codec::Json`] for a look at what is said.
    pub codec: Codec,
    /// The identity of the gates, where bodies have to be encrypted inside TLS: no word of the login is
    /// said to a gate that does not prove it. Default `None`: TLS is enough.
    pub encryption: Option<IdentityPublicKey>,
    /// How long dialling, with TLS, may take. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a request waits for its answer, reconnects included. Messages wait for ever. Default 20 s.
    pub call_timeout: Duration,
    /// Patience and window of a connection.
    pub connection: ConnectionLimits,
    /// The shortest wait before another try to connect. Default 200 ms.
    pub backoff_min: Duration,
    /// The longest. Default 15 s.
    pub backoff_max: Duration,
    /// Messages that wait to be sent at most. Default 1024; at 16 KiB each that is 16 MiB.
    pub send_queue_max: usize,
    /// Events that wait for the application at most; more are not asked for. Default 64.
    pub events_max: usize,
}

impl ClientConfig {
    /// The defaults for these gates and this device.
    pub fn new(gates: Vec<String>, device: DeviceId) -> Self {
        Self {
            gates,
            device,
            platform: Platform::Bot,
            app_id: "im-client".into(),
            codec: Codec::Binary,
            encryption: None,
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(20),
            connection: ConnectionLimits::default(),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(15),
            send_queue_max: 1024,
            events_max: 64,
        }
    }
}
