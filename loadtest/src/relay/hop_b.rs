//! B: between A and C. It looks at every header and hands the frames on in the pieces they came in.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::frames;
use super::link::{self, Outbox};

pub(super) async fn run(hop_a: TcpStream, hop_c: TcpStream) -> anyhow::Result<()> {
    let (from_a, to_a) = hop_a.into_split();
    let (from_c, to_c) = hop_c.into_split();
    let (for_a, for_c) = (Arc::new(Outbox::default()), Arc::new(Outbox::default()));
    let write_a = tokio::spawn(link::write(Arc::clone(&for_a), to_a));
    let write_c = tokio::spawn(link::write(Arc::clone(&for_c), to_c));
    let up = tokio::spawn(hand_on(link::Reader::new(from_a), for_c));
    let down = tokio::spawn(hand_on(link::Reader::new(from_c), for_a));
    tokio::select! {
        ended = write_a => ended?,
        ended = write_c => ended?,
        ended = up => ended?,
        ended = down => ended?,
    }
}

async fn hand_on(mut from: link::Reader, to: Arc<Outbox>) -> anyhow::Result<()> {
    loop {
        let arrived = from.frames().await?;
        to.append(|waiting| frames::whole_frames(arrived).for_each(|frame| waiting.extend_from_slice(frame)));
    }
}
