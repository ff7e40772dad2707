//! What a stream keeps between two steps, if anything.

use bytes::{Buf as _, BytesMut};

/// Bytes that wait, on the heap only while there are any.
#[derive(Debug, Default)]
pub(super) struct Held(Option<Box<Buffers>>);

#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// From the socket: an incomplete record, or records for which the reader had no room.
    pub(super) incoming: BytesMut,
    /// Of an opened record: what the reader had no room for.
    pub(super) plain: BytesMut,
    /// Records that the socket did not take.
    pub(super) outgoing: BytesMut,
}

impl Held {
    /// Everything, to be changed; [`settle`](Self::settle) follows.
    pub(super) fn buffers(&mut self) -> &mut Buffers {
        self.0.get_or_insert_default()
    }

    /// Frees what is empty.
    pub(super) fn settle(&mut self) {
        let Some(buffers) = &mut self.0 else { return };
        for buffer in [&mut buffers.incoming, &mut buffers.plain, &mut buffers.outgoing] {
            if buffer.is_empty() {
                *buffer = BytesMut::new();
            }
        }
        if buffers.len() == 0 {
            self.0 = None;
        }
    }

    pub(super) fn incoming(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |buffers| &buffers.incoming)
    }

    pub(super) fn take_incoming(&mut self) -> BytesMut {
        self.0.as_mut().map_or_else(BytesMut::new, |buffers| std::mem::take(&mut buffers.incoming))
    }

    pub(super) fn keep_incoming(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.buffers().incoming.extend_from_slice(bytes);
        }
    }

    pub(super) fn keep_outgoing(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.buffers().outgoing.extend_from_slice(bytes);
        }
    }

    pub(super) fn outgoing(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |buffers| &buffers.outgoing)
    }

    /// Moves plaintext that waits to `room` and tells how much it was.
    pub(super) fn take_plain(&mut self, room: &mut tokio::io::ReadBuf<'_>) -> usize {
        let Some(buffers) = &mut self.0 else { return 0 };
        let len = buffers.plain.len().min(room.remaining());
        room.put_slice(&buffers.plain[..len]);
        buffers.plain.advance(len);
        self.settle();
        len
    }

    /// The socket took so much of what waits for it.
    pub(super) fn sent(&mut self, len: usize) {
        self.buffers().outgoing.advance(len);
        self.settle();
    }

    /// What the heap holds for this stream, whether or not there is anything in it.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.len().max(1))
    }
}

impl Buffers {
    fn len(&self) -> usize {
        self.incoming.len() + self.plain.len() + self.outgoing.len()
    }
}
