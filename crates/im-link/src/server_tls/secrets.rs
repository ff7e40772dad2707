//! The traffic secrets of TLS 1.3, as rustls tells them to its key log.
//!
//! rustls hands out the keys of a finished handshake, but the secrets behind them, without which keys
//! cannot be changed later, only inside a structure eight times their size. Its key log is told them
//! while it derives them, on the thread that drives the handshake.

use std::cell::Cell;

use rustls::KeyLog;
use zeroize::Zeroizing;

/// The longest hash of a suite of TLS 1.3, SHA-384.
pub(super) const SECRET_LEN_MAX: usize = 48;

/// A traffic secret, as long as the hash of its suite.
pub(super) type Secret = Zeroizing<[u8; SECRET_LEN_MAX]>;

/// The secrets of both directions.
#[derive(Default)]
pub(super) struct TrafficSecrets {
    pub(super) client: Option<Secret>,
    pub(super) server: Option<Secret>,
}

thread_local! {
    static HEARD: Cell<TrafficSecrets> = Cell::default();
}

/// Hears secrets and keeps them on the thread, until [`take`] a moment later.
#[derive(Debug)]
pub(crate) struct SecretTap;

/// What rustls has told since the last time on this thread.
pub(super) fn take() -> TrafficSecrets {
    HEARD.take()
}

impl KeyLog for SecretTap {
    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
    }

    fn log(&self, label: &str, _client_random: &[u8], bytes: &[u8]) {
        let mut secret = Secret::new([0; SECRET_LEN_MAX]);
        let Some(part) = secret.get_mut(..bytes.len()) else { return };
        part.copy_from_slice(bytes);
        let mut heard = HEARD.take();
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => heard.client = Some(secret),
            "SERVER_TRAFFIC_SECRET_0" => heard.server = Some(secret),
            _ => {}
        }
        HEARD.set(heard);
    }
}
