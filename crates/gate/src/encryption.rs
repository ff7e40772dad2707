//! Whether this gate encrypts bodies inside TLS, and as whom.

use im_secure::IdentityKey;
use im_session::EncryptionPolicy;

/// There is no encryption without an identity.
#[derive(Debug)]
pub enum Encryption {
    /// Never.
    Off,
    /// With the clients that ask for it.
    Allowed(IdentityKey),
    /// With all, or not at all.
    Required(IdentityKey),
}

impl Encryption {
    pub(crate) fn policy(&self) -> EncryptionPolicy {
        match self {
            Self::Off => EncryptionPolicy::Off,
            Self::Allowed(_) => EncryptionPolicy::Allowed,
            Self::Required(_) => EncryptionPolicy::Required,
        }
    }

    pub(crate) fn identity(&self) -> Option<&IdentityKey> {
        match self {
            Self::Off => None,
            Self::Allowed(identity) | Self::Required(identity) => Some(identity),
        }
    }
}
