//! im-store-embedded
