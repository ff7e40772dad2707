//! The task of one link: read, hand over, write, watch the clock.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use im_proto::link::{LinkCommand, Ping};
use im_session::{LinkHealth, LinkStep};
use proto_codec::{Flags, Frame, RESPONSE_BIT};
use tokio::time::{Sleep, sleep};

use super::{Handler, Link, LinkConfig, LinkEnd, now, unsealed};
use crate::frame_io::{FrameIo, ReadError};

/// Reads per wake-up, so that a busy peer does not keep this link from writing and its thread from
/// other tasks.
const READS_PER_WAKE: usize = 8;

/// Bytes of a buffer that a link keeps for its writes, two of them: some hundred frames, which is what
/// gathers while one write is on its way.
const BUFFER_KEPT: usize = 256 * 1024;

/// Runs a link that is up until it ends.
pub(super) async fn drive(mut io: FrameIo, link: &Link, handler: &dyn Handler, config: &LinkConfig) -> LinkEnd {
    io.keep_buffers(BUFFER_KEPT);
    handler.on_up(link);
    let mut driver = Driver {
        io,
        link,
        handler,
        config,
        health: LinkHealth::new(now(), config.ping_every, config.dead_after),
        tick: Box::pin(sleep(config.tick_every)),
        closing_since: None,
    };
    let end = poll_fn(|cx| driver.poll(cx)).await;
    link.close();
    handler.on_down(link, &end);
    end
}

struct Driver<'a> {
    io: FrameIo,
    link: &'a Link,
    handler: &'a dyn Handler,
    config: &'a LinkConfig,
    health: LinkHealth,
    tick: Pin<Box<Sleep>>,
    /// The first tick that found the link closed on this side.
    closing_since: Option<Instant>,
}

impl Driver<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        self.link.0.outbound.register(cx.waker());
        // Frames that came with the hello are worked off before the first read.
        if let Err(end) = self.hand_over().and_then(|()| self.read(cx)).and_then(|()| self.watch(cx)) {
            return Poll::Ready(end);
        }
        // Looked at before the drain: what is pushed behind it and before a close must not be left.
        let closed = self.link.is_closed();
        match self.io.poll_drain(cx, &self.link.0.outbound) {
            Poll::Ready(Err(error)) => Poll::Ready(error.into()),
            Poll::Ready(Ok(())) if closed => Poll::Ready(LinkEnd::Closed),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        for _ in 0..READS_PER_WAKE {
            match self.io.poll_fill(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(ReadError::Closed.into()),
                Poll::Ready(Ok(_)) => self.health.on_heard(now()),
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
            self.hand_over()?;
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), LinkEnd> {
        while let Some(frame) = self.io.next_frame() {
            let frame = unsealed(frame.map_err(ReadError::Frame)?)?;
            match LinkCommand::from_number(frame.command & !RESPONSE_BIT) {
                LinkCommand::Ping => self.on_ping(&frame),
                _ => self.handler.on_frame(self.link, frame),
            }
        }
        Ok(())
    }

    fn on_ping(&self, frame: &Frame) {
        if !frame.is_response() {
            // A full buffer needs no answer to a ping: its bytes show that this side lives.
            let _ = self.link.answer(LinkCommand::Ping, Flags::NONE, frame.sequence, &Ping {});
        }
    }

    fn watch(&mut self, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        while self.tick.as_mut().poll(cx).is_ready() {
            let now = now();
            self.tick.as_mut().reset((now + self.config.tick_every).into());
            self.handler.on_tick(self.link, now);
            // A peer may be alive and yet take nothing: what it is still to get must not hold up the end.
            if self.link.is_closed() && now >= *self.closing_since.get_or_insert(now) + self.config.dead_after {
                return Err(LinkEnd::Closed);
            }
            match self.health.poll(now) {
                LinkStep::Dead => return Err(LinkEnd::Silent),
                LinkStep::Ping => {
                    let _ = self.link.tell(LinkCommand::Ping, &Ping {});
                }
                LinkStep::WaitUntil(_) => {}
            }
        }
        Ok(())
    }
}
