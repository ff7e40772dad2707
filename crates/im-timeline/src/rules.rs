//! Rules that need no store to be judged, so that every backend refuses the same.

use std::collections::BTreeSet;

use im_proto::UserId;
use im_proto::limits::GROUP_MEMBERS_MAX;

use crate::{Append, AppendError};

impl Append {
    /// Refuses recipients that are empty, too many, name somebody twice or leave out the sender.
    pub fn check_recipients(&self) -> Result<(), AppendError> {
        if self.recipients.is_empty() {
            return Err(AppendError::BadRecipients("there are none"));
        }
        if self.recipients.len() > GROUP_MEMBERS_MAX as usize {
            return Err(AppendError::BadRecipients("there are too many"));
        }
        let distinct: BTreeSet<&UserId> = self.recipients.iter().collect();
        if distinct.len() < self.recipients.len() {
            return Err(AppendError::BadRecipients("somebody is named twice"));
        }
        if !distinct.contains(&self.sender) {
            return Err(AppendError::BadRecipients("the sender is not among them"));
        }
        Ok(())
    }
}

/// The key `user NUL rest` of the tables that belong to a user. No id contains NUL, so the rows of
/// one user stand together and no other user's key begins the same.
pub fn user_key(user: &UserId, rest: &str) -> String {
    format!("{user}\0{rest}")
}
