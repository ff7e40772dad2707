//! Accounts on the memory store and a clock that stands until it is moved.
#![allow(clippy::unwrap_used)]

mod http;
mod service;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use im_auth::{Signer, keys};
use im_proto::Epoch;
use im_timeline::{Disk, MemoryStore, Store};
use serde_json::Value;
use tower::ServiceExt;

use super::{Accounts, AccountsConfig, router};

const START_MS: u64 = 1_800_000_000_000;
const PASSWORD: &str = "correct horse";
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Accounts and everything they stand on.
struct World {
    accounts: Arc<Accounts>,
    store: Arc<MemoryStore>,
    now_ms: Arc<AtomicU64>,
    signer: Signer,
    _keys: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(|_| ())
    }

    /// Must be called within a runtime.
    fn with(set: impl FnOnce(&mut AccountsConfig)) -> Self {
        let store = Arc::new(MemoryStore::open(&Disk::new(Epoch(1))));
        let keys = tempfile::tempdir().unwrap();
        let signer = keys::load_or_create(keys.path()).unwrap();
        // The least that argon2 takes; and no test shall meet the bound that is not about it.
        let mut config = AccountsConfig { hash_memory_kib: 8, hashes_waiting: 1000, ..Default::default() };
        set(&mut config);
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let hand = Arc::clone(&now_ms);
        let clock = Arc::new(move || UNIX_EPOCH + Duration::from_millis(hand.load(Ordering::Relaxed)));
        let accounts =
            Accounts::new(Arc::clone(&store) as Arc<dyn Store>, signer.clone(), config).unwrap().with_clock(clock);
        Self { accounts: Arc::new(accounts), store, now_ms, signer, _keys: keys }
    }

    fn pass(&self, time: Duration) {
        self.now_ms.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    async fn call(&self, method: &str, path: &str, bearer: Option<&str>, body: impl Into<String>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request =
            request.extension(ConnectInfo(SocketAddr::new(ADDRESS, 4711))).body(Body::from(body.into())).unwrap();
        self.send(request).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = router(Arc::clone(&self.accounts)).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    #[track_caller]
    fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    /// Checks the shape of an error and gives its reason.
    #[track_caller]
    fn refused(&self, status: u16) -> &str {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let fields: Vec<&String> = self.body.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["code", "message", "metadata", "reason"], "{self:?}");
        assert_eq!(self.body["code"], status);
        assert!(!self.body["message"].as_str().unwrap().is_empty());
        assert!(self.body["metadata"].is_object());
        self.body["reason"].as_str().unwrap()
    }
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_else(|| panic!("{field} in {body}"))
}
