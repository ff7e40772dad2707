//! Saves the sync position, one write at a time; positions that come meanwhile are folded into one.

use std::io;
use std::sync::Arc;

use im_link::network::BoxFuture;
use im_proto::Position;

use crate::PositionStore;

pub(super) struct Saver {
    store: Arc<dyn PositionStore>,
    saved: Option<Position>,
    wanted: Option<Position>,
    writing: Option<(Position, BoxFuture<'static, io::Result<()>>)>,
}

impl Saver {
    pub(super) fn new(store: Arc<dyn PositionStore>) -> Self {
        Self { store, saved: None, wanted: None, writing: None }
    }

    pub(super) fn save(&mut self, position: Position) {
        if self.saved != Some(position) && position != Position::default() {
            self.wanted = Some(position);
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.writing.is_some() || self.wanted.is_some()
    }

    /// Runs until the write under way is done. Cancellation-safe: the write goes on with the next call.
    pub(super) async fn run(&mut self) {
        if self.writing.is_none()
            && let Some(position) = self.wanted.take()
        {
            self.writing = Some((position, self.store.save(position)));
        }
        let Some((position, writing)) = &mut self.writing else { return };
        let position = *position;
        match writing.await {
            Ok(()) => self.saved = Some(position),
            // The next position is saved again; until then a restart repeats a few messages.
            Err(error) => tracing::warn!(%error, "the sync position could not be saved"),
        }
        self.writing = None;
    }
}
