//! One client connection under load: a task that does everything it can each time it is woken, with
//! one read and one write where that is enough.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use bytes::{Buf, BytesMut};
use proto_codec::Header;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::audit::Verdict;
use super::control::{Arrivals, Control, Run};
use super::dial::Dialler;

/// What is said on a connection.
pub(super) trait Traffic: Sized + Send + 'static {
    /// What a worker has to know for it.
    type Plan;

    /// Bytes of body that an arriving frame may have during a run.
    const BODY_LEN_MAX: u32;

    /// Builds connection number `index`, up to where the first request may follow.
    async fn open(plan: &Self::Plan, dialler: &Dialler, index: u32) -> anyhow::Result<(TlsStream<TcpStream>, Self)>;

    /// Appends the frame of one request.
    fn request(&mut self, sequence: u32, due: Instant, out: &mut BytesMut);

    /// Looks at a frame that has arrived.
    fn on_frame(&mut self, header: Header, body: &[u8]) -> anyhow::Result<Event>;

    /// After the last run: compares what was acked with what is stored. `ended` is every connection
    /// in the order of their numbers.
    async fn verify(plan: &Self::Plan, dialler: &Dialler, ended: Vec<Ended<Self>>) -> anyhow::Result<Verdict>;
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The answer to the request with its sequence.
    Answer,
    /// The refusal of that request.
    Refusal,
    /// A message of another connection of this worker, which was due then.
    Delivery(Instant),
    /// Something that needs no reaction.
    Nothing,
}

/// A connection after its last run.
pub(super) struct Ended<T> {
    pub(super) index: u32,
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) traffic: T,
    /// Bytes that were read and belong to a frame that is not whole yet.
    pub(super) unread: BytesMut,
    /// The last sequence that was used.
    pub(super) sequence: u32,
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
    arrivals: Arrivals,
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
            arrivals: Arrivals::default(),
            output: BytesMut::new(),
        }
    }

    /// Takes part in every run, until there are no more.
    pub(super) async fn run(mut self) -> anyhow::Result<Ended<T>> {
        poll_fn(|cx| self.poll(cx)).await?;
        Ok(Ended {
            index: self.index,
            stream: self.stream,
            traffic: self.traffic,
            unread: BytesMut::from(&self.input[..self.filled]),
            sequence: self.sequence,
        })
    }

    /// Does all there is to do; ready only when no run follows.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<()>> {
        self.control.waker(self.index).register(cx.waker());
        while let Poll::Ready(read) = self.poll_read(cx)? {
            if read == 0 {
                return Poll::Ready(Err(anyhow!("the server closed the connection")));
            }
            self.take_frames()?;
        }
        let now = Instant::now();
        let run = self.control.on_arrivals(now, &self.arrivals);
        self.arrivals.clear();
        if let Some(run) = run {
            self.send_due(now, &run);
        }
        ready!(self.poll_write(cx))?;
        if self.control.is_finished() { Poll::Ready(Ok(())) } else { Poll::Pending }
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
                Event::Answer => {
                    let due = self.take_request(header.sequence)?;
                    self.arrivals.answered.push(due);
                }
                Event::Refusal => {
                    self.take_request(header.sequence)?;
                    self.arrivals.refused += 1;
                }
                Event::Delivery(due) => self.arrivals.delivered.push(due),
                Event::Nothing => {}
            }
            at = end;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    /// Ends the wait for an answer and tells when its request was due. Answers come in the order of
    /// their requests, or nearly so.
    fn take_request(&mut self, sequence: u32) -> anyhow::Result<Instant> {
        let Some(place) = self.in_flight.iter().position(|&(asked, _)| asked == sequence) else {
            bail!("an answer to {sequence}, which was not asked or was answered before");
        };
        let (_, due) = self.in_flight.remove(place).expect("its place was just found");
        Ok(due)
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
            self.traffic.request(self.sequence, due, &mut self.output);
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
