//! im-auth
