//! The first eight bytes of a connection, sent by the side that dialled:
//!
//! ```text
//! +-----------+-----+---------+----------+
//! | "SIM!"    | hop | version | reserved |
//! +-----------+-----+---------+----------+
//!   4 bytes     1      1         2 (zero)
//! ```
//!
//! They say which protocol this is before any length is believed.

use crate::FrameError;

/// Bytes of a preamble.
pub const PREAMBLE_LEN: usize = 8;
/// The version that this build speaks.
pub const PROTOCOL_VERSION: u8 = 1;
const MAGIC: [u8; 4] = *b"SIM!";

/// Who speaks to whom on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// A client to a gate.
    Client,
    /// A tier to another tier.
    Link,
}

impl Hop {
    const fn number(self) -> u8 {
        match self {
            Self::Client => b'C',
            Self::Link => b'L',
        }
    }
}

/// What the first bytes said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// Who speaks to whom.
    pub hop: Hop,
    /// The dialler's protocol version.
    pub version: u8,
}

impl Preamble {
    /// The preamble that this build sends.
    pub const fn current(hop: Hop) -> Self {
        Self { hop, version: PROTOCOL_VERSION }
    }

    /// The bytes to send.
    pub const fn encode(self) -> [u8; PREAMBLE_LEN] {
        let [m0, m1, m2, m3] = MAGIC;
        [m0, m1, m2, m3, self.hop.number(), self.version, 0, 0]
    }

    /// Checks the first bytes of a connection that came in on a listener for `hop`.
    pub fn decode(bytes: [u8; PREAMBLE_LEN], hop: Hop) -> Result<Self, FrameError> {
        let [m0, m1, m2, m3, hop_number, version, r0, r1] = bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FrameError::BadMagic);
        }
        if hop_number != hop.number() {
            return Err(FrameError::BadHop { hop: hop_number });
        }
        if version != PROTOCOL_VERSION {
            return Err(FrameError::BadVersion { version });
        }
        if [r0, r1] != [0, 0] {
            return Err(FrameError::BadReserved);
        }
        Ok(Self { hop, version })
    }
}
