//! What others want written on a connection. Encoders write straight into the buffer that the
//! owner's next write takes whole; that is all the coalescing there is.

use std::task::Waker;

use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use proto_codec::{Encode, Flags, Frame, Header};

/// Bytes of a buffer's beginning: a notify with a short message or some acks, which would else make it
/// grow step by step from nothing.
const FIRST_BYTES: usize = 512;

/// Why nothing was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The peer takes less than is sent to it: its bound is reached.
    #[error("the connection's outbound buffer is full")]
    Full,
    /// The connection is ending.
    #[error("the connection is closed")]
    Closed,
}

/// The outbound side of one connection: any task pushes, the owner takes.
#[derive(Debug)]
pub struct Outbound {
    queue: Mutex<Queue>,
    owner: AtomicWaker,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: BytesMut,
    closed: bool,
}

impl Outbound {
    /// Takes frames as long as fewer than `bytes_max` bytes wait, so it holds at most that and one
    /// frame. Allocates nothing before the first.
    pub fn new(bytes_max: usize) -> Self {
        Self { queue: Mutex::default(), owner: AtomicWaker::new(), bytes_max }
    }

    /// Puts in one frame around an encoded body.
    pub fn push_body(&self, command: u16, flags: Flags, sequence: u32, body: &[u8]) -> Result<(), PushError> {
        self.push(|out| {
            out.reserve(Header::LEN + body.len());
            Header { length: body.len() as u32, command, flags, sequence }.encode(out);
            out.extend_from_slice(body);
        })
    }

    /// Puts in one frame around a message, encoding it in place.
    pub fn push_message(
        &self,
        command: u16,
        flags: Flags,
        sequence: u32,
        message: &impl Encode,
    ) -> Result<(), PushError> {
        self.push(|out| Frame::encode_message(command, flags, sequence, message, out))
    }

    /// Puts in whatever `write` appends: whole frames only.
    pub fn push(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(PushError::Closed);
        }
        if queue.bytes.len() >= self.bytes_max {
            return Err(PushError::Full);
        }
        let was_empty = queue.bytes.is_empty();
        if queue.bytes.capacity() == 0 {
            queue.bytes.reserve(FIRST_BYTES);
        }
        write(&mut queue.bytes);
        drop(queue);
        // An owner that was woken for an earlier frame takes this one along.
        if was_empty {
            self.owner.wake();
        }
        Ok(())
    }

    /// Takes no more frames and tells the owner, which writes what is left and ends.
    pub fn close(&self) {
        self.queue.lock().closed = true;
        self.owner.wake();
    }

    /// Bytes that wait for the owner.
    pub fn len(&self) -> usize {
        self.queue.lock().bytes.len()
    }

    /// Whether none do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Has the owner look at its connection again, without anything to write.
    pub fn wake(&self) {
        self.owner.wake();
    }

    /// Gives everything that waits, nothing when nothing does, for an empty buffer to go on with. For the
    /// owner.
    pub(crate) fn exchange(&self, empty: &mut BytesMut) {
        debug_assert!(empty.is_empty(), "what was taken is written before more is");
        std::mem::swap(&mut self.queue.lock().bytes, empty);
    }

    /// Whom to wake; the owner registers before it looks, so that no push goes unnoticed.
    pub fn register(&self, owner: &Waker) {
        self.owner.register(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(outbound: &Outbound) -> BytesMut {
        let mut taken = BytesMut::new();
        outbound.exchange(&mut taken);
        taken
    }

    #[test]
    fn a_full_or_closed_buffer_refuses_and_keeps_what_it_has() {
        let outbound = Outbound::new(20);
        assert_eq!(outbound.push_body(1, Flags::NONE, 1, b"12345678"), Ok(()));
        assert_eq!(outbound.push_body(1, Flags::NONE, 2, b"a body over the bound by itself"), Err(PushError::Full));
        assert_eq!(take(&outbound).len(), 20);
        assert_eq!(outbound.push_body(1, Flags::NONE, 3, b""), Ok(()));
        outbound.close();
        assert_eq!(outbound.push_body(1, Flags::NONE, 4, b""), Err(PushError::Closed));
        assert_eq!(take(&outbound).len(), Header::LEN, "what was taken in before is still written");
        assert!(take(&outbound).is_empty());
    }
}
