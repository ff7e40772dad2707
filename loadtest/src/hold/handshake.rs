//! The TLS handshake of a held client. It is rustls' own; what comes out is the keys, without what
//! rustls would go on keeping.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::records::Records;

/// Bytes of a server's side of a handshake: a certificate or two, and some hundred more.
const INCOMING_LEN: usize = 4096;
/// More than any: whoever sends that much is no gate.
const INCOMING_LEN_MAX: usize = 64 * 1024;

/// The keys, and bytes that have come behind the handshake. `config` lets secrets out.
pub(super) async fn shake_hands(
    socket: &mut TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> anyhow::Result<(Records, Vec<u8>)> {
    let mut session = UnbufferedClientConnection::new(config, name).context("begin TLS")?;
    let (mut incoming, mut outgoing) = (Vec::with_capacity(INCOMING_LEN), Vec::new());
    while !work_off(&mut session, &mut incoming, &mut outgoing)? {
        send(socket, &mut outgoing).await?;
        ensure!(incoming.len() < INCOMING_LEN_MAX, "a handshake without an end");
        let read = socket.read_buf(&mut incoming).await.context("read")?;
        ensure!(read > 0, "the server closed in the middle of the TLS handshake");
    }
    send(socket, &mut outgoing).await?;
    // What rustls keeps to change keys with is not needed.
    let (secrets, _) = session.dangerous_into_kernel_connection().context("take the keys over")?;
    Ok((Records::new(secrets)?, incoming))
}

async fn send(socket: &mut TcpStream, outgoing: &mut Vec<u8>) -> anyhow::Result<()> {
    socket.write_all(outgoing).await.context("write")?;
    outgoing.clear();
    Ok(())
}

/// Gives the session what has come and takes what it has to say; whether the handshake is over.
fn work_off(
    session: &mut UnbufferedClientConnection,
    incoming: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
) -> anyhow::Result<bool> {
    let mut used = 0;
    let is_over = loop {
        let UnbufferedStatus { discard, state } = session.process_tls_records(&mut incoming[used..]);
        let is_over = match state.context("TLS")? {
            ConnectionState::EncodeTlsData(mut data) => {
                // Asked with no room at all, it tells how much it needs.
                if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
                    let start = outgoing.len();
                    outgoing.resize(start + needed.required_size, 0);
                    data.encode(&mut outgoing[start..]).context("TLS")?;
                }
                None
            }
            ConnectionState::TransmitTlsData(data) => {
                // It stands in `outgoing`, which is sent before anything else is awaited.
                data.done();
                None
            }
            ConnectionState::BlockedHandshake => Some(false),
            ConnectionState::WriteTraffic(_) => Some(true),
            other => bail!("TLS came to an unexpected state: {other:?}"),
        };
        used += discard;
        if let Some(is_over) = is_over {
            break is_over;
        }
    };
    incoming.drain(..used);
    Ok(is_over)
}
