//! The dialling side: one link to one address, for ever.

use std::sync::Arc;

use im_proto::limits::LINK_FRAME_LEN_MAX;
use im_proto::link::{LinkCommand, Tier, Welcome};
use im_session::Backoff;
use proto_codec::{BytesMut, Codec, Flags, Frame, Hop, Preamble, RESPONSE_BIT};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::driver::drive;
use super::{Handler, Identity, Link, LinkConfig, LinkEnd, Peer, unsealed};
use crate::frame_io::FrameIo;
use crate::network::{BoxIo, Network};
use crate::tls::LinkTls;

/// The sequence of the hello, which is the only request before the handler's own.
const HELLO_SEQUENCE: u32 = 1;

/// Keeps a link to the route at `address` until `stop`: dials, says hello, runs the link, and tries
/// again after a while when it ends.
pub async fn maintain(
    network: Arc<dyn Network>,
    address: String,
    tls: LinkTls,
    identity: Identity,
    config: LinkConfig,
    handler: Arc<dyn Handler>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(config.backoff.0, config.backoff.1);
    // Only the first of a row of failures is a warning: the rest say nothing new.
    let mut failed_before = false;
    while !stop.is_cancelled() {
        let connected = timeout(config.connect_timeout, connect(&*network, &address, &tls, &identity, &config));
        let connected = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            connected = connected => connected,
        };
        match connected.unwrap_or_else(|_| Err(LinkEnd::Hello("no answer in time".into()))) {
            Ok((io, link)) => {
                info!(link = %link.id(), address, peer = link.peer().name, "link is up");
                backoff.reset();
                failed_before = false;
                let end = tokio::select! {
                    biased;
                    end = drive(io, &link, &*handler, &config) => end,
                    () = close_on(&stop, &link) => LinkEnd::Closed,
                };
                info!(link = %link.id(), address, %end, "link is down");
            }
            Err(end) if failed_before => debug!(address, %end, "link did not come up"),
            Err(end) => {
                failed_before = true;
                warn!(address, %end, "link did not come up; trying again");
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(backoff.next(network.random())) => {}
        }
    }
}

/// Closes the link when told to stop and never ends by itself: the driver flushes and ends.
async fn close_on(stop: &CancellationToken, link: &Link) {
    stop.cancelled().await;
    link.close();
    std::future::pending().await
}

async fn connect(
    network: &dyn Network,
    address: &str,
    tls: &LinkTls,
    identity: &Identity,
    config: &LinkConfig,
) -> Result<(FrameIo, Link), LinkEnd> {
    let stream: BoxIo = tls.connect(network.dial(address).await?).await?;
    let mut io = FrameIo::new(stream, LINK_FRAME_LEN_MAX);
    let mut hello = BytesMut::from(&Preamble::current(Hop::Link).encode()[..]);
    Frame::encode_message(LinkCommand::Hello.number(), Flags::NONE, HELLO_SEQUENCE, &identity.hello(), &mut hello);
    io.write(&hello).await?;
    let frame = unsealed(io.read_frame().await?)?;
    if frame.command != LinkCommand::Hello.number() | RESPONSE_BIT {
        return Err(LinkEnd::Hello(format!("answered by command {:#06x}", frame.command)));
    }
    let welcome: Welcome =
        Codec::Binary.decode("Welcome", &frame.body).map_err(|error| LinkEnd::Hello(error.to_string()))?;
    let peer = Peer { tier: Tier::Route, name: welcome.name, boot: welcome.boot, region: welcome.region };
    Ok((io, Link::new(peer, config.outbound_bytes_max)))
}
