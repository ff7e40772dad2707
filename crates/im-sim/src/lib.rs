//! im-sim
