//! The first eight bytes of a connection, sent by the side that dialled:
//!
//! ```text
//! +-----------+-----+---------+-------+----------+
//! | "SIM!"    | hop | version | codec | reserved |
//! +-----------+-----+---------+-------+----------+
//!   4 bytes     1      1         1      1 (zero)
//! ```
//!
//! They say which protocol this is before any length is believed. The codec is that of the handshake
//! alone, both ways, which then chooses the one of every frame behind it: 0, the binary one, unless
//! a client knows no other than its own. Tiers speak nothing but 0.

use crate::{Codec, CodecId, FrameError};

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
    /// The codec of the handshake.
    pub codec: Codec,
}

impl Preamble {
    /// The preamble that this build sends.
    pub const fn current(hop: Hop) -> Self {
        Self { hop, version: PROTOCOL_VERSION, codec: Codec::Binary }
    }

    /// The bytes to send.
    pub const fn encode(self) -> [u8; PREAMBLE_LEN] {
        let [m0, m1, m2, m3] = MAGIC;
        [m0, m1, m2, m3, self.hop.number(), self.version, self.codec.id().number(), 0]
    }

    /// Checks the first bytes of a connection that came in on a listener for `hop`.
    pub fn decode(bytes: [u8; PREAMBLE_LEN], hop: Hop) -> Result<Self, FrameError> {
        let [m0, m1, m2, m3, hop_number, version, codec, reserved] = bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FrameError::BadMagic);
        }
        if hop_number != hop.number() {
            return Err(FrameError::BadHop { hop: hop_number });
        }
        if version != PROTOCOL_VERSION {
            return Err(FrameError::BadVersion { version });
        }
        if reserved != 0 {
            return Err(FrameError::BadReserved);
        }
        let known = Codec::from_id(CodecId::from_number(codec));
        match known.filter(|known| hop == Hop::Client || *known == Codec::Binary) {
            Some(codec) => Ok(Self { hop, version, codec }),
            None => Err(FrameError::BadCodec { codec }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: [u8; PREAMBLE_LEN] = *b"SIM!C\x01\x00\x00";
    const LINK: [u8; PREAMBLE_LEN] = *b"SIM!L\x01\x00\x00";

    fn with(index: usize, byte: u8) -> [u8; PREAMBLE_LEN] {
        let mut bytes = CLIENT;
        bytes[index] = byte;
        bytes
    }

    #[test]
    fn the_preamble_is_these_eight_bytes() {
        assert_eq!(Preamble::current(Hop::Client).encode(), CLIENT);
        assert_eq!(Preamble::current(Hop::Link).encode(), LINK);
        assert_eq!(Preamble::decode(CLIENT, Hop::Client), Ok(Preamble::current(Hop::Client)));
        assert_eq!(Preamble::decode(LINK, Hop::Link), Ok(Preamble::current(Hop::Link)));
    }

    #[test]
    fn each_wrong_byte_has_its_own_refusal() {
        for (index, byte) in MAGIC.iter().enumerate() {
            assert_eq!(Preamble::decode(with(index, byte ^ 0x20), Hop::Client), Err(FrameError::BadMagic));
        }
        assert_eq!(Preamble::decode(LINK, Hop::Client), Err(FrameError::BadHop { hop: b'L' }));
        assert_eq!(Preamble::decode(CLIENT, Hop::Link), Err(FrameError::BadHop { hop: b'C' }));
        assert_eq!(Preamble::decode(with(4, 0), Hop::Client), Err(FrameError::BadHop { hop: 0 }));
        for version in [0, 2, 255] {
            assert_eq!(Preamble::decode(with(5, version), Hop::Client), Err(FrameError::BadVersion { version }));
        }
        assert_eq!(Preamble::decode(with(6, 3), Hop::Client), Err(FrameError::BadCodec { codec: 3 }));
        assert_eq!(Preamble::decode(*b"SIM!L\x01\x01\x00", Hop::Link), Err(FrameError::BadCodec { codec: 1 }));
        assert_eq!(Preamble::decode(with(7, 1), Hop::Client), Err(FrameError::BadReserved));
    }

    #[test]
    fn a_client_names_the_codec_of_its_handshake() {
        for codec in Codec::ALL {
            let preamble = Preamble { codec: *codec, ..Preamble::current(Hop::Client) };
            assert_eq!(preamble.encode()[6], codec.id().number());
            assert_eq!(Preamble::decode(preamble.encode(), Hop::Client), Ok(preamble));
        }
    }

    #[test]
    fn other_protocols_are_not_mistaken() {
        for bytes in [*b"GET / HT", *b"\x16\x03\x01\x02\x00\x01\x00\x01", [0; 8], [0xff; 8]] {
            assert_eq!(Preamble::decode(bytes, Hop::Client), Err(FrameError::BadMagic));
        }
    }
}
