//! Encrypted bodies: what a client and a gate do so that whoever ends TLS between them (a balancer,
//! say) can neither read nor change what they tell each other.
//!
//! * [`ClientHello`] and [`ServerHello`]: one X25519 agreement inside the handshake, the gate's side of it
//!   signed with its [`IdentityKey`], which the client has pinned as an [`IdentityPublicKey`].
//! * [`Agreed`]: what both sides then know; gives the keys up to the login and those after it.
//! * [`Sealer`] and [`Opener`]: one direction each; a frame in, a frame out.
//!
//! Nothing here draws randomness, waits or keeps a buffer: ephemeral keys and bytes are arguments, so
//! the vectors in `proto-codec/testdata/encryption-v1.json` hold every value in between.
//!
//! What must not happen: a nonce used twice (counters live inside [`Sealer`] and [`Opener`], which
//! cannot be copied), and a frame accepted that the other side did not seal for this very place.

mod agree;
mod direction;
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod schedule;
mod suite;
mod transcript;

pub use agree::{BadKeyShare, ClientHello, ClientWaiting, EphemeralKey, HelloError, OfferError, ServerHello};
pub use direction::{OpenError, Opener, Sealer, TAG_LEN};
pub use identity::{BadIdentityKey, IdentityKey, IdentityPublicKey};
pub use schedule::{Agreed, Keys, REKEY_AFTER};
pub use suite::Suite;
