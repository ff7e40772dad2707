//! im-session
