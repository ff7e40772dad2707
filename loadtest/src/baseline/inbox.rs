//! How long the newest page of somebody's timeline takes, among many rows.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use im_proto::Seq;
use im_store_mongo::MongoStore;
use im_timeline::Store as _;
use rand::Rng as _;
use serde::Serialize;

use super::StoreMongoArgs;
use super::servers::{Servers, Size};
use super::workload::{Traffic, Writer};
use crate::histogram::{Latencies, Quantiles};

/// Rows of a page.
const PAGE: u64 = 50;

/// Sends in flight while rows are filled in.
const FILL_IN_FLIGHT: u32 = 512;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Inbox {
    /// Rows of users' timelines.
    pub(super) rows: u64,
    pub(super) reads: u32,
    /// The page behind a known position, as a device that was away pulls it.
    pub(super) sync_last_50_ms: Quantiles,
    /// What each collection of the store takes, by its name.
    pub(super) sizes: Vec<(&'static str, Size)>,
}

pub(super) async fn measure(
    store: &Arc<MongoStore>,
    traffic: &mut Traffic,
    servers: &Servers,
    rows: u64,
    args: &StoreMongoArgs,
) -> anyhow::Result<Inbox> {
    let there = servers.size("chat_sync").await?.documents;
    // Each message is in two timelines.
    let missing = rows.saturating_sub(there).div_ceil(2);
    if missing > 0 {
        traffic.fill(&Writer::Store(Arc::clone(store)), FILL_IN_FLIGHT, missing).await?;
    }
    let mut latencies = Latencies::default();
    for _ in 0..args.reads {
        let number = rand::rng().random_range(0..traffic.users());
        let user = traffic.user(number);
        // The device knows its position and was told the head by its heartbeat.
        let head = store.head(&user).await?.head;
        let after = Seq(head.0.saturating_sub(PAGE));
        let begun = Instant::now();
        let page = store.sync(&user, after, PAGE as usize).await?;
        latencies.record(begun.elapsed());
        ensure!(page.entries.len() as u64 == head.0.min(PAGE) && !page.has_more, "a page of {user} is not whole");
    }
    let mut sizes = Vec::new();
    for collection in ["chat_sync", "chat_history", "chat_heads", "chat_sent", "chat_records"] {
        sizes.push((collection, servers.size(collection).await?));
    }
    let rows = servers.size("chat_sync").await?.documents;
    Ok(Inbox { rows, reads: args.reads, sync_last_50_ms: latencies.quantiles(), sizes })
}
