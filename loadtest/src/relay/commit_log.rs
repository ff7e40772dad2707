//! The durable probe: a file that is appended to and synced by one thread. All that arrived while
//! the last fdatasync ran goes into the next: group commit. Answers leave after their sync.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use parking_lot::{Condvar, Mutex};

use super::link::Outbox;

/// A handle to the committer thread.
#[derive(Debug)]
pub(super) struct CommitLog {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Vec<u8>>,
    filled: Condvar,
}

impl CommitLog {
    /// Creates the file in `folder` and starts the committer, which runs as long as the process.
    /// A disk that fails ends the process: there is nothing left to measure.
    pub(super) fn start(folder: &Path, answers: Arc<Outbox>) -> anyhow::Result<Self> {
        let path = folder.join("commit.log");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        let queue = Arc::new(Queue::default());
        let log = Self { queue: Arc::clone(&queue) };
        thread::Builder::new().name("committer".to_owned()).spawn(move || {
            if let Err(error) = commit(file, &queue, &answers) {
                eprintln!("cannot append to {}: {error}", path.display());
                std::process::exit(1);
            }
        })?;
        Ok(log)
    }

    /// Lets `fill` append whole frames to the next commit.
    pub(super) fn append(&self, fill: impl FnOnce(&mut Vec<u8>)) {
        fill(&mut self.queue.waiting.lock());
        self.queue.filled.notify_one();
    }
}

fn commit(mut file: File, queue: &Queue, answers: &Outbox) -> std::io::Result<()> {
    let mut taken = Vec::new();
    loop {
        let mut waiting = queue.waiting.lock();
        queue.filled.wait_while(&mut waiting, |waiting| waiting.is_empty());
        mem::swap(&mut taken, &mut waiting);
        drop(waiting);
        file.write_all(&taken)?;
        file.sync_data()?;
        answers.append(|waiting| waiting.extend_from_slice(&taken));
        taken.clear();
    }
}
