//! TLS towards clients, made for connections that are mostly idle: a stream owns no buffer while
//! nothing is under way, and of TLS only what the next record needs.
//!
//! ```text
//! accept ─► RustlsSession ─ TLS 1.3 ─► Records      the keys of both directions, 250 bytes
//!           (handshake)   └ TLS 1.2 ─► RustlsSession as it is, some 3 KB
//! ```
//!
//! * `stream`: the socket with TLS on it, as an `Io`.
//! * `session`: what stands between records and plaintext: one of the next two.
//! * `rustls_session`: a connection that rustls keeps, through its unbuffered interface.
//! * `records`, `keys`, `secrets`: the record layer of TLS 1.3, where they come from.
//! * `held`: the bytes that a stream keeps between two steps, freed as soon as there are none.
//!
//! Handshakes are rustls' own in every case. Bytes are worked on in a scratch buffer of the thread,
//! which is lent out for one step at a time.

mod held;
mod keys;
mod records;
mod rustls_session;
mod secrets;
mod session;
mod stream;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;

use self::secrets::SecretTap;
use self::session::Session;
use self::stream::ServerStream;
use crate::network::BoxIo;

/// Who makes and opens the records of TLS 1.3 once a handshake is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordLayer {
    /// This module: 250 bytes per connection.
    #[default]
    Lean,
    /// rustls, as in TLS 1.2: some 3 KB per connection.
    Rustls,
}

/// Takes sockets through the handshake.
#[derive(Clone, Debug)]
pub struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    /// Handshakes go by `config`, which stays as it is: whoever else uses it tells nobody its secrets.
    pub fn new(config: &ServerConfig, records: RecordLayer) -> Self {
        let mut config = config.clone();
        if records == RecordLayer::Lean {
            config.enable_secret_extraction = true;
            config.key_log = Arc::new(SecretTap);
        }
        Self(Arc::new(config))
    }

    /// Takes a client's handshake. It has no time limit of its own; a dropped future loses the connection.
    ///
    /// A client that does not get through is told why by an alert, if the socket takes it at once.
    pub async fn accept(&self, io: BoxIo) -> io::Result<BoxIo> {
        let stream = self.handshake(io).await?;
        Ok(Box::new(stream.shrink()?))
    }

    async fn handshake(&self, io: BoxIo) -> io::Result<ServerStream> {
        let session = Session::new(Arc::clone(&self.0)).map_err(io::Error::other)?;
        let mut stream = ServerStream::new(io, session);
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }
}
