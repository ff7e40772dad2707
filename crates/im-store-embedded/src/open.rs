//! Opening a folder: lock, format, tree, commit log; and one clear line when it cannot be.
//!
//! ```text
//! DIR/LOCK            locked by the process that has the store open
//! DIR/store/FORMAT    format and epoch
//! DIR/store/log/      what was acked and is not in the tree yet
//! DIR/store/tree/     fjall's files
//! ```
//!
//! A new store is made as `DIR/store.new` and renamed when it is whole, so a crash while it is made
//! leaves nothing that looks like a store.
//!
//! Format 1 had no log: every batch went through the tree's own journal, which the tree still replays.
//! Such a folder gets an empty log, and then its new format, which older programs refuse.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use im_proto::Epoch;

use crate::committer::panic_text;
use crate::durable::Durable;
use crate::format::{Format, FormatError};
use crate::journal;
use crate::log::{Log, LogError, Recovered};
use crate::options::Options;
use crate::rows;
use crate::tree::{self, Tree};

/// Why a folder could not be opened. Every message is one line that names the folder and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has it open.
    #[error("the store in {} is in use by another process; stop that one or choose another folder", .0.display())]
    Locked(PathBuf),
    /// A newer program made it.
    #[error(
        "the store in {} has format {found}, this program knows up to {known}; use a newer version of the program",
        .dir.display()
    )]
    NewerFormat {
        /// The folder.
        dir: PathBuf,
        /// The format of the folder.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },
    /// What is stored contradicts itself.
    #[error("the store in {} is damaged ({what}); restore the folder from a backup", .dir.display())]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What was found.
        what: String,
    },
    /// The disk or the operating system refused.
    #[error("the store in {} cannot be opened ({source}); check the disk and the folder's permissions", .dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// An opened folder. Dropping the lock file gives the folder free.
pub(crate) struct Opened {
    pub(crate) durable: Durable,
    pub(crate) epoch: Epoch,
    pub(crate) lock: File,
}

pub(crate) fn open(dir: &Path, options: &Options) -> Result<Opened, OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    create_dirs(dir).map_err(io)?;
    let lock = lock(dir)?;

    let store = dir.join("store");
    if !store.try_exists().map_err(io)? {
        create(dir, &store, options)?;
    }
    let damaged = |what: String| OpenError::Damaged { dir: dir.to_owned(), what };
    let text = match fs::read(store.join("FORMAT")) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(damaged("FORMAT is missing".to_owned())),
        Err(error) => return Err(io(error)),
    };
    let format = Format::decode(&text).map_err(|error| match error {
        FormatError::Newer(found) => {
            OpenError::NewerFormat { dir: dir.to_owned(), found, known: crate::format::FORMAT_KNOWN }
        }
        FormatError::Damaged(what) => damaged(what.to_owned()),
    })?;

    let path = store.join("tree");
    // The tree would make a new, empty one in place of one that lost its first file.
    if !path.join("version").try_exists().map_err(io)? {
        return Err(damaged("the tree is missing".to_owned()));
    }
    if let Some(what) = journal::check(&path).map_err(io)? {
        return Err(damaged(what));
    }
    let tree = open_tree(dir, &path, options)?;
    let epoch = format.epoch;
    if number(dir, &tree, &rows::epoch_key())? != Some(epoch.0) {
        return Err(damaged("FORMAT and tree belong to different stores".to_owned()));
    }
    let log = store.join("log");
    if !format.has_log() {
        add_log(&store, &log, &tree, epoch).map_err(io)?;
    }
    let applied = number(dir, &tree, &rows::applied_key())?.unwrap_or(0);
    let Recovered { log, runs } = Log::recover(&log, epoch, applied).map_err(|error| match error {
        LogError::Damaged(what) => damaged(what),
        LogError::Io(error) => io(error),
    })?;
    Ok(Opened { durable: Durable::new(log, tree, runs, options.overlay_bytes), epoch, lock })
}

/// A number that the tree knows of the store itself.
fn number(dir: &Path, tree: &Tree, key: &[u8]) -> Result<Option<u64>, OpenError> {
    let damaged = |what: String| OpenError::Damaged { dir: dir.to_owned(), what };
    let row = catch_unwind(AssertUnwindSafe(|| tree.view().get(key)))
        .map_err(|panic| damaged(panic_text(&*panic)))?
        .map_err(|error| damaged(error.to_string()))?;
    let number = |row: &[u8]| row.try_into().map(u64::from_be_bytes);
    row.map(|row| number(&row)).transpose().map_err(|_| damaged("a number of the store itself".to_owned()))
}

/// Makes a folder of format 1 one of the newest. Cut short, it is still one of format 1.
fn add_log(store: &Path, log: &Path, tree: &Tree, epoch: Epoch) -> std::io::Result<()> {
    tracing::info!(store = %store.display(), "the folder of an older version gets a commit log");
    tree.flush().map_err(std::io::Error::other)?;
    remove_dir(log)?;
    Log::create(log, epoch)?;
    sync_dir(store)?;
    Format::new(epoch).write(store)
}

/// Removes a folder that was left unfinished, if there is one.
fn remove_dir(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("LOCK")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

fn create(dir: &Path, store: &Path, options: &Options) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    let new = dir.join("store.new");
    remove_dir(&new).map_err(io)?;
    fs::create_dir(&new).map_err(io)?;
    let epoch = new_epoch();
    {
        let tree = open_tree(dir, &new.join("tree"), options)?;
        let rows = [(&rows::epoch_key()[..], Some(&epoch.0.to_be_bytes()[..]))];
        tree.ingest(rows.into_iter()).map_err(|error| io(std::io::Error::other(error)))?;
    }
    Log::create(&new.join("log"), epoch).map_err(io)?;
    Format::new(epoch).write(&new).map_err(io)?;
    fs::rename(&new, store).map_err(io)?;
    sync_dir(dir).map_err(io)
}

/// fjall answers some kinds of damage with a panic; here every kind becomes an error.
fn open_tree(dir: &Path, path: &Path, options: &Options) -> Result<Tree, OpenError> {
    let damaged = |what: String| OpenError::Damaged { dir: dir.to_owned(), what };
    match catch_unwind(AssertUnwindSafe(|| Tree::open(path, options))) {
        Ok(Ok(tree)) => Ok(tree),
        Ok(Err(fjall::Error::Locked)) => Err(OpenError::Locked(dir.to_owned())),
        Ok(Err(error)) if tree::is_io(&error) => {
            Err(OpenError::Io { dir: dir.to_owned(), source: std::io::Error::other(error) })
        }
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(panic) => Err(damaged(panic_text(&*panic))),
    }
}

/// Microseconds since 1970, so that a store that is made again in the same place has another one. Never 0.
fn new_epoch() -> Epoch {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Epoch(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX).max(1))
}

/// Makes the folder and those above it, durably: a name is durable when the folder that has it is synced.
fn create_dirs(dir: &Path) -> std::io::Result<()> {
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let made: Vec<&Path> = dir.ancestors().take_while(missing).collect();
    fs::create_dir_all(dir)?;
    for parent in made.into_iter().filter_map(Path::parent) {
        // The parent of a relative name with one part is the folder that we are in.
        sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}
