//! Why a token is refused, and why a key is.

use std::io;
use std::path::PathBuf;

use im_proto::{Refusal, RefusalCode, UserId};

use crate::verifier::KEYS_MAX;

/// Why a token admits nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url with the JSON of ours inside, too long, or of another algorithm.
    #[error("the token is malformed")]
    Malformed,
    /// Signed by a key that this verifier does not have, or that names none.
    #[error("the token names a key that is not known here")]
    UnknownKey,
    /// The signature is not that of the key it names.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// A good signature under a token made for something else.
    #[error("the token was issued for another use")]
    BadIssuer,
    /// The time is over. It was good once, so it is worth naming the user in a log.
    #[error("the token of {user} expired at {at}")]
    Expired {
        /// Whose token it was.
        user: UserId,
        /// When its time was over, seconds since 1970.
        at: u64,
    },
    /// Issued in the future: the two clocks disagree by more than the [leeway](crate::LEEWAY).
    #[error("the token is issued at {at}, which is in the future")]
    NotYet {
        /// When its time begins, seconds since 1970.
        at: u64,
    },
    /// The subject is no valid user id.
    #[error("the token's subject is not a user id")]
    BadSubject,
}

impl TokenError {
    /// What the peer is told. A client does something else for an expired token (it exchanges its
    /// refresh token) than for any other, so that one has a code of its own.
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::Expired { .. } => RefusalCode::ExpiredToken,
            Self::Malformed
            | Self::UnknownKey
            | Self::BadSignature
            | Self::BadIssuer
            | Self::NotYet { .. }
            | Self::BadSubject => RefusalCode::BadToken,
        }
    }
}

/// The peer gets the code and its sentence; which check failed is for our log.
impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        error.code().into()
    }
}

/// Why there is no key. Each sentence names the file and, where one exists, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or folder could not be read or written.
    #[error("{action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read, or others than the owner may change, the private key.
    #[error("the private key {path} has mode {mode:04o}; run: chmod 600 {path}", path = .path.display())]
    OpenPermissions {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no key of the kind asked for.
    #[error("{path}: not {expected}", path = .path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// The bytes are no Ed25519 key.
    #[error("not {0}")]
    Rejected(&'static str),
    /// A verifier without keys would refuse everybody.
    #[error("no public key was given")]
    None,
    /// More keys than a rotation needs.
    #[error("{0} public keys were given, at most {KEYS_MAX} are taken")]
    TooMany(usize),
    /// The system's random numbers or key generation failed.
    #[error("the system gave no random numbers")]
    NoRandom,
}
