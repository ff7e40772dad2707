//! The service over a store in memory, and a host that writes down what it is told.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use async_trait::async_trait;
use im_proto::link::Push;
use im_proto::{Epoch, GroupId, Refusal, RefusalCode, UserId};
use im_timeline::{Disk, MemoryStore, Store};
use im_timeline_api::{Host, TimelineApi, Watchers};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) pushes: Mutex<Vec<Push>>,
    pub(crate) groups: Mutex<Vec<(String, Vec<String>)>>,
    pub(crate) refuses: Mutex<Option<RefusalCode>>,
    pub(crate) watchers: Arc<Watchers>,
}

#[async_trait]
impl Host for Recorder {
    fn announce(&self, push: Push) {
        self.watchers.wake(push.targets.iter().map(|target| &target.user));
        self.pushes.lock().push(push);
    }

    async fn admit_members(&self, group: &GroupId, members: &[UserId]) -> Result<(), Refusal> {
        let members = members.iter().map(ToString::to_string).collect();
        self.groups.lock().push((group.to_string(), members));
        match *self.refuses.lock() {
            Some(code) => Err(code.into()),
            None => Ok(()),
        }
    }
}

pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) host: Arc<Recorder>,
    pub(crate) api: Arc<TimelineApi>,
    pub(crate) stop: CancellationToken,
}

pub(crate) fn world() -> World {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::open(&Disk::new(Epoch(7))));
    let host = Arc::new(Recorder::default());
    let stop = CancellationToken::new();
    let dyn_host: Arc<dyn Host> = Arc::<Recorder>::clone(&host);
    let api = TimelineApi::new(Arc::clone(&store), dyn_host, Arc::clone(&host.watchers), stop.clone());
    World { store, host, api, stop }
}
