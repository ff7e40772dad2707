//! The file: its tables, its format version, its epoch.

use std::path::Path;

use im_proto::Epoch;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::OpenError;
use crate::fault::Fault;

/// The version of the tables below. An older one is brought up to it here, a newer one is refused.
pub(crate) const FORMAT: u32 = 1;

/// Marks the file as ours, so that a database of another program is not mistaken for an empty one.
const APPLICATION_ID: i32 = 0x73_69_6d_74;

/// Ids compare by their bytes (the default collation), as everywhere. Record keys are blobs because
/// they may hold NUL. A row of `history` is large, so that table alone keeps its row ids.
const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE history (
        conversation TEXT NOT NULL, seq INTEGER NOT NULL, sender TEXT NOT NULL, client_msg_id TEXT NOT NULL,
        time_ms INTEGER NOT NULL, content_type INTEGER NOT NULL, payload BLOB NOT NULL,
        PRIMARY KEY (conversation, seq)
    ) STRICT;
    CREATE TABLE inbox (
        user TEXT NOT NULL, seq INTEGER NOT NULL, conversation TEXT NOT NULL, conversation_seq INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        PRIMARY KEY (user, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE floor (user TEXT PRIMARY KEY, floor INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE sent (
        sender TEXT NOT NULL, client_msg_id TEXT NOT NULL, conversation TEXT NOT NULL, seq INTEGER NOT NULL,
        sender_seq INTEGER NOT NULL, receiver_seq INTEGER NOT NULL, time_ms INTEGER NOT NULL,
        PRIMARY KEY (sender, client_msg_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE record (
        kind INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (kind, key)
    ) STRICT, WITHOUT ROWID;
";

/// Opens the file for the committer, makes the tables where there are none, and tells the epoch.
pub(crate) fn open_writer(path: &Path) -> Result<(Connection, Epoch), OpenError> {
    let opened = Connection::open(path).map_err(Fault::from).and_then(|mut connection| {
        connection.pragma_update(None, "journal_mode", "wal")?;
        // In WAL mode FULL syncs the log at every commit: what is acked survives a loss of power.
        connection.pragma_update(None, "synchronous", "full")?;
        let version = prepare(&mut connection)?;
        Ok((connection, version))
    });
    let (connection, version) = opened.map_err(|fault| OpenError::of(path, fault))?;
    if version.format > FORMAT {
        return Err(OpenError::NewerFormat { found: version.format, known: FORMAT });
    }
    Ok((connection, version.epoch))
}

/// Opens the file for reading; the writer has made it.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| OpenError::of(path, error.into()))
}

struct Version {
    format: u32,
    epoch: Epoch,
}

fn prepare(connection: &mut Connection) -> Result<Version, Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.execute("INSERT INTO meta VALUES ('format', ?1)", [FORMAT])?;
        // A random epoch of 63 bits; 0 stands for "no position yet".
        transaction.execute("INSERT INTO meta VALUES ('epoch', max(1, random() & 0x7fffffffffffffff))", [])?;
    }
    let id: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(Fault::Damaged("it is a database of another program".into()));
    }
    let format = meta(&transaction, "format")?;
    let epoch = meta(&transaction, "epoch")?;
    transaction.commit()?;
    let format = u32::try_from(format).map_err(|_| Fault::Damaged(format!("its format version is {format}")))?;
    let epoch = u64::try_from(epoch).ok().filter(|epoch| *epoch > 0);
    let epoch = epoch.map(Epoch).ok_or_else(|| Fault::Damaged("its epoch is no positive number".into()))?;
    Ok(Version { format, epoch })
}

fn meta(connection: &Connection, name: &str) -> Result<i64, Fault> {
    let value = connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()?;
    value.ok_or_else(|| Fault::Damaged(format!("it does not tell its {name}")))
}
