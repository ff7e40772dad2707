//! Opening a folder: lock, format, tree; and one clear line when it cannot be.
//!
//! ```text
//! DIR/LOCK            locked by the process that has the store open
//! DIR/store/FORMAT    format and epoch
//! DIR/store/tree/     fjall's files
//! ```
//!
//! A new store is made as `DIR/store.new` and renamed when it is whole, so a crash while it is made
//! leaves nothing that looks like a store.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use im_proto::Epoch;

use crate::committer::panic_text;
use crate::format::{Format, FormatError};
use crate::journal;
use crate::options::Options;
use crate::rows;
use crate::tree::{self, Batch, Tree};

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
    pub(crate) tree: Tree,
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
    let Format { epoch } = Format::decode(&text).map_err(|error| match error {
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
    let stored = catch_unwind(AssertUnwindSafe(|| tree.view().get(&rows::epoch_key())))
        .map_err(|panic| damaged(panic_text(&*panic)))?
        .map_err(|error| damaged(error.to_string()))?;
    if stored.as_deref() != Some(&epoch.0.to_be_bytes()) {
        return Err(damaged("FORMAT and tree belong to different stores".to_owned()));
    }
    Ok(Opened { tree, epoch, lock })
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
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    fs::create_dir(&new).map_err(io)?;
    let epoch = new_epoch();
    {
        let tree = open_tree(dir, &new.join("tree"), options)?;
        let mut batch = Batch::default();
        batch.put(&rows::epoch_key(), &epoch.0.to_be_bytes());
        tree.commit(batch).map_err(|error| io(std::io::Error::other(error)))?;
        tree.flush().map_err(|error| io(std::io::Error::other(error)))?;
    }
    Format { epoch }.write(&new.join("FORMAT")).map_err(io)?;
    sync_dir(&new).map_err(io)?;
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
