//! TLS towards clients, made for connections that are mostly idle: a stream owns no buffer while
//! nothing is under way.
//!
//! * [`stream`]: the socket with TLS on it, as an `Io`.
//! * [`session`]: what stands between records and plaintext, without a socket.
//! * [`held`]: the bytes that a stream keeps between two steps, freed as soon as there are none.
//!
//! Handshakes are rustls' own, through its unbuffered interface, so that bytes stay where this module
//! puts them: in a scratch buffer of the thread, which is lent out for one step at a time.

mod held;
mod session;
mod stream;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;

use self::session::Session;
use self::stream::ServerStream;
use crate::network::BoxIo;

/// Takes a client's handshake. It has no time limit of its own; a dropped future loses the connection.
///
/// A client that does not get through is told why by an alert, if the socket takes it at once.
pub async fn accept(io: BoxIo, config: Arc<ServerConfig>) -> io::Result<BoxIo> {
    let session = Session::new(config).map_err(io::Error::other)?;
    let mut stream = ServerStream::new(io, session);
    poll_fn(|cx| stream.poll_handshake(cx)).await?;
    Ok(Box::new(stream))
}
