//! Access tokens: who signs them, who checks them, and the keys for both.
//!
//! The service that keeps accounts owns a [`Signer`] and hands out a token at each login; a gate
//! owns a [`Verifier`] and admits a connection without asking anybody. A token is a JWT with exactly
//! one algorithm, Ed25519 (`EdDSA`), so that a gate never holds a secret: with its keys it can check
//! tokens and make none.
//!
//! ```text
//! keys::load_or_create(dir) ─► Signer ─ issue ─► token ─► Verifier::verify ─► Claims
//!                          └─► token-ed25519.pub.pem ─────────┘
//! ```
//!
//! What must not happen here: a built-in key, a token whose own header chooses how it is checked, and
//! a look at the clock. Time is an argument.

mod claims;
mod error;
pub mod keys;
mod signer;
mod verifier;

pub use claims::{Claims, ISSUER};
pub use error::{KeyError, TokenError};
pub use keys::{KeyId, PublicKey};
pub use signer::{Issued, Signer};
pub use verifier::{KEYS_MAX, LEEWAY, Verifier};
