//! Whether a user has an account here, remembered for those who have: accounts do not go away.

use std::collections::HashSet;
use std::sync::Arc;

use im_proto::{Refusal, RefusalCode, UserId};
use im_timeline::{Store, Table};
use parking_lot::Mutex;

use super::store_refusal;

/// Users remembered at once, some 100 bytes each. When the memory is full it begins anew.
const REMEMBERED_MAX: usize = 1_000_000;

/// Finds out who has an account.
pub(super) struct KnownUsers {
    store: Arc<dyn Store>,
    remembered: Mutex<HashSet<UserId>>,
}

impl KnownUsers {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, remembered: Mutex::default() }
    }

    /// Refuses a user without an account.
    pub(super) async fn check(&self, user: &UserId) -> Result<(), Refusal> {
        if self.remembered.lock().contains(user) {
            return Ok(());
        }
        let account = self.store.record(Table::Account, user.as_str()).await.map_err(|error| store_refusal(&error))?;
        if account.is_none() {
            return Err(Refusal::new(RefusalCode::NoSuchUser, format!("there is no user {user}")));
        }
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(user.clone());
        Ok(())
    }
}
