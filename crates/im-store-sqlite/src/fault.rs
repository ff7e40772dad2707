//! What goes wrong below the store, before it has a name that callers know.

use im_timeline::StoreError;
use rusqlite::ErrorCode;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// What is stored contradicts itself.
    #[error("{0}")]
    Damaged(String),
    /// SQLite counts with 63 bits.
    #[error("the number {0} is beyond 63 bits")]
    TooGreat(u64),
    #[error("the dump cursor is not one of this store")]
    Cursor,
}

impl Fault {
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Sql(error) => {
                matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
            Self::TooGreat(_) | Self::Cursor => false,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        if fault.is_damage() { Self::Damaged(fault.to_string()) } else { Self::Failed(fault.to_string()) }
    }
}
