//! `store-mongo`: the store on MongoDB and Redis against a naive writer, on the same servers in one run,
//! and how long the last page of somebody's timeline takes among a million rows.
//!
//! The [naive writer](naive) does what a straightforward timeline service does: for each timeline one INCR
//! in Redis and one insert in MongoDB, one after another, each awaited. Both writers get the same
//! messages, the same number of sends in flight, and the same write concern.

mod inbox;
mod naive;
mod report;
mod servers;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args as ClapArgs;
use im_store_mongo::{MongoOptions, MongoStore};
use im_timeline::Store as _;

use self::naive::Naive;
use self::report::{Pass, StoreReport};
use self::servers::Servers;
use self::workload::{Traffic, Writer};
use crate::machine::Machine;
use crate::output::{self, OutputArgs};

/// The databases of the two writers.
const STORE_DATABASE: &str = "sim-loadtest";
const NAIVE_DATABASE: &str = "sim-loadtest-naive";

#[derive(Debug, ClapArgs)]
pub(crate) struct StoreMongoArgs {
    /// Sends in flight; several are measured one after another.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 256], value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: Vec<u32>,
    /// Seconds that are measured, for each writer and each number in flight.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// Seconds of load before the measured ones.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub(crate) warmup: u32,
    /// Users who write to each other, two at a time, drawn at random.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    pub(crate) users: u32,
    /// Bytes of a message's payload.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub(crate) payload: u32,
    /// Rows of users' timelines that are there when timelines are read; 0 leaves the reading out.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) rows: u64,
    /// Timelines read.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) reads: u32,
    /// Members of the replica set that is started.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=7), conflicts_with = "mongo")]
    pub(crate) members: u8,
    /// A MongoDB that runs already, whose databases sim-loadtest and sim-loadtest-naive are dropped first.
    #[arg(long, value_name = "URI", requires = "redis")]
    pub(crate) mongo: Option<String>,
    /// A Redis that runs already.
    #[arg(long, value_name = "URL", requires = "mongo")]
    pub(crate) redis: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Both writers share this process, so their CPU is told apart by when they run.
pub(crate) fn store_mongo(args: &StoreMongoArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(run(args))
}

async fn run(args: &StoreMongoArgs) -> anyhow::Result<()> {
    let machine = Machine::read();
    let servers = Servers::find(args).await?;
    servers.drop_databases(&[STORE_DATABASE, NAIVE_DATABASE]).await?;
    let options = MongoOptions {
        database: Some(STORE_DATABASE.into()),
        redis: Some(servers.redis_url()),
        keep_entries: Some(Duration::from_secs(7 * 24 * 60 * 60)),
        ..MongoOptions::new(servers.mongo_uri())
    };
    let store = Arc::new(MongoStore::open(options).await?);
    let naive = Arc::new(Naive::open(&servers.mongo_uri(), NAIVE_DATABASE, &servers.redis_url()).await?);
    let mut traffic = Traffic::new(args);
    let mut passes = Vec::new();
    for &in_flight in &args.in_flight {
        let naive = traffic.run(&servers, &Writer::Naive(Arc::clone(&naive)), in_flight).await?;
        let batched = traffic.run(&servers, &Writer::Store(Arc::clone(&store)), in_flight).await?;
        passes.push(Pass::new(in_flight, batched, naive));
    }
    let inbox = match args.rows {
        0 => None,
        rows => Some(inbox::measure(&store, &mut traffic, &servers, rows, args).await?),
    };
    store.close().await;
    let report = StoreReport::new(args, passes, inbox, servers.versions().await?, machine);
    output::publish(&report, &report.page(), &args.output)
}
