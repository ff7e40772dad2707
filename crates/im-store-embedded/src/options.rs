//! What an operator may choose, with defaults that suit a machine with two cores and 2 GiB.

/// Settings of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of table blocks and filters kept in memory. Default 64 MiB.
    pub cache_bytes: u64,
    /// Bytes of acked rows in memory and in the commit log before they are moved into the tree. Twice as
    /// many may be there while a move is under way; then appends are refused as busy. Default 64 MiB: the
    /// tree rewrites what it has for every few moves, so less costs more writing; reopening replays up to
    /// twice this, at about 200 MiB/s. Memory is a quarter more, for indices.
    pub overlay_bytes: usize,
    /// Appends, commits and maintenance that may wait for the committer; one more is refused as busy.
    /// Default 16,384: at 20,000 messages/s the last in the queue waits under a second.
    pub queue_len_max: usize,
    /// Bytes that may wait for the committer. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// Heads of timelines kept in memory, of users and of conversations each, and newest ids of as many
    /// senders; a miss costs a search in the tree, some 20 µs, which is more than all the rest of an
    /// append. Default 1,000,000; about 125 bytes each, taken as timelines are written to.
    pub heads_max: usize,
    /// Threads that answer reads. Default 2.
    pub reader_threads: usize,
    /// Reads that may be under way; more of them wait in line. Default 256.
    pub reads_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            overlay_bytes: 64 * 1024 * 1024,
            queue_len_max: 16_384,
            queue_bytes_max: 64 * 1024 * 1024,
            heads_max: 1_000_000,
            reader_threads: 2,
            reads_max: 256,
        }
    }
}
