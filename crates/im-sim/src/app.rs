//! An application on top of the SDK, as software of a simulated host. What it has written down
//! survives the crash of its host: which message is not acked yet, and up to where it has taken its
//! timeline.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use im_client::{
    Client, ClientConfig, Event as ClientEvent, Events, PlainDial, PositionStore, SendError, State, StaticToken,
};
use im_link::network::BoxFuture;
use im_proto::client::SendMsg;
use im_proto::{DeviceId, Position};
use im_session::client::ConnectionLimits;
use parking_lot::Mutex;
use proto_codec::Codec;
use tokio::time::sleep;

use crate::broken::Planted;
use crate::log::{Event, EventLog};
use crate::network::SimNetwork;
use crate::plan::{DevicePlan, GROUPS, Step, group_id, user_id};
use crate::tiers::{Cluster, gate_addresses, identity, token};

/// How often something is looked at that the simulated time has to bring.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct App {
    plan: DevicePlan,
    planted: Planted,
    network: SimNetwork,
    log: EventLog,
    /// Whether the groups are there.
    groups: Arc<AtomicBool>,
    kept: Mutex<Kept>,
}

/// What is on the device's disk.
#[derive(Default)]
struct Kept {
    /// Steps of the plan that are done or under way.
    steps: usize,
    /// Handed over and not acked, in the order in which they were handed over.
    unacked: Vec<SendMsg>,
    /// Up to where the application has taken its timeline.
    taken: Position,
    /// What the SDK saved.
    saved: Position,
}

impl App {
    pub(crate) fn new(plan: DevicePlan, planted: Planted, cluster: &Cluster, groups: Arc<AtomicBool>) -> Arc<Self> {
        let (log, network) = (cluster.log.clone(), cluster.network.clone());
        Arc::new(Self { plan, planted, network, log, groups, kept: Mutex::default() })
    }

    /// Whether everything was sent and acked.
    pub(crate) fn is_done(&self) -> bool {
        let kept = self.kept.lock();
        kept.steps == self.plan.steps.len() && kept.unacked.is_empty()
    }

    /// Up to where the application has taken its timeline.
    pub(crate) fn taken(&self) -> Position {
        self.kept.lock().taken
    }

    pub(crate) fn plan(&self) -> &DevicePlan {
        &self.plan
    }

    /// Runs until its host dies.
    pub(crate) async fn run(self: Arc<Self>) -> turmoil::Result {
        self.log.note(Event::Started(self.plan.device.clone()));
        if self.plan.forgetful {
            self.kept.lock().unacked.clear();
        }
        let mut config = ClientConfig::new(gate_addresses(), DeviceId::new(&self.plan.device)?);
        // Devices of every codec live in one world, those that encrypt beside those that do not.
        let kind = self.plan.device.bytes().map(usize::from).sum::<usize>();
        config.codec = Codec::ALL[kind % Codec::ALL.len()];
        config.encryption = (kind / Codec::ALL.len()).is_multiple_of(2).then(|| identity().public());
        config.connect_timeout = Duration::from_secs(1);
        config.call_timeout = Duration::from_secs(5);
        config.connection = ConnectionLimits { patience: Duration::from_secs(3), ..ConnectionLimits::default() };
        config.backoff_min = Duration::from_millis(50);
        config.backoff_max = Duration::from_secs(2);
        let dial = Arc::new(PlainDial::over(self.network.shared()));
        let token = Arc::new(StaticToken::new(token(&self.plan.user)));
        let positions = Arc::new(Positions(Arc::clone(&self)));
        let (client, events) = Client::start(config, dial, token, positions).await?;
        tokio::select! {
            biased;
            () = self.take_all(events) => {}
            () = self.send_all(&client) => {}
        }
        // Nobody closes a client here, so it has no reason to end.
        self.wrong(format!("the client ended: {:?}", client.state()));
        std::future::pending().await
    }

