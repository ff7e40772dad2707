//! One client connection under load: a task that does everything it can each time it is woken, with
//! one read and one write where that is enough.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use anyhow::{Context as _, bail};
use bytes::{Buf, BytesMut};
use proto_codec::Header;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::control::{Control, Run};

/// What is said on a connection.
pub(super) trait Traffic {
    /// Bytes of body that an arriving frame may have.
    const BODY_LEN_MAX: u32;

    /// Appends the frame of one request.
    fn request(&mut self, sequence: u32, out: &mut BytesMut);

    /// Looks at a frame that has arrived.
    fn on_frame(&mut self, header: Header, body: &[u8]) -> anyhow::Result<Event>;
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The answer to the request with its sequence.
    Answer,
}

pub(super) struct Connection<T> {
    stream: TlsStream<TcpStream>,
    traffic: T,
    index: u32,
    control: Arc<Control>,
    in_flight_max: usize,
    /// Requests without an answer, in the order they were sent: sequence, and when it was due.
    in_flight: VecDeque<(u32, Instant)>,
    sequence: u32,
    run_number: u32,
    /// Messages sent in this run.
    sent: u64,
    input: Box<[u8]>,
    filled: usize,
    /// Due times of the requests whose answers this wake-up has read.
    answered: Vec<Instant>,
    output: BytesMut,
}

impl<T: Traffic> Connection<T> {
    /// A whole frame fits in the input, and a few small ones arrive in one read.
    const INPUT_LEN: usize = if T::BODY_LEN_MAX < 2048 { 4096 } else { 2 * T::BODY_LEN_MAX as usize };

    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        traffic: T,
        index: u32,
        in_flight_max: u32,
        control: Arc<Control>,
    ) -> Self {
        Self {
            stream,
            traffic,
            index,
            control,
            in_flight_max: in_flight_max as usize,
            in_flight: VecDeque::with_capacity(in_flight_max as usize),
            sequence: 0,
            run_number: 0,
            sent: 0,
            input: vec![0; Self::INPUT_LEN].into(),
            filled: 0,
            answered: Vec::new(),
            output: BytesMut::new(),
        }
    }

    pub(super) async fn await_end(mut self) -> anyhow::Result<()> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Does all there is to do; ready only when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<()>> {
        self.control.waker(self.index).register(cx.waker());
        while let Poll::Ready(read) = self.poll_read(cx)? {
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            self.take_frames()?;
        }
        let now = Instant::now();
        let run = self.control.on_answers(now, &self.answered);
        self.answered.clear();
        if let Some(run) = run {
            self.send_due(now, &run);
        }
        ready!(self.poll_write(cx))?;
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<usize>> {
        let mut space = ReadBuf::new(&mut self.input[self.filled..]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space)).context("read")?;
        let read = space.filled().len();
        self.filled += read;
        Poll::Ready(Ok(read))
    }

    fn take_frames(&mut self) -> anyhow::Result<()> {
        let mut at = 0;
        while let Some(header) = self.input[at..self.filled].first_chunk() {
            let header = Header::decode(header, T::BODY_LEN_MAX)?;
            let end = at + Header::LEN + header.length as usize;
            if end > self.filled {
                break;
            }
            match self.traffic.on_frame(header, &self.input[at + Header::LEN..end])? {
                Event::Answer => self.on_answer(header.sequence)?,
            }
            at = end;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    /// Answers come in the order of their requests, or nearly so.
    fn on_answer(&mut self, sequence: u32) -> anyhow::Result<()> {
        let Some(place) = self.in_flight.iter().position(|&(asked, _)| asked == sequence) else {
            bail!("an answer to {sequence}, which was not asked or was answered before");
        };
        let (_, due) = self.in_flight.remove(place).expect("its place was just found");
        self.answered.push(due);
        Ok(())
    }

    /// Sends what is due and fits the window. In an open loop that goes on behind the end of the run,
    /// until everything that was due before it has been sent.
    fn send_due(&mut self, now: Instant, run: &Run) {
        if run.number != self.run_number {
            self.run_number = run.number;
            self.sent = 0;
        }
        let sent_before = self.sent;
        while self.in_flight.len() < self.in_flight_max {
            let due = run.schedule.map_or(now, |schedule| schedule.due(self.index, self.sent));
            if due > now || due >= run.stop {
                break;
            }
            self.sequence = self.sequence.wrapping_add(1);
            self.traffic.request(self.sequence, &mut self.output);
            self.in_flight.push_back((self.sequence, due));
            self.sent += 1;
        }
        self.control.on_sent(self.sent - sent_before);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output)).context("write")?;
            self.output.advance(written);
        }
        Pin::new(&mut self.stream).poll_flush(cx).map(|flushed| flushed.context("flush"))
    }
}
