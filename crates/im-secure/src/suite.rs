//! The ciphers that bodies may be encrypted with. Key agreement, hash and signature are the same for
//! all of them: X25519, SHA-256, Ed25519.

use aws_lc_rs::aead;
use im_proto::client::Encryption;

/// One cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// ChaCha20-Poly1305 (RFC 8439): fast without hardware help.
    ChaCha20Poly1305,
    /// AES-128-GCM: faster where the processor has instructions for it.
    Aes128Gcm,
}

impl Suite {
    /// All that this build speaks, in the order in which a client of it offers them.
    pub const ALL: [Self; 2] = [Self::ChaCha20Poly1305, Self::Aes128Gcm];

    /// The suite of that number on the wire, if this build speaks it.
    pub const fn from_wire(encryption: Encryption) -> Option<Self> {
        match encryption {
            Encryption::ChaCha20Poly1305 => Some(Self::ChaCha20Poly1305),
            Encryption::Aes128Gcm => Some(Self::Aes128Gcm),
            Encryption::None | Encryption::Unknown(_) => None,
        }
    }

    /// Its number on the wire.
    pub const fn wire(self) -> Encryption {
        match self {
            Self::ChaCha20Poly1305 => Encryption::ChaCha20Poly1305,
            Self::Aes128Gcm => Encryption::Aes128Gcm,
        }
    }

    pub(crate) fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Self::Aes128Gcm => &aead::AES_128_GCM,
        }
    }
}
