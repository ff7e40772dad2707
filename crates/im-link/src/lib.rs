//! im-link
