//! The accepting side: a listener whose links run until they end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_proto::limits::LINK_FRAME_LEN_MAX;
use im_proto::link::{Hello, LinkCommand};
use proto_codec::{BytesMut, Codec, Flags, Frame, Hop, Preamble, RESPONSE_BIT};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::driver::drive;
use super::{Handler, Identity, Link, LinkConfig, LinkEnd, Peer, unsealed};
use crate::frame_io::FrameIo;
use crate::network::{BoxIo, Listener};
use crate::tls::LinkTls;

/// Wait after a failed accept, which mostly means that the process has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts links until `stop`, then closes them and waits for their tasks.
pub async fn serve(
    listener: Box<dyn Listener>,
    tls: LinkTls,
    identity: Identity,
    config: LinkConfig,
    handler: Arc<dyn Handler>,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(config.links_max));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a link");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            warn!(%address, links_max = config.links_max, "a link was refused: too many");
            continue;
        };
        let (tls, identity, handler, stop) = (tls.clone(), identity.clone(), Arc::clone(&handler), stop.clone());
        tasks.spawn(async move {
            run(stream, address, &tls, &identity, &config, &*handler, &stop).await;
            drop(permit);
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn run(
    stream: BoxIo,
    address: SocketAddr,
    tls: &LinkTls,
    identity: &Identity,
    config: &LinkConfig,
    handler: &dyn Handler,
    stop: &CancellationToken,
) {
    let greeted = timeout(config.connect_timeout, greet(stream, tls, identity, config));
    let greeted = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        greeted = greeted => greeted,
    };
    match greeted.unwrap_or_else(|_| Err(LinkEnd::Hello("not in time".into()))) {
        Ok((io, link)) => {
            let peer = link.peer();
            info!(link = %link.id(), %address, tier = ?peer.tier, peer = peer.name, boot = %peer.boot, "link is up");
            let closer = {
                let (stop, link) = (stop.clone(), link.clone());
                async move {
                    stop.cancelled().await;
                    link.close();
                    std::future::pending::<()>().await;
                }
            };
            let end = tokio::select! {
                biased;
                end = drive(io, &link, handler, config) => end,
                () = closer => LinkEnd::Closed,
            };
            info!(link = %link.id(), %address, %end, "link is down");
        }
        Err(end @ LinkEnd::Read(_)) => debug!(%address, %end, "a connection was no link"),
        Err(end) => warn!(%address, %end, "a link was refused"),
    }
}

async fn greet(
    stream: BoxIo,
    tls: &LinkTls,
    identity: &Identity,
    config: &LinkConfig,
) -> Result<(FrameIo, Link), LinkEnd> {
    let mut io = FrameIo::new(tls.accept(stream).await.map_err(tls_end)?, LINK_FRAME_LEN_MAX);
    Preamble::decode(io.read_preamble().await?, Hop::Link).map_err(|error| LinkEnd::Hello(error.to_string()))?;
    let frame = unsealed(io.read_frame().await?)?;
    if frame.command != LinkCommand::Hello.number() {
        return Err(LinkEnd::Hello(format!("command {:#06x} came instead", frame.command)));
    }
    let hello: Hello = Codec::Binary.decode("Hello", &frame.body).map_err(|error| LinkEnd::Hello(error.to_string()))?;
    let mut welcome = BytesMut::new();
    let answer = LinkCommand::Hello.number() | RESPONSE_BIT;
    Frame::encode_message(answer, Flags::NONE, frame.sequence, &identity.welcome(), &mut welcome);
    io.write(&welcome).await?;
    let peer = Peer { tier: hello.tier, name: hello.name, boot: hello.boot, region: hello.region };
    Ok((io, Link::new(peer, config.outbound_bytes_max)))
}

/// Who closes in the middle of a handshake was a probe. Who sends what is no TLS, or a certificate of
/// another cluster, is a stranger or a tier with wrong settings, and a person should hear of either.
fn tls_end(error: io::Error) -> LinkEnd {
    match error.kind() {
        io::ErrorKind::InvalidData => LinkEnd::Hello(error.to_string()),
        _ => error.into(),
    }
}
