//! The traffic of the baseline: frames of one length, each answered by itself.

use bytes::BytesMut;
use proto_codec::{Flags, Header, RESPONSE_BIT};

use super::connection::{Event, Traffic};
use crate::relay::{COMMAND, FRAME_LEN};

const BODY: [u8; FRAME_LEN - Header::LEN] = [b'x'; FRAME_LEN - Header::LEN];

#[derive(Debug)]
pub(super) struct RelayTraffic;

impl Traffic for RelayTraffic {
    const BODY_LEN_MAX: u32 = BODY.len() as u32;

    fn request(&mut self, sequence: u32, out: &mut BytesMut) {
        Header { length: BODY.len() as u32, command: COMMAND, flags: Flags::NONE, sequence }.encode(out);
        out.extend_from_slice(&BODY);
    }

    fn on_frame(&mut self, header: Header, _body: &[u8]) -> anyhow::Result<Event> {
        anyhow::ensure!(header.command == COMMAND | RESPONSE_BIT, "an answer has command {:#06x}", header.command);
        Ok(Event::Answer)
    }
}
