//! A: ends TLS, one task per connection, and puts the frames of all of them on one link.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use proto_codec::{Flags, Header};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::link::{self, Outbox};
use super::{COMMAND, CONNECTIONS_MAX, FRAME_LEN, LINK_FRAME_LEN, WINDOW, frames};

/// Bytes that a connection reads at once: a few dozen frames.
const READ_LEN: usize = 4096;

/// What the link has for one connection.
#[derive(Debug, Default)]
struct Mailbox {
    answers: Mutex<Vec<u8>>,
    connection: AtomicWaker,
}

pub(super) async fn run(clients: TcpListener, tls: ServerConfig, link: TcpStream) -> anyhow::Result<()> {
    let (read_half, write_half) = link.into_split();
    let outbox = Arc::new(Outbox::default());
    let mailboxes: Arc<[Mailbox]> = (0..CONNECTIONS_MAX).map(|_| Mailbox::default()).collect();
    let writer = tokio::spawn(link::write(Arc::clone(&outbox), write_half));
    let reader = tokio::spawn(distribute(link::Reader::new(read_half), Arc::clone(&mailboxes)));
    let accept = tokio::spawn(accept(clients, TlsAcceptor::from(Arc::new(tls)), outbox, mailboxes));
    tokio::select! {
        ended = writer => ended?,
        ended = reader => ended?,
        ended = accept => ended?,
    }
}

/// Accepts connections until all places are taken. A place is not used twice: clients of a
/// measurement stay until its end.
async fn accept(
    clients: TcpListener,
    tls: TlsAcceptor,
    outbox: Arc<Outbox>,
    mailboxes: Arc<[Mailbox]>,
) -> anyhow::Result<()> {
    for place in 0..CONNECTIONS_MAX {
        let (socket, _) = clients.accept().await?;
        socket.set_nodelay(true)?;
        let (tls, outbox, mailboxes) = (tls.clone(), Arc::clone(&outbox), Arc::clone(&mailboxes));
        tokio::spawn(async move {
            // A client that fails its handshake or hangs up ends its own task and nothing else.
            let Ok(stream) = tls.accept(socket).await else { return };
            let _ = Connection::new(stream, place, &outbox, &mailboxes[place as usize]).await_end().await;
        });
    }
    std::future::pending().await
}

/// Puts answers into the mailboxes of their connections. Each connection is woken once, after all
/// of its answers are there.
async fn distribute(mut link: link::Reader, mailboxes: Arc<[Mailbox]>) -> anyhow::Result<()> {
    let mut woken = Vec::new();
    loop {
        for frame in frames::whole_frames(link.frames().await?) {
            let place = frames::sequence(frame) as usize;
            let Some(mailbox) = mailboxes.get(place) else { continue };
            let mut answers = mailbox.answers.lock();
            if answers.is_empty() {
                woken.push(place);
            }
            answers.extend_from_slice(&frame[Header::LEN..]);
        }
        woken.drain(..).for_each(|place| mailboxes[place].connection.wake());
    }
}

struct Connection<'a> {
    stream: TlsStream<TcpStream>,
    outbox: &'a Outbox,
    mailbox: &'a Mailbox,
    /// The header of this connection's frames on the link.
    link_header: [u8; Header::LEN],
    unanswered: usize,
    input: Box<[u8; READ_LEN]>,
    filled: usize,
    output: Vec<u8>,
    written: usize,
}

impl<'a> Connection<'a> {
    fn new(stream: TlsStream<TcpStream>, place: u32, outbox: &'a Outbox, mailbox: &'a Mailbox) -> Self {
        let mut header = bytes::BytesMut::with_capacity(Header::LEN);
        Header { length: FRAME_LEN as u32, command: COMMAND, flags: Flags::NONE, sequence: place }.encode(&mut header);
        let mut link_header = [0; Header::LEN];
        link_header.copy_from_slice(&header);
        Self {
            stream,
            outbox,
            mailbox,
            link_header,
            unanswered: 0,
            input: Box::new([0; READ_LEN]),
            filled: 0,
            output: Vec::new(),
            written: 0,
        }
    }

    async fn await_end(mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Does all there is to do; ready only when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.mailbox.connection.register(cx.waker());
        while self.poll_write(cx)?.is_ready() && self.take_answers() {}
        while self.unanswered < WINDOW {
            let read = ready!(self.poll_read(cx))?;
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            self.forward()?;
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            self.written += ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]))?;
        }
        self.output.clear();
        self.written = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Takes the mailbox's content as the next output; false when it is empty.
    fn take_answers(&mut self) -> bool {
        mem::swap(&mut self.output, &mut self.mailbox.answers.lock());
        self.unanswered -= self.output.len() / FRAME_LEN;
        !self.output.is_empty()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(&mut self.input[self.filled..]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        let read = space.filled().len();
        self.filled += read;
        Poll::Ready(Ok(read))
    }

    /// Puts the whole frames of the input on the link and keeps the beginning of the next.
    fn forward(&mut self) -> io::Result<()> {
        let whole = frames::whole_len(&self.input[..self.filled], (FRAME_LEN - Header::LEN) as u32)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let count = whole / FRAME_LEN;
        if frames::whole_frames(&self.input[..whole]).any(|frame| frame.len() != FRAME_LEN) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of another length than the baseline's"));
        }
        if count == 0 {
            return Ok(());
        }
        self.unanswered += count;
        self.outbox.append(|waiting| {
            waiting.reserve(count * LINK_FRAME_LEN);
            for frame in frames::whole_frames(&self.input[..whole]) {
                waiting.extend_from_slice(&self.link_header);
                waiting.extend_from_slice(frame);
            }
        });
        self.input.copy_within(whole..self.filled, 0);
        self.filled -= whole;
        Ok(())
    }
}
