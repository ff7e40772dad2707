//! What the kernel says about processes, sockets and memory. Everything here reads `/proc` and
//! changes nothing.

pub(crate) mod limits;
mod memory;
mod process;
mod sockets;

pub(crate) use self::memory::{KernelMemory, available_bytes};
pub(crate) use self::process::{anonymous_bytes, cpu_time, open_files};
pub(crate) use self::sockets::{StateCounts, Table};
