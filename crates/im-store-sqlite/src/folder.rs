//! What SQLite does not make durable: the way to its files, and what a process that died has left.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the folder and those above it, durably: a name is durable when the folder that has it is synced.
pub(crate) fn create(dir: &Path) -> io::Result<()> {
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let made: Vec<&Path> = dir.ancestors().take_while(missing).collect();
    std::fs::create_dir_all(dir)?;
    for parent in made.into_iter().filter_map(Path::parent) {
        // The parent of a relative name with one part is the folder that we are in.
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Syncs the write-ahead log before SQLite reads it. After a crash of the process alone, its end may be in
/// the system's memory and not yet on disk, and SQLite takes it as committed without a sync. What is
/// read, or acked again as a repeat, must not go with a loss of power.
pub(crate) fn sync_log(dir: &Path) -> io::Result<()> {
    match File::open(dir.join("timelines.sqlite-wal")) {
        Ok(log) => log.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn folders_are_made_down_to_the_last() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b/c");
        create(&dir).unwrap();
        create(&dir).unwrap();
        assert!(dir.is_dir());
        std::fs::write(dir.join("file"), "").unwrap();
        assert!(create(&dir.join("file/d")).is_err());
    }
}
