//! A worker's end of the pipes to its coordinator: orders from stdin, notices to stdout, one JSON
//! object per line.

use std::io::{Write, stdin, stdout};
use std::thread;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// What the coordinator wants; ends when it does.
pub(crate) type Orders<T> = mpsc::Receiver<anyhow::Result<T>>;

/// Reads stdin on a thread of its own, because a read of a pipe blocks. The channel ends with stdin.
pub(crate) fn read_orders<T: DeserializeOwned + Send + 'static>() -> Orders<T> {
    let (orders, received) = mpsc::channel(1);
    thread::spawn(move || {
        for line in stdin().lines() {
            let order = line.context("read an order").and_then(|line| Ok(serde_json::from_str(&line)?));
            if orders.blocking_send(order).is_err() {
                break;
            }
        }
    });
    received
}

/// Tells the coordinator.
pub(crate) fn print(notice: &impl Serialize) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    serde_json::to_writer(&mut out, notice)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
