//! Where an application resumes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use im_link::network::BoxFuture;
use im_proto::{Epoch, Position, Seq};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Remembers up to where the application has taken its timeline. Losing the last step only means
/// that some messages come a second time; a position that runs ahead would lose messages.
pub trait PositionStore: Send + Sync + 'static {
    /// What was saved last; the default where nothing was.
    fn load(&self) -> BoxFuture<'static, io::Result<Position>>;

    /// Saves. Called with ever later positions, one at a time.
    fn save(&self, position: Position) -> BoxFuture<'static, io::Result<()>>;
}

/// Forgets with the process.
#[derive(Debug, Default)]
pub struct MemoryPosition(Mutex<Position>);

impl MemoryPosition {
    /// Begins at a position.
    pub fn new(position: Position) -> Self {
        Self(Mutex::new(position))
    }

    /// What was saved last.
    pub fn get(&self) -> Position {
        *self.0.lock()
    }
}

impl PositionStore for MemoryPosition {
    fn load(&self) -> BoxFuture<'static, io::Result<Position>> {
        let position = self.get();
        Box::pin(async move { Ok(position) })
    }

    fn save(&self, position: Position) -> BoxFuture<'static, io::Result<()>> {
        *self.0.lock() = position;
        Box::pin(async { Ok(()) })
    }
}

/// A small JSON file, replaced in one step, so that a crash leaves the old one or the new one.
#[derive(Clone, Debug)]
pub struct FilePosition {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    epoch: u64,
    seq: u64,
}

impl FilePosition {
    /// Uses that file; its folder must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl PositionStore for FilePosition {
    fn load(&self) -> BoxFuture<'static, io::Result<Position>> {
        let path = self.path.clone();
        blocking(move || match std::fs::read(&path) {
            Ok(bytes) => {
                let Saved { epoch, seq } = serde_json::from_slice(&bytes)
                    .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
                Ok(Position { epoch: Epoch(epoch), seq: Seq(seq) })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Position::default()),
            Err(error) => Err(error),
        })
    }

    fn save(&self, position: Position) -> BoxFuture<'static, io::Result<()>> {
        let path = self.path.clone();
        blocking(move || {
            let saved = Saved { epoch: position.epoch.0, seq: position.seq.0 };
            replace(&path, &serde_json::to_vec(&saved)?)
        })
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(new, path)
}

fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> BoxFuture<'static, io::Result<T>> {
    Box::pin(async move { tokio::task::spawn_blocking(work).await.map_err(io::Error::other)? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_file_remembers_and_names_itself_when_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("position.json");
        let store = FilePosition::new(&path);
        assert_eq!(store.load().await.unwrap(), Position::default());
        let position = Position { epoch: Epoch(u64::MAX), seq: Seq(3) };
        store.save(position).await.unwrap();
        assert_eq!(FilePosition::new(&path).load().await.unwrap(), position);
        std::fs::write(&path, "{").unwrap();
        assert!(store.load().await.unwrap_err().to_string().contains("position.json"));
    }
}
