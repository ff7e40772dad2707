//! The traffic of the baseline: frames of one length, each answered by itself.

use std::time::Instant;

use anyhow::{bail, ensure};
use bytes::BytesMut;
use proto_codec::{Flags, Header, RESPONSE_BIT};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::audit::Verdict;
use super::connection::{Ended, Event, Traffic};
use super::dial::Dialler;
use crate::relay::{COMMAND, FRAME_LEN};

const BODY: [u8; FRAME_LEN - Header::LEN] = [b'x'; FRAME_LEN - Header::LEN];

#[derive(Debug)]
pub(super) struct RelayTraffic;

impl Traffic for RelayTraffic {
    type Plan = ();

    const BODY_LEN_MAX: u32 = BODY.len() as u32;

    async fn open(_plan: &(), dialler: &Dialler, _index: u32) -> anyhow::Result<(TlsStream<TcpStream>, Self)> {
        Ok((dialler.dial().await?, Self))
    }

    fn request(&mut self, sequence: u32, _due: Instant, out: &mut BytesMut) {
        Header { length: BODY.len() as u32, command: COMMAND, flags: Flags::NONE, sequence }.encode(out);
        out.extend_from_slice(&BODY);
    }

    fn on_frame(&mut self, header: Header, _body: &[u8]) -> anyhow::Result<Event> {
        ensure!(header.command == COMMAND | RESPONSE_BIT, "an answer has command {:#06x}", header.command);
        Ok(Event::Answer)
    }

    async fn verify(_plan: &(), _dialler: &Dialler, _ended: Vec<Ended<Self>>) -> anyhow::Result<Verdict> {
        bail!("the baseline stores nothing that could be verified")
    }
}
