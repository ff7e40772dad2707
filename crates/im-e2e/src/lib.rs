//! im-e2e
