//! Small files that appear whole, and whose permissions are looked at before their content.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::KeyError;

pub(super) const PRIVATE_MODE: u32 = 0o600;
pub(super) const PUBLIC_MODE: u32 = 0o644;
/// A key file is a few hundred bytes; whatever is longer was named by mistake.
const FILE_LEN_MAX: u64 = 16 * 1024;
/// Others may do nothing with a private key, the group may read it: that is how a container gets a
/// mounted secret. Changing it is for the owner alone.
const FORBIDDEN_BITS: u32 = 0o027;

pub(super) fn create_dir(dir: &Path) -> Result<(), KeyError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create", dir))
}

pub(super) fn exists(path: &Path) -> Result<bool, KeyError> {
    path.try_exists().map_err(io_error("look at", path))
}

pub(super) fn read_text(path: &Path) -> Result<String, KeyError> {
    let failed = io_error("read", path);
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(FILE_LEN_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(failed)
}

pub(super) fn refuse_open_permissions(path: &Path) -> Result<(), KeyError> {
    let mode = path.metadata().map_err(io_error("look at", path))?.mode() & 0o777;
    if mode & FORBIDDEN_BITS == 0 { Ok(()) } else { Err(KeyError::OpenPermissions { path: path.to_path_buf(), mode }) }
}

/// Makes a file of that content, durably. When another process was faster its file stays, and this
/// is no error: a hard link, unlike a rename, never replaces what is there.
pub(super) fn create(path: &Path, content: &[u8], mode: u32) -> Result<(), KeyError> {
    place(path, content, mode, |temporary| match std::fs::hard_link(temporary, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::remove_file(temporary),
    })
}

/// Makes or replaces a file, durably.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), KeyError> {
    place(path, content, mode, |temporary| std::fs::rename(temporary, path))
}

/// Writes a temporary file beside `path`, makes it durable, has it put in place, and makes the
/// folder's entry durable.
fn place(path: &Path, content: &[u8], mode: u32, put: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), KeyError> {
    let temporary = temporary_name(path)?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        put(&temporary)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| {
        // Best effort: the first error is the one that counts.
        let _ = std::fs::remove_file(&temporary);
        io_error("write", path)(error)
    })
}

/// Random, because a process id names nobody: in a container every start has the same one, and what a
/// crash left behind would stop each later start.
fn temporary_name(path: &Path) -> Result<PathBuf, KeyError> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| KeyError::NoRandom)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.tmp", u64::from_ne_bytes(random)));
    Ok(name.into())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    move |source| KeyError::Io { action, path: path.to_path_buf(), source }
}