    async fn take_all(&self, mut events: Events) {
        while let Some(event) = events.next().await {
            match event {
                ClientEvent::Message(entry) => {
                    self.kept.lock().taken = Position { epoch: crate::shared_store::EPOCH, seq: entry.seq };
                    let (device, user) = (self.plan.device.clone(), self.plan.user.clone());
                    self.log.note(Event::Saw { device, user, entry });
                    if !self.plan.dawdle.is_zero() {
                        sleep(self.plan.dawdle).await;
                    }
                }
                ClientEvent::State(state) => {
                    let state = match state {
                        State::Online { .. } => "online".into(),
                        // The wait has jitter and a session a number: neither belongs to the story.
                        State::Offline { why, .. } => format!("offline: {why}"),
                        state => format!("{state:?}"),
                    };
                    self.log.note(Event::State { device: self.plan.device.clone(), state });
                }
                event @ (ClientEvent::Restored { .. } | ClientEvent::Trimmed { .. }) => {
                    self.wrong(format!("{event:?}"));
                }
                // Hints, and what becomes of sends that nobody here makes.
                _ => {}
            }
        }
    }

    /// Sends what the plan says and then waits for ever.
    async fn send_all(&self, client: &Client) {
        self.make_groups(client).await;
        loop {
            let unacked = self.kept.lock().unacked.clone();
            if !unacked.is_empty() {
                join_all(unacked.into_iter().map(|message| self.send(client, message))).await;
                continue;
            }
            let Some(step) = self.next_step() else { break };
            let now = turmoil::sim_elapsed().unwrap_or_default();
            sleep(step.due.saturating_sub(now)).await;
            self.begin(step);
        }
        std::future::pending().await
    }

    fn next_step(&self) -> Option<Step> {
        self.plan.steps.get(self.kept.lock().steps).cloned()
    }

    /// Writes a step down before anything of it is sent.
    fn begin(&self, step: Step) {
        for message in &step.batch {
            let (device, user) = (self.plan.device.clone(), self.plan.user.clone());
            self.log.note(Event::Begun { device, user, message: message.clone() });
        }
        let mut kept = self.kept.lock();
        kept.steps += 1;
        kept.unacked = step.batch;
    }

    async fn send(&self, client: &Client, message: SendMsg) {
        match client.send_as(message.clone()).await {
            Ok(ack) => {
                self.kept.lock().unacked.retain(|other| other.client_msg_id != message.client_msg_id);
                let (device, user) = (self.plan.device.clone(), self.plan.user.clone());
                self.log.note(Event::Acked { device, user, message, ack });
            }
            // Told by whoever sees the client's end.
            Err(SendError::Ended(_)) => std::future::pending().await,
            Err(error) => {
                self.wrong(format!("{} was refused: {error}", message.client_msg_id));
                std::future::pending().await
            }
        }
    }

    /// The first device of the first user makes the groups; the others wait until they are there.
    async fn make_groups(&self, client: &Client) {
        if self.plan.device == crate::plan::DEVICES[0].1 {
            for (group, members) in GROUPS {
                let members: Vec<_> = members.iter().map(|member| user_id(member)).collect();
                while let Err(error) = client.create_group(group_id(group), group.into(), members.clone()).await {
                    self.log.note(Event::State {
                        device: self.plan.device.clone(),
                        state: format!("without the group {group}: {error}"),
                    });
                    sleep(LOOK).await;
                }
            }
            self.groups.store(true, Ordering::Relaxed);
        }
        while !self.groups.load(Ordering::Relaxed) {
            sleep(LOOK).await;
        }
    }

    fn wrong(&self, what: String) {
        self.log.note(Event::Wrong { host: self.plan.device.clone(), what });
    }
}

/// Where the SDK asks for its position and saves it.
struct Positions(Arc<App>);

impl PositionStore for Positions {
    fn load(&self) -> BoxFuture<'static, io::Result<Position>> {
        let kept = self.0.kept.lock();
        let position = if self.0.plan.resumes_by_sdk { kept.saved } else { kept.taken };
        let position = self.0.planted.resume(position);
        Box::pin(async move { Ok(position) })
    }

    fn save(&self, position: Position) -> BoxFuture<'static, io::Result<()>> {
        let mut kept = self.0.kept.lock();
        if position.seq < kept.saved.seq {
            self.0.wrong(format!("the saved position went back from {} to {}", kept.saved.seq, position.seq));
        }
        if position.seq > kept.taken.seq {
            self.0.wrong(format!("the saved position {} runs ahead of {}", position.seq, kept.taken.seq));
        }
        kept.saved = position;
        Box::pin(async { Ok(()) })
    }
}
