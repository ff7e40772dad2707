//! The bare baseline: TLS client → A → B → C and back, over real loopback sockets. It stands for the
//! tiers with everything left out that could be left out, so it is the limit to measure them by:
//!
//! ```text
//! clients ═TLS═ A ──one TCP── B ──one TCP── C
//! ```
//!
//! A client's frame travels as it is, behind a second header whose sequence names the client's
//! place in A. C answers every frame with itself.
//!
//! What bounds it: A takes no more than [`WINDOW`] unanswered frames from one connection, and has
//! no more than [`CONNECTIONS_MAX`] of them; every buffer behind A holds some of those frames and
//! nothing else.

mod commit_log;
mod frames;
mod hop_a;
mod hop_b;
mod hop_c;
mod link;

use std::io::{Write, stdin, stdout};
use std::net::Ipv4Addr;
use std::thread;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proto_codec::Header;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use crate::args::ServeRelayArgs;
use crate::tls;

/// Bytes of a client's frame, header included.
pub(crate) const FRAME_LEN: usize = 128;
/// Bytes of a frame between hops: a client's frame with a header in front.
const LINK_FRAME_LEN: usize = Header::LEN + FRAME_LEN;
/// Frames of one connection that may be unanswered; A does not read on before some are answered.
const WINDOW: usize = 1024;
/// Connections of one server: a process may open 20,000 files.
pub(crate) const CONNECTIONS_MAX: u32 = 15_000;
/// The command of a client's frame, and of a frame between hops.
pub(crate) const COMMAND: u16 = 1;

/// The line that a server prints once it can be reached.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) port: u16,
    /// The DER of the server's certificate in base64.
    pub(crate) certificate: String,
}

/// Runs all three hops until stdin ends or a hop fails.
pub(crate) fn serve(args: &ServeRelayArgs) -> anyhow::Result<()> {
    // The coordinator holds the other end of stdin. When it goes, however it goes, so does this.
    thread::spawn(|| {
        let _ = std::io::copy(&mut stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(serve_hops(args))
}

async fn serve_hops(args: &ServeRelayArgs) -> anyhow::Result<()> {
    let (tls, certificate) = tls::server()?;
    let (b_to_c, c_from_b) = loopback_pair().await?;
    let (a_to_b, b_from_a) = loopback_pair().await?;
    let clients = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.context("listen for clients")?;
    let ready = Ready { port: clients.local_addr()?.port(), certificate: BASE64_STANDARD.encode(&certificate) };

    let hop_a = hop_a::run(clients, tls, a_to_b);
    let hop_b = hop_b::run(b_from_a, b_to_c);
    let hop_c = hop_c::run(c_from_b, args.durable.clone());
    let (hop_a, hop_b, hop_c) = (tokio::spawn(hop_a), tokio::spawn(hop_b), tokio::spawn(hop_c));
    println!("{}", serde_json::to_string(&ready)?);
    stdout().flush()?;
    tokio::select! {
        ended = hop_a => ended?.context("hop A ended"),
        ended = hop_b => ended?.context("hop B ended"),
        ended = hop_c => ended?.context("hop C ended"),
    }
}

/// Two ends of one TCP connection.
async fn loopback_pair() -> anyhow::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen for a link")?;
    let address = listener.local_addr()?;
    let (dialled, accepted) = tokio::try_join!(TcpStream::connect(address), listener.accept())?;
    let accepted = accepted.0;
    dialled.set_nodelay(true)?;
    accepted.set_nodelay(true)?;
    Ok((dialled, accepted))
}
