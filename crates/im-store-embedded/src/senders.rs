//! Which messages are new for certain, so that an append costs no look for an earlier try.
//!
//! Clients number their messages with UUIDs of version 7, which begin with the time. So a sender's next id
//! is greater than any before it, and one that is greater than all that are stored is not stored. Of each
//! sender only the greatest is kept, in the committer's memory. Where a client gives ids out of order,
//! or a second device's clock is behind, its message is looked for as ever; nothing but time depends on it.
//!
//! What must not happen: an id that is stored and is greater than the greatest known.

use im_proto::{ClientMsgId, UserId};
use im_timeline::StoreError;

use crate::cache::Cache;
use crate::read;
use crate::rows;
use crate::view::View;

/// The bytes of an id that is a UUID.
pub(crate) type Uuid = [u8; 16];

/// What is known of a sender's ids.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// The greatest that was appended since the sender is here; of all that are stored, if `whole`.
    greatest: Uuid,
    whole: bool,
}

pub(crate) type Senders = Cache<UserId, Ids>;

impl Senders {
    /// Whether that message is new for certain. `view` has all groups before this one; what this one has
    /// appended is known by [`appended`](Self::appended).
    pub(crate) fn is_new(&mut self, view: &View, sender: &UserId, id: &ClientMsgId) -> Result<bool, StoreError> {
        let Some(id) = rows::uuid_bytes(id.as_str()) else { return Ok(false) };
        let mut met_before = true;
        let ids = self.get_or_read(sender, || {
            met_before = false;
            Ok::<_, StoreError>(Ids::default())
        })?;
        // Finding the greatest takes as long as some looks for one id, so not for who comes only once.
        if !ids.whole && met_before {
            if let Some(stored) = read::greatest_uuid(view, sender)? {
                ids.greatest = ids.greatest.max(stored);
            }
            ids.whole = true;
        }
        Ok(ids.whole && id > ids.greatest)
    }

    /// Takes note of a message that goes into this group.
    pub(crate) fn appended(&mut self, sender: &UserId, id: &ClientMsgId) {
        if let (Some(ids), Some(id)) = (self.get(sender), rows::uuid_bytes(id.as_str())) {
            ids.greatest = ids.greatest.max(id);
        }
    }
}
