//! Room to work in, one per thread and lent out for one step: a connection that waits owns none.

use std::cell::Cell;
use std::thread::LocalKey;

/// A thread's room. Taken while it is in use, so that a stream on top of a stream of the same kind
/// gets room of its own instead of a panic.
pub(crate) type Scratch = Cell<Option<Box<[u8]>>>;

/// Lends `len` bytes of whatever content to `work`, which must not wait.
pub(crate) fn with<R>(room: &'static LocalKey<Scratch>, len: usize, work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut bytes = room.take().unwrap_or_else(|| vec![0; len].into_boxed_slice());
    let result = work(&mut bytes);
    room.set(Some(bytes));
    result
}
