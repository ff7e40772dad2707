//! Registration in etcd, for callers who find the timeline service there: one key per instance in
//! the layout of the go-kratos registry, under a lease that ends with the process.
//!
//! | key | value |
//! |---|---|
//! | `/microservices/NAME/ID` | `{"id","name","version","metadata":{},"endpoints":["http://…","grpc://…"]}` |
//!
//! etcd is spoken to through its JSON gateway, `/v3/…`, where keys, values are base64 and 64-bit numbers
//! strings. Nothing here is needed for correctness: an etcd that cannot be reached costs a warning,
//! and the key when its lease has run out.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long the key outlives a process that was killed.
const LEASE: Duration = Duration::from_secs(15);

/// Between two renewals: two may fail before the lease runs out.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// How long one exchange with etcd may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// After a failure, before the next endpoint is tried.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bytes of an answer at most; each is a few numbers.
const ANSWER_LEN_MAX: usize = 64 * 1024;

/// An instance of the service as others find it.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// The service's name.
    pub(crate) name: String,
    /// This instance, unique among those of the name.
    pub(crate) id: String,
    /// Where it answers, `http://host:port` and `grpc://host:port`.
    pub(crate) endpoints: Vec<String>,
}

/// Takes endpoints of etcd, `http://host:port` or `host:port`.
pub(crate) fn etcd_addresses(endpoints: &[String]) -> anyhow::Result<Vec<String>> {
    endpoints
        .iter()
        .map(|endpoint| {
            if endpoint.starts_with("https://") {
                bail!("etcd {endpoint}: only http:// is spoken; put something that speaks TLS between");
            }
            let address = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
            ensure!(address.contains(':') && !address.contains('/'), "etcd {endpoint}: this is no http://host:port");
            Ok(address.to_owned())
        })
        .collect()
}

impl Instance {
    fn key(&self) -> String {
        format!("/microservices/{}/{}", self.name, self.id)
    }

    fn value(&self) -> String {
        let Self { name, id, endpoints } = self;
        let version = env!("CARGO_PKG_VERSION");
        json!({ "id": id, "name": name, "version": version, "metadata": {}, "endpoints": endpoints }).to_string()
    }

    /// Keeps the registration until `stop`, and then takes it back.
    pub(crate) async fn keep(self, etcd: Vec<String>, stop: CancellationToken) {
        for address in etcd.iter().cycle() {
            let Err(error) = self.hold(address, &stop).await else { return };
            warn!(etcd = address, key = self.key(), %error, "not registered; trying again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RETRY_AFTER) => {}
            }
        }
    }

    /// Holds a lease with the key under it, until `stop` or a failure.
    async fn hold(&self, address: &str, stop: &CancellationToken) -> anyhow::Result<()> {
        let granted = call(address, "/v3/lease/grant", &json!({ "TTL": LEASE.as_secs().to_string() })).await?;
        let lease = granted["ID"].as_str().context("a lease without an id")?.to_owned();
        let (key, value) = (BASE64.encode(self.key()), BASE64.encode(self.value()));
        call(address, "/v3/kv/put", &json!({ "key": key, "value": value, "lease": lease })).await?;
        info!(etcd = address, key = self.key(), "registered");
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    // Without it the key stays until the lease runs out, and callers meet nobody.
                    call(address, "/v3/lease/revoke", &json!({ "ID": lease })).await?;
                    return Ok(());
                }
                () = sleep(RENEW_EVERY) => {}
            }
            let renewed = call(address, "/v3/lease/keepalive", &json!({ "ID": lease })).await?;
            let left = renewed["result"]["TTL"].as_str().and_then(|left| left.parse::<i64>().ok());
            ensure!(left.is_some_and(|left| left > 0), "the lease has run out");
        }
    }
}

async fn call(address: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = hyper::Request::post(path)
            .header(HOST, address)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answering = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_LEN_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
            ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
            Ok(serde_json::from_slice(&body)?)
        };
        tokio::select! {
            answer = answering => answer,
            ended = connection => { ended?; bail!("the connection ended without an answer") }
        }
    };
    timeout(PATIENCE, exchange).await.with_context(|| format!("no answer in {PATIENCE:?}"))?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_layout_is_that_of_go_kratos() {
        let instance = Instance {
            name: "timeline".into(),
            id: "im-service-1".into(),
            endpoints: vec!["http://10.0.0.1:8000".into(), "grpc://10.0.0.1:9000".into()],
        };
        assert_eq!(instance.key(), "/microservices/timeline/im-service-1");
        let value: Value = serde_json::from_str(&instance.value()).unwrap();
        assert_eq!(
            value,
            json!({
                "id": "im-service-1", "name": "timeline", "version": env!("CARGO_PKG_VERSION"), "metadata": {},
                "endpoints": ["http://10.0.0.1:8000", "grpc://10.0.0.1:9000"],
            })
        );
    }

    #[test]
    fn endpoints_are_addresses_without_tls() {
        let taken = etcd_addresses(&["http://a:2379/".into(), "b:2379".into()]).unwrap();
        assert_eq!(taken, ["a:2379", "b:2379"]);
        for bad in ["https://a:2379", "a", "http://a:1/v3", ""] {
            assert!(etcd_addresses(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
