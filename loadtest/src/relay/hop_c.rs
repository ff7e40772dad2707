//! C: answers every frame with itself, at once or after a [`CommitLog`] has it on the disk.

use std::path::PathBuf;
use std::sync::Arc;

use proto_codec::Header;
use tokio::net::TcpStream;

use super::commit_log::CommitLog;
use super::frames;
use super::link::{self, Outbox};

pub(super) async fn run(hop_b: TcpStream, durable: Option<PathBuf>) -> anyhow::Result<()> {
    let (from_b, to_b) = hop_b.into_split();
    let answers = Arc::new(Outbox::default());
    let log = durable.map(|folder| CommitLog::start(&folder, Arc::clone(&answers))).transpose()?;
    let writer = tokio::spawn(link::write(Arc::clone(&answers), to_b));
    let reader = tokio::spawn(answer(link::Reader::new(from_b), log, answers));
    tokio::select! {
        ended = writer => ended?,
        ended = reader => ended?,
    }
}

async fn answer(mut from: link::Reader, log: Option<CommitLog>, answers: Arc<Outbox>) -> anyhow::Result<()> {
    loop {
        let arrived = from.frames().await?;
        let append = |waiting: &mut Vec<u8>| {
            for frame in frames::whole_frames(arrived) {
                let start = waiting.len();
                waiting.extend_from_slice(frame);
                frames::mark_response(&mut waiting[start..]);
                frames::mark_response(&mut waiting[start + Header::LEN..]);
            }
        };
        match &log {
            Some(log) => log.append(append),
            None => answers.append(append),
        }
    }
}
