//! WebSocket, for browsers: the bytes of the client protocol, cut into binary messages. [`MessageIo`] makes
//! a stream of bytes of them again, so that a connection does not know which way its client came.
//!
//! Messages are not frames: where one ends means nothing, as it means nothing where a TCP segment ends.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, Stream as _};
use im_link::BoxIo;
use im_proto::limits::CLIENT_FRAME_LEN_MAX;
use proto_codec::{Header, PREAMBLE_LEN};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The sub-protocol that a client asks for: this protocol over WebSocket, in the only way so far.
pub const SUBPROTOCOL: &str = "sim.v1";

/// Bytes of a message from a client: the longest frame, and the preamble in front of it.
pub const MESSAGE_LEN_MAX: usize = CLIENT_FRAME_LEN_MAX as usize + Header::LEN + PREAMBLE_LEN;

/// Bytes of a message to a client: with its header it fits one TLS record, and no longer one keeps a buffer.
const CHUNK_LEN: usize = 16 * 1024 - 16;

/// Read ahead of a message's end, and allocated with the connection.
const READ_BUFFER_LEN: usize = 4 * 1024;

/// Messages without bytes that are passed over in one wake-up.
const EMPTY_PER_WAKE: usize = 32;

/// Time, and bytes, that a client has to hear why it is let go: a kernel resets a connection that is
/// closed with bytes unread, and the reset overtakes the reason.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);
const LAST_WORD_DISCARD_MAX: usize = 4 * MESSAGE_LEN_MAX;

/// Pages of which sites may connect. A browser says truly where a page is from; whoever is no browser says
/// nothing, or what it likes, and needs a token like everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Those listed, such as `https://chat.example`; `*` lists all.
    pub fn new(origins: Vec<String>) -> Self {
        Self(origins)
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        self.0.iter().any(|listed| listed == "*" || listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    }
}

/// Answers a client's HTTP request and gives what is spoken behind it. Whoever gives up drops the future,
/// and the connection with it.
pub(crate) async fn accept(stream: BoxIo, origins: &Origins) -> Result<MessageIo, Error> {
    #[expect(clippy::result_large_err, reason = "the shape of the library's callback")]
    let check = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        if !origins.admit(request.headers()) {
            return Err(refusal(StatusCode::FORBIDDEN, "pages of this origin may not connect"));
        }
        if !asks_for_us(request.headers()) {
            return Err(refusal(StatusCode::BAD_REQUEST, "the sub-protocol sim.v1 is spoken here"));
        }
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, check, Some(config())).await?;
    Ok(MessageIo::new(socket))
}

/// Bounds of the gate's side.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_LEN)
        // What is written is already coalesced; holding it back again would only delay it.
        .write_buffer_size(0)
        .max_write_buffer_size(4 * CHUNK_LEN)
        .max_message_size(Some(MESSAGE_LEN_MAX))
        .max_frame_size(Some(MESSAGE_LEN_MAX))
}

fn asks_for_us(headers: &HeaderMap) -> bool {
    let asked = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    asked.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|p| p.trim() == SUBPROTOCOL)
}

fn refusal(status: StatusCode, why: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(format!("{why}\n")));
    *response.status_mut() = status;
    response
}

/// The bytes inside binary messages, as a stream. Pings are answered below; a text, a message over the
/// limit, or what is no WebSocket ends the connection with a close frame that says so.
pub struct MessageIo {
    socket: WebSocketStream<BoxIo>,
    /// The rest of a message that was read in part.
    unread: Bytes,
    /// The client breaks the rules, and is being told.
    parting: Option<Box<Parting>>,
}

struct Parting {
    why: &'static str,
    /// The close frame is with the kernel, and nothing comes behind it.
    shut: bool,
    discarded: usize,
    timer: Pin<Box<Sleep>>,
}

impl MessageIo {
    /// Around a connection on which the HTTP part is done.
    pub fn new(socket: WebSocketStream<BoxIo>) -> Self {
        Self { socket, unread: Bytes::new(), parting: None }
    }

    fn part(&mut self, code: CloseCode, why: &'static str) {
        let close = Message::Close(Some(CloseFrame { code, reason: why.into() }));
        // A connection that is too broken to be told ends without being told.
        let _ = Pin::new(&mut self.socket).start_send(close);
        let timer = Box::pin(sleep(LAST_WORD_TIMEOUT));
        self.parting = Some(Box::new(Parting { why, shut: false, discarded: 0, timer }));
    }

    /// Says the last word, and lets the client take it. Ready with the error that ends the connection.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Self { socket, parting, .. } = self;
        let Some(parting) = parting else { return Poll::Ready(io::ErrorKind::NotConnected.into()) };
        let error = || io::Error::new(io::ErrorKind::InvalidData, parting.why);
        if parting.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(error());
        }
        if !parting.shut {
            let flushed = ready!(Pin::new(&mut *socket).poll_flush(cx)).is_ok();
            if !flushed || ready!(Pin::new(socket.get_mut()).poll_shutdown(cx)).is_err() {
                return Poll::Ready(error());
            }
            parting.shut = true;
        }
        let mut scratch = [0; READ_BUFFER_LEN];
        while parting.discarded < LAST_WORD_DISCARD_MAX {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(socket.get_mut()).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => parting.discarded += buf.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(error())
    }
}

impl AsyncRead for MessageIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        for _ in 0..EMPTY_PER_WAKE {
            if self.parting.is_some() {
                return self.poll_part(cx).map(Err);
            }
            if !self.unread.is_empty() {
                let len = self.unread.len().min(buf.remaining());
                buf.put_slice(&self.unread[..len]);
                self.unread.advance(len);
                if self.unread.is_empty() {
                    // An emptied handle would still hold the message's memory.
                    self.unread = Bytes::new();
                }
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Text(_))) => {
                    self.part(CloseCode::Unsupported, "text messages are not spoken here");
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(error)) => match error {
                    Error::Io(error) => return Poll::Ready(Err(error)),
                    Error::ConnectionClosed | Error::AlreadyClosed => return Poll::Ready(Ok(())),
                    Error::Capacity(_) => self.part(CloseCode::Size, "the message is too long"),
                    Error::Utf8(_) => self.part(CloseCode::Unsupported, "text messages are not spoken here"),
                    _ => self.part(CloseCode::Protocol, "the WebSocket protocol is broken"),
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for MessageIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Also flushes what the socket refused before, so at most one message waits here.
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(into_io)?;
        let chunk = &buf[..buf.len().min(CHUNK_LEN)];
        let message = Message::Binary(Bytes::copy_from_slice(chunk));
        Pin::new(&mut self.socket).start_send(message).map_err(into_io)?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(into_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(into_io)
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error @ (Error::ConnectionClosed | Error::AlreadyClosed) => io::Error::new(io::ErrorKind::BrokenPipe, error),
        error => io::Error::other(error),
    }
}
