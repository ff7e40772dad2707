//! How far each device has fetched its user's timeline. Noted in memory with each pull and written
//! in batches: losing some costs nothing, because a device says it again with its next pull.

use std::collections::HashMap;

use im_proto::{DeviceId, Seq, UserId};
use im_timeline::{Change, Table};
use parking_lot::Mutex;

use super::timeline::record_key;

/// Devices noted between two writes; further ones are passed over until then.
const NOTED_MAX: usize = 100_000;

/// Changes of one commit, so that an append never waits long behind it.
const BATCH_MAX: usize = 1000;

/// What was fetched since the last write.
#[derive(Debug, Default)]
pub(crate) struct Fetched(Mutex<HashMap<(UserId, DeviceId), Seq>>);

impl Fetched {
    /// A device has everything up to `seq`.
    pub(crate) fn note(&self, user: &UserId, device: &DeviceId, seq: Seq) {
        let mut noted = self.0.lock();
        let full = noted.len() >= NOTED_MAX;
        let key = (user.clone(), device.clone());
        if let Some(known) = noted.get_mut(&key) {
            *known = seq.max(*known);
        } else if !full {
            noted.insert(key, seq);
        }
    }

    /// Some of what was noted, as changes to commit, with the users whom they concern.
    pub(crate) fn take(&self) -> (Vec<Change>, Vec<UserId>) {
        let mut noted = self.0.lock();
        let keys: Vec<_> = noted.keys().take(BATCH_MAX).cloned().collect();
        keys.into_iter()
            .filter_map(|key| noted.remove(&key).map(|seq| (key, seq)))
            .map(|((user, device), seq)| {
                let key = record_key(&user, device.as_str());
                (Change::Raise { table: Table::Fetched, key, to: seq.0 }, user)
            })
            .unzip()
    }
}
