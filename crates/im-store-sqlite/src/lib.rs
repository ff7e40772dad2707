//! im-store-sqlite
